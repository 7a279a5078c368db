"""From a review to a decision: which workload an object belongs to, and what to ask about it.

A pod is a part of a workload. Its Job, Deployment or StatefulSet says how many pods there are and
may carry the inputs, so the pod is judged as that workload, with the pod's own spec: the same
question that was asked when the workload itself came, hence the same answer from the cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from energaizer_operator import decision, owners, queueing
from energaizer_operator.decision import Decision, Purse, Subject
from energaizer_operator.estimation.timely import TimelyEstimator
from energaizer_operator.kinds import RESOURCE_CLAIMS
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.owners import Description
from energaizer_operator.policy import Balance
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.settings import Settings
from energaizer_operator.shapes import mapping
from energaizer_operator.webhook.accounts import Accounts
from energaizer_operator.webhook.lineage import Lineage
from energaizer_operator.webhook.repeats import Repeats, key_of
from energaizer_operator.webhook.review import MalformedReviewError, Request
from energaizer_operator.webhook.view import View, metadata_of

INTERCEPTED = frozenset({"Job", "JobSet", "Deployment", "StatefulSet"})
"""Kinds whose own review judges their pods too."""
_SCALED = {"deployments": ("apps/v1", "Deployment"), "statefulsets": ("apps/v1", "StatefulSet")}
_MINTED = 8  # characters of the review's uid that stand for a name not yet generated


@dataclass(frozen=True)
class Part:
    """An object under review as a part of its workload."""

    subject: Subject
    label: str
    """Name of the AIWorkload, existing or to be created."""
    gpus: int
    """Of one pod of the object under review; 0 if its claims are for other devices."""
    of_gpus: int
    """Of the whole workload, at least as many."""
    parent: str | None
    """Kind of the intercepted object above the one under review, if there is one."""
    root: Mapping[str, Any] | None = None
    """The object that is the workload, if it is another than the one under review."""

    @property
    def asks(self) -> bool:
        """Return whether the object under review asks for a GPU at all."""
        return self.gpus > 0


@dataclass(frozen=True)
class Judge:
    """What both halves of admission share."""

    view: View
    lineage: Lineage
    estimator: TimelyEstimator
    settings: Settings
    accounts: Accounts
    repeats: Repeats = field(default_factory=Repeats)

    async def part(
        self, request: Request, obj: Mapping[str, Any], described: Description | None = None
    ) -> Part:
        """Return the workload that an object of a review belongs to.

        Args:
            request: The review.
            obj: The object.
            described: What it says (`owners.describe`), where that was read already.

        Raises:
            MalformedReviewError: The object is of a kind without pods.
        """
        described = described or owners.describe(obj)
        if described is None:
            raise MalformedReviewError(f"kind {request.kind.kind} has no pods that we understand")
        described = _named(described, request.namespace, _name(request, described))
        described = await self._claimed(described)
        above = await self.lineage.of(obj, request.namespace)
        kinds = [str(owner.get("kind")) for owner in above]
        parent = next((kind for kind in kinds if kind in INTERCEPTED), None)
        index = owners.root(above)
        if index is None:
            return self._as(described, described, above, parent)
        workload = owners.describe(above[index]) or described
        workload = _named(workload, request.namespace, workload.name)
        workload = await self._claimed(workload)
        if len(workload.groups) == 1:
            workload = replace(
                workload,
                pod_spec=described.pod_spec,
                pod_annotations=described.pod_annotations,
                pod_labels=described.pod_labels,
                groups=(replace(workload.groups[0], pod_spec=described.pod_spec),),
                gpus=described.gpus,
            )
        part = self._as(workload, described, above[index + 1 :], parent)
        return replace(part, root=above[index])

    async def queued(self, namespace: str, obj: Mapping[str, Any]) -> bool:
        """Say whether Kueue queues an object and asks us before it lets it go.

        Its label alone proves nothing; without an answer in time the object is taken as not queued.
        """
        queue = queueing.queue_of(obj)
        if not queue or not self.settings.kueue:
            return False
        return await self.lineage.asks_us(namespace, queue)

    async def scaled(self, request: Request) -> Mapping[str, Any] | None:
        """Return the object that a scale subresource belongs to.

        None where it is gone, unreadable, or of a kind that we do not know.
        """
        kind = _SCALED.get(request.resource.resource)
        if kind is None:
            return None
        return await self.lineage.read(request.namespace, owners.Owner(*kind, request.name, ""))

    async def _claimed(self, described: Description) -> Description:
        """Return a description with the GPUs of its claims counted, as far as they can be read."""
        found = {}
        for claim in described.claims:
            owner = owners.Owner(RESOURCE_CLAIMS.api_version, claim.kind, claim.name, "")
            body = await self.lineage.read_soon(described.namespace, owner)
            if body is not None:
                found[claim] = body
        return described.with_claims(found)

    async def decide(self, part: Part, balances: Sequence[Balance] = ()) -> Decision:
        """Return the decision on a part's workload; one without a word may be an earlier one."""
        subject, world = part.subject, self.view.world
        key = None if balances else key_of(subject, world)
        known = None if key is None else self.repeats.find(key, subject, world)
        if known is not None:
            self.estimator.found(len(known.case.questions))
            return known
        decided = await decision.decide_soon(subject, world, self.estimator, balances)
        if key is not None:
            self.repeats.keep(key, decided)
        return decided

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
        workload: Description,
        described: Description,
        above: tuple[Mapping[str, Any], ...],
        parent: str | None,
    ) -> Part:
        """Return an object under review (`described`) as a part of `workload`."""
        namespace = workload.namespace
        label = described.labels.get(LABEL_WORKLOAD) or workload.labels.get(LABEL_WORKLOAD)
        candidates = [(workload.kind, workload.name)]
        candidates += [(str(one.get("kind")), str(metadata_of(one).get("name"))) for one in above]
        found = self.view.workload(namespace, candidates, label)
        annotations = tuple(_annotations(owner) for owner in above)
        subject = Subject(workload, found, self.view.namespace_labels(namespace), annotations)
        if found is not None:
            label = found.metadata.name
        gpus = described.gpus_per_replica
        total = workload.gpus_per_replica * workload.replicas
        named = workload.owner if workload.kind == "Pod" and workload.owner else workload
        label = label or owners.workload_name(named.kind, named.name)
        return Part(subject, label, gpus, max(gpus, total, 1), parent)


def _name(request: Request, described: Description) -> str:
    """Return the object's name; one still to be generated ends in a part of the review's uid."""
    metadata = metadata_of(request.object or {})
    if metadata.get("name") or not metadata.get("generateName"):
        return described.name
    return f"{described.name}{request.uid[:_MINTED].lower()}"


def _named(described: Description, namespace: str, name: str) -> Description:
    """Return a description by this name; most have it already."""
    if (described.namespace, described.name) == (namespace, name):
        return described
    return replace(described, namespace=namespace, name=name)


def _annotations(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return mapping(metadata_of(obj).get("annotations"))
