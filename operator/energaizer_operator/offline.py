"""Manifests -> subjects and their world, without a cluster: what `kubectl energaizer` judges.

An AIWorkload finds its Job in the same files, a ConfigMap holds its configuration, GPUProfiles and
EnergyPolicies are the world, EnergyBudgets what it has left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from energaizer_operator import claims, estimation, names, owners, queueing
from energaizer_operator.contents import Contents
from energaizer_operator.decision import HOLDABLE, Subject, World, decide, prepare
from energaizer_operator.manifests import Manifest, ManifestError
from energaizer_operator.owners import Description
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.shapes import mapping


@dataclass(frozen=True)
class Item:
    """A subject, and where it stands in the files."""

    subject: Subject
    place: str
    starts: bool = True
    """Whether it would run at once; what is suspended is charged when it starts."""
    holdable: bool = False
    """Whether it can wait suspended, and no queue of Kueue that asks us does that already."""


def claim(item: Item, known: World) -> tuple[dict[str, Any] | None, str]:
    """Return the ResourceClaimTemplate of a subject, or None and why there is none.

    Args:
        item: The subject.
        known: Its world.
    """
    estimator = estimation.Estimator()
    decided = decide(item.subject, known, estimator)
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
