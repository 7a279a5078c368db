"""Which GPU every node has: one look at all nodes together, shared by profiles and metrics.

Labels, else the slices of device drivers (DRA), say what a GPU is and mostly how many there are.
Where they do not say how many, the node's capacity does; it is read page by page and seldom, for a
node object is large and changes often.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping

from energaizer_operator.controller.labelling import Labelling, stated, told
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.power import Power
from energaizer_operator.controller.survey import Survey, counted, gpu_capacity, survey
from energaizer_operator.events import Subject
from energaizer_operator.identity import Catalogue
from energaizer_operator.informer import MetadataRecord, readable
from energaizer_operator.kinds import NODES
from energaizer_operator.names import EventReason
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.slices import boards

log = logging.getLogger(__name__)

_CAPACITY_AGE_S = 600.0


class Nodes:
    """Keeps the survey current and reports GPUs that nobody described."""

    def __init__(
        self, context: Context, *, power_resource: bool = False, labels: bool = False
    ) -> None:
        """Begin with an empty survey.

        Args:
            context: What reconcilers share.
            power_resource: Whether nodes advertise watts.
            labels: Whether nodes get our label.
        """
        self._context = context
        self._power = Power(context, enabled=power_resource)
        self._labelling = Labelling(context, enabled=labels)
        self.current = Survey()
        self._capacity: dict[str, int] = {}
        self._capacity_time = -math.inf
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change of the survey."""
        self._listeners.append(listener)

    async def reconcile(self, _key: str) -> Result:
        """Look at all nodes."""
        context = self._context
        store = context.informer.nodes
        records: list[MetadataRecord] = [] if store is None else store.values()
        profiles, _ = readable(context.informer.gpuprofiles, GPUProfile)
        catalogue = Catalogue(profiles)
        slices = context.informer.resourceslices
        devices = boards(() if slices is None else slices)
        nodes = {record.name: record for record in records}
        identified = {
            name: catalogue.identify(stated(node), devices.get(name, {}))
            for name, node in nodes.items()
        }
        labelled_all = await self._labelling.label(nodes, identified)
        identified = {name: told(nodes[name], found) for name, found in identified.items()}
        unknown = {name for name, found in identified.items() if found.gpus is None}
        labelled = {name for name in unknown if identified[name].gpu_node}
        if (
            unknown - self._capacity.keys()
            or self._without_gpus(labelled)
            or self._capacity_is_old()
        ):
            await self._read_capacity()
        counts = counted(identified, self._capacity)
        limits = {
            profile.metadata.name: profile.spec.thermal_design_power_watts for profile in profiles
        }
        advertising, settled = await self._power.advertise(
            nodes,
            {
                name: (count, limits.get(identified[name].profile or ""))
                for name, count in counts.items()
                if count or identified[name].profile
            },
        )
        before, self.current = self.current, survey(identified, counts, advertising)
        torn = {name: found.conflict for name, found in identified.items() if found.conflict}
        context.metrics.nodes(self.current.profiles, len(self.current.unprofiled), len(torn))
        for name, profiles_named in sorted(torn.items()):
            note = (
                f"labels of this node name several GPUs ({', '.join(sorted(profiles_named))}); "
                f"counted as {identified[name].profile}, which may draw most: mend the labels"
            )
            await self._tell(name, EventReason.CONFLICTING_GPU, note)
        labels = {record.name: record.labels for record in records}
        for name in self.current.unprofiled:
            await self._report(name, labels[name], devices.get(name, {}))
        if self.current != before:
            for listener in self._listeners:
                listener()
        if not (settled and labelled_all) or self._without_gpus(labelled):
            return Result.PENDING
        return Result.UNCHANGED if self.current == before else Result.CHANGED

    def _without_gpus(self, labelled: set[str]) -> bool:
        """Say whether a node's labels name a GPU that its device plugin has not announced yet."""
        return any(not self._capacity.get(name) for name in labelled)

    def _capacity_is_old(self) -> bool:
        return time.monotonic() - self._capacity_time > _CAPACITY_AGE_S

    async def _read_capacity(self) -> None:
        """Count the GPUs of every node by its capacity, and see what watts it advertises."""
        counts: dict[str, int] = {}
        async for page in self._context.cluster.pages(NODES):
            for node in page.items:
                counts[node["metadata"]["name"]] = gpu_capacity(node)
                self._power.read(node)
        self._capacity, self._capacity_time = counts, time.monotonic()

    async def _report(
        self, name: str, labels: Mapping[str, str], devices: Mapping[str, int]
    ) -> None:
        """Write an event about a node whose GPU has no profile."""
        spoken = sorted(f"{key}={value}" for key, value in labels.items() if "gpu" in key.lower())
        spoken += [f"device {product}" for product in sorted(devices)]
        note = (
            f"no GPUProfile matches this node ({', '.join(spoken[:4]) or 'no GPU label'}); "
            "add one, or add its label to a profile: kubectl get gpuprofiles"
        )
        await self._tell(name, EventReason.UNPROFILED_GPU, note)

    async def _tell(self, name: str, reason: EventReason, note: str) -> None:
        subject = Subject.of_node(name)
        if await self._context.events.emit(
            subject, reason, note, type_="Warning", action="Identify"
        ):
            log.warning("node %s: %s", name, note)
