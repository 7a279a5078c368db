"""What some files hold, by what it is to us: workloads, our kinds, what surrounds them.

Files are read as the cluster would read them. Only a misspelt key is treated otherwise: the cluster
ignores it in silence, while here somebody is waiting to be told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from energaizer_operator import names, owners
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
