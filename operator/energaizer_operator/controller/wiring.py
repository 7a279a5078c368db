"""Which change leads to which look: the loops of the leader, and what feeds their queues."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from energaizer_operator.cluster import ClusterError
from energaizer_operator.controller.aiworkload import AIWorkloads
from energaizer_operator.controller.calibrations import Calibrations
from energaizer_operator.controller.energypolicy import EnergyPolicies
from energaizer_operator.controller.gpuprofile import GPUProfiles
from energaizer_operator.controller.kueue import Kueue
from energaizer_operator.controller.loop import Context, Loop
from energaizer_operator.controller.measuring import Measuring
from energaizer_operator.controller.nodes import Nodes
from energaizer_operator.controller.running import running_gpus
from energaizer_operator.controller.strays import Strays
from energaizer_operator.controller.survey import Survey
from energaizer_operator.controller.treasury import Treasury
from energaizer_operator.controller.unwatted import Unwatted
from energaizer_operator.controller.workloads import Workloads, audit, undescribed
from energaizer_operator.estimation import Estimator
from energaizer_operator.feedback.prometheus import Measurements
from energaizer_operator.informer import Key, ObjectRecord, Store, WorkloadRecord
from energaizer_operator.kinds import (
    AIWORKLOADS,
    ENERGYBUDGETS,
    ENERGYPOLICIES,
    ENERGYRESERVATIONS,
    GPUPROFILES,
    PODS,
    ApiResource,
)
from energaizer_operator.records import WorkloadKey
from energaizer_operator.settings import Settings

log = logging.getLogger(__name__)

_ALL_NODES = "all nodes"
_SETTLE_S = 1.0
"""Changes that come in crowds, such as nodes at start, are looked at together after this time."""
_PATIENCE_S = 120.0
"""The first audit waits no longer than this for what is known already."""


class Wiring:
    """The loops of the leader."""

    def __init__(self, context: Context, settings: Settings, version: str, token: int = 0) -> None:
        """Build the loops and subscribe them to what they depend on; `token` numbers the lead."""
        self._context, self._settings = context, settings
        informer, metrics = context.informer, context.metrics
        self._nodes = Nodes(
            context, power_resource=settings.power_resource, labels=settings.node_labels
        )
        self._estimator = Estimator(settings.estimate_cache_size)
        self._estimator.observe = metrics.estimate
        self._estimator.look = lambda hit: metrics.estimate_cache(hit=hit)
        metrics.running(lambda: running_gpus(informer))
        self._measuring = _measuring(
            context, settings, lambda: self._nodes.current, self._workload_measured
        )
        self._calibrations = Calibrations(context.cluster)
        self._estimates = AIWorkloads(
            context,
            self._estimator,
            settings,
            lambda: self._nodes.current,
            self._measuring.latest if self._measuring else lambda _: None,
            self._calibrations.texts,
        )
        self.aiworkloads: Loop[Key] = Loop(
            "aiworkload",
            self._estimates,
            metrics,
            informer.aiworkloads.keys,
            settings.workers,
        )
        self.gpuprofiles: Loop[Key] = Loop(
            "gpuprofile",
            GPUProfiles(context, lambda: self._nodes.current, self._calibrations, self._reestimate),
            metrics,
            informer.gpuprofiles.keys,
            1,
        )
        self.energypolicies: Loop[Key] = Loop(
            "energypolicy", EnergyPolicies(context), metrics, informer.energypolicies.keys, 1
        )
        self.nodes: Loop[str] = Loop("nodes", self._nodes, metrics, lambda: [_ALL_NODES], 1)
        self.workloads: Loop[WorkloadKey] = Loop(
            "workload", Workloads(context, version), metrics, lambda: undescribed(informer), 2
        )
        self.treasury = Treasury(
            context,
            self._estimator,
            self._estimates.world,
            settings,
            token,
            lambda: self._nodes.current,
        )
        self.workloads.yields = self.aiworkloads.yields = self.treasury.crowded
        self._kueue = Kueue(
            context,
            self._estimator,
            self._estimates.world,
            enabled=settings.kueue,
            retry_s=settings.kueue_retry_s,
        )
        self._estimates.reserved = self.treasury.reservation
        self.treasury.book.subscribe(self._reservation_changed)
        self._audit_now = asyncio.Event()
        self._unwatted, self._strays = Unwatted(context), Strays(context)
        self._generations: dict[tuple[str, str], object] = {}
        self._in_cluster: frozenset[str] = frozenset()
        self._unknown: tuple[str, ...] = ()
        self._estimates.echoes.news = self.aiworkloads.queue.add
        for store in (informer.gpuprofiles, informer.energypolicies):
            for record in store:  # else the first status that we write would be news of each
                self._is_new(("", record.name), record, store)
        self._subscribe()

    def own_kinds(self) -> Mapping[ApiResource, Callable[[Key, str], None]]:
        """Return what to call with key and version of a changed object of each of our kinds."""
        informer = self._context.informer
        return {
            AIWORKLOADS: _unless_known(informer.aiworkloads, self.aiworkloads.queue.add),
            GPUPROFILES: _unless_known(informer.gpuprofiles, self.gpuprofiles.queue.add),
            ENERGYPOLICIES: _unless_known(informer.energypolicies, self.energypolicies.queue.add),
            ENERGYBUDGETS: _unless_known(informer.energybudgets, self.treasury.look_at_budgets),
            ENERGYRESERVATIONS: _unless_known(
                informer.energyreservations, self.treasury.look_at_reservation
            ),
        }

    async def run(self) -> None:
        """Work for ever."""
        await self.nodes.reconciler.reconcile(_ALL_NODES)  # estimates need to know what there is
        await self._calibrations.begin(record.body for record in self._context.informer.gpuprofiles)
        await self.treasury.begin()
        async with asyncio.TaskGroup() as group:
            for loop in self._own_loops:
                group.create_task(loop.run(self._settings.resync_s), name=loop.name)
            group.create_task(self._audit(), name="audit")
            group.create_task(self.treasury.resync(), name="book")
            if self._measuring is not None:
                group.create_task(self._measuring.run(self._settings.feedback_s), name="feedback")
            group.create_task(self._kueue.run(self._settings.resync_s), name="kueue")

    async def drain(self, limit_s: float) -> None:
        """Begin nothing new, and wait until what was begun is done."""
        for loop in self._loops:
            loop.stopping = True
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and not all(loop.idle for loop in self._loops):
            await asyncio.sleep(0.02)

    @property
    def _own_loops(self) -> tuple[Loop[Any], ...]:
        return (
            self.nodes,
            self.gpuprofiles,
            self.energypolicies,
            self.workloads,
            self.aiworkloads,
            *self.treasury.loops,
        )

    @property
    def _loops(self) -> tuple[Loop[Any], ...]:
        return (*self._own_loops, *self._kueue.loops)

    def _subscribe(self) -> None:
        informer = self._context.informer
        informer.aiworkloads.subscribe(self._aiworkload_changed)
        informer.gpuprofiles.subscribe(self._profile_changed)
        informer.energypolicies.subscribe(self._policy_changed)
        informer.namespaces.subscribe(lambda *_: self._namespace_changed())
        if informer.nodes is not None:
            informer.nodes.subscribe(lambda *_: self._nodes_changed())
        if informer.resourceslices is not None:
            informer.resourceslices.subscribe(lambda *_: self._nodes_changed())
        for store in informer.workloads:
            store.subscribe(lambda _, record: self._workload_changed(record))
        self._nodes.subscribe(self._survey_changed)

    def _aiworkload_changed(self, key: Key, record: ObjectRecord) -> None:
        """Look at an AIWorkload, and at those that refer to the same workload: who is first?"""
        present = self._context.informer.aiworkloads.get(key[1], key[0])
        if present is not None and not self._estimates.echoes.is_news(key, record.version):
            return
        self.aiworkloads.queue.add(key)
        stated = (record.body.get("spec") or {}).get("workloadRef")
        if stated:
            kind, name = str(stated.get("kind")), str(stated.get("name"))
            for rival in self._context.references.names(key[0], kind, name):
                self.aiworkloads.queue.add((key[0], rival))

    def _profile_changed(self, key: Key, record: ObjectRecord) -> None:
        self.gpuprofiles.queue.add(key)
        if self._is_new(key, record, self._context.informer.gpuprofiles):
            self._nodes_changed()
            self._reestimate()

    def _policy_changed(self, key: Key, record: ObjectRecord) -> None:
        self.energypolicies.queue.add(key)
        if self._is_new(key, record, self._context.informer.energypolicies):
            self._reestimate()

    def _nodes_changed(self) -> None:
        self.nodes.queue.add_after(_ALL_NODES, _SETTLE_S)

    def _survey_changed(self) -> None:
        """Write down what nodes have; estimates see only which GPUs there are, not how many."""
        self.gpuprofiles.add_all()
        unknown, self._unknown = self._unknown, self._nodes.current.unprofiled
        if moved := set(unknown) ^ set(self._unknown):
            for pod in self._context.informer.pods or ():
                if pod.node in moved:
                    self.aiworkloads.queue.add((pod.namespace, pod.workload))
        before, self._in_cluster = self._in_cluster, self._nodes.current.in_cluster
        if before != self._in_cluster:
            self._reestimate()

    def _namespace_changed(self) -> None:
        for key in self.energypolicies.known():
            self.energypolicies.queue.add_after(key, _SETTLE_S)
        self._audit_now.set()

    def _workload_changed(self, record: WorkloadRecord) -> None:
        """Look at the AIWorkload that a labelled object belongs to, and create one if need be."""
        if record.kind == PODS.kind and record.node in self._nodes.current.unprofiled:
            self.aiworkloads.queue.add((record.namespace, record.workload))
        if record.controlled and record.kind == PODS.kind:
            return
        named = self._context.references.names(record.namespace, record.kind, record.name)
        for workload in {record.workload, *named}:
            self.aiworkloads.queue.add((record.namespace, workload))
        self.workloads.queue.add((record.kind, record.namespace, record.name))

    def _workload_measured(self, key: Key) -> None:
        self.aiworkloads.queue.add(key)

    def _reservation_changed(self, key: Key) -> None:
        page = self.treasury.book.get(key)
        name = page.reservation.spec.ai_workload_name if page else None
        if name:
            self.aiworkloads.queue.add_after((key[0], name), _SETTLE_S)

    def _reestimate(self) -> None:
        self._estimates.forget_world()
        for key in self.aiworkloads.known():
            self.aiworkloads.queue.add_after(key, _SETTLE_S)

    def _is_new(self, key: Key, record: ObjectRecord, store: Store[ObjectRecord]) -> bool:
        """Say whether an object's specification changed; a status of ours is no news."""
        place = (store.resource.kind, key[1])
        known = self._generations.pop(place, None)
        if store.get(key[1]) is None:
            return known is not None
        self._generations[place] = (record.uid, record.body["metadata"].get("generation"))
        return self._generations[place] != known

    async def _audit(self) -> None:
        """Look for workloads without a label now and then, and when a namespace opts in.

        It reads all pods of those namespaces, so that what is known already comes first.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self.aiworkloads.caught_up.wait()
        while True:
            self._audit_now.clear()
            try:
                async for key in audit(self._context, self._strays):
                    self.workloads.queue.add(key)
                    self.treasury.charges.queue.add(key)
                if self._settings.power_resource:
                    await self._unwatted.look()
            except ClusterError as error:
                log.warning("audit: %s", error)
            try:
                async with asyncio.timeout(self._settings.audit_s):
                    await self._audit_now.wait()
                await asyncio.sleep(_SETTLE_S)
            except TimeoutError:
                continue


def _unless_known(
    store: Store[ObjectRecord], add: Callable[[Key], object]
) -> Callable[[Key, str], None]:
    """Return what enqueues a key, unless our own watch brought that version: it told us already."""

    def heard(key: Key, version: str) -> None:
        record = store.get(key[1], key[0])
        if record is None or record.version != version:
            add(key)

    return heard


def _measuring(
    context: Context,
    settings: Settings,
    survey: Callable[[], Survey],
    changed: Callable[[Key], None],
) -> Measuring | None:
    """Return what measures workloads, or None if no Prometheus is named."""
    if not settings.feedback_prometheus_url:
        return None
    chosen = None if settings.feedback_source == "auto" else settings.feedback_source
    source = Measurements(settings.feedback_prometheus_url, chosen)
    return Measuring(context, source, survey, changed)
