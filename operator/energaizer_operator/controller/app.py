"""The controller process: take the Lease, then watch and reconcile until told to stop.

kopf watches our own kinds and hands over keys, nothing else. It runs in a thread with an event loop
of its own, since in ours it would take the process's signal handlers for itself and, at its end,
cancel every task that began after it. Pods, nodes and namespaces come by the informer, which also
watches our kinds: kopf does not tell what vanished while a watch was broken.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import kopf

from energaizer_operator import estimation, kinds
from energaizer_operator.cluster import Cluster, Connection
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.wiring import Wiring
from energaizer_operator.events import Events
from energaizer_operator.informer import Informer, Key, Store
from energaizer_operator.lease import Lease, Times
from energaizer_operator.metrics import Metrics, WatchState
from energaizer_operator.names import FIELD_MANAGER, LEASE
from energaizer_operator.probes import Heart, Probes, silence_check
from energaizer_operator.settings import Settings

log = logging.getLogger(__name__)

_DRAIN_S = 10.0
_KOPF_END_S = 5.0
_KOPF_QUIET = "kopf._core.reactor.running"  # warns that it gets no signals: we meant it so

_SWITCH_S = 0.0005
"""A thread that estimates gives way to the event loop after this time: by default after ten times
as much, which each of the loop's many short calls would wait for."""

Enqueue = Callable[[Key, str], object]
"""Takes the key of a changed object and its new resource version."""


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps nothing of objects: who only watches needs no differences, and a deep copy costs."""

    def build(
        self,
        *,
        body: kopf.Body,  # noqa: ARG002
        extra_fields: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> kopf.BodyEssence:
        """Return that nothing matters."""
        return {}

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        """Return that nothing was kept."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Keep nothing."""


def kopf_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: nothing but plain watches with timeouts that notice a dead server."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    settings.watching.inactivity_timeout = 70
    settings.watching.server_timeout = 290
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = (1, 2, 4, 8)
    settings.networking.enforce_retry_after = True
    settings.queueing.worker_limit = None
    settings.process.ultimate_exiting_timeout = 20
    settings.admission.server = None
    settings.admission.managed = None
    settings.persistence.diffbase_storage = _NoDiffs()
    return settings


def kopf_registry(
    connection: Callable[[], Connection], enqueue: Mapping[kinds.ApiResource, Enqueue]
) -> kopf.OperatorRegistry:
    """Return the handlers: one login, and one that enqueues for each of our kinds.

    Args:
        connection: Gives the parameters of the connection; called again when they expire.
        enqueue: What to call with key and version of an object of each kind, from any thread.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        known = connection()
        return kopf.ConnectionInfo(
            server=known.server,
            ca_path=known.ca_path,
            insecure=known.insecure,
            certificate_path=known.certificate_path,
            private_key_path=known.private_key_path,
            token=known.token,
            scheme="Bearer" if known.token else None,
        )

    for resource, add in enqueue.items():

        @kopf.on.event(
            resource.group, resource.version, resource.plural, registry=registry, id=resource.plural
        )
        async def changed(
            namespace: str | None, name: str, meta: kopf.Meta, add: Enqueue = add, **_: Any
        ) -> None:
            add((namespace or "", name), str(meta.get("resourceVersion", "")))

    return registry


class KopfThread:
    """kopf, in a thread of its own."""

    def __init__(self, registry: kopf.OperatorRegistry) -> None:
        """Prepare; `start` begins to watch."""
        self._registry = registry
        self._stop = threading.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._thread = threading.Thread(
            target=self._run, args=(asyncio.get_running_loop(),), name="kopf", daemon=True
        )

    def start(self) -> None:
        """Begin to watch."""
        logging.getLogger(_KOPF_QUIET).setLevel(logging.ERROR)
        self._thread.start()

    async def wait(self) -> None:
        """Return when kopf ended by itself, which is a failure unless `stop` was called."""
        await asyncio.shield(self._ended)
        if not self._stop.is_set():
            raise RuntimeError("kopf ended by itself")

    async def stop(self) -> None:
        """End the watches; a kopf that hangs is left behind, for its thread keeps nobody alive."""
        self._stop.set()
        if self._thread.is_alive():
            await asyncio.wait({self._ended}, timeout=_KOPF_END_S)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry,
                    settings=kopf_settings(),
                    standalone=True,
                    clusterwide=True,
                    stop_flag=self._stop,
                )
            )
        except BaseException as problem:  # noqa: BLE001, handed to whoever waits
            error = problem
        loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: BaseException | None) -> None:
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)


async def run(settings: Settings) -> None:
    """Run the controller until SIGTERM or SIGINT.

    Raises:
        ClusterError: There is no cluster.
        LeadershipLost: Another replica leads now; end the process.
        OSError: A port is taken.
    """
    sys.setswitchinterval(_SWITCH_S)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    version = estimation.VERSION
    metrics = Metrics(version, workload_limit=settings.metrics_workload_limit)
    metrics.leader(leads=False)
    cluster = await Cluster.connect(settings)
    informer, heart, probes = Informer(), Heart(), Probes(metrics)
    events = Events(
        cluster,
        component=FIELD_MANAGER,
        instance=settings.identity,
        interval_s=settings.event_interval_s,
    )
    _observe(informer, heart, probes, metrics)
    ports = await probes.serve(settings.probe_address, settings.probe_port, settings.metrics_port)
    log.info("serving", extra={"probes": ports[0], "metrics": ports[1]})
    try:
        await _first(
            heart.run(),
            informer.run(cluster),
            _lead(settings, Context.of(cluster, informer, events, metrics), version, stop),
        )
    finally:
        metrics.leader(leads=False)
        await probes.close()
        await cluster.close()
    log.info("stopped")


async def _lead(settings: Settings, context: Context, version: str, stop: asyncio.Event) -> None:
    """Wait for the Lease, then reconcile until `stop`; let go of the Lease at the end."""
    times = Times(
        settings.lease_duration_s, settings.lease_renew_deadline_s, settings.lease_retry_s
    )
    lease = Lease(
        context.cluster,
        name=LEASE,
        namespace=settings.namespace,
        identity=settings.identity,
        times=times,
    )
    await _first(stop.wait(), _sequence(context.informer.wait, lease.acquire))
    gc.collect()
    gc.freeze()  # what was loaded and listed stays: no collection need walk over it
    if not stop.is_set():
        context.metrics.leader(leads=True)
        wiring = Wiring(context, settings, version, lease.fencing_token or 0)
        loop = asyncio.get_running_loop()
        enqueue = {
            resource: functools.partial(_from_thread, loop, add)
            for resource, add in wiring.own_kinds().items()
        }
        watcher = KopfThread(kopf_registry(context.cluster.connection, enqueue))
        watcher.start()
        try:
            await _first(
                _sequence(stop.wait, functools.partial(wiring.drain, _DRAIN_S)),
                lease.keep(),
                wiring.run(),
                watcher.wait(),
            )
        finally:
            await watcher.stop()
    await lease.release()


def _observe(informer: Informer, heart: Heart, probes: Probes, metrics: Metrics) -> None:
    """Connect probes and metrics with what they look at."""
    probes.live["loop"] = heart.check
    for store in informer.stores:
        name = store.resource.plural
        probes.live[f"watch {name}"] = silence_check(name, functools.partial(_heard, store))
        metrics.watch(name, functools.partial(_state, store))
    probes.ready["caches"] = lambda: None if informer.synced else "not synced yet"


def _from_thread(loop: asyncio.AbstractEventLoop, add: Enqueue, key: Key, version: str) -> None:
    """Enqueue a key from another thread."""
    loop.call_soon_threadsafe(add, key, version)


def _heard(store: Store[Any]) -> float:
    return store.last_event


def _state(store: Store[Any]) -> WatchState:
    return WatchState(store.synced, store.last_event)


async def _sequence(*work: Callable[[], Awaitable[object]]) -> None:
    """Await one after the other."""
    for one in work:
        await one()


async def _first(*work: Awaitable[object]) -> None:
    """Await the first of `work` to end, cancel the rest, and raise what failed."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
