"""Where each kind keeps its pod templates, and how many pods of each run at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from energaizer_operator.shapes import Json, at, count, items, mapping, text

_GROUP_SIZE = "LWS_GROUP_SIZE"
_GROUP_SIZE_MARK = "leaderworkerset.sigs.k8s.io/size"
_DIGITS = 6
_STORED = "STORAGE_URI"
_PYTORCH_ROLES = ("Master", "Worker")


@dataclass(frozen=True)
class Template:
    """A pod template inside an object, and its pods."""

    path: str
    """JSON pointer of the pod's spec: `/spec/template/spec`."""
    body: Json
    """The template: metadata and spec."""
    pods: int
    """That run at once."""


@dataclass(frozen=True)
class Layout:
    """What a kind makes."""

    templates: tuple[Template, ...]
    units: int | None = None
    """How often the templates' pods run together, where a kind scales by such groups."""
    surge: int = 0
    """Pods beside those that a rolling update may run for a while."""
    deadline_seconds: int | None = None


def _pod(obj: Json) -> Layout:
    return Layout((Template("/spec", obj, 1),))


def _job(obj: Json) -> Layout:
    spec = at(obj, "spec")
    template = Template("/spec/template/spec", at(spec, "template"), job_pods(spec))
    return Layout((template,), deadline_seconds=count(spec.get("activeDeadlineSeconds")))


def _cron_job(obj: Json) -> Layout:
    spec = at(obj, "spec", "jobTemplate", "spec")
    path = "/spec/jobTemplate/spec/template/spec"
    template = Template(path, at(spec, "template"), job_pods(spec))
    return Layout((template,), deadline_seconds=count(spec.get("activeDeadlineSeconds")))


def _replicated(obj: Json) -> Layout:
    spec = at(obj, "spec")
    pods, template = _or_one(spec.get("replicas")), at(spec, "template")
    size = text(at(template, "metadata", "annotations").get(_GROUP_SIZE_MARK))
    if size.isdecimal():  # a StatefulSet of a LeaderWorkerSet
        template = _sized(template, int(size[:_DIGITS]))
    return Layout((Template("/spec/template/spec", template, pods),))


def _deployment(obj: Json) -> Layout:
    layout = _replicated(obj)
    strategy = at(obj, "spec", "strategy")
    if strategy.get("type") == "Recreate":
        return layout
    surge = mapping(strategy.get("rollingUpdate")).get("maxSurge", "25%")
    return Layout(layout.templates, surge=_surge(surge, layout.templates[0].pods))


def _job_set(obj: Json) -> Layout:
    templates, deadlines = [], []
    for index, job in enumerate(items(at(obj, "spec").get("replicatedJobs"))):
        spec = at(job, "template", "spec")
        path = f"/spec/replicatedJobs/{index}/template/spec/template/spec"
        pods = _or_one(job.get("replicas")) * job_pods(spec)
        templates.append(Template(path, at(spec, "template"), pods))
        deadlines.append(count(spec.get("activeDeadlineSeconds")))
    known = [seconds for seconds in deadlines if seconds is not None]
    bounded = bool(known) and len(known) == len(deadlines)
    return Layout(tuple(templates), deadline_seconds=max(known) if bounded else None)


def _leader_worker_set(obj: Json) -> Layout:
    spec = at(obj, "spec")
    inner = at(spec, "leaderWorkerTemplate")
    size, path = _or_one(inner.get("size")), "/spec/leaderWorkerTemplate"
    leader = _sized(mapping(inner.get("leaderTemplate")), size)
    workers = size - bool(leader)
    templates = [Template(f"{path}/leaderTemplate/spec", leader, 1)] if leader else []
    worker = _sized(at(inner, "workerTemplate"), size)
    templates.append(Template(f"{path}/workerTemplate/spec", worker, max(workers, 0)))
    groups = _or_one(spec.get("replicas"))
    rolling = at(spec, "rolloutStrategy", "rollingUpdateConfiguration")
    surge = _surge(rolling.get("maxSurge", 0), groups)
    return Layout(tuple(templates), units=groups, surge=surge)


def _sized(template: Json, size: int) -> Json:
    """Return a template with the variable that LeaderWorkerSet gives each of its containers."""
    if not template:
        return template
    variable = {"name": _GROUP_SIZE, "value": str(size)}
    pod_spec = at(template, "spec")
    containers = [
        {**one, "env": [variable, *items(one.get("env"))]}
        for one in items(pod_spec.get("containers"))
    ]
    return {**template, "spec": {**pod_spec, "containers": containers}}


def _pytorch_job(obj: Json) -> Layout:
    spec = at(obj, "spec")
    templates = []
    for role in _PYTORCH_ROLES:
        replica = at(spec, "pytorchReplicaSpecs", role)
        if replica:
            path = f"/spec/pytorchReplicaSpecs/{role}/template/spec"
            pods = _or_one(replica.get("replicas"))
            templates.append(Template(path, at(replica, "template"), pods))
    seconds = count(at(spec, "runPolicy").get("activeDeadlineSeconds"))
    return Layout(tuple(templates), deadline_seconds=seconds)


def _train_job(obj: Json) -> Layout:
    """Kubeflow's TrainJob, as far as it says itself what the JobSet made of it runs."""
    spec = at(obj, "spec")
    trainer = at(spec, "trainer")
    container = {**trainer, "name": "node", "resources": at(trainer, "resourcesPerNode")}
    fetched = {"name": _STORED, "value": at(spec, "initializer", "model").get("storageUri")}
    initializer = {"name": "model-initializer", "env": [fetched]}
    body = {"containers": [container], "initContainers": [initializer] if fetched["value"] else []}
    return Layout((Template("/spec/trainer", {"spec": body}, _or_one(trainer.get("numNodes"))),))


def _ray(*path: str) -> Callable[[Json], Layout]:
    """Return how to read a kind that holds the specification of a RayCluster at a path."""

    def read(obj: Json) -> Layout:
        spec, where = at(obj, "spec", *path), "/".join(("/spec", *path))
        head = Template(
            f"{where}/headGroupSpec/template/spec", at(spec, "headGroupSpec", "template"), 1
        )
        templates = [head]
        for index, group in enumerate(items(spec.get("workerGroupSpecs"))):
            hosts = _or_one(group.get("numOfHosts"))
            least = count(group.get("minReplicas")) or 0
            pods = max(count(group.get("replicas")) or 0, least) * hosts
            place = f"{where}/workerGroupSpecs/{index}/template/spec"
            templates.append(Template(place, at(group, "template"), pods))
        seconds = count(at(obj, "spec").get("activeDeadlineSeconds"))
        return Layout(tuple(templates), deadline_seconds=seconds)

    return read


def _inference_service(obj: Json) -> Layout:
    """KServe's InferenceService, as the pods that its controller makes of the predictor."""
    predictor = at(obj, "spec", "predictor")
    model, workers = mapping(predictor.get("model")), mapping(predictor.get("workerSpec"))
    body = dict(predictor)
    if model:
        runtime = f"{text(model.get('runtime'))}{text(at(model, 'modelFormat').get('name'))}"
        image = "kserve/huggingfaceserver" if "huggingface" in runtime else runtime
        body["containers"] = [{"image": image, **model}]
        fetch = {"name": "storage-initializer", "args": [model.get("storageUri"), "/mnt/models"]}
        body["initContainers"] = [fetch] if model.get("storageUri") else []
    elif source := _stored(predictor):
        fetch = {"name": "storage-initializer", "args": [source, "/mnt/models"]}
        body["initContainers"] = [*items(predictor.get("initContainers")), fetch]
    templates = [Template("/spec/predictor", {"spec": body}, 1)]
    if workers:
        stages = max(_or_one(workers.get("pipelineParallelSize")) - 1, 0)
        templates.append(Template("/spec/predictor/workerSpec", {"spec": workers}, stages))
    # Scaled to zero it still wants a price: what one replica takes once it runs.
    return Layout(tuple(templates), units=max(_or_one(predictor.get("minReplicas")), 1))


def _stored(predictor: Json) -> str:
    """Return the address in the environment of a container of one's own, which KServe fetches."""
    (first, *_) = items(predictor.get("containers")) or [{}]
    named = (one for one in items(first.get("env")) if one.get("name") == _STORED)
    return text(next(named, {}).get("value"))


def _llm_inference_service(obj: Json) -> Layout:
    """KServe's LLMInferenceService: a model's address, degrees, and the rest of a vLLM pod."""
    spec = at(obj, "spec")
    degrees = at(spec, "parallelism")
    body = dict(at(spec, "template"))
    first, *others = items(body.get("containers")) or [{}]
    flags = [f"--model={text(at(spec, 'model').get('uri'))}"]
    flags += [
        f"--{name}-parallel-size={degrees[name]}"
        for name in ("tensor", "pipeline", "data")
        if count(degrees.get(name))
    ]
    body["containers"] = [{"image": "vllm", **first, "args": flags}, *others]
    template = Template("/spec/template", {"spec": body}, _or_one(spec.get("replicas")))
    return Layout((template,))


LAYOUTS: Mapping[str, tuple[str, Callable[[Json], Layout]]] = {
    "Pod": ("v1", _pod),
    "Job": ("batch/v1", _job),
    "CronJob": ("batch/v1", _cron_job),
    "Deployment": ("apps/v1", _deployment),
    "StatefulSet": ("apps/v1", _replicated),
    "ReplicaSet": ("apps/v1", _replicated),
    "JobSet": ("jobset.x-k8s.io/v1alpha2", _job_set),
    "LeaderWorkerSet": ("leaderworkerset.x-k8s.io/v1", _leader_worker_set),
    "PyTorchJob": ("kubeflow.org/v1", _pytorch_job),
    "TrainJob": ("trainer.kubeflow.org/v1alpha1", _train_job),
    "RayCluster": ("ray.io/v1", _ray()),
    "RayJob": ("ray.io/v1", _ray("rayClusterSpec")),
    "RayService": ("ray.io/v1", _ray("rayClusterConfig")),
    "InferenceService": ("serving.kserve.io/v1beta1", _inference_service),
    "LLMInferenceService": ("serving.kserve.io/v1alpha1", _llm_inference_service),
}
"""Kind -> version that an object without one is taken for, and how to read it."""


def job_pods(spec: Json) -> int:
    """Return the pods of a Job that run at once."""
    parallelism, completions = count(spec.get("parallelism")), count(spec.get("completions"))
    at_once = 1 if parallelism is None else parallelism
    return at_once if completions is None else min(at_once, completions)


def _or_one(value: object) -> int:
    number = count(value)
    return 1 if number is None else number


def _surge(value: object, replicas: int) -> int:
    """Return how many more pods a rolling update may run: a number, or a share rounded up."""
    number = count(value)
    if number is not None:
        return number
    share = re.fullmatch(r"([0-9]{1,3})%", text(value))
    return math.ceil(replicas * int(share[1]) / 100) if share else 0
