"""Decisions that say nothing, kept for the next object that asks the very same.

The pods of a workload differ in names, tokens and marks, and get one answer; to work it out anew
for each is most of what a review costs. Kept is only what admits without a word, since a message
names its object, and only what no late estimate would change.
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from energaizer_operator import policy
from energaizer_operator.decision import Decision, Subject, World
from energaizer_operator.inputs import ANNOTATIONS
from energaizer_operator.names import Reason
from energaizer_operator.owners import Description
from energaizer_operator.policy import Action

CAPACITY = 1024
_TOKEN = re.compile(r'"kube-api-access-[a-z0-9]{5}"')
"""Volume of the service account, which the API server names by chance in each pod."""
_APART = frozenset(
    {"name", "namespace", "uid", "owner", "labels", "pod_labels", "annotations", "pod_annotations"}
)
"""What only messages tell, or the key holds in another form."""
_SAID = tuple(
    entry.name
    for entry in fields(Description)
    if entry.name not in _APART | {"groups", "pod_spec", "pod_spec_path"}
)


_LARGE = ("labels", "annotations", "pod_labels", "pod_annotations", "pod_spec")
_NOTHING: Mapping[str, Any] = {name: {} for name in _LARGE}


class Repeats:
    """Remembers decisions by all that they follow from."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Start with nothing remembered.

        Args:
            capacity: Decisions that are remembered.
        """
        self._capacity = capacity
        self._known: OrderedDict[bytes, Decision] = OrderedDict()
        self._world: World | None = None

    def find(self, key: bytes, subject: Subject, world: World) -> Decision | None:
        """Return the decision on a subject with this key in this world."""
        if world is not self._world:
            self._known.clear()
            self._world = world
        found = self._known.get(key)
        if found is None or found.case.subject.workload is not subject.workload:
            return None
        self._known.move_to_end(key)
        return found

    def keep(self, key: bytes, decided: Decision) -> None:
        """Remember a decision, if it may be given again."""
        verdict = decided.verdict
        says = verdict.action is not Action.ALLOW or verdict.violations or verdict.warnings
        if says or decided.late or decided.reason is not Reason.ESTIMATED:
            return
        if decided.case.world is self._world:
            self._known[key] = _without_object(decided)
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)


def key_of(subject: Subject, world: World) -> bytes | None:
    """Return what a decision on a subject follows from, beside world and AIWorkload, as a digest.

    None where it cannot be written down. Labels count by the policies that they select, annotations
    by the inputs that they state.
    """
    described = subject.description
    if described is None:
        return None
    policies = policy.matching(world.policies, subject.namespace_labels, subject.labels)
    said = [
        [getattr(described, name) for name in _SAID],
        [one.metadata.name for one in policies],
        [_inputs(described.annotations), _inputs(described.pod_annotations)],
        [_inputs(one) for one in subject.owner_annotations],
        [[group.path, group.pods, group.gpus] for group in described.groups],
        described.pod_spec_path,
        subject.config,
    ]
    try:
        text = json.dumps(said)
        specs = json.dumps([group.pod_spec for group in described.groups])
    except (RecursionError, TypeError, ValueError):
        return None
    seen: dict[str, str] = {}
    alike = _TOKEN.sub(lambda found: seen.setdefault(found[0], f"token {len(seen)}"), specs)
    return hashlib.sha256(f"{text}{alike}".encode()).digest()


def _without_object(decided: Decision) -> Decision:
    """Return a decision that holds nothing of the object but what its case still tells.

    An object may be of 3 MiB.
    """
    subject = decided.case.subject
    described = subject.description
    if described is not None:
        described = replace(described, **_NOTHING, groups=(), serve_config="")
    subject = Subject(described, subject.workload, config=subject.config)
    return replace(decided, case=replace(decided.case, subject=subject))


def _inputs(annotations: Mapping[str, Any]) -> dict[str, Any]:
    return {key: annotations[key] for key in ANNOTATIONS & annotations.keys()}
