"""Asks Prometheus what GPU exporters measured of each pod in a window.

Each exporter has an energy counter. Scraped without honorLabels its own `namespace` and `pod` come
as `exported_namespace` and `exported_pod`, and the plain ones are those of the exporter's pod; both
forms are read. A GPU without a pod label belongs to nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from energaizer_operator.feedback.accounts import PodName, Reading, Window

SourceName = Literal["DCGM", "Kepler", "ROCm"]
_STEPS = 20
_FRESH_S = 60
"""A sample vouches for this long after itself, s: exporters are scraped once a minute at least."""
_TIMEOUT_S = 30.0


class SourceUnavailableError(Exception):
    """Prometheus cannot be asked; the message says why."""


@dataclass(frozen=True)
class Exporter:
    """An energy counter, and which labels name the pod."""

    name: SourceName
    counter: str
    joules: float
    """Joules of one unit of the counter."""
    namespace: str = "namespace"
    pod: str = "pod"


DCGM = Exporter("DCGM", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 1e-3)
KEPLER = Exporter("Kepler", "kepler_pod_gpu_joules_total", 1.0, "pod_namespace", "pod_name")
ROCM = Exporter("ROCm", "gpu_energy_consumed", 1e-6)
EXPORTERS = (DCGM, KEPLER, ROCM)


def queries(exporter: Exporter, length_s: float) -> list[tuple[str, str, str, str]]:
    """Return, for each form of labels: namespace label, pod label, PromQL of joules, of seconds.

    Args:
        exporter: Whose counter.
        length_s: Of the window that ends when the query is evaluated, s.
    """
    step = max(1, math.ceil(length_s / _STEPS))
    window = max(1, round(length_s))
    namespace, pod = exporter.namespace, exporter.pod
    forms = (
        (f"exported_{namespace}", f"exported_{pod}", f'{{exported_{pod}!=""}}'),
        (namespace, pod, f'{{{pod}!="",exported_{pod}="",exported_{namespace}=""}}'),
    )
    result = []
    for by_namespace, by_pod, selector in forms:
        series, by = f"{exporter.counter}{selector}", f"sum by ({by_namespace}, {by_pod})"
        joules = f"{by} (increase({series}[{window}s])) * {exporter.joules}"
        fresh = f"(time() - timestamp({series}) < bool {_FRESH_S})"
        seconds = f"{by} (sum_over_time({fresh}[{window}s:{step}s])) * {step}"
        result.append((by_namespace, by_pod, joules, seconds))
    return result


class Measurements:
    """Reads windows from one Prometheus.

    Args:
        url: Of the Prometheus, without a path of the API.
        chosen: The exporter to believe; None takes the first that has samples.
    """

    def __init__(self, url: str, chosen: SourceName | None) -> None:
        """Open no connection yet."""
        self._url = url.rstrip("/")
        self._exporters = [one for one in EXPORTERS if chosen in (None, one.name)]

    async def read(self, window: Window) -> tuple[SourceName | None, Mapping[PodName, Reading]]:
        """Return which exporter has samples, and what it says of each pod.

        Raises:
            SourceUnavailableError: Prometheus does not answer, or refuses.
        """
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                for exporter in self._exporters:
                    if await self._ask(session, f"count({exporter.counter})", window.end):
                        return exporter.name, await self._readings(session, exporter, window)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise SourceUnavailableError(f"{self._url}: {error or type(error).__name__}") from error
        return None, {}

    async def _readings(
        self, session: aiohttp.ClientSession, exporter: Exporter, window: Window
    ) -> Mapping[PodName, Reading]:
        found: dict[PodName, Reading] = {}
        for namespace, pod, joules, seconds in queries(exporter, window.length):
            energy, covered = await asyncio.gather(
                self._by_pod(session, joules, window.end, (namespace, pod)),
                self._by_pod(session, seconds, window.end, (namespace, pod)),
            )
            for name in energy.keys() & covered.keys():
                found[name] = Reading(energy[name], covered[name])
        return found

    async def _by_pod(
        self, session: aiohttp.ClientSession, promql: str, when: float, labels: tuple[str, str]
    ) -> dict[PodName, float]:
        namespace, pod = labels
        return {
            (one["metric"].get(namespace, ""), one["metric"].get(pod, "")): float(one["value"][1])
            for one in await self._ask(session, promql, when)
        }

    async def _ask(
        self, session: aiohttp.ClientSession, promql: str, when: float
    ) -> list[dict[str, Any]]:
        parameters = {"query": promql, "time": f"{when:.3f}"}
        async with session.post(f"{self._url}/api/v1/query", data=parameters) as answer:
            body: dict[str, Any] = await answer.json(content_type=None)
        if body.get("status") != "success":
            raise ValueError(body.get("error", f"HTTP {answer.status}"))
        result: list[dict[str, Any]] = body["data"]["result"]
        return result
