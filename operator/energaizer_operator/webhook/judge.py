"""From a review to a decision: which workload an object belongs to, and what to ask about it.

A pod is a part of a workload. Its Job, Deployment or StatefulSet says how many pods there are and
may carry the inputs, so the pod is judged as that workload, with the pod's own spec: the same
question that was asked when the workload itself came, hence the same answer from the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from energaizer_operator import decision, owners
from energaizer_operator.decision import Decision, Purse, Subject
from energaizer_operator.estimation import Estimator
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.owners import Description
from energaizer_operator.policy import Balance
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.settings import Settings
from energaizer_operator.webhook.accounts import Accounts
from energaizer_operator.webhook.lineage import Lineage
from energaizer_operator.webhook.review import MalformedReviewError, Request
from energaizer_operator.webhook.view import View, metadata_of

INTERCEPTED = frozenset({"Job", "Deployment", "StatefulSet"})
"""Kinds whose own review judges their pods too."""
_MINTED = 8  # characters of the review's uid that stand for a name not yet generated


@dataclass(frozen=True)
class Part:
    """An object under review as a part of its workload."""

    subject: Subject
    label: str
    """Name of the AIWorkload, existing or to be created."""
    pods: int
    """Pods that share the workload's energy."""
    parent: str | None
    """Kind of the intercepted workload above the object, if there is one."""


@dataclass(frozen=True)
class Judge:
    """What both halves of admission share."""

    view: View
    lineage: Lineage
    estimator: Estimator
    settings: Settings
    accounts: Accounts

    async def part(self, request: Request, obj: Mapping[str, Any]) -> Part:
        """Return the workload that an object of a review belongs to.

        Raises:
            MalformedReviewError: The object is of a kind without pods.
        """
        described = owners.describe(obj)
        if described is None:
            raise MalformedReviewError(f"kind {request.kind.kind} has no pods that we understand")
        described = replace(described, namespace=request.namespace, name=_name(request, described))
        above = await self.lineage.of(obj, request.namespace)
        index = _workload_above(above) if described.kind == "Pod" else None
        if index is None:
            annotations = tuple(_annotations(owner) for owner in above)
            return self._as(described, annotations, described.labels, None)
        workload = owners.describe(above[index]) or described
        workload = replace(
            workload,
            namespace=request.namespace,
            pod_spec=described.pod_spec,
            pod_annotations=described.pod_annotations,
            pod_labels=described.pod_labels,
            gpus=described.gpus,
        )
        annotations = tuple(_annotations(owner) for owner in above[index + 1 :])
        return self._as(workload, annotations, described.labels, workload.kind)

    async def decide(self, part: Part, balances: Sequence[Balance] = ()) -> Decision:
        """Return the decision on a part's workload."""
        return await decision.decide_soon(part.subject, self.view.world, self.estimator, balances)

    def purses(self, part: Part, namespace: str) -> tuple[Purse, ...]:
        """Return the budgets that select a part's workload."""
        labels = {**part.subject.labels, LABEL_WORKLOAD: part.label}
        return decision.matching(self.view.purses(namespace), labels)

    def own(self, username: str) -> bool:
        """Say whether a request is our controller's."""
        where, account = self.settings.namespace, self.settings.controller_account
        return username == f"system:serviceaccount:{where}:{account}"

    async def of_aiworkload(self, workload: AIWorkload, namespace: str) -> Subject:
        """Return an AIWorkload with the object that it describes, if that exists already."""
        described: Description | None = None
        annotations: tuple[Mapping[str, str], ...] = ()
        reference = workload.spec.workload_ref
        if reference is not None:
            owner = owners.Owner(reference.api_version, reference.kind, reference.name, "")
            found = await self.lineage.read(namespace, owner)
            described = owners.describe(found) if found else None
            if found is not None:
                above = await self.lineage.of(found, namespace)
                annotations = tuple(_annotations(owner) for owner in above)
        return Subject(described, workload, self.view.namespace_labels(namespace), annotations)

    def _as(
        self,
        described: Description,
        annotations: tuple[Mapping[str, str], ...],
        labels: Mapping[str, str],
        parent: str | None,
    ) -> Part:
        label = labels.get(LABEL_WORKLOAD) or described.labels.get(LABEL_WORKLOAD)
        workload = self.view.workload(described.namespace, described.kind, described.name, label)
        subject = Subject(
            described,
            workload,
            self.view.namespace_labels(described.namespace),
            annotations,
        )
        if workload is not None:
            label = workload.metadata.name
        return Part(
            subject,
            label or owners.workload_name(described.kind, described.name),
            max(1, described.replicas),
            parent,
        )


def _name(request: Request, described: Description) -> str:
    """Return the object's name; one still to be generated ends in a part of the review's uid."""
    metadata = metadata_of(request.object or {})
    if metadata.get("name") or not metadata.get("generateName"):
        return described.name
    return f"{described.name}{request.uid[:_MINTED].lower()}"


def _workload_above(above: tuple[Mapping[str, Any], ...]) -> int | None:
    """Return which of a pod's owners is the workload: the first whose review judges its pods."""
    for index, owner in enumerate(above):
        if owner.get("kind") in INTERCEPTED:
            return index
    return None


def _annotations(obj: Mapping[str, Any]) -> Mapping[str, str]:
    found = metadata_of(obj).get("annotations")
    return found if isinstance(found, Mapping) else {}
