"""Node-affinity terms of ours beside a pod's own, never instead: additions as JSON Patch."""

from collections.abc import Mapping, Sequence
from typing import Any

from energaizer_operator.placement import MAX_WEIGHT, Plan

JsonPatch = list[dict[str, Any]]

_NODES = ("affinity", "nodeAffinity")
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def patch(pod_spec: Mapping[str, Any], planned: Plan, path: str = "/spec") -> JsonPatch:
    """Return JSON Patch additions that merge a plan into a pod's spec at `path`; [] if none.

    Only `add`, never in place of something: the user's terms stay as they are, and ours come after
    them. A pod that carries our terms already gets nothing, so that a second call changes nothing.
    """
    added = _Additions(pod_spec, path)
    if planned.required:
        added.require([dict(term) for term in planned.required])
    if planned.weights:
        added.prefer(
            [
                (planned.weights[name], planned.preferences[name])
                for name in planned.preferred_profiles
            ]
        )
    return added.operations


class _Additions:
    """Grows the JSON Patch of one pod: as few operations as possible, each costs the API server."""

    def __init__(self, pod_spec: Mapping[str, Any], path: str) -> None:
        self.operations: JsonPatch = []
        self._there: Any = pod_spec
        self._made: dict[str, Any] = {}
        """Path -> map or list that an operation brings, and that may still grow."""
        self._path = path

    def prefer(self, terms: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Add preferred terms, weighted below each of the user's own."""
        present = self._get(*_NODES, _PREFERRED)
        existing = present if isinstance(present, list) else []
        mine = [term for _, term in terms]
        theirs = [one for one in existing if _get(one, "preference") not in mine]
        if len(theirs) < len(existing):
            return
        least = min((int(_get(one, "weight") or 1) for one in theirs), default=MAX_WEIGHT + 1)
        if least <= 1:
            return
        for weight, term in terms:
            scaled = max(1, weight * (least - 1) // MAX_WEIGHT)
            self._append({"weight": scaled, "preference": term}, *_NODES, _PREFERRED)

    def require(self, terms: Sequence[dict[str, Any]]) -> None:
        """Add required terms: (user's terms) and (any of ours), as alternatives of both.

        Each user term takes the first of ours into itself; a copy of it takes each other one.
        """
        present = self._get(*_NODES, _REQUIRED, "nodeSelectorTerms")
        theirs = present if isinstance(present, list) else []
        if not theirs:
            for term in terms:
                self._append(term, *_NODES, _REQUIRED, "nodeSelectorTerms")
            return
        if all(_contains(one, terms) for one in theirs if one):
            return
        at = f"{self._path}/affinity/nodeAffinity/{_REQUIRED}/nodeSelectorTerms"
        for index, term in enumerate(theirs):
            if not term:  # an empty term matches no node, and must go on to match none
                continue
            mine = terms[0]["matchExpressions"]
            if "matchExpressions" in term:
                for expression in mine:
                    self._add(f"{at}/{index}/matchExpressions/-", expression)
            else:
                self._add(f"{at}/{index}/matchExpressions", mine)
            for other in terms[1:]:
                both = [*(term.get("matchExpressions") or ()), *other["matchExpressions"]]
                self._add(f"{at}/-", {**term, "matchExpressions": both})

    def _append(self, value: Any, *names: str) -> None:
        """Append to a list of the affinity; its parents are made, as one addition, if absent."""
        path, node, ours = self._path, self._there, False
        for depth, name in enumerate(names, start=1):
            path = f"{path}/{name}"
            child = self._made[path] if path in self._made else _get(node, name)
            if child is None:
                child = [] if depth == len(names) else {}
                self._made[path] = child
                if ours:
                    node[name] = child
                else:
                    self._add(path, child)
            node, ours = child, path in self._made
        if ours:
            node.append(value)
        else:
            self._add(f"{path}/-", value)

    def _get(self, *names: str) -> Any:
        node: Any = self._there
        for name in names:
            node = _get(node, name)
        return node

    def _add(self, path: str, value: Any) -> None:
        self.operations.append({"op": "add", "path": path, "value": value})


def _get(node: Any, name: str) -> Any:
    return node.get(name) if isinstance(node, Mapping) else None


def _contains(term: Mapping[str, Any], ours: Sequence[dict[str, Any]]) -> bool:
    """Return whether a term already holds one of our demands in full."""
    held = term.get("matchExpressions") or ()
    return any(all(one in held for one in mine["matchExpressions"]) for mine in ours)
