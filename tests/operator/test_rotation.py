import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from energaizer_operator import certificates
from energaizer_operator.cluster import Conflict
from energaizer_operator.kinds import MUTATING_WEBHOOKS, SECRETS, VALIDATING_WEBHOOKS
from energaizer_operator.settings import Settings
from energaizer_operator.webhook import rotation
from energaizer_operator.webhook.rotation import Rotator
from fake_cluster import FakeCluster

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings(kubeconfig=Path("nowhere"))
SECRET = ("secrets", SETTINGS.namespace, SETTINGS.certificate_secret)
SERVICE = "energaizer-webhook.energaizer-system.svc"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster() -> FakeCluster:
    """An API server with an empty Secret and both configurations, as the manifests install them."""
    made = FakeCluster()
    metadata = {"name": SETTINGS.certificate_secret, "namespace": SETTINGS.namespace}
    made.put(SECRETS, {"metadata": metadata})
    hooks = [
        {"name": name, "clientConfig": {"service": {"name": "energaizer-webhook"}}}
        for name in ("pod.energaizer.io", "pod.energaizer.io-strict", "pod.example.com")
    ]
    for resource in (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS):
        made.put(resource, {"metadata": {"name": "energaizer"}, "webhooks": hooks})
    return made


def rotator(cluster: FakeCluster, clock: Clock) -> Rotator:
    return Rotator(cluster, SETTINGS, clock)  # type: ignore[arg-type]


def bundles(cluster: FakeCluster) -> list[bytes | None]:
    found = []
    for plural in (VALIDATING_WEBHOOKS.plural, MUTATING_WEBHOOKS.plural):
        for hook in cluster.objects[plural, "", "energaizer"]["webhooks"]:
            encoded = hook["clientConfig"].get("caBundle")
            found.append(base64.b64decode(encoded) if encoded else None)
    return found


async def due(clock: Clock, replica: Rotator) -> certificates.Material:
    """Return what is stored when the CA is due, and a new one has just been published."""
    await replica.step()
    clock.now = NOW + timedelta(days=2400)
    await replica.step()  # the leaf, which is long expired by now
    clock.now = NOW + timedelta(days=2440)
    return await replica.step()


async def test_the_first_replica_fills_secret_and_bundles(
    cluster: FakeCluster, clock: Clock
) -> None:
    made = rotator(cluster, clock)
    material = await made.step()
    assert rotation.read(cluster.objects[SECRET]) == material
    assert certificates.dns_names(material.leaf.certificate) == (
        SERVICE,
        f"{SERVICE}.cluster.local",
    )
    assert bundles(cluster) == [material.trusted, material.trusted, None] * 2
    assert made.announced


async def test_a_second_step_and_a_second_replica_write_nothing(
    cluster: FakeCluster, clock: Clock
) -> None:
    first = await rotator(cluster, clock).step()
    cluster.writes.clear()
    assert await rotator(cluster, clock).step() == first
    assert cluster.writes == []


async def test_a_missing_secret_is_created(cluster: FakeCluster, clock: Clock) -> None:
    cluster.remove(SECRETS, SETTINGS.certificate_secret, SETTINGS.namespace)
    material = await rotator(cluster, clock).step()
    assert rotation.read(cluster.objects[SECRET]) == material
    assert ("create", "secrets", SETTINGS.certificate_secret) in cluster.writes


async def test_who_comes_second_takes_what_the_first_wrote(
    cluster: FakeCluster, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = certificates.make(rotator(cluster, clock).names, NOW)
    real = cluster.replace
    lost = []

    async def replace(resource: Any, body: Any, *, sub: str = "") -> Any:
        if not lost:
            lost.append(True)
            present = cluster.objects[SECRET]
            cluster.put(SECRETS, {**present, "data": rotation.write(winner)})
            raise Conflict("changed", 409)
        return await real(resource, body, sub=sub)

    monkeypatch.setattr(cluster, "replace", replace)
    assert await rotator(cluster, clock).step() == winner
    assert bundles(cluster)[0] == winner.trusted


async def test_a_secret_that_always_changes_is_an_error(
    cluster: FakeCluster, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def replace(*_: Any, **__: Any) -> Any:
        raise Conflict("changed", 409)

    monkeypatch.setattr(cluster, "replace", replace)
    with pytest.raises(Conflict, match="changes all the time"):
        await rotator(cluster, clock).step()


async def test_what_others_keep_in_the_secret_stays(cluster: FakeCluster, clock: Clock) -> None:
    cluster.objects[SECRET]["data"] = {"theirs": "eA==", "tls.crt": "not base64"}
    await rotator(cluster, clock).step()
    assert cluster.objects[SECRET]["data"]["theirs"] == "eA=="


async def test_the_leaf_is_renewed_and_the_bundle_left(cluster: FakeCluster, clock: Clock) -> None:
    first = await rotator(cluster, clock).step()
    clock.now = NOW + timedelta(days=61)
    second = await rotator(cluster, clock).step()
    assert second.leaf != first.leaf
    assert second.trusted == first.trusted


async def test_a_new_authority_is_announced_before_it_signs(
    cluster: FakeCluster, clock: Clock
) -> None:
    first = await rotator(cluster, clock).step()
    between = await due(clock, rotator(cluster, clock))
    assert between.authority != first.authority
    assert certificates.is_issued_by(
        between.leaf.certificate, certificates.split(bundles(cluster)[0] or b"")[1]
    )
    assert bundles(cluster)[0] == between.trusted


async def test_a_new_authority_signs_only_after_it_was_published_for_long(
    cluster: FakeCluster, clock: Clock
) -> None:
    replica = rotator(cluster, clock)
    between = await due(clock, replica)
    settling = timedelta(seconds=SETTINGS.authority_settling_s)
    for _ in range(3):  # replicas that come and go see it published, and wait too
        assert await replica.step() == await rotator(cluster, clock).step() == between
        clock.now += settling / 4
    clock.now += settling / 4
    after = await replica.step()
    assert certificates.is_issued_by(after.leaf.certificate, between.authority.certificate)
    assert after.trusted == between.trusted
    assert bundles(cluster)[0] == between.trusted


async def test_a_bundle_that_is_lost_is_published_anew_before_its_authority_signs(
    cluster: FakeCluster, clock: Clock
) -> None:
    replica = rotator(cluster, clock)
    between = await due(clock, replica)
    await replica.step()
    hook = cluster.objects[MUTATING_WEBHOOKS.plural, "", "energaizer"]["webhooks"][0]
    hook["clientConfig"]["caBundle"] = ""
    clock.now += timedelta(seconds=SETTINGS.authority_settling_s)
    assert await replica.step() == between
    assert await replica.step() == between
    clock.now += timedelta(seconds=SETTINGS.authority_settling_s)
    assert (await replica.step()).leaf != between.leaf


async def test_configurations_that_come_later_are_filled_then(
    cluster: FakeCluster, clock: Clock
) -> None:
    kept = cluster.objects[VALIDATING_WEBHOOKS.plural, "", "energaizer"]
    cluster.remove(VALIDATING_WEBHOOKS, "energaizer")
    made = rotator(cluster, clock)
    await made.step()
    assert not made.announced
    cluster.put(VALIDATING_WEBHOOKS, kept)
    material = await made.step()
    assert made.announced
    assert bundles(cluster)[0] == material.trusted
