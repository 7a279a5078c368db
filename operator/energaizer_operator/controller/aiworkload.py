"""AIWorkload: read what describes the workload, estimate, and write down what came out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from energaizer_operator import decision, status
from energaizer_operator.booking import NO_BOOKING, Booking
from energaizer_operator.controller.annotating import Annotating
from energaizer_operator.controller.claims import Claims
from energaizer_operator.controller.echoes import Echoes
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.report import failure, series, summary
from energaizer_operator.controller.sources import Sources, gather
from energaizer_operator.controller.survey import Survey
from energaizer_operator.controller.writing import write_status
from energaizer_operator.decision import Subject, World
from energaizer_operator.estimation import Estimator
from energaizer_operator.events import Subject as EventSubject
from energaizer_operator.informer import Key, ObjectRecord, readable
from energaizer_operator.kinds import AIWORKLOADS
from energaizer_operator.names import ANNOTATION_HELD, EventReason
from energaizer_operator.policy import Balance
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.energyreservation import EnergyReservation
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.settings import Settings

log = logging.getLogger(__name__)


class AIWorkloads:
    """Estimates one AIWorkload and writes its status."""

    def __init__(
        self,
        context: Context,
        estimator: Estimator,
        settings: Settings,
        survey: Callable[[], Survey],
        measured: Callable[[Key], status.Measurement | None],
        calibrations: Mapping[str, str],
    ) -> None:
        """Estimate for the GPUs that `survey` found on nodes, beside what was `measured`.

        `calibrations` holds coefficients by profile, as they are at any time.
        """
        self._context = context
        self._estimator = estimator
        self._survey = survey
        self._measured = measured
        self._calibrations = calibrations
        self._candidates, self._holds = settings.metrics_candidates, settings.hold
        self._threads = ThreadPoolExecutor(
            settings.estimator_threads, thread_name_prefix="estimate"
        )
        self._claims = Claims(context.cluster)
        self._annotating = Annotating(context.cluster, enabled=settings.annotate_owners)
        self.echoes = Echoes()
        self._world: World | None = None
        self.reserved: Callable[[Key], EnergyReservation | None] = lambda _key: None
        """Looks up the reservation of an object by namespace and UID."""

    def forget_world(self) -> None:
        """Read profiles, policies and nodes anew before the next estimate."""
        self._world = None

    async def reconcile(self, key: Key) -> Result:
        """Bring status, series and events in line with what the workload says now."""
        namespace, name = key
        record = self._context.informer.aiworkloads.get(name, namespace)
        if record is None:
            self._context.metrics.workload(namespace, name, None)
            self.echoes.forget(key)
            return Result.GONE
        body = record.body
        record = replace(record, whole=body)  # read once
        workload = AIWorkload.of_server(body)
        sources = await gather(self._context, workload, record)
        wanted = await self._status(workload, record, sources)
        with self.echoes.write(key) as wrote:
            result = await write_status(self._context.cluster, AIWORKLOADS, record, wanted, wrote)
        await self._annotating.write(sources.described, wanted)
        ended = self._context.carriers.ended(namespace, name)
        shown = series(wanted, candidates=self._candidates, ended=ended)
        self._context.metrics.workload(namespace, name, shown)
        if result is Result.CHANGED:
            await self._tell(EventSubject.of(body), wanted)
        return result if sources.problem is None else Result.PENDING

    async def _status(
        self, workload: AIWorkload, record: ObjectRecord, sources: Sources
    ) -> AIWorkloadStatus:
        place = self._context.informer.namespaces.get(record.namespace)
        subject = Subject(
            description=sources.described,
            workload=workload,
            namespace_labels={} if place is None else place.labels,
            owner_annotations=sources.owner_annotations,
            config=sources.config,
            unknown_nodes=self._unknown_nodes(record),
        )
        world = self.world()
        booking, balances = self._booking(record.namespace, subject)
        loop = asyncio.get_running_loop()
        decided = await loop.run_in_executor(
            self._threads,
            lambda: decision.decide(subject, world, self._estimator, balances, wide=True),
        )
        finding = replace(decided.finding, booking=booking)
        if decided.case.modes.placement_mode == "DeviceClaim":
            finding = replace(finding, plan=await self._claims.offer(record, decided))
        if sources.problem is not None:
            finding = replace(finding, problem=sources.problem)
        measurement = self._measured((record.namespace, record.name))
        return status.aiworkload_status(workload, finding, datetime.now(UTC), measurement)

    def _unknown_nodes(self, record: ObjectRecord) -> tuple[str, ...]:
        """Return the nodes with GPUs of no profile where pods of a workload run."""
        survey = self._survey()
        if not survey.unprofiled:
            return ()
        pods = self._context.carriers.pods(record.namespace, record.name)
        return survey.unknown_among(pod.node for pod in pods if pod.gpus and not pod.life.ended)

    def _booking(self, namespace: str, subject: Subject) -> tuple[Booking, tuple[Balance, ...]]:
        """Return what budgets hold for a workload, else what is left of them."""
        described, now = subject.description, datetime.now(UTC)
        if described is None:
            return NO_BOOKING, ()
        found = (
            decision.purse_of(record.body, now)
            for record in self._context.informer.energybudgets.of(namespace)
        )
        purses = decision.matching(found, subject.labels)
        names = tuple(purse.name for purse in purses)
        held = ANNOTATION_HELD in described.annotations
        page = self.reserved((namespace, described.uid))
        if page is None:
            holdable = self._holds and described.kind in decision.HOLDABLE
            claim = decision.Claim(described.kind, holdable, surge=described.surge)
            return Booking(names, held=held), decision.balances(purses, claim, now)
        spec, taken = page.spec, page.status
        settled = taken.settled_time is not None
        booking = Booking(
            budgets=spec.budget_names,
            reservation=spec.workload_ref.uid,
            reserved_joules=spec.energy_joules,
            charged_joules=taken.settled_joules if settled else taken.consumed_joules,
            settled=settled,
            held=held,
        )
        return booking, ()

    def world(self) -> World:
        """Return profiles, policies and nodes of now."""
        if self._world is not None:
            return self._world
        informer = self._context.informer
        profiles, _ = readable(informer.gpuprofiles, GPUProfile)
        policies, _ = readable(informer.energypolicies, EnergyPolicy)
        self._world = World.of(profiles, policies, self._survey().in_cluster, self._calibrations)
        return self._world

    async def _tell(self, subject: EventSubject, wanted: AIWorkloadStatus) -> None:
        """Log what was written, and write an event where people look for one."""
        failed = failure(wanted)
        note = failed.message if failed is not None else summary(wanted)
        log.info(
            "estimated" if failed is None else "not estimated: %s",
            *(() if failed is None else (failed.reason,)),
            extra={"namespace": subject.namespace, "aiworkload": subject.name, "what": note},
        )
        await self._context.events.emit(
            subject,
            EventReason.ESTIMATE_READY if failed is None else EventReason.ESTIMATE_FAILED,
            note,
            type_="Normal" if failed is None else "Warning",
        )
