"""The CRDs on a real API server: rules, defaults, columns, and agreement with the Python models."""

import http.client
import json
import os
import random
import ssl
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import ValidationError

from energaizer_operator import crds
from energaizer_operator.names import API_VERSION, GROUP, NAMESPACED, PLURALS, VERSION, Kind
from energaizer_operator.resources import MODELS
from localcluster import Cluster

CRDS = Path(__file__).parents[2] / "crds"
GENERATED = int(os.environ.get("ENERGAIZER_GENERATED", "3000"))  # more of them on demand
SEED = int(os.environ.get("ENERGAIZER_SEED", "20261124"))


class Server:
    """Sends objects to the API server over one connection."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        place = content["clusters"][0]["cluster"]
        authority = b64decode(place["certificate-authority-data"]).decode()
        url = urlsplit(place["server"])
        context = ssl.create_default_context(cadata=authority)
        self._connection = http.client.HTTPSConnection(url.netloc, context=context)
        self._token = content["users"][0]["user"]["token"]

    def close(self) -> None:
        self._connection.close()

    def send(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        self._connection.request(method, path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def create(self, manifest: dict[str, Any], *, keep: bool = False) -> tuple[int, dict[str, Any]]:
        suffix = "" if keep else "&dryRun=All"
        return self.send("POST", f"{path_of(manifest)}?fieldValidation=Strict{suffix}", manifest)


def path_of(manifest: dict[str, Any]) -> str:
    kind = Kind(manifest["kind"])
    place = "namespaces/default/" if kind in NAMESPACED else ""
    return f"/apis/{GROUP}/{VERSION}/{place}{PLURALS[kind]}"


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[Server]:
    cluster.kubectl("apply", "--server-side", "-k", str(CRDS))
    definitions = [f"crd/{PLURALS[kind]}.{GROUP}" for kind in MODELS]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *definitions)
    found = Server(cluster.kubeconfig)
    for kind in MODELS:  # established is not yet served by every handler
        for _ in range(100):
            status, _ = found.create(manifest(kind, SMALLEST[kind]))
            if status == http.HTTPStatus.CREATED:
                break
    yield found
    found.close()
    cluster.kubectl("delete", "aiworkloads", "--all")  # the definitions may serve other tests
    cluster.kubectl("delete", "energypolicies", "shown", "--ignore-not-found")


SMALLEST: dict[Kind, dict[str, Any]] = {
    Kind.AI_WORKLOAD: {},
    Kind.GPU_PROFILE: {
        "vendor": "NVIDIA",
        "thermalDesignPowerWatts": 70,
        "productNames": ["T4"],
    },
    Kind.ENERGY_POLICY: {},
}


def manifest(kind: Kind, spec: Any, name: str = "x") -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def merged(kind: Kind, **spec: Any) -> dict[str, Any]:
    return manifest(kind, {**SMALLEST[kind], **spec})


W, G, P = Kind.AI_WORKLOAD, Kind.GPU_PROFILE, Kind.ENERGY_POLICY
LONG, SHORT = "a" * 64, "a" * 63


def only(kind: Kind, key: str, values: list[Any]) -> list[dict[str, Any]]:
    return [merged(kind, **{key: value}) for value in values]


def spec(*specs: dict[str, Any]) -> list[dict[str, Any]]:
    return [manifest(W, one) for one in specs]


def term(*expressions: dict[str, Any]) -> dict[str, Any]:
    return merged(G, nodeSelectorTerms=[{"matchExpressions": list(expressions)}])


def choice(*expressions: dict[str, Any]) -> dict[str, Any]:
    return merged(P, namespaceSelector={"matchExpressions": list(expressions)})


# Words of the message -> good and bad objects; every rule that is not about a transition.
RULES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "metadata.name must not exceed 63 characters": (
        [manifest(kind, SMALLEST[kind], name) for kind in (W, G) for name in (SHORT, "a", "a.b")],
        [
            manifest(kind, SMALLEST[kind], name)
            for kind in (W, G)
            for name in (LONG, "b" * 100, "c" * 253)
        ],
    ),
    "inference and training exclude each other": (
        spec(
            {},
            {"inference": {}},
            {"training": {}},
            {"training": {"steps": 1}},
            {"task": "Training"},
        ),
        spec(
            {"inference": {}, "training": {}},
            {"inference": {"batchSize": 1}, "training": {}},
            {"inference": {}, "training": {"steps": 1}},
            {"inference": {"requests": 1}, "training": {"tokens": 1}},
            {"task": "Training", "inference": {}, "training": {}},
        ),
    ),
    "a training block needs task": (
        spec(
            {"task": "Training", "training": {}},
            {"task": "FineTuning", "training": {}},
            {"training": {}},
            {"task": "Inference"},
            {"task": "BatchInference", "inference": {}},
        ),
        spec(
            *(
                {"task": task, "training": body}
                for task in ("Inference", "BatchInference")
                for body in ({}, {"steps": 1}, {"tokens": 1})
            )
        ),
    ),
    "an inference block needs task": (
        spec(
            {"task": "Inference", "inference": {}},
            {"task": "BatchInference", "inference": {}},
            {"inference": {}},
            {"task": "Training"},
            {"task": "FineTuning", "training": {}},
        ),
        spec(
            *(
                {"task": task, "inference": body}
                for task in ("Training", "FineTuning")
                for body in ({}, {"requests": 1}, {"batchSize": 1})
            )
        ),
    ),
    "source Inline needs model.architecture": (
        only(
            W,
            "model",
            [
                {"source": "Inline", "architecture": {}},
                {"source": "Inline", "architecture": {"layers": 1}},
                {"source": "Preset"},
                {"architecture": {}},
                {},
            ],
        ),
        only(
            W,
            "model",
            [
                {"source": "Inline"},
                {"source": "Inline", "name": "m"},
                {"source": "Inline", "configMapRef": {"name": "c"}},
                {"source": "Inline", "precision": "BF16"},
                {"source": "Inline", "revision": "r"},
            ],
        ),
    ),
    "source HuggingFaceConfig needs": (
        only(
            W,
            "model",
            [
                {"source": "HuggingFaceConfig", "configMapRef": {"name": "c"}},
                {"source": "HuggingFaceConfig", "configMapRef": {"name": "c"}, "name": "m"},
                {"source": "Preset", "name": "m"},
                {"configMapRef": {"name": "c"}},
                {"name": "m"},
            ],
        ),
        only(
            W,
            "model",
            [
                {"source": "HuggingFaceConfig"},
                {"source": "HuggingFaceConfig", "name": "m"},
                {"source": "HuggingFaceConfig", "architecture": {}},
                {"source": "HuggingFaceConfig", "revision": "r"},
                {"source": "HuggingFaceConfig", "precision": "FP8"},
            ],
        ),
    ),
    "requests (a finite job) and requestsPerSecondMilli": (
        only(
            W,
            "inference",
            [{}, {"requests": 1}, {"requestsPerSecondMilli": 1}, {"requests": 9}, {"batchSize": 1}],
        ),
        only(
            W,
            "inference",
            [
                {"requests": n, "requestsPerSecondMilli": m}
                for n, m in ((1, 1), (2, 1), (1, 2), (9, 9), (2**53 - 1, 10**9))
            ],
        ),
    ),
    "steps and tokens both state the length": (
        only(W, "training", [{}, {"steps": 1}, {"tokens": 1}, {"steps": 9}, {"tokens": 2**53 - 1}]),
        only(
            W,
            "training",
            [
                {"steps": n, "tokens": m}
                for n, m in ((1, 1), (2, 1), (1, 2), (9, 9), (5, 2**53 - 1))
            ],
        ),
    ),
    "microBatchSize is a part of globalBatchSize": (
        only(
            W,
            "training",
            [
                {"microBatchSize": 1, "globalBatchSize": 1},
                {"microBatchSize": 1, "globalBatchSize": 2},
                {"microBatchSize": 9},
                {"globalBatchSize": 1},
                {"microBatchSize": 65536, "globalBatchSize": 1048576},
            ],
        ),
        only(
            W,
            "training",
            [
                {"microBatchSize": m, "globalBatchSize": g}
                for m, g in ((2, 1), (3, 2), (9, 8), (65536, 65535), (65536, 1))
            ],
        ),
    ),
    "must not exceed 256 combinations": (
        only(
            W,
            "whatIf",
            [
                {},
                {"profiles": ["a"]},
                {"profiles": ["a"] * 16, "clocksMegahertz": [100] * 15},
                {"profiles": ["a"] * 4, "clocksMegahertz": [100] * 7, "powerCapsWatts": [10] * 7},
                {"clocksMegahertz": [100] * 16, "powerCapsWatts": [10] * 16},
            ],
        ),
        only(
            W,
            "whatIf",
            [
                {"profiles": ["a"] * 16, "clocksMegahertz": [100] * 16},
                {"profiles": ["a"], "clocksMegahertz": [100] * 16, "powerCapsWatts": [10] * 16},
                {"profiles": ["a"] * 4, "clocksMegahertz": [100] * 7, "powerCapsWatts": [10] * 8},
                {"profiles": ["a"] * 16, "powerCapsWatts": [10] * 16},
                {"profiles": ["a"] * 9, "clocksMegahertz": [100] * 5, "powerCapsWatts": [10] * 4},
            ],
        ),
    ),
    "tensor x pipeline x context exceeds the GPUs": (
        spec(
            {"parallelism": {"tensor": 8}, "accelerator": {"countPerReplica": 8}},
            {"parallelism": {"tensor": 1024}},
            {"parallelism": {"tensor": 16}, "accelerator": {"replicas": 1}},
            {
                "parallelism": {"tensor": 8, "pipeline": 2},
                "accelerator": {"countPerReplica": 8, "replicas": 2},
            },
            {"parallelism": {"expert": 64, "data": 9}, "accelerator": {"countPerReplica": 1}},
        ),
        spec(
            {"parallelism": {"tensor": 9}, "accelerator": {"countPerReplica": 8}},
            {"parallelism": {"pipeline": 9}, "accelerator": {"countPerReplica": 8, "replicas": 0}},
            {"parallelism": {"context": 2}, "accelerator": {"countPerReplica": 1}},
            {
                "parallelism": {"tensor": 8, "pipeline": 2, "context": 2},
                "accelerator": {"countPerReplica": 8, "replicas": 2},
            },
            {
                "parallelism": {"tensor": 1024, "pipeline": 1024, "context": 1024},
                "accelerator": {"countPerReplica": 1024, "replicas": 100000},
            },
        ),
    ),
    "a profile must say how to recognise its GPU": (
        [
            merged(G),
            merged(G, productNames=[], deviceIDs=["1eb8"]),
            merged(G, productNames=[], deviceProductNames=["Tesla T4"]),
            merged(G, deviceIDs=["1eb8"]),
            merged(
                G,
                productNames=[],
                nodeSelectorTerms=[{"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
            ),
        ],
        [
            merged(G, productNames=[]),
            merged(G, productNames=[], deviceIDs=[]),
            merged(G, productNames=[], deviceProductNames=[], nodeSelectorTerms=[]),
            manifest(G, {"vendor": "AMD", "thermalDesignPowerWatts": 1}),
            merged(G, productNames=[], resourceNames=["amd.com/gpu"]),
        ],
    ),
    "idlePowerWatts must be below": (
        only(G, "idlePowerWatts", [0, 1, 10, 68, 69]),
        only(G, "idlePowerWatts", [70, 71, 100, 9999, 10000]),
    ),
    "minWatts must not exceed maxWatts": (
        only(
            G,
            "powerCapRange",
            [
                {"minWatts": a, "maxWatts": b}
                for a, b in ((1, 1), (1, 2), (60, 70), (1, 10000), (9, 9))
            ],
        ),
        only(
            G,
            "powerCapRange",
            [
                {"minWatts": a, "maxWatts": b}
                for a, b in ((2, 1), (70, 60), (10000, 1), (10000, 9999), (3, 2))
            ],
        ),
    ),
    "operator In needs values and Exists takes none": (
        [
            term({"key": "a", "operator": "In", "values": ["1"]}),
            term({"key": "a", "operator": "In", "values": [""]}),
            term({"key": "a", "operator": "Exists"}),
            term({"key": "a", "operator": "Exists", "values": []}),
            term(
                {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "In", "values": ["1"]}
            ),
        ],
        [
            term({"key": "a", "operator": "In"}),
            term({"key": "a", "operator": "In", "values": []}),
            term({"key": "a", "operator": "Exists", "values": ["1"]}),
            term({"key": "a", "operator": "Exists"}, {"key": "b", "operator": "In"}),
            term({"key": "a", "operator": "Exists", "values": [""]}),
        ],
    ),
    "operators In and NotIn need values": (
        [
            choice({"key": "a", "operator": "In", "values": ["1"]}),
            choice({"key": "a", "operator": "NotIn", "values": ["1", "2"]}),
            choice({"key": "a", "operator": "Exists"}),
            choice({"key": "a", "operator": "DoesNotExist"}),
            choice(),
        ],
        [
            choice({"key": "a", "operator": "In"}),
            choice({"key": "a", "operator": "NotIn"}),
            choice({"key": "a", "operator": "Exists", "values": ["1"]}),
            choice({"key": "a", "operator": "DoesNotExist", "values": ["1"]}),
            choice({"key": "a", "operator": "In", "values": []}),
        ],
    ),
}


def test_every_rule_is_tried() -> None:
    def messages(schema: Any) -> Iterator[str]:
        if isinstance(schema, dict):
            for rule in schema.get("x-kubernetes-validations", []):
                if "oldSelf" not in rule["rule"]:
                    yield rule["message"]
            for inner in schema.values():
                yield from messages(inner)

    stated = {text for model in MODELS.values() for text in messages(crds.open_api(model))}
    assert [
        text for text in stated if not any(text.startswith(key) or key in text for key in RULES)
    ] == []


@pytest.mark.parametrize("words", RULES)
def test_a_rule_of_a_crd(server: Server, words: str) -> None:
    good, bad = RULES[words]
    assert len(good) >= 5
    assert len(bad) >= 5
    for one in good:
        status, answer = server.create(one)
        assert status == http.HTTPStatus.CREATED, answer.get("message")
        MODELS[Kind(one["kind"])].model_validate(one)
    for one in bad:
        status, answer = server.create(one)
        assert status == http.HTTPStatus.UNPROCESSABLE_ENTITY, one
        assert words in answer["message"]
        with pytest.raises(ValidationError, match=words.split("(", maxsplit=1)[0].strip()):
            MODELS[Kind(one["kind"])].model_validate(one)


def test_the_workload_ref_cannot_change(server: Server) -> None:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "one"}
    named = [{**reference, "name": name} for name in ("one", "two")]
    status, created = server.create(manifest(W, {}, "immutable"), keep=True)
    assert status == http.HTTPStatus.CREATED
    path = f"{path_of(created)}/immutable"

    def put(spec: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return server.send("PUT", path, {**created, "spec": spec})

    status, created = put({"workloadRef": named[0]})
    assert status == http.HTTPStatus.OK, "it may be set once"
    for change in (
        {"workloadRef": named[1]},
        {"workloadRef": {**reference, "kind": "Deployment"}},
        {"workloadRef": {**reference, "apiVersion": "batch/v2"}},
        {},
        {"task": "Training"},
    ):
        status, answer = put(change)
        assert status == http.HTTPStatus.UNPROCESSABLE_ENTITY
        assert answer["details"]["causes"][0]["reason"] == "FieldValueForbidden"
        assert "workloadRef cannot change once it is set" in answer["message"]
    for task in ("Training", "FineTuning", "Inference", "BatchInference", "Training"):
        status, created = put({"workloadRef": named[0], "task": task})
        assert status == http.HTTPStatus.OK


def test_defaults_are_those_of_the_models(server: Server) -> None:
    for kind, small in SMALLEST.items():
        sent = manifest(kind, small)
        if kind is P:
            sent = manifest(kind, {"defaults": {}, "limits": {}, "namespaceSelector": {}})
        status, answer = server.create(sent)
        assert status == http.HTTPStatus.CREATED
        assert answer["spec"] == MODELS[kind].model_validate(sent).to_dict()["spec"]


def test_columns(cluster: Cluster, server: Server) -> None:
    sent = merged(P, priority=7, action="Deny", limits={"maxEnergyJoules": 100})
    sent["metadata"]["name"] = "shown"
    assert server.create(sent, keep=True)[0] == http.HTTPStatus.CREATED
    header, line = cluster.kubectl("get", "epol", "shown").stdout.splitlines()
    assert header.split() == ["NAME", "PRIORITY", "ACTION", "MAX-ENERGY", "READY", "AGE"]
    assert line.split()[:4] == ["shown", "7", "Deny", "100"]
    assert "shown" in cluster.kubectl("get", "energaizer", "-A").stdout


def test_status_is_a_resource_of_its_own(server: Server) -> None:
    status, created = server.create(manifest(W, {"task": "Training"}, "own"), keep=True)
    assert status == http.HTTPStatus.CREATED
    path = f"{path_of(created)}/own"
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-11-24T15:00:00Z",
    }
    body = {**created, "spec": {}, "status": {"observedGeneration": 1, "conditions": [condition]}}
    status, by_status = server.send("PUT", f"{path}/status", body)
    assert status == http.HTTPStatus.OK
    assert by_status["status"] == body["status"]
    assert by_status["spec"] == {"task": "Training"}, "who writes the status leaves the spec"
    status, by_spec = server.send("PUT", path, {**by_status, "status": {}})
    assert by_spec["status"] == body["status"], "who writes the spec leaves the status"
    twice = {**by_status, "status": {"conditions": [condition, condition]}}
    status, answer = server.send("PUT", f"{path}/status", twice)
    assert status == http.HTTPStatus.UNPROCESSABLE_ENTITY
    assert "Duplicate value" in answer["message"]


class Maker:
    """Makes objects of a schema: mostly good, some with one or more things wrong."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def wrong(self) -> bool:
        return self._dice.random() < 0.015

    def value(self, schema: dict[str, Any]) -> Any:
        if self.wrong():
            return self._dice.choice([None, "", "1", 0, -1, 1.5, True, [], {}, [1], {"a": "b"}])
        return getattr(self, schema["type"])(schema)

    def object(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "properties" not in schema:
            return {
                f"k{n}": self.value(schema["additionalProperties"])
                for n in range(self._dice.randint(0, 2))
            }
        found = {
            name: self.value(inner)
            for name, inner in schema["properties"].items()
            if (name in schema.get("required", []) and not self.wrong())
            or self._dice.random() < 0.3
        }
        if self.wrong():
            found["unheardOf"] = 1
        return found

    def array(self, schema: dict[str, Any]) -> list[Any]:
        count = self._dice.choice([0, 1, 1, 2, 3])
        if self.wrong():
            count = schema["maxItems"] + 1
        return [self.value(schema["items"]) for _ in range(max(count, schema.get("minItems", 0)))]

    def integer(self, schema: dict[str, Any]) -> int:
        low, high = schema["minimum"], schema["maximum"]
        if self.wrong():
            return self._dice.choice([low - 1, high + 1])
        return self._dice.choice(
            [low, high, min(high, low + 1), self._dice.randint(low, min(high, low + 300))]
        )

    def string(self, schema: dict[str, Any]) -> str:
        if "enum" in schema:
            return "Unheard" if self.wrong() else self._dice.choice(schema["enum"])
        longest = schema["maxLength"]
        if self.wrong():
            return "x" * (longest + 1)
        length = self._dice.choice([schema.get("minLength", 0), 3, longest])
        letters = "0123456789abcdef" if "pattern" in schema else "abcdé-. 😀"
        return "".join(self._dice.choice(letters) for _ in range(max(1, length)))


@pytest.mark.slow
def test_python_and_the_api_server_agree_on_every_object(server: Server) -> None:
    maker = Maker(SEED)
    kinds = list(MODELS)
    schemas = {kind: crds.open_api(MODELS[kind])["properties"]["spec"] for kind in kinds}
    verdicts = {True: 0, False: 0}
    apart: list[str] = []
    for number in range(GENERATED):
        kind = kinds[number % len(kinds)]
        one = manifest(kind, maker.object(schemas[kind]))
        status, answer = server.create(one)
        try:
            MODELS[kind].model_validate(one)
            said = ""
        except ValidationError as error:
            said = str(error)
        accepted = status == http.HTTPStatus.CREATED
        if accepted == bool(said):
            word = answer.get("message", "")
            apart.append(f"API server: {status} {word}\nPython: {said}\n{json.dumps(one)}")
        verdicts[accepted] += 1
    assert not apart, "\n\n".join([f"{len(apart)} disagreements", *apart[:5]])
    assert min(verdicts.values()) > GENERATED / 5, verdicts
