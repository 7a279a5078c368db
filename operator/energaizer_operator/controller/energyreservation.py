"""EnergyReservation: charge what its pods take, settle when they are gone, then let it go.

Nothing is given back at the request to scale down or to delete, only when pods are gone. A settled
reservation stays until each of its budgets has folded it in, so that a crash on the way loses
nothing and adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from energaizer_operator import budgetstatus, ledger
from energaizer_operator.cluster import Missing
from energaizer_operator.controller import reserving
from energaizer_operator.controller.binding import Binding
from energaizer_operator.controller.book import Book, Page
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.population import Population
from energaizer_operator.controller.writing import same
from energaizer_operator.informer import Key, WorkloadRecord, workload_record
from energaizer_operator.kinds import CHARGED, ENERGYRESERVATIONS, PODS
from energaizer_operator.ledger import PodRun
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energyreservation import (
    EnergyReservationSpec,
    EnergyReservationStatus,
    release,
)

_COVERAGE_LEAST_PERCENT = 90
_SOON_S = 2.0

_Measured = tuple[int, datetime | None]
"""Joules that sensors saw, and until when."""


@dataclass(frozen=True)
class _State:
    """A charged object and its pods, as they are now."""

    root: WorkloadRecord | None
    pods: tuple[WorkloadRecord, ...]

    @property
    def live(self) -> int:
        """Pods that hold GPUs, or will."""
        return sum(not pod.life.ended for pod in self.pods)

    @property
    def running(self) -> int:
        """Pods that take energy now."""
        return sum(pod.phase == "Running" for pod in self.pods)

    @property
    def over(self) -> bool:
        """Say whether nothing of it runs, or will run again."""
        return (self.root is None or self.root.life.ended) and self.live == 0


@dataclass(frozen=True)
class _Sight:
    """What the last charge was based on: only where this differs is there news before its time."""

    state: tuple[WorkloadRecord | None, tuple[WorkloadRecord, ...]]
    measured: _Measured | None
    spec: EnergyReservationSpec
    status: EnergyReservationStatus
    """As it was stored then."""


class EnergyReservations:
    """Follows one reservation."""

    def __init__(
        self,
        context: Context,
        book: Book,
        population: Population,
        charge_s: float,
        binding: Binding | None = None,
    ) -> None:
        """Charge running workloads every `charge_s` seconds, and price them by their nodes."""
        self._context, self._book, self._population = context, book, population
        self._charge_s, self._binding = charge_s, binding
        self._ran: dict[Key, dict[str, PodRun]] = {}
        """Pods that were running at the last look: one that vanished is charged until now."""
        self._seen: dict[Key, _Sight] = {}
        self.again: Callable[[Key, float], None] = lambda _key, _delay_s: None
        """Asks for another look."""

    async def reconcile(self, key: Key) -> Result:
        """Charge, settle, or let go."""
        page = self._book.get(key)
        if page is None:
            self._forget(key)
            return Result.GONE
        if page.reservation.status.settled_time is not None:
            return await self._let_go(key, page)
        now = datetime.now(UTC)
        state = await self._state(key, page)
        pause = self._pause(key, page, state, now)
        if pause > 0.0:
            if state.live:
                self.again(key, pause)
            return Result.UNCHANGED
        taken = self._follow(key, page, state, now)
        if state.over:
            taken = ledger.settle(taken, now)
        await self._shrink(key, page, state)
        await self._bind(key, state)
        result = await self._write(key, page, taken, state.running)
        written = self._book.get(key)
        if written is not None:
            sight = self._sight(key, page, state)  # what `_shrink` changed is news again
            self._seen[key] = replace(sight, status=written.reservation.status)
        if taken.settled_time is not None:
            budgets = page.reservation.spec.budget_names
            left = any(self._context.informer.energybudgets.get(one, key[0]) for one in budgets)
            self.again(key, _SOON_S if left else 0.0)
        elif state.live:
            self.again(key, self._charge_s)
        return result

    def _pause(self, key: Key, page: Page, state: _State, now: datetime) -> float:
        """Return for how long nothing need be written, s; 0 if there is news.

        Our own write comes back to us too: to charge the seconds since would be another write, and
        so on for ever.
        """
        through = page.reservation.status.charged_through_time
        if state.over or through is None or self._seen.get(key) != self._sight(key, page, state):
            return 0.0
        return max(0.0, self._charge_s - (now - through).total_seconds())

    def _sight(self, key: Key, page: Page, state: _State) -> _Sight:
        found, measured = page.reservation, self._measured(key[0], page)
        return _Sight((state.root, state.pods), measured, found.spec, found.status)

    def _follow(
        self, key: Key, page: Page, state: _State, now: datetime
    ) -> EnergyReservationStatus:
        """Return what was taken up to now."""
        runs = {pod.uid: run for pod in state.pods if (run := _run(pod)) is not None}
        vanished = {
            uid: replace(run, end=run.end or now)
            for uid, run in self._ran.get(key, {}).items()
            if uid not in runs
        }
        self._ran[key] = {uid: run for uid, run in runs.items() if run.end is None}
        attempts = 1 + (state.root.life.failures if state.root else 0)
        spec, status = page.reservation.spec, page.reservation.status
        ran = [*runs.values(), *vanished.values()]
        taken = ledger.follow(spec, status, ran, now, attempts)
        measured = self._measured(key[0], page)
        if measured is None:
            return taken
        # Sensors are read window by window, and pods end within one: the rest is predicted.
        seen, through = measured
        rest = ledger.predicted(spec, ran, through or now, now)
        return taken.model_copy(update={"measured_joules": seen + rest})

    def _measured(self, namespace: str, page: Page) -> _Measured | None:
        """Return what was measured of the workload, where sensors saw enough of it."""
        name = page.reservation.spec.ai_workload_name or self._label(namespace, page)
        record = self._context.informer.aiworkloads.get(name, namespace) if name else None
        if record is None:
            return None
        measured = AIWorkload.of_server(record.body).status.measured
        if measured is None or measured.energy_joules is None:
            return None
        if measured.coverage_percent < _COVERAGE_LEAST_PERCENT:
            return None
        return measured.energy_joules, measured.last_sample_time

    def _label(self, namespace: str, page: Page) -> str:
        root = self._population.get(namespace, page.reservation.spec.workload_ref.uid)
        return root.workload if root else ""

    async def _state(self, key: Key, page: Page) -> _State:
        """Return the object and its pods; what the watch lacks is asked of the API server."""
        namespace, uid = key
        reference = page.reservation.spec.workload_ref
        root = self._population.get(namespace, uid)
        if root is None or root.life.ended:
            root = await self._live(namespace, page)
        if reference.kind == PODS.kind:
            return _State(root, (root,) if root else ())
        label = root.workload if root else page.reservation.spec.ai_workload_name or ""
        pods = self._context.carriers.pods(namespace, label) if label else []
        if reference.kind == "Job":  # of another Job of that name, an earlier one, are others' pods
            pods = [pod for pod in pods if pod.life.owner_uid in ("", uid)]
        return _State(root, tuple(pods))

    async def _live(self, namespace: str, page: Page) -> WorkloadRecord | None:
        reference = page.reservation.spec.workload_ref
        resource = CHARGED.get(reference.kind)
        if resource is None:
            return None
        body = await self._context.cluster.find(resource, reference.name, namespace)
        if body is None or body["metadata"]["uid"] != reference.uid:
            return None
        return workload_record({"kind": reference.kind, **body})

    async def _shrink(self, key: Key, page: Page, state: _State) -> None:
        """Give back what replicas held that are gone, of work that never ends."""
        spec = page.reservation.spec
        if state.root is None or spec.workload_ref.kind not in ledger.ENDLESS:
            return
        needed = max(state.root.life.replicas + state.root.life.surge, state.live)
        if needed >= spec.replicas or spec.replicas == 0:
            return

        def part(value: int | None, least: int = 0) -> int | None:
            return None if value is None else max(least, -(-value * needed // spec.replicas))

        smaller = spec.model_copy(
            update={
                "replicas": needed,
                "energy_joules": part(spec.energy_joules),
                "expected_energy_joules": part(spec.expected_energy_joules),
                "power_watts": part(spec.power_watts, 1),
                "expected_power_watts": part(spec.expected_power_watts, 1),
            }
        )
        await reserving.rewrite(self._context, self._book, key[0], smaller)

    async def _bind(self, key: Key, state: _State) -> None:
        """Reserve what the GPUs take on which the pods landed."""
        page = self._book.get(key)
        if page is None or state.root is None or self._binding is None or state.over:
            return
        fresh = await self._binding.priced(key, page.reservation.spec, state.root, state.pods)
        if fresh is not None:
            await reserving.rewrite(self._context, self._book, key[0], fresh)

    async def _write(
        self, key: Key, page: Page, taken: EnergyReservationStatus, running: int
    ) -> Result:
        wanted = budgetstatus.reservation_status(
            page.reservation, taken, running, datetime.now(UTC)
        )
        if same(page.body.get("status") or {}, wanted.to_dict()):
            return Result.UNCHANGED
        try:
            stored = await self._context.cluster.apply_status(
                ENERGYRESERVATIONS, key[1], key[0], wanted.to_dict()
            )
        except Missing:
            return Result.GONE
        self._book.wrote(stored)
        return Result.CHANGED

    async def _let_go(self, key: Key, page: Page) -> Result:
        """Drop the finalizer and delete, once every budget has folded it in or is gone."""
        namespace, uid = key
        for name in page.reservation.spec.budget_names:
            record = self._context.informer.energybudgets.get(name, namespace)
            if record is not None and uid not in (record.body.get("status") or {}).get(
                "folded", ()
            ):
                self.again(key, _SOON_S)
                return Result.PENDING
        cluster = self._context.cluster
        try:
            if operations := release(page.body["metadata"].get("finalizers", ())):
                await cluster.patch(ENERGYRESERVATIONS, uid, namespace, operations)
            await cluster.delete(ENERGYRESERVATIONS, uid, namespace)
        except Missing:
            pass
        self._forget(key)
        self._book.forget(key)
        return Result.CHANGED

    def _forget(self, key: Key) -> None:
        self._ran.pop(key, None)
        if self._binding is not None:
            self._binding.forget(key)
        self._seen.pop(key, None)


def _run(pod: WorkloadRecord) -> PodRun | None:
    """Return when a pod ran; None if it has not begun."""
    if not pod.life.started_at or pod.phase == "Pending":
        return None
    end = datetime.fromisoformat(pod.life.ended_at) if pod.life.ended_at else None
    if pod.life.ended and end is None:
        end = datetime.fromisoformat(pod.life.started_at)  # nobody says how long it ran
    return PodRun(datetime.fromisoformat(pod.life.started_at), end)
