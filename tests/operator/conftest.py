"""Makers of estimates, profiles and policies with round numbers; the controller's surroundings."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import energaizer_operator
from energaizer_operator.cluster import Cluster
from energaizer_operator.controller.loop import Context
from energaizer_operator.events import Events
from energaizer_operator.identity import Catalogue, identities
from energaizer_operator.informer import Informer
from energaizer_operator.metrics import Metrics
from energaizer_operator.options import Option
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import EstimateSummary
from energaizer_operator.settings import Settings
from fake_cluster import FakeCluster

MakeOption = Callable[..., Option]


@pytest.fixture
async def context(cluster: FakeCluster) -> AsyncIterator[Context]:
    """What controllers share, over the `cluster` of a test's own module, once all is listed."""
    informer = Informer()
    task = asyncio.create_task(informer.run(cluster))  # type: ignore[arg-type]
    await asyncio.wait_for(informer.wait(), 60)
    events = Events(cluster, component="c", instance="i", interval_s=60)  # type: ignore[arg-type]
    yield Context.of(cluster, informer, events, Metrics("1"))  # type: ignore[arg-type]
    task.cancel()


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """The cluster that whoever connects to one finds."""
    made = FakeCluster()

    async def connect(_: Settings) -> FakeCluster:
        return made

    monkeypatch.setattr(Cluster, "connect", connect)
    return made


@pytest.fixture
def option() -> MakeOption:
    """Make an option of 8 GPUs: mean energy (J), power (W) and time (s), +-10 % unless stated."""

    def make(
        profile: str, energy: int = 100, power: int = 10, seconds: int = 10, **rest: Any
    ) -> Option:
        tenth = rest.pop("tenth", 0.1)
        estimate = {
            "gpu_count": rest.pop("gpus", 8),
            "replicas": rest.pop("replicas", 1),
            "method": rest.pop("method", "Calibrated"),
            "energy_per_token_microjoules": rest.pop("per_token", None),
        }
        rest.setdefault("work", None if estimate["method"] == "TDPBound" else 1.0)
        return Option(
            profile=profile,
            estimate=EstimateSummary(
                profile=profile,
                power_watts=power,
                power_low_watts=max(1, round(power * (1 - tenth))),
                power_high_watts=round(power * (1 + tenth)),
                duration_seconds=seconds,
                energy_joules=energy,
                energy_low_joules=max(1, round(energy * (1 - tenth))),
                energy_high_joules=round(energy * (1 + tenth)),
                **estimate,
            ),
            **rest,
        )

    return make


@pytest.fixture
def policy() -> Callable[..., EnergyPolicy]:
    def make(name: str = "p", **spec: Any) -> EnergyPolicy:
        return EnergyPolicy.model_validate({"metadata": {"name": name}, "spec": spec})

    return make


@pytest.fixture
def profile() -> Callable[..., GPUProfile]:
    """Make a GPUProfile; `observed` is a list of (key, value, nodes)."""

    def make(
        name: str, *, watts: int = 100, observed: Any = (), nodes: int | None = None, **spec: Any
    ) -> GPUProfile:
        status: dict[str, Any] = {
            "observedTerms": [{"key": k, "value": v, "nodes": n} for k, v, n in observed]
        }
        if nodes is not None:
            status["nodes"] = nodes
        spec.setdefault("productNames", [name.upper()])
        return GPUProfile.model_validate(
            {
                "metadata": {"name": name},
                "spec": {"vendor": "NVIDIA", "thermalDesignPowerWatts": watts, **spec},
                "status": status,
            }
        )

    return make


@pytest.fixture(scope="session")
def shipped() -> Catalogue:
    """Every built-in GPU; power falls along the file, which only conflicts look at."""
    path = Path(energaizer_operator.__file__).parent / "profiles/identities.yaml"
    found = identities(yaml.safe_load(path.read_text("utf-8")))
    return Catalogue(
        GPUProfile.model_validate(
            {
                "metadata": {"name": name},
                "spec": {
                    "vendor": "AMD" if "amd.com/gpu" in identity.resource_names else "NVIDIA",
                    "thermalDesignPowerWatts": 1000 - number,
                    **identity.to_dict(),
                },
            }
        )
        for number, (name, identity) in enumerate(found.items())
    )
