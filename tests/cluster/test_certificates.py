"""Certificates of the chart, in its modes `self` and `provided`: nobody who asks meets a wrong one.

All three replicas run. Requests go through the API server in a namespace that is `strict`, so a
handshake that fails is a request that fails.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from energaizer_operator import certificates
from energaizer_operator.certificates import KeyPair, Material
from energaizer_operator.webhook import rotation
from localcluster.api import Api
from polling import until
from released import FULL, NAMESPACE, ON_THE_LOCAL_NODE, POD, RELEASE, World, fresh_world

REQUESTS, BATCH, THREADS = 2000, 200, 4
HOST = f"{FULL}-webhook.{NAMESPACE}.svc"
SECRET = f"{FULL}-webhook-certificate"
SHORT = "settings.certificate_check_s=2,settings.authority_settling_s=10,settings.drain_s=1"
OPTIONS = [*ON_THE_LOCAL_NODE, "--set", f"{SHORT},controller.replicas=1"]
RECOVERY_S = 60.0
EXPIRED = (500, "admission: certificate expired\n")
"""What a replica says of itself then; connections that are open go on."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with fresh_world() as made:
        made.helm("install", RELEASE, str(made.chart), "--wait", *OPTIONS)
        yield made


def bundles(world: World) -> list[bytes]:
    """Return whom the API server trusts, for each webhook of ours."""
    return [
        base64.b64decode(hook["clientConfig"].get("caBundle", ""))
        for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration")
        for hook in world.get(kind, FULL)["webhooks"]
    ]


def store(world: World, name: str, data: dict[str, str]) -> None:
    """Replace what a Secret holds."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    patch = json.dumps({"data": data})
    there = world.cluster.kubectl("get", "secret", name, "-n", NAMESPACE, check=False)
    if there.returncode == 0:
        world.cluster.kubectl("patch", "secret", name, "-n", NAMESPACE, "--type=merge", "-p", patch)
    else:
        world.cluster.kubectl("create", "-n", NAMESPACE, "-f", "-", input=json.dumps(secret))


def stored(world: World) -> Material:
    """Return what the Secret holds."""
    found = rotation.read(world.get("secret", SECRET, "-n", NAMESPACE))
    assert found is not None
    return found


def test_authority_and_leaf_rotate_under_load_without_a_failed_request(world: World) -> None:
    now = datetime.now(UTC)
    old = certificates.make_authority("old CA", now - certificates.AUTHORITY_LIFETIME * 0.7)
    leaf = certificates.make_leaf(old, (HOST, f"{HOST}.cluster.local"), now)
    due = Material(leaf, old, old.certificate + stored(world).trusted)
    store(world, SECRET, rotation.write(due))
    until(lambda: all(old.certificate in one for one in bundles(world)), "the old CA is trusted")
    expiry = certificates.expiry(leaf.certificate).timestamp()
    until(lambda: set(world.leaf_expiries()) == {expiry}, "every replica serves the old leaf")

    failures: list[str] = []
    api = Api.of(world.cluster.kubeconfig)
    body = json.dumps(POD)

    def ask(_: int) -> None:
        try:
            api.call("POST", "/api/v1/namespaces/team-a/pods?dryRun=All", json.loads(body))
        except urllib.error.HTTPError as error:
            failures.append(error.read().decode())

    stop = threading.Event()
    turned = threading.Thread(target=_turn_leaves, args=(world, stop))
    turned.start()
    asked, deadline = 0, time.monotonic() + 300
    material = due
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            while asked < REQUESTS or material.authority == old or not signed(material):
                assert time.monotonic() < deadline, "the new CA signs nothing"
                list(pool.map(ask, range(BATCH)))
                asked += BATCH
                material = stored(world)
    finally:
        stop.set()
        turned.join()
    assert failures == [], f"of {asked}"
    material = stored(world)
    assert material.authority.certificate != old.certificate, "no new CA"
    assert signed(material)
    assert material.leaf != leaf, "no new leaf"
    assert old.certificate in material.trusted, "the old CA is still valid and may be in use"


def signed(material: Material) -> bool:
    """Say whether the leaf is of the CA that signs now, and not of the one before."""
    return certificates.is_issued_by(material.leaf.certificate, material.authority.certificate)


def _turn_leaves(world: World, stop: threading.Event) -> None:
    """Make a leaf of the new CA due again and again, as ninety days would."""
    while not stop.wait(7):
        material = stored(world)
        if signed(material):
            aged = datetime.now(UTC) - certificates.LEAF_LIFETIME * 0.8
            names = certificates.dns_names(material.leaf.certificate)
            leaf = certificates.make_leaf(material.authority, names, aged)
            pair = {"tls.crt": leaf.certificate, "tls.key": leaf.key}
            encoded = {key: base64.b64encode(value).decode() for key, value in pair.items()}
            store(world, SECRET, encoded)


def test_an_expired_certificate_of_ours_is_replaced_within_a_minute(world: World) -> None:
    material = stored(world)
    past = datetime.now(UTC) - timedelta(days=91)
    names = certificates.dns_names(material.leaf.certificate)
    expired = certificates.make_leaf(material.authority, names, past)
    assert certificates.expiry(expired.certificate) < datetime.now(UTC)
    store(world, SECRET, rotation.write(Material(expired, material.authority, material.trusted)))

    def replaced() -> bool:
        return stored(world).leaf != expired and not world.ask()

    until(replaced, "a new leaf is served", RECOVERY_S)


def test_a_provided_secret_is_served_and_a_new_one_within_a_minute(
    world: World, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    authority = certificates.make_authority("ours", now)
    (tmp_path / "ca.pem").write_bytes(authority.certificate)

    def put(leaf: KeyPair) -> None:
        parts = {"tls.crt": leaf.certificate, "tls.key": leaf.key}
        store(world, "mine", {key: base64.b64encode(one).decode() for key, one in parts.items()})

    put(certificates.make_leaf(authority, (HOST,), now))
    mode = ["--set", "certificates.mode=provided,certificates.secretName=mine"]
    trust = ["--set-file", f"certificates.caBundle={tmp_path / 'ca.pem'}"]
    world.helm(
        "upgrade", RELEASE, str(world.chart), "--wait", "--force-conflicts", *OPTIONS, *mode, *trust
    )
    assert set(bundles(world)) == {authority.certificate}
    assert world.ask() == ""
    denied = world.cluster.kubectl(
        *("auth", "can-i", "update", f"secret/{SECRET}", "-n", NAMESPACE),
        f"--as=system:serviceaccount:{NAMESPACE}:{FULL}-webhook",
        check=False,
    )
    assert denied.stdout.strip() == "no", "the webhook may write no Secret in this mode"

    past = now - timedelta(days=91)
    put(certificates.make_leaf(authority, (HOST,), past))
    limit = time.time()
    until(
        lambda: world.leaf_expiries() and max(world.leaf_expiries()) < limit,
        "the alert's metric tells",
    )
    until(lambda: world.webhook_pages("8081/readyz") == {EXPIRED}, "no replica is ready")
    put(certificates.make_leaf(authority, (HOST,), now))
    ready = (200, "ok\n")
    until(  # and nobody is sent there before its next probe
        lambda: world.webhook_pages("8081/readyz") == {ready} and not world.ask(),
        "recovery",
        RECOVERY_S,
    )
    assert min(world.leaf_expiries()) > time.time()
