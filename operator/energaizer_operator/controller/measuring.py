"""Measured beside predicted: reads one window after another and keeps each workload's account.

The account lives in memory; its sums come back from the workload's status after a restart, so that
nothing is measured twice and what was measured is not lost.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.survey import Survey
from energaizer_operator.feedback.accounts import Account, PodRun, Window, account
from energaizer_operator.feedback.prometheus import Measurements, SourceName, SourceUnavailableError
from energaizer_operator.informer import Key, WorkloadRecord
from energaizer_operator.names import Reason
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus, Measured
from energaizer_operator.status import Measurement

log = logging.getLogger(__name__)


class Measuring:
    """Measures all workloads of the cluster, window by window."""

    def __init__(
        self,
        context: Context,
        source: Measurements,
        survey: Callable[[], Survey],
        changed: Callable[[Key], None],
    ) -> None:
        """Ask `source`; call `changed` with each workload that was measured."""
        self._context, self._source, self._survey = context, source, survey
        self._changed = changed
        self._accounts: dict[Key, Account] = {}
        self._latest: dict[Key, Measurement] = {}
        self._gone: dict[Key, tuple[WorkloadRecord, float]] = {}
        context.informer.aiworkloads.subscribe(lambda key, _: self._workload_changed(key))
        if context.informer.pods is not None:
            context.informer.pods.subscribe(self._pod_changed)

    def latest(self, key: Key) -> Measurement | None:
        """Return what is known of a workload; None before its first window."""
        return self._latest.get(key)

    async def run(self, period_s: float) -> None:
        """Read a window whenever one has passed, for ever."""
        start = time.time()
        while True:
            await asyncio.sleep(period_s)
            window = Window(start, time.time())
            start = window.end
            await self.read(window)

    async def read(self, window: Window) -> None:
        """Read one window, and tell whoever listens of each workload that ran in it."""
        runs = self._runs(window)
        if not runs:
            return
        try:
            name, readings = await self._source.read(window)
        except SourceUnavailableError as error:
            log.warning("measured energy: %s", error)
            for key in runs:
                self._note(key, None, Reason.SOURCE_UNAVAILABLE, str(error))
            return
        for key, pods in runs.items():
            body = self._body(key)
            if body is None:
                continue
            before = self._accounts.get(key) or _resumed(body.status, pods)
            last = account(pods, readings, window)
            self._accounts[key] = before.plus(last)
            self._report(key, body.status, last, (name, window))

    def _report(
        self,
        key: Key,
        status: AIWorkloadStatus,
        last: Account,
        seen: tuple[SourceName | None, Window],
    ) -> None:
        """Write down what a window added, and count its error."""
        total, (name, window) = self._accounts[key], seen
        if total.shared:
            self._note(
                key, None, Reason.SHARED_GPU, "slices of a GPU cannot be told apart by exporters"
            )
            return
        if name is None or total.covered_s == 0:
            text = "no exporter has samples of its pods; see docs/feedback.md"
            self._note(key, None, Reason.NO_SAMPLES, text)
            return
        estimate, error = status.estimate, last.error
        if estimate is not None and error is not None:
            self._context.metrics.compared(
                key, estimate.profile, status.task or "", estimate.method, error
            )
        whole = total.error
        measured = Measured(
            energy_joules=round(total.energy_j),
            power_watts=round(last.energy_j / (window.length)),
            source=name,
            coverage_percent=int(100 * total.coverage),
            error_percent=None if whole is None else round(100 * whole),
            last_sample_time=datetime.fromtimestamp(int(window.end), UTC),
        )
        said = f"{name}: {100 * total.coverage:.0f} % of the GPU time has samples"
        self._note(key, measured, Reason.MEASURED, said)

    def _note(self, key: Key, measured: Measured | None, reason: Reason, message: str) -> None:
        self._latest[key] = Measurement(measured, reason, message)
        self._changed(key)

    def _runs(self, window: Window) -> Mapping[Key, list[PodRun]]:
        """Return the pods of each workload that ran in a window, with what was predicted."""
        runs: defaultdict[Key, list[PodRun]] = defaultdict(list)
        body = functools.cache(self._body)  # pods of one workload ask for the same one
        gone, self._gone = self._gone, {}
        pods = self._context.informer.pods or ()
        live = ((pod, _time(pod.life.ended_at)) for pod in pods)
        for pod, finished in (*live, *gone.values()):
            key, started = (pod.namespace, pod.workload), _time(pod.life.started_at)
            ended_before = finished is not None and finished < window.start
            if not pod.gpus or started is None or ended_before:
                continue
            runs[key].append(
                PodRun(
                    pod=(pod.namespace, pod.name),
                    gpus=pod.gpus,
                    started=started,
                    finished=finished,
                    predicted_w=self._predicted(body(key), pod),
                    shared=pod.shared,
                )
            )
        return runs

    def _predicted(self, body: AIWorkload | None, pod: WorkloadRecord) -> float | None:
        """Return the predicted power of a pod's GPUs on the node where it runs, W."""
        profile = self._survey().profiles.get(pod.node)
        if body is None or body.status.estimate is None or not body.status.estimate.gpu_count:
            return None
        estimate = body.status.estimate
        powers = {one.name: one.power_watts for one in body.status.candidates}
        power = estimate.power_watts if profile == estimate.profile else powers.get(profile or "")
        return None if power is None else power / estimate.gpu_count * pod.gpus

    def _body(self, key: Key) -> AIWorkload | None:
        record = self._context.informer.aiworkloads.get(key[1], key[0])
        return None if record is None else AIWorkload.of_server(record.body)

    def _workload_changed(self, key: Key) -> None:
        """Drop the account of a workload that went: another of its name begins its own."""
        if self._context.informer.aiworkloads.get(key[1], key[0]) is None:
            self._accounts.pop(key, None)
            self._latest.pop(key, None)

    def _pod_changed(self, key: Key, record: WorkloadRecord) -> None:
        """Keep a pod that vanished until its last window has been read."""
        pods = self._context.informer.pods
        if pods is None or pods.get(key[1], key[0]) is None:
            self._gone[key] = (record, _time(record.life.ended_at) or time.time())


def _time(text: str) -> float | None:
    """Return a time of the API server in seconds since the epoch; None if there is none."""
    return datetime.fromisoformat(text).timestamp() if text else None


def _resumed(status: AIWorkloadStatus, pods: Iterable[PodRun]) -> Account:
    """Return the account that a status tells of, after a restart."""
    before = status.measured
    if before is None or before.energy_joules is None or before.last_sample_time is None:
        return Account()
    last = before.last_sample_time.timestamp()
    run_s = sum(pod.gpus * max(0.0, last - pod.started) for pod in pods)
    energy = float(before.energy_joules)
    error = before.error_percent
    return Account(
        energy_j=energy,
        covered_s=before.coverage_percent / 100 * run_s,
        run_s=run_s,
        predicted_j=0.0 if error is None else energy * (1 + error / 100),
        compared_j=0.0 if error is None else energy,
    )
