"""What admission knows of the cluster at this moment: a World, kept current by watches.

Reviews come in hundreds a second and changes of profiles and policies rarely, so the World is built
once after a change, and AIWorkloads are found by an index that follows the watch.
"""

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from energaizer_operator.decision import Purse, World, purse_of
from energaizer_operator.informer import Informer, Key, ObjectRecord, readable
from energaizer_operator.names import LABEL_ADMISSION, Admission
from energaizer_operator.references import References
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.energyreservation import EnergyReservation
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.shapes import mapping

log = logging.getLogger(__name__)


class View:
    """Look-ups for one review; all synchronous, all from memory."""

    def __init__(self, informer: Informer) -> None:
        """Follow the stores of `informer`."""
        self._informer = informer
        self._world: World | None = None
        self._unreadable: tuple[str, ...] = ()
        self._references = References(informer.aiworkloads)
        self._parsed = lru_cache(maxsize=4096)(self._parse)
        self._purses: dict[str, tuple[Purse, ...]] = {}
        informer.gpuprofiles.subscribe(lambda *_: self._forget())
        informer.energypolicies.subscribe(lambda *_: self._forget())
        informer.energybudgets.subscribe(self._forget_purses)

    @property
    def world(self) -> World:
        """Return the profiles and policies of now."""
        if self._world is None:
            self._world = self._build()
        return self._world

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Return a sentence for each policy that this version cannot read, hence not apply."""
        _ = self.world
        return self._unreadable

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Return the labels of a namespace; none if it is unknown."""
        found = self._informer.namespaces.get(namespace)
        return found.labels if found else {}

    def strict(self, namespace: str) -> bool:
        """Return whether a namespace wants no GPU work unjudged."""
        return self.namespace_labels(namespace).get(LABEL_ADMISSION) == Admission.STRICT

    def purses(self, namespace: str) -> tuple[Purse, ...]:
        """Return the budgets of a namespace, as the watch last saw them."""
        if namespace not in self._purses:
            now = datetime.now(UTC)
            self._purses[namespace] = tuple(
                purse_of(record.body, now) for record in self._informer.energybudgets.of(namespace)
            )
        return self._purses[namespace]

    def reservation(self, namespace: str, uid: str) -> EnergyReservation | None:
        """Return what is reserved for an object."""
        record = self._informer.energyreservations.get(uid, namespace)
        try:
            return EnergyReservation.of_server(record.body) if record else None
        except ValidationError as error:
            log.warning("EnergyReservation %s/%s cannot be read: %s", namespace, uid, error)
            return None

    def workload(
        self, namespace: str, candidates: Iterable[tuple[str, str]], label: str | None
    ) -> AIWorkload | None:
        """Return the AIWorkload of an object: by its reference, else by the object's label.

        Args:
            namespace: Where all of them are.
            candidates: Kind and name of the object, then of what is above it.
            label: Value of our label on the object.
        """
        referring = [self._references.first(namespace, *one) for one in candidates]
        for candidate in (*referring, label):
            record = self._informer.aiworkloads.get(candidate, namespace) if candidate else None
            if record is not None:
                return self._parsed(namespace, record.name, record.version)
        return None

    def rivals(self, namespace: str, kind: str, name: str) -> tuple[str, ...]:
        """Return the AIWorkloads that name an object as theirs."""
        return self._references.names(namespace, kind, name)

    def _parse(self, namespace: str, name: str, _version: str) -> AIWorkload | None:
        record = self._informer.aiworkloads.get(name, namespace)
        try:
            return AIWorkload.of_server(record.body) if record else None
        except ValidationError as error:
            log.warning("AIWorkload %s/%s cannot be read: %s", namespace, name, error)
            return None

    def _forget_purses(self, key: Key, _record: ObjectRecord) -> None:
        self._purses.pop(key[0], None)

    def _forget(self) -> None:
        self._world = None

    def _build(self) -> World:
        profiles, _ = readable(self._informer.gpuprofiles, GPUProfile)
        policies, unreadable = readable(self._informer.energypolicies, EnergyPolicy)
        self._unreadable = tuple(
            f"energy policy {name} cannot be read and is not applied" for name in unreadable
        )
        return World.of(profiles, policies)


def metadata_of(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an object's metadata, or nothing if it is no map."""
    return mapping(obj.get("metadata"))
