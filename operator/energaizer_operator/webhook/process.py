"""The webhook process: watch, get certificates, warm up, serve, and lose no question at the end."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from energaizer_operator import certificates, garbage
from energaizer_operator.certificates import Material
from energaizer_operator.cluster import Cluster, ClusterError
from energaizer_operator.estimation import VERSION
from energaizer_operator.estimation.process import EstimatorProcess
from energaizer_operator.estimation.timely import TimelyEstimator
from energaizer_operator.informer import Informer, Store
from energaizer_operator.metrics import Metrics, WatchState
from energaizer_operator.names import GROUP, Webhook
from energaizer_operator.probes import Heart, Probes, silence_check
from energaizer_operator.settings import Settings
from energaizer_operator.webhook import mutate, validate
from energaizer_operator.webhook.accounts import Accounts
from energaizer_operator.webhook.app import Route, Server
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.lineage import Lineage
from energaizer_operator.webhook.review import Answer, Request, clean
from energaizer_operator.webhook.rotation import Provided, Rotator
from energaizer_operator.webhook.view import View

RETRY_EVERY_S = 5.0
PATIENCE = 2 / 3  # of a deadline, to be taken along by a write; the rest is for the write itself

log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Run the webhook until SIGTERM or SIGINT.

    Raises:
        ClusterError: There is no cluster.
        OSError: A port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    process = Process(await Cluster.connect(settings), settings)
    try:
        await process.serve(stop)
    finally:
        await process.close()
    log.info("stopped")


async def tidy_up(last_review: Callable[[], float]) -> None:
    """Collect garbage when it does least harm (`garbage`).

    Args:
        last_review: Returns when the last review was answered, by the monotonic clock, s.
    """
    tidier = garbage.Tidier()
    try:
        while True:
            await asyncio.sleep(garbage.IDLE_S)
            tidier.tidy(time.monotonic() - last_review() > garbage.IDLE_S)
    finally:
        tidier.stop()


class Process:
    """Everything that one replica holds."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        """Put the parts together; nothing runs yet."""
        self._cluster, self._settings = cluster, settings
        self._informer = Informer.for_webhook()
        self._metrics = Metrics(VERSION)
        self._heart, self._probes = Heart(), Probes(self._metrics)
        self._elsewhere = EstimatorProcess(settings.log_format, settings.log_level)
        self._elsewhere.ended = self._metrics.estimator_ended
        self._estimator = TimelyEstimator(
            self._elsewhere, settings.estimate_cache_size, settings.estimate_deadline_s
        )
        self._estimator.observe = self._metrics.estimate
        self._estimator.look = lambda hit: self._metrics.estimate_cache(hit=hit)
        self._rotator: Rotator | Provided = (
            Rotator(cluster, settings, lambda: datetime.now(UTC))
            if settings.certificates == "self"
            else Provided(cluster, settings)
        )
        within_s = PATIENCE * settings.validation_deadline_s
        accounts = Accounts(cluster, self._informer, self._metrics.budget_conflict, within_s)
        lineage = Lineage(cluster, settings.owner_deadline_s)
        self._judge = Judge(View(self._informer), lineage, self._estimator, settings, accounts)
        self._material: Material | None = None
        self._warm = False
        self._last_review = 0.0
        self._server: Server | None = None

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then stop politely."""
        settings = self._settings
        self._watch_over()
        ports = await self._probes.serve(
            settings.probe_address, settings.probe_port, settings.metrics_port
        )
        log.info("serving", extra={"probes": ports[0], "metrics": ports[1]})
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("heart", self._heart.run()),
                ("estimator", self._elsewhere.run()),
                ("informer", self._informer.run(self._cluster)),
                ("admission", self._admit()),
                ("tidy", tidy_up(lambda: self._last_review)),
            )
        ]
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # a task of ours ends only by failing
            await self._drain()
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)

    async def close(self) -> None:
        """Let go of everything."""
        if self._server is not None:
            await self._server.stop()
        await self._probes.close()
        await self._cluster.close()

    async def _admit(self) -> None:
        """Get ready, then serve reviews and keep the certificate fresh for ever."""
        await self._informer.wait()
        await asyncio.to_thread(self._estimator.warm)
        await self._elsewhere.ready()
        garbage.keep_what_is_loaded()
        self._warm = True
        while self._material is None:
            await self._rotate()
            if self._material is None:
                await asyncio.sleep(RETRY_EVERY_S)
        self._server = Server(self.routes(), self._material.leaf, self._observe)
        settings = self._settings
        port = await self._server.start(
            settings.webhook_address, settings.webhook_port, share=settings.webhook_share_port
        )
        log.info("serving admission", extra={"port": port})
        while True:
            settled = await self._rotate() and self._rotator.announced
            await asyncio.sleep(self._settings.certificate_check_s if settled else RETRY_EVERY_S)

    def routes(self) -> list[Route]:
        """Return what is served: one path per webhook, its name without the group."""
        judge, settings = self._judge, self._settings
        by_rule = validate.fall_back(judge)
        validating, mutating = settings.validation_deadline_s, settings.mutation_deadline_s

        def bound(
            handler: Callable[[Judge, Request], Awaitable[Answer]],
        ) -> Callable[[Request], Awaitable[Answer]]:
            return lambda request: handler(judge, request)

        table = (
            (Webhook.AI_WORKLOAD, validate.validate_aiworkload, validate.refuse, validating),
            (Webhook.WORKLOAD, validate.validate_workload, by_rule, validating),
            (Webhook.SCALE, validate.validate_scale, by_rule, validating),
            (Webhook.POD, validate.validate_pod, by_rule, validating),
            (Webhook.OWNER_MUTATE, mutate.mutate_owner, mutate.leave, mutating),
            (Webhook.POD_MUTATE, mutate.mutate_pod, mutate.leave, mutating),
        )
        return [
            Route(name.removesuffix(f".{GROUP}"), bound(handler), fallback, deadline_s)
            for name, handler, fallback, deadline_s in table
        ]

    async def _rotate(self) -> bool:
        """Bring certificates up to date; say whether that worked."""
        try:
            material = await self._rotator.step()
        except ClusterError as error:
            log.warning("certificates: %s", error)
            return False
        if self._server is not None and material != self._material:
            self._server.reload(material.leaf)
        self._material = material
        for name, pair in (("leaf", material.leaf), ("authority", material.authority)):
            if pair.certificate:  # a Secret of others' need not tell who signed
                expiry = certificates.expiry(pair.certificate)
                self._metrics.certificate(name, expiry.timestamp())
        return True

    async def _drain(self) -> None:
        """Be not ready first, and serve on until nobody is sent here any more."""
        self._probes.stopping = True
        if self._server is not None:
            self._server.drain()
            await asyncio.sleep(self._settings.drain_s)
            await self._server.stop()
            self._server = None

    def _watch_over(self) -> None:
        probes = self._probes
        probes.live["loop"] = self._heart.check
        for store in self._informer.stores:
            self._watch_store(store)
        probes.ready["caches"] = lambda: None if self._informer.synced else "not synced"
        probes.ready["estimator"] = lambda: None if self._warm else "not warmed up"
        probes.ready["admission"] = self._check_certificate

    def _watch_store(self, store: Store[Any]) -> None:
        name = store.resource.plural
        self._probes.live[name] = silence_check(name, lambda: store.last_event)
        self._metrics.watch(name, lambda: WatchState(store.synced, store.last_event))

    def _check_certificate(self) -> str | None:
        if self._server is None or self._material is None:
            return "not served yet"
        expired = certificates.expiry(self._material.leaf.certificate) <= datetime.now(UTC)
        return "certificate expired" if expired else None

    def _observe(self, webhook: str, request: Request, answer: Answer, took_s: float) -> None:
        self._last_review = time.monotonic()
        self._metrics.admission(
            webhook,
            request.operation,
            answer.decision,
            answer.cause,
            dry_run=bool(request.dry_run),
            seconds=took_s,
        )
        log.info(
            "decided",
            extra={
                "webhook": webhook,
                "operation": request.operation,
                "kind": clean(request.kind.kind, 63),
                "namespace": clean(request.namespace, 63),
                "object": clean(request.name, 253),
                "user": clean(request.user.username, 253),
                "decision": answer.decision,
                "reason": answer.cause,
                "dry_run": bool(request.dry_run),
                "milliseconds": round(1000 * took_s, 1),
            },
        )
