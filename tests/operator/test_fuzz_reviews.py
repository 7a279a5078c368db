"""Whatever a review holds, it gets an honest answer: never an error of ours, never a long wait.

How long is CPU time of the whole process, the estimator's thread included: on a shared machine the
wall clock counts the pauses that others cause.
"""

import gc
import json
import logging
import random
import resource
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import steady_physics
from energaizer_operator import certificates, kinds, translate
from energaizer_operator.garbage import keep_what_is_loaded
from energaizer_operator.webhook import mutate, validate
from energaizer_operator.webhook.app import Route, Server
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.review import Answer, Request
from reviewing import (
    NAMESPACE,
    aiworkload,
    budget,
    deployment,
    job,
    judging,
    pod,
    policy,
    review,
)

log = logging.getLogger(__name__)

SEED = 20261124
PER_CHANGE = 20_000  # beyond these with the real estimator
INSIDE = 0.8  # of the mutations change the object alone: a broken envelope is soon refused
SLOW_S = 0.1
GROWTH_BYTES = 10 * 2**20
WORDS = [
    "",
    "0",
    "-1",
    "1e9",
    "99999999999999999999",
    "1.5",
    "١٢",
    "\ud800",
    "\u202egpu",
    "a" * 300,
    "💡" * 70,
    "\x00",
    "BF16",
    "Training",
    "nvidia.com/gpu",
    "meta-llama/Llama-3.1-8B",
    "../../etc/passwd",
    "{}",
    "true",
]
KEYS = [
    "energaizer.io/model",
    "energaizer.io/batch-size",
    "energaizer.io/task",
    "energaizer.io/tensor-parallel",
    "nvidia.com/gpu",
    "nvidia.com/mig-1g.10gb",
    "amd.com/gpu",
    "labels",
    "annotations",
    "metadata",
    "spec",
    "template",
    "containers",
    "resources",
    "limits",
    "affinity",
    "nodeSelector",
    "ownerReferences",
    "replicas",
    "parallelism",
]


def deep(rng: random.Random) -> Any:
    value: Any = 0
    for _ in range(rng.choice((3, 50, 150))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def junk(rng: random.Random) -> Any:
    """Return a value of any JSON type."""
    return rng.choice(
        (
            lambda: None,
            lambda: rng.choice((True, False)),
            lambda: rng.choice((0, 1, -1, 2**31, 2**63, 10**40)),
            lambda: rng.choice((0.5, 1e308, -0.0)),
            lambda: rng.choice(WORDS),
            list,
            dict,
            lambda: [rng.choice(WORDS), None, {}],
            lambda: {rng.choice(KEYS): rng.choice(WORDS)},
            lambda: deep(rng),
        )
    )()


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value below a document."""
    found: list[tuple[Any, ...]] = []
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


def mutate_tree(rng: random.Random, document: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(document))
    under = changed["request"]["object"] if rng.random() < INSIDE else changed
    for _ in range(rng.choice((1, 1, 2, 5))):
        path = rng.choice(places(under))
        node: Any = under
        for key in path[:-1]:
            node = node[key]
        what = rng.random()
        if what < 0.25:
            del node[path[-1]]
        elif what < 0.85:
            node[path[-1]] = junk(rng)
        elif isinstance(node, dict):
            node[rng.choice(KEYS)] = junk(rng)
        else:
            node.append(junk(rng))
        if not under:
            break
    return changed


def mutate_bytes(rng: random.Random, raw: bytes) -> bytes:
    what = rng.random()
    if what < 0.4:
        return raw[: rng.randrange(len(raw))]
    if what < 0.8:
        place = rng.randrange(len(raw))
        return raw[:place] + bytes([rng.randrange(256)]) + raw[place + 1 :]
    if what < 0.98:
        return raw + rng.choice((b"\x00", b"}", b" " * 1000, b"[" * 5000))
    return raw.replace(b'"image"', b'"' + b"x" * (3 * 2**20) + b'"', 1)


def jobset() -> dict[str, Any]:
    """Return a JobSet of two groups, with the inputs as annotations."""
    one = job()
    groups = [{"name": name, "replicas": 2, "template": {"spec": one["spec"]}} for name in "ab"]
    head = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet"}
    return {**head, "metadata": one["metadata"], "spec": {"replicatedJobs": groups}}


def scale(replicas: int) -> dict[str, Any]:
    """Return the scale subresource of the Deployment."""
    metadata = {"name": "chat", "namespace": NAMESPACE}
    spec = {"replicas": replicas}
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec}


def limits() -> dict[str, Any]:
    """Return a policy that refuses what carries its label; the rest comes as far as the budgets."""
    selector = {"matchLabels": {"app": "limited"}}
    return policy(action="Deny", limits={"maxEnergyJoules": 1000}, workloadSelector=selector)


def limited(obj: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the label of the policy."""
    return {**obj, "metadata": {**obj["metadata"], "labels": {"app": "limited"}}}


def misspelt(obj: dict[str, Any]) -> dict[str, Any]:
    """Return an object whose model is unknown, so that names like it are looked for."""
    obj["metadata"]["annotations"]["energaizer.io/model"] = "meta-lxama/Llama-3.1-8B"
    return obj


DEPLOYMENTS = {"group": "apps", "version": "v1", "resource": "deployments"}
SEEDS = [
    review(job()),
    review(deployment(3), "UPDATE", oldObject=deployment(2)),
    review(pod()),
    review(limited(job())),
    review(limited(pod())),
    review(limited(misspelt(pod()))),
    review(pod(job())),
    review(pod(nodeSelector={"nvidia.com/gpu.product": "NVIDIA-L40S"})),
    review(job(suspend=True), "UPDATE", oldObject=job(suspend=True)),
    review(jobset()),
    review(jobset(), "UPDATE", oldObject=jobset(), dryRun=True),
    review(scale(3), "UPDATE", oldObject=scale(2), name="chat", resource=DEPLOYMENTS),
    review(
        aiworkload(
            task="BatchInference",
            model={"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
            inference={"batchSize": 16, "inputTokens": 512, "outputTokens": 256, "requests": 10},
            accelerator={"countPerReplica": 1, "allowedProfiles": ["l40s-48gb"]},
            whatIf={"profiles": ["l40s-48gb"], "clocksMegahertz": [1200]},
            limits={"maxEnergyJoules": 10},
        )
    ),
]
for number, seed in enumerate(SEEDS):  # the API server gives both before it asks
    for one in (seed["request"]["object"], seed["request"]["oldObject"]):
        if one:
            one["metadata"] = {"name": f"w-{number}", "uid": f"uid-{number}", **one["metadata"]}
Handler = Callable[[Judge, Request], Awaitable[Answer]]


def routes(judge: Judge) -> list[Route]:
    def bound(handler: Handler) -> Callable[[Request], Awaitable[Answer]]:
        return lambda request: handler(judge, request)

    handlers: list[Handler] = [
        mutate.mutate_pod,
        mutate.mutate_owner,
        validate.validate_pod,
        validate.validate_workload,
        validate.validate_scale,
        validate.validate_aiworkload,
    ]
    return [Route(h.__name__, bound(h), validate.refuse, 5.0) for h in handlers]


@pytest.fixture
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    reviews = int(request.config.getoption("--reviews"))
    if reviews <= PER_CHANGE:
        steady_physics.install(monkeypatch)
    yield reviews
    gc.unfreeze()


async def test_every_review_gets_an_honest_answer(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    log.setLevel(logging.INFO)
    rng = random.Random(SEED)
    rules = (kinds.ENERGYPOLICIES, limits())
    answered = refused = unread = 0
    grown_from = 0
    took = array("d", bytes(8 * count))  # all of it now: it must not count as growth
    objects = (kinds.JOBS, job()), (kinds.DEPLOYMENTS, deployment(2)), rules
    async with judging(*objects, budget("firm", "Deny"), budget("later", "Hold")) as (judge, api):
        server = Server([], certificates.make(("localhost",), datetime.now(UTC)).leaf)
        judge.estimator.warm()  # as a replica does before it is ready, and its estimator's process
        translate.warm()
        keep_what_is_loaded()
        served = routes(judge)
        for number in range(count):
            if number == count // 2:
                grown_from = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            document = mutate_tree(rng, rng.choice(SEEDS))
            raw = json.dumps(document).encode()
            if rng.random() < 0.2:
                raw = mutate_bytes(rng, raw)
            started = time.process_time()
            status, said = await server.respond(rng.choice(served), raw, 5.0)
            took[number] = time.process_time() - started
            assert took[number] < SLOW_S, f"seed {SEED}, review {number}: {raw[:2000]!r}"
            json.dumps(said).encode()
            assert isinstance(said, dict)
            if status == 400:
                unread += 1
                continue
            response = said["response"]
            answered += 1
            assert status == 200
            assert not caplog.records, f"seed {SEED}, review {number}: {raw[:2000]!r}"
            if not response["allowed"]:
                refused += 1
                assert 400 <= response["status"]["code"] < 500
                assert response["status"]["message"]
            assert all(len(text) <= 256 for text in response.get("warnings", ()))
    assert min(answered, refused, unread) > count // 50
    assert api.writes, "no review came as far as a budget"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown_from
    assert grown * 1024 < GROWTH_BYTES
    ordered = sorted(took)
    log.info(
        "%d reviews: %d answered, of which %d refused; %d unreadable; CPU time of the process"
        " p50 %.2f ms, p99 %.2f ms, longest %.1f ms; %d KiB more memory in the second half",
        *(count, answered, refused, unread),
        *(1e3 * ordered[int(count * share)] for share in (0.5, 0.99)),
        1e3 * ordered[-1],
        grown,
    )
