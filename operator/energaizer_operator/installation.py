"""What a chart's hooks and tests run once: the GPU catalogue in, a check, finalizers out.

Each step is a short process under an account of its own, so that neither the controller nor the
webhook holds rights that are needed only at installation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from energaizer_operator import estimation, human
from energaizer_operator.cluster import Cluster, ClusterError, Conflict, Missing, Object, Refused
from energaizer_operator.kinds import (
    AIWORKLOADS,
    DEPLOYMENTS,
    ENERGYRESERVATIONS,
    GPUPROFILES,
    LEASES,
)
from energaizer_operator.names import (
    API_VERSION,
    LABEL_APP_MANAGED_BY,
    LABEL_APP_PART_OF,
    LEASE,
    PART_OF,
    PROFILES_FIELD_MANAGER,
    Kind,
)
from energaizer_operator.resources.energyreservation import release
from energaizer_operator.settings import Settings

PATIENCE_S = 60.0
"""Time for kinds to be served, replicas to be ready and a leader to let go, s."""
_POLL_S = 1.0

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class CheckFailed(Exception):  # noqa: N818, a finding
    """What is installed does not work; the message says which part."""


async def install_profiles(settings: Settings) -> None:
    """Apply the built-in GPUs as GPUProfiles; what somebody else changed in one stays.

    Raises:
        ClusterError: The kind is not served in time, or we may not write it.
    """
    cluster = await Cluster.connect(settings)
    try:
        for profile in estimation.catalogue():
            body = profile.to_dict()
            body["metadata"].setdefault("labels", {}).update(
                {LABEL_APP_PART_OF: PART_OF, LABEL_APP_MANAGED_BY: PROFILES_FIELD_MANAGER}
            )
            await _patiently(partial(_apply_profile, cluster, body))
    finally:
        await cluster.close()


async def _apply_profile(cluster: Cluster, body: Object) -> None:
    name = body["metadata"]["name"]
    try:
        await cluster.apply(GPUPROFILES, body, manager=PROFILES_FIELD_MANAGER, force=False)
    except Conflict as conflict:
        log.warning("GPUProfile %s was changed by others and stays: %s", name, conflict)


async def retire(settings: Settings, deployment: str) -> list[str]:
    """Stop the controller and take our finalizer off every reservation; return what is left open.

    Without the controller nobody would settle a reservation, and its namespace could not go. What
    still runs is not settled: it has not ended, and to fold it into its budgets now would charge it
    twice where a controller is installed again. It stays booked as it is, and is told.

    Raises:
        ClusterError: We may not.
    """
    cluster = await Cluster.connect(settings)
    try:
        await _stop_controller(cluster, settings, deployment)
        return unsettled(await _release(cluster))
    finally:
        await cluster.close()


async def _stop_controller(cluster: Cluster, settings: Settings, deployment: str) -> None:
    """Scale to nothing and wait until no leader writes any more."""
    none = [{"op": "replace", "path": "/spec/replicas", "value": 0}]
    try:
        await cluster.patch(DEPLOYMENTS, deployment, settings.namespace, none, sub="scale")
    except Missing:
        return

    async def gone() -> None:
        lease = await cluster.find(LEASES, LEASE, settings.namespace)
        if lease and _held(lease, datetime.now(UTC)):
            raise ClusterError(f"{lease['spec']['holderIdentity']} still leads")

    await _patiently(gone)


async def _release(cluster: Cluster) -> list[Object]:
    """Remove our finalizer wherever it is; return all reservations."""
    found: list[Object] = []
    try:
        async for page in cluster.pages(ENERGYRESERVATIONS):
            for body in page.items:
                found.append(body)
                metadata = body["metadata"]
                if operations := release(metadata.get("finalizers", [])):
                    where = (metadata["name"], metadata["namespace"])
                    await cluster.patch(ENERGYRESERVATIONS, *where, operations)
                    log.info("released EnergyReservation %s in %s", *where)
    except Missing:
        pass  # a kind that is not served has no objects
    return found


def unsettled(reservations: Iterable[Object]) -> list[str]:
    """Return a sentence for each namespace whose budgets hold joules for what has not ended."""
    held: dict[str, list[Object]] = {}
    for body in reservations:
        if not (body.get("status") or {}).get("settledTime"):
            held.setdefault(body["metadata"]["namespace"], []).append(body)
    return [_left_open(namespace, bodies) for namespace, bodies in sorted(held.items())]


def _left_open(namespace: str, bodies: list[Object]) -> str:
    joules = sum(body["spec"].get("energyJoules") or 0 for body in bodies)
    budgets = sorted({name for body in bodies for name in body["spec"].get("budgetNames") or ()})
    return (
        f"{namespace}: {len(bodies)} reservations hold {human.energy(joules)} of budgets"
        f" {', '.join(budgets)} and are not settled, since their work has not ended; a controller"
        " that is installed again charges it from where this one stopped. Without one, delete them"
    )


async def check(settings: Settings) -> list[str]:
    """Return what works, a line each.

    Raises:
        CheckFailed: Something does not, after some patience.
        ClusterError: There is no cluster.
    """
    cluster = await Cluster.connect(settings)
    try:
        return [
            await _patiently(partial(look, cluster, settings))
            for look in (_profiles, _leader, _admission)
        ]
    except ClusterError as error:
        raise CheckFailed(str(error)) from error
    finally:
        await cluster.close()


async def _profiles(cluster: Cluster, _: Settings) -> str:
    count = 0
    async for page in cluster.pages(GPUPROFILES, metadata_only=True):
        count += len(page.items)
    if not count:
        raise ClusterError("no GPUProfile: nothing can be estimated; apply the catalogue")
    return f"{count} GPU profiles"


async def _leader(cluster: Cluster, settings: Settings) -> str:
    lease = await cluster.find(LEASES, LEASE, settings.namespace)
    if not lease or not _held(lease, datetime.now(UTC)):
        raise ClusterError("no controller leads; look at the logs of its pods")
    return f"{lease['spec']['holderIdentity']} leads"


async def _admission(cluster: Cluster, settings: Settings) -> str:
    """Ask the API server, in a dry run, for a workload whose own limit is one joule."""
    body = {
        "apiVersion": API_VERSION,
        "kind": str(Kind.AI_WORKLOAD),
        "metadata": {"name": "energaizer-check", "namespace": settings.namespace},
        "spec": {
            "task": "Inference",
            "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
            "inference": {"batchSize": 1, "inputTokens": 1024, "outputTokens": 256},
            "accelerator": {"resourceName": "nvidia.com/gpu", "countPerReplica": 1, "replicas": 1},
            "duration": {"expectedSeconds": 3600},
            "limits": {"maxEnergyJoules": 1},
        },
    }
    try:
        await cluster.create(AIWORKLOADS, body, dryRun="All")
    except Refused as refusal:
        if refusal.status == HTTPStatus.FORBIDDEN and "needs" in str(refusal):
            return f"admission refuses what is over a limit: {refusal}"
        raise
    raise ClusterError("a workload over its own limit was admitted: no webhook judged it")


def _held(lease: Object, now: datetime) -> bool:
    """Say whether somebody holds a Lease at `now`."""
    spec = lease.get("spec", {})
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return False
    age = now - datetime.fromisoformat(spec["renewTime"])
    return age.total_seconds() < float(spec.get("leaseDurationSeconds", 0))


async def _patiently(step: Callable[[], Awaitable[Result]]) -> Result:
    """Return the result of a step, tried again while the cluster settles."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return await step()
        except ClusterError:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(_POLL_S)
