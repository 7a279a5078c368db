"""Holding a Job or JobSet: it starts suspended, and only the leader lets it go.

What a user suspends by hand, or Kueue, is left alone while it is suspended: it is held, or charged,
at the moment at which it would start.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from energaizer_operator.decision import HOLDABLE, Purse
from energaizer_operator.names import ANNOTATION_HELD, HELD_BY_BUDGET
from energaizer_operator.policy import Action
from energaizer_operator.webhook.review import Patch
from energaizer_operator.webhook.view import metadata_of

ANNOTATION = ("metadata", "annotations", ANNOTATION_HELD)
SUSPEND = ("spec", "suspend")


def suspended(obj: Mapping[str, Any] | None) -> bool:
    """Say whether an object is told to run nothing."""
    spec = (obj or {}).get("spec")
    return isinstance(spec, Mapping) and spec.get("suspend") is True


def marked(obj: Mapping[str, Any] | None) -> bool:
    """Say whether an object carries our mark."""
    annotations = metadata_of(obj or {}).get("annotations")
    return isinstance(annotations, Mapping) and ANNOTATION_HELD in annotations


def held(obj: Mapping[str, Any] | None) -> bool:
    """Say whether an object waits for us."""
    return marked(obj) and suspended(obj)


def holdable(obj: Mapping[str, Any], *, enabled: bool) -> bool:
    """Say whether an object can wait suspended; nothing can where the settings say so."""
    return enabled and obj.get("kind") in HOLDABLE


def holding(
    purses: Iterable[Purse], obj: Mapping[str, Any], *, queued: bool, enabled: bool
) -> bool:
    """Say whether some budget holds an object; what is `queued` waits in Kueue instead."""
    waits = holdable(obj, enabled=enabled) and not queued
    return waits and any(one.action is Action.HOLD for one in purses)


def hold(patch: Patch) -> None:
    """Make an object start suspended."""
    patch.put(SUSPEND, True)
    patch.put(ANNOTATION, HELD_BY_BUDGET)
