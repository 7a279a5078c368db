"""Manifests -> subjects and their world, without a cluster: what `kubectl energaizer` judges.

Files are read as the cluster would see them: an AIWorkload finds its Job in the same files, a
ConfigMap holds its configuration, GPUProfiles and EnergyPolicies are the world, EnergyBudgets what
it has left. Only a misspelt key is treated otherwise: the cluster ignores it in silence, while here
somebody is waiting to be told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from energaizer_operator import claims, estimation, names, owners, queueing
from energaizer_operator.decision import HOLDABLE, Subject, World, decide, prepare
from energaizer_operator.manifests import Manifest, ManifestError
from energaizer_operator.owners import Description
from energaizer_operator.quotas import Quota, quota_of
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energybudget import EnergyBudget
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import Resource
from energaizer_operator.shapes import at, mapping

_QUEUES = ("LocalQueue", "ClusterQueue", "AdmissionCheck")
_PREFIX = f"{names.GROUP}/"
_KNOWN = frozenset(
    value
    for key, value in vars(names).items()
    if key.startswith(("ANNOTATION_", "LABEL_")) and str(value).startswith(_PREFIX)
)
R = TypeVar("R", bound=Resource)


@dataclass(frozen=True)
class Item:
    """A subject, and where it stands in the files."""

    subject: Subject
    place: str
    starts: bool = True
    """Whether it would run at once; what is suspended is charged when it starts."""
    holdable: bool = False
    """Whether it can wait suspended, and no queue of Kueue that asks us does that already."""


@dataclass
class Contents:
    """What some files hold."""

    workloads: list[tuple[Manifest, Description, tuple[Mapping[str, str], ...]]] = field(
        default_factory=list
    )
    aiworkloads: list[tuple[Manifest, AIWorkload]] = field(default_factory=list)
    profiles: list[GPUProfile] = field(default_factory=list)
    policies: list[EnergyPolicy] = field(default_factory=list)
    budgets: list[dict[str, Any]] = field(default_factory=list)
    """As they stand in the files, with their status if they have one."""
    quotas: list[Quota] = field(default_factory=list)
    """Of watts."""
    configs: dict[tuple[str, str], str] = field(default_factory=dict)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    queues: dict[tuple[str, str, str], Mapping[str, Any]] = field(default_factory=dict)
    """Objects of Kueue that say which queue asks us, by kind, namespace and name."""
    ignored: list[str] = field(default_factory=list)
    """Places of objects that have nothing to do with energy."""


def sort(manifests: Iterable[Manifest]) -> Contents:
    """Return manifests by what they are to us.

    Raises:
        ManifestError: One of our kinds breaks its schema, or a key of ours is misspelt.
    """
    found = Contents()
    for manifest in manifests:
        _sort(manifest, found)
    return found


def claim(item: Item, known: World) -> tuple[dict[str, Any] | None, str]:
    """Return the ResourceClaimTemplate of a subject, or None and why there is none.

    Args:
        item: The subject.
        known: Its world.
    """
    estimator = estimation.Estimator()
    decided = decide(item.subject, known, estimator)
    estimator.close()
    subject = item.subject
    described, workload = subject.description, subject.workload
    if workload is not None:
        name, namespace = workload.metadata.name, workload.metadata.namespace or ""
    elif described is not None:
        name, namespace = owners.workload_name(described.kind, described.name), described.namespace
    else:
        return None, "nothing to claim for"
    gpus = decided.case.resolution.inputs.gpus_per_replica
    made = claims.template(
        claims.name_of(name), namespace, decided.plan.order, decided.case.world.profiles, gpus
    )
    why = decided.message or "no GPU that is possible can be claimed by a product name"
    return (made, "") if made is not None and gpus else (None, why)


def items(contents: Contents) -> tuple[Item, ...]:
    """Return every subject: workloads with their AIWorkload, then AIWorkloads of their own.

    Raises:
        ManifestError: An AIWorkload names a workload that another one describes already.
    """
    taken: set[int] = set()
    found: list[Item] = []
    for manifest, described, annotations in contents.workloads:
        index, workload = _describing(contents, manifest, described) or (-1, None)
        taken.add(index)
        found.append(_item(contents, manifest, workload, described, annotations))
    for index, (manifest, workload) in enumerate(contents.aiworkloads):
        if index not in taken:
            found.append(_item(contents, manifest, workload))
    return tuple(found)


def namespace_labels(contents: Contents, namespace: str) -> Mapping[str, str]:
    """Return the labels of a namespace; one that is not in the files has opted in, we assume."""
    assumed = {names.LABEL_ADMISSION: str(names.Admission.ENABLED)}
    labels = contents.namespaces.get(namespace, assumed)
    return {**labels, names.LABEL_NAMESPACE_NAME: namespace}


def profiles(contents: Contents) -> dict[str, GPUProfile]:
    """Return every known GPU: those of the catalogue, and those of the files instead of them."""
    known = {profile.metadata.name: profile for profile in estimation.catalogue()}
    return known | {profile.metadata.name: profile for profile in contents.profiles}


def named(contents: Contents, gpus: Sequence[str]) -> tuple[str, ...]:
    """Return names of profiles for names and aliases of GPUs.

    Raises:
        EstimateError: A name is in no file and no catalogue.
    """
    known = profiles(contents)
    wanted = (name if name in known else estimation.canonical(name) for name in gpus)
    return tuple(dict.fromkeys(wanted))


def world(contents: Contents, gpus: Sequence[str] = ()) -> World:
    """Return the world of some files, whose cluster has `gpus`, else the files' own, else all."""
    known = profiles(contents)
    own = [profile.metadata.name for profile in contents.profiles]
    return World.of(known.values(), contents.policies, named(contents, gpus) or own or known)


@dataclass(frozen=True)
class Choice:
    """Which GPUs a workload is estimated on."""

    names: tuple[str, ...]
    compared: bool
    """Nobody named one: those that cannot run it are left out in silence."""


def choose(item: Item, contents: Contents, gpus: Sequence[str]) -> Choice:
    """Return the GPUs that somebody named: the manifest, else `gpus`, else the files; else all.

    Raises:
        ManifestError: The manifest excludes what `gpus` name, or all that is known.
        EstimateError: A name is in no file and no catalogue.
    """
    known = profiles(contents)
    case = prepare(item.subject, World.of(known.values(), (), known))
    left, resource = case.reachable, case.resolution.inputs.resource_name
    if not left:
        raise ManifestError(
            f"{item.place}: no known GPU is left by its resource, nodeSelector, affinity and "
            "allowedProfiles; see `kubectl energaizer profiles`, or add a GPUProfile to the files"
        )
    wanted = named(contents, gpus)
    if excluded := sorted(set(wanted) - left):
        allowed = ", ".join(sorted(left)[:6])
        raise ManifestError(f"{item.place}: excludes {', '.join(excluded)}; it allows {allowed}")
    if wanted:
        return Choice(wanted, compared=False)
    asked = {
        name
        for name, profile in known.items()
        if not resource or resource in profile.spec.resource_names
    }
    own = {profile.metadata.name for profile in contents.profiles} & left
    if left < asked or own:
        return Choice(tuple(sorted(own or left)), compared=False)
    return Choice(tuple(sorted(left)), compared=True)


def _item(
    contents: Contents,
    manifest: Manifest,
    workload: AIWorkload | None,
    described: Description | None = None,
    annotations: tuple[Mapping[str, str], ...] = (),
) -> Item:
    labels = namespace_labels(contents, manifest.namespace)
    config = _config(contents, workload, manifest.namespace)
    spec = mapping(manifest.object.get("spec"))
    queued = _queued(contents, manifest)
    return Item(
        Subject(described, workload, labels, annotations, config),
        manifest.place,
        starts=spec.get("suspend") is not True,
        holdable=described is not None and described.kind in HOLDABLE and not queued,
    )


def _sort(manifest: Manifest, found: Contents) -> None:
    kind, body = manifest.kind, manifest.object
    if kind == names.Kind.AI_WORKLOAD:
        _check_keys(manifest, manifest.object.get("metadata"))
        found.aiworkloads.append((manifest, _model(AIWorkload, manifest)))
    elif kind == names.Kind.GPU_PROFILE:
        found.profiles.append(_model(GPUProfile, manifest))
    elif kind == names.Kind.ENERGY_POLICY:
        found.policies.append(_model(EnergyPolicy, manifest))
    elif kind == names.Kind.ENERGY_BUDGET:
        _model(EnergyBudget, manifest)
        metadata = {**body["metadata"], "namespace": manifest.namespace}
        found.budgets.append({**body, "metadata": metadata})
    elif kind == "ResourceQuota":
        quota = quota_of(body, manifest.namespace)
        if quota is None:
            found.ignored.append(manifest.place)
        else:
            found.quotas.append(quota)
    elif kind == "ConfigMap":
        text = (body.get("data") or {}).get(names.MODEL_CONFIG_KEY)
        if isinstance(text, str):
            found.configs[manifest.namespace, manifest.name] = text
    elif kind == "Namespace":
        found.namespaces[manifest.name] = body["metadata"].get("labels") or {}
    elif kind in _QUEUES:
        namespace = manifest.namespace if kind == "LocalQueue" else ""
        found.queues[kind, namespace, manifest.name] = body
    else:
        _sort_workload(manifest, found)


def _sort_workload(manifest: Manifest, found: Contents) -> None:
    body = manifest.object
    above: tuple[Mapping[str, str], ...] = ()
    if manifest.kind == "CronJob":
        body, above = _job_of(manifest)
    described = owners.describe(body)
    if described is None:
        found.ignored.append(manifest.place)
        return
    template = at(body, "spec", "template")
    for metadata in (manifest.object.get("metadata"), template.get("metadata")):
        _check_keys(manifest, metadata)
    found.workloads.append((manifest, described, above))


def _job_of(manifest: Manifest) -> tuple[dict[str, Any], tuple[Mapping[str, str], ...]]:
    """Return the Job that a CronJob makes, and the annotations above it."""
    template = at(manifest.object, "spec", "jobTemplate")
    metadata = {
        **mapping(template.get("metadata")),
        "name": manifest.name,
        "namespace": manifest.namespace,
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    annotations = mapping(manifest.object["metadata"].get("annotations"))
    return {**job, "spec": mapping(template.get("spec"))}, (annotations,)


def _model(model: type[R], manifest: Manifest) -> R:
    try:
        return model.model_validate(manifest.object)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"{_path(fault['loc'])}: {_plain(fault['msg'])}" for fault in faults[:4]]
        raise ManifestError(f"{manifest.place}: {'; '.join(lines)}") from None


def _path(loc: Sequence[int | str]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or "object"


def _plain(message: str) -> str:
    """Return pydantic's sentence in the words of a manifest."""
    if message == "Extra inputs are not permitted":
        return "no such field; see `kubectl explain` for those there are"
    return message.removeprefix("Value error, ").replace("Input should", "it should")


def _check_keys(manifest: Manifest, metadata: Any) -> None:
    """Raise on a label or annotation in our group that nobody reads or writes."""
    for part in ("annotations", "labels"):
        for key in at(metadata, part):
            if key.startswith(_PREFIX) and key not in _KNOWN:
                close = get_close_matches(key, _KNOWN, n=1, cutoff=0.6)
                advice = f'did you mean "{close[0]}"?' if close else "remove it"
                raise ManifestError(f'{manifest.place}: unknown {part[:-1]} "{key}"; {advice}')


def _describing(
    contents: Contents, manifest: Manifest, described: Description
) -> tuple[int, AIWorkload] | None:
    """Return the AIWorkload of a workload: by reference, else by the workload's label."""
    by_reference, by_label = [], []
    for index, (other, workload) in enumerate(contents.aiworkloads):
        if other.namespace != manifest.namespace:
            continue
        reference = workload.spec.workload_ref
        if reference and (reference.kind, reference.name) == (manifest.kind, manifest.name):
            by_reference.append((index, workload))
        label = described.labels.get(names.LABEL_WORKLOAD)
        if reference is None and label == workload.metadata.name:
            by_label.append((index, workload))
    if len(by_reference) > 1:
        raise ManifestError(
            f"{manifest.place}: described by several AIWorkloads "
            f"({', '.join(workload.metadata.name for _, workload in by_reference)}); keep one"
        )
    return next(iter(by_reference + by_label), None)


def _config(contents: Contents, workload: AIWorkload | None, namespace: str) -> str | None:
    model = workload.spec.model if workload else None
    if model is None or model.config_map_ref is None:
        return None
    return contents.configs.get((namespace, model.config_map_ref.name))


def _queued(contents: Contents, manifest: Manifest) -> bool:
    """Say whether a queue of Kueue in the files takes an object, and asks us."""
    queue = queueing.queue_of(manifest.object)
    local = contents.queues.get(("LocalQueue", manifest.namespace, queue), {})
    whole = contents.queues.get(("ClusterQueue", "", queueing.cluster_queue_of(local)), {})
    checks = (
        contents.queues.get(("AdmissionCheck", "", name)) for name in queueing.checks_of(whole)
    )
    return any(check is not None and queueing.is_ours(check) for check in checks)
