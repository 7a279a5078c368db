"""Many made-up workloads, told by the operator's own metrics code to a real Prometheus.

For what a dashboard looks like at a thousand workloads or at none, and for what a scrape takes at
five thousand. Only the numbers are made up: names, labels and types are those of the operator's
registry, and the pages of other exporters are those of their stand-ins.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from energaizer_operator.metrics import (
    BudgetSeries,
    CandidateSeries,
    Metrics,
    QueueState,
    WatchState,
    WorkloadSeries,
)
from localcluster import monitoring
from localcluster.exporter import Exporter, serve
from localcluster.monitoring import PrometheusProcess
from localcluster.statemetrics import page as quotas_page
from observability.pages import FILES
from observability.querying import Prometheus

OURS = "energaizer"
SCRAPED_EVERY_S = 10
A_TEAM = 25
"""Workloads of one namespace."""
_GPUS = {   # profile: predicted watts of one GPU, and how far predictions of it are off
    "h100-sxm5-80gb": (560, 0.02), "h200-sxm-141gb": (590, -0.05), "b200-sxm-180gb": (820, 0.09),
    "a100-sxm4-80gb": (310, 0.01), "a100-pcie-40gb": (220, -0.02), "l40s-48gb": (270, 0.18),
    "a10-24gb": (130, 0.04), "mi300x-192gb": (610, -0.11), "t4-16gb": (62, 0.06),
    "l4-24gb": (65, 0.03), "v100-sxm2-32gb": (240, -0.03), "h100-pcie-80gb": (300, 0.05),
    "gb200-186gb": (980, 0.07), "rtx-a6000-48gb": (260, 0.12),
}  # fmt: skip
_MODELS = ("llama-3.1-8b", "llama-3.1-70b", "qwen2.5-32b", "mixtral-8x7b", "flux.1-dev", "vit-l-16")
_TASKS = ("Inference", "BatchInference", "Training", "FineTuning")
_KINDS = ("aiworkloads", "pods", "nodes", "jobs", "energybudgets", "gpuprofiles", "namespaces")
_CONTROLLERS = ("aiworkload", "gpuprofile", "workload", "energybudget", "energyreservation")
_SOME = 40
"""Events of each sort in a second."""


class Crowd:
    """A controller and a webhook that have much to tell, as one page.

    Args:
        workloads: How many.
        candidates: Whether each workload's candidates have series too.
    """

    def __init__(self, workloads: int, *, candidates: bool = True) -> None:
        """Make everything up; the same for the same arguments."""
        self._random = Random(workloads)  # noqa: S311 (made-up numbers)
        self.metrics = Metrics("0")
        self._workloads: dict[tuple[str, str], WorkloadSeries] = {}
        self._budgets: dict[tuple[str, str], BudgetSeries] = {}
        self._exporter = Exporter(share=0.95)
        self._pods: list[dict[str, Any]] = []
        self._start_processes()
        for number in range(workloads):
            self._add(number, candidates=candidates)
        for number in range(math.ceil(workloads / A_TEAM)):
            self._add_budget(_team(number))
        nodes = list(_GPUS) * (workloads // 35)
        self.metrics.nodes(
            {f"gpu-{place:03}": profile for place, profile in enumerate(nodes)}, workloads // 300
        )
        running = {
            (pod["metadata"]["namespace"], pod["metadata"]["name"]): self._declared(pod)
            for pod in self._pods
        }
        self.metrics.running(lambda: running)
        self.metrics.budgets.unbudgeted = lambda: dict.fromkeys(
            {team for team, _ in self._budgets}, 0
        )

    def _start_processes(self) -> None:
        metrics = self.metrics
        metrics.leader(leads=True)
        metrics.certificate("leaf", time.time() + 60 * 86400)
        for kind in _KINDS:
            metrics.watch(kind, lambda: WatchState(True, time.time() - 60 * self._random.random()))
        for name in _CONTROLLERS:
            metrics.queue(
                name, lambda: QueueState(self._random.randrange(9), self._random.random())
            )

    def _add(self, number: int, *, candidates: bool) -> None:
        chance = self._random
        profile = chance.choices(list(_GPUS), range(len(_GPUS), 0, -1))[0]
        gpus, model, task = (
            chance.choice((1, 1, 2, 4, 8)),
            chance.choice(_MODELS),
            chance.choice(_TASKS),
        )
        key = _team(number // A_TEAM), f"{task.lower()}-{model.replace('.', '-')}-{number:04}"
        power, seconds = gpus * _GPUS[profile][0], chance.choice((600, 3600, 86400, 604800))
        energy, measured = power * seconds, self._often(0.6)
        others = ((one, clock) for one in list(_GPUS)[:8] for clock in ("", "1410 MHz"))
        self._workloads[key] = WorkloadSeries(
            gpu_profile=profile, task=task, model=model, precision="BF16", method="Calibrated",
            power_w=power, energy_j=energy, energy_low_j=0.87 * energy, energy_high_j=1.15 * energy,
            duration_s=seconds, energy_per_token_j=chance.uniform(0.05, 4.0), declared_gpus=gpus,
            measured_source="DCGM" if measured else "",
            measured_energy_j=energy * chance.random() if measured else None,
            measured_coverage=chance.uniform(0.9, 1.0) if measured else None,
            candidates=tuple(
                CandidateSeries(one, clock, "", energy * chance.uniform(0.5, 2.0))
                for one, clock in others if candidates
            ),
            conditions={"Ready": self._often(0.98), "BudgetReserved": True},
        )  # fmt: skip
        self.metrics.workload(*key, self._workloads[key])
        if self._often(0.7):
            self._pods.append(_pod(key, gpus, power))

    def _add_budget(self, team: str) -> None:
        limit = self._random.choice((2, 20, 200)) * 10**9
        used = round(limit * min(1.02, self._random.betavariate(2, 2)))
        end = time.time() + 6 * 86400
        waiting = 3 if used > 0.9 * limit else 0
        self._budgets[team, "monthly"] = BudgetSeries(
            limit, used // 3, used * 2 // 3, end, waiting, 0
        )
        self.metrics.budgets.held_oldest[team] = 2400.0 if waiting else 0.0

    def _often(self, share: float) -> bool:
        return self._random.random() < share

    @staticmethod
    def _declared(pod: dict[str, Any]) -> int:
        return int(pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])

    def tick(self) -> None:
        """Let a second pass."""
        metrics, chance = self.metrics, self._random
        for place, budget in self._budgets.items():
            grown = budget.consumed_j + budget.limit_j // 50_000
            self._budgets[place] = replace(budget, consumed_j=grown)
        metrics.budgets.records = dict(self._budgets)
        self._exporter.observe(self._pods, 1.0)
        keys = [key for key, one in self._workloads.items() if one.measured_source]
        for key in chance.sample(keys, min(len(keys), 4 * _SOME)):
            one = self._workloads[key]
            error = chance.gauss(_GPUS[one.gpu_profile][1], 0.05)
            metrics.compared(key, one.gpu_profile, one.task, one.method, error)
        for _ in range(_SOME if self._workloads else 0):
            metrics.reconcile(
                chance.choice(_CONTROLLERS),
                chance.choice(("changed", "unchanged")),
                chance.random() / 20,
            )
            verdict = chance.choice(("allow", "allow", "allow", "warn", "deny"))
            metrics.admission(
                "pod", "CREATE", verdict, "Fits", dry_run=False, seconds=chance.random() / 40
            )
            metrics.estimate_cache(hit=self._often(0.9))
            metrics.estimate("Calibrated", "Estimated", chance.choice(_TASKS), chance.random() / 90)

    def page(self) -> str:
        """Return what our processes tell."""
        return self.metrics.page().decode()

    def gpus(self) -> str:
        """Return what the GPU exporter tells."""
        return self._exporter.page()

    def quotas(self) -> str:
        """Return what kube-state-metrics tells of the quotas."""
        resource = "requests.energaizer.io/watts"
        return quotas_page(
            {
                "metadata": {"namespace": team, "name": "power"},
                "status": {
                    "hard": {resource: "60k"},
                    "used": {resource: str(37 * place % 61 * 1000)},
                },
            }
            for place, (team, _) in enumerate(self._budgets)
        )


@contextmanager
def watched(crowd: Crowd, folder: Path) -> Iterator[PrometheusProcess]:
    """Run a Prometheus with our rules that scrapes a crowd, while time passes."""
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(1.0):
            crowd.tick()

    rules = sorted((FILES / "rules").iterdir())
    prometheus = monitoring.start_alone(folder, rules, interval=f"{SCRAPED_EVERY_S}s")
    clock = threading.Thread(target=live, daemon=True)
    try:
        for job, page in (
            (OURS, crowd.page),
            (monitoring.EXPORTER, crowd.gpus),
            (monitoring.STATE_METRICS, crowd.quotas),
        ):
            prometheus.scrape(job, f"127.0.0.1:{serve(page)}")
        clock.start()
        prometheus.wait_ready()
        yield prometheus
    finally:
        ended.set()
        prometheus.stop()


def cost(prometheus: PrometheusProcess, seconds: int) -> dict[str, float]:
    """Return what Prometheus says of the scrapes of our page in the last `seconds`.

    Series, and median and longest time of a scrape, s.
    """
    source = Prometheus(prometheus.url)
    questions = {
        "series": "max_over_time(scrape_samples_scraped{})",
        "median": "quantile_over_time(0.5, scrape_duration_seconds{})",
        "longest": "max_over_time(scrape_duration_seconds{})",
    }
    span = f'{{job="{OURS}"}}[{seconds}s]'
    return {
        name: float(source.instant(question.replace("{}", span))[0]["value"][1])
        for name, question in questions.items()
    }


def _team(number: int) -> str:
    return f"team-{number:02}"


def _pod(key: tuple[str, str], gpus: int, power: float) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": key[0], "name": key[1], "uid": key[1],
            "annotations": {"energaizer.io/predicted-power-watts": str(power)},
        },
        "spec": {
            "nodeName": "gpu-000",
            "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": gpus}}}],
        },
    }  # fmt: skip
