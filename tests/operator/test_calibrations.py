"""Coefficients from a ConfigMap: read, checked, used, and never used when they are broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from energaizer import catalog
from energaizer_operator import estimation, kinds, status, translate
from energaizer_operator.cluster import Refused, Unreachable
from energaizer_operator.controller.calibrations import Calibrations
from energaizer_operator.controller.gpuprofile import GPUProfiles
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.survey import Survey
from energaizer_operator.decision import Subject, World, prepare
from energaizer_operator.estimation import calibration_digest as digest_of
from energaizer_operator.events import Events
from energaizer_operator.informer import Informer
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.metrics import Metrics
from energaizer_operator.names import CALIBRATION_KEY as KEY
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.translate import Answer, Question, Setting
from fake_cluster import FakeCluster, settle

NAME = "h100-sxm5-80gb"
PROFILE = next(one for one in estimation.catalogue() if one.metadata.name == NAME)
SHIPPED = catalog.coefficients(catalog.gpu(NAME))
HUNGRY = SHIPPED.with_values({"power.idle_w": SHIPPED.values()["power.idle_w"] + 100}).dumps()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LLAMA = ResolvedInputs(
    task="BatchInference",
    model_name="llama-3.1-8b",
    precision="BF16",
    batch_size=16,
    input_tokens=512,
    output_tokens=64,
    requests=1000,
    gpus_per_replica=1,
)


def referring(digest: str | None = None) -> GPUProfile:
    body = PROFILE.to_dict()
    body["spec"]["calibration"] = {"configMapRef": {"name": "fit", "namespace": "gpus"}}
    if digest is not None:
        body["spec"]["calibration"]["digest"] = digest
    return GPUProfile.model_validate(body)


def put(cluster: FakeCluster, data: dict[str, str]) -> None:
    metadata = {"name": "fit", "namespace": "gpus"}
    cluster.put(kinds.CONFIGMAPS, {"metadata": metadata, "data": data})


async def test_coefficients_are_loaded_once(fake: FakeCluster, held: Calibrations) -> None:
    put(fake, {KEY: HUNGRY})
    loaded, changed = await held.load(referring(digest_of(HUNGRY)))
    assert loaded is not None
    assert (loaded.reason, changed) == ("CalibrationLoaded", True)
    assert "ConfigMap gpus/fit" in loaded.message
    assert held.texts == {NAME: HUNGRY}
    assert (await held.load(referring()))[1] is False
    assert await held.load(PROFILE) == (None, True)  # no longer named
    assert held.texts == {}


@pytest.mark.parametrize(
    ("data", "digest", "reason", "words"),
    [
        (None, None, "NotFound", "does not exist; create it"),
        ({"other": "{}"}, None, "InvalidConfigMap", "has no key coefficients.json; add it"),
        ({KEY: "{broken"}, None, "InvalidConfigMap", "JSON"),
        ({KEY: "{}"}, None, "InvalidConfigMap", "gpu"),
        ({KEY: HUNGRY}, digest_of("other"), "DigestMismatch", digest_of(HUNGRY)),
        ({KEY: HUNGRY.replace(NAME, "a10-24gb")}, None, "InvalidConfigMap", 'not of "h100'),
    ],
)
async def test_a_broken_one_is_said_and_not_used(
    fake: FakeCluster,
    held: Calibrations,
    data: dict[str, str] | None,
    digest: str | None,
    reason: str,
    words: str,
) -> None:
    put(fake, {KEY: SHIPPED.dumps()})
    await held.load(referring())
    if data is None:
        fake.remove(kinds.CONFIGMAPS, "fit", "gpus")
    else:
        put(fake, data)
    loaded, changed = await held.load(referring(digest))
    assert loaded is not None
    assert (loaded.reason, loaded.text, changed) == (reason, None, True)
    assert words in loaded.message
    assert loaded.message.endswith("estimates rest on what is shipped")
    assert held.texts == {}


async def test_what_may_not_be_read(fake: FakeCluster, held: Calibrations) -> None:
    fake.fail = Refused("forbidden", 403)
    loaded, _ = await held.load(referring())
    assert loaded is not None
    assert loaded.reason == "Forbidden"
    assert "bind ClusterRole energaizer-model-configs" in loaded.message


async def test_an_api_server_that_fails_takes_nothing_away(
    fake: FakeCluster, held: Calibrations
) -> None:
    put(fake, {KEY: HUNGRY})
    await held.load(referring())
    fake.fail = Unreachable("gone")
    with pytest.raises(Unreachable):
        await held.load(referring())
    await held.begin([referring().to_dict()])  # says so in the log alone
    assert held.texts == {NAME: HUNGRY}


def test_estimates_rest_on_them() -> None:
    def ask(settings: tuple[Setting, ...], calibration: str | None) -> tuple[Answer, ...]:
        asked = Question(LLAMA, PROFILE, "", settings, calibration=calibration)
        (found,) = translate.answers([asked], NOW)
        return found

    settings = (Setting(1000),)  # far from the power limit
    usual, hungry = (ask(settings, text)[0].summary for text in (None, HUNGRY))
    assert hungry.power_watts == pytest.approx(usual.power_watts + 100, abs=2)
    many = (Setting(1000), Setting(1200), Setting(1400))
    for setting, answer in zip(many, ask(many, HUNGRY), strict=True):
        alone = ask((setting,), HUNGRY)[0].summary
        assert answer.summary.power_watts == pytest.approx(alone.power_watts, rel=0.01)


def test_the_world_hands_them_on() -> None:
    workload = AIWorkload.model_validate({"metadata": {"name": "w"}, "spec": {}})
    subject = Subject(workload=workload)
    usual = prepare(subject, World.of([PROFILE], in_cluster=[NAME])).questions[0]
    own = World.of([PROFILE], in_cluster=[NAME], calibrations={NAME: HUNGRY})
    asked = prepare(subject, own).questions[0]
    assert asked.calibration == HUNGRY
    assert asked.digest != usual.digest
    assert replace(asked, calibration=None, profile_digest=usual.profile_digest) == usual


async def test_the_profile_tells_and_is_looked_at_again(fake: FakeCluster) -> None:
    body = referring().to_dict()
    fake.put(kinds.GPUPROFILES, body)
    news: list[int] = []
    async for context in _context(fake):
        held = Calibrations(fake)  # type: ignore[arg-type]
        reconciler = GPUProfiles(context, Survey, held, lambda: news.append(1))
        assert await reconciler.reconcile(("", NAME)) is Result.PENDING
        assert _condition(fake)["reason"] == "NotFound"
        assert news == []
        put(fake, {KEY: HUNGRY})
        assert await reconciler.reconcile(("", NAME)) is Result.CHANGED
        assert (_condition(fake)["status"], news) == ("True", [1])
        fake.remove(kinds.GPUPROFILES, NAME)
        await settle()
        assert await reconciler.reconcile(("", NAME)) is Result.GONE
        assert (held.texts, news) == ({}, [1, 1])


def _condition(fake: FakeCluster) -> dict[str, Any]:
    conditions = fake.objects["gpuprofiles", "", NAME]["status"]["conditions"]
    return next(one for one in conditions if one["type"] == "CalibrationLoaded")


async def _context(fake: FakeCluster) -> AsyncIterator[Context]:
    informer = Informer()
    task = asyncio.create_task(informer.run(fake))  # type: ignore[arg-type]
    await asyncio.wait_for(informer.wait(), 60)
    events = Events(fake, component="c", instance="i", interval_s=60)  # type: ignore[arg-type]
    yield Context.of(fake, informer, events, Metrics("1"))  # type: ignore[arg-type]
    task.cancel()


@pytest.fixture
def fake() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def held(fake: FakeCluster) -> Calibrations:
    return Calibrations(fake)  # type: ignore[arg-type]


def test_a_status_without_a_config_map_says_what_it_rests_on() -> None:
    plain = status.gpuprofile_status(PROFILE, status.Census(), NOW).conditions[2]
    assert (plain.status, plain.reason) == ("False", "NoCalibration")
