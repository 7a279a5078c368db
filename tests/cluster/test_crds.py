"""The CRDs on a real API server: rules, defaults, columns, and agreement with the Python models."""

import http.client
import json
import os
import random
import ssl
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import ValidationError

from crd_cases import RULES, SMALLEST, B, P, R, W, manifest, merged
from energaizer_operator import crds
from energaizer_operator.names import GROUP, NAMESPACED, PLURALS, VERSION, Kind
from energaizer_operator.resources import MODELS
from localcluster import Cluster
from localcluster.operator import OperatorProcess
from polling import until

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
def server(cluster: Cluster, webhook_process: OperatorProcess) -> Iterator[Server]:
    """A connection, once every kind is served; AIWorkloads are refused without the webhook."""
    assert webhook_process.running
    cluster.kubectl("apply", "--server-side", "-k", str(CRDS))
    cluster.wait_for_kinds(*(f"{PLURALS[kind]}.{GROUP}" for kind in MODELS))
    with closing(Server(cluster.kubeconfig)) as found:
        for kind in MODELS:  # established is not yet served by every handler
            smallest = manifest(kind, SMALLEST[kind])
            until(lambda one=smallest: found.create(one)[0] == http.HTTPStatus.CREATED, kind)  # type: ignore[misc]
        yield found
    cluster.kubectl("delete", "energybudgets,energyreservations", "--all")
    cluster.kubectl("delete", "aiworkloads", "--all")  # the definitions may serve other tests
    cluster.kubectl("delete", "energypolicies", "shown", "--ignore-not-found")


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


def test_the_window_of_a_budget_cannot_change(server: Server) -> None:
    small = SMALLEST[B]
    status, created = server.create(manifest(B, small, "still"), keep=True)
    assert status == http.HTTPStatus.CREATED
    path = f"{path_of(created)}/still"
    for window in (
        {"period": "Day"},
        {"period": "Month", "timeZone": "Europe/Rome"},
        {"type": "Rolling", "seconds": 3600},
        {"type": "Rolling", "period": "Month", "seconds": 3600},
        {"type": "None"},
    ):
        status, answer = server.send("PUT", path, {**created, "spec": {**small, "window": window}})
        assert status == http.HTTPStatus.UNPROCESSABLE_ENTITY
        assert answer["details"]["causes"][0]["reason"] == "FieldValueForbidden"
        assert "window cannot change" in answer["message"]
    for change in ({"limitJoules": 2}, {"action": "Deny"}, {"reserveFor": "Mean"}, {}, {}):
        body = {**created, "spec": {**small, **change}}
        status, created = server.send("PUT", path, body)
        assert status == http.HTTPStatus.OK


def test_the_object_of_a_reservation_cannot_change(server: Server) -> None:
    small = SMALLEST[R]
    status, created = server.create(manifest(R, small, "bound"), keep=True)
    assert status == http.HTTPStatus.CREATED
    path = f"{path_of(created)}/bound"
    for change in (
        {"uid": "other"},
        {"name": "other"},
        {"kind": "Pod"},
        {"apiVersion": "v1"},
        {"uid": "v", "name": "b"},
    ):
        reference = {**small["workloadRef"], **change}
        body = {**created, "spec": {**small, "workloadRef": reference}}
        status, answer = server.send("PUT", path, body)
        assert status == http.HTTPStatus.UNPROCESSABLE_ENTITY
        assert "workloadRef cannot change" in answer["message"]
    for change in ({"energyJoules": 2}, {"replicas": 2}, {"powerWatts": 2}, {}, {}):
        body = {**created, "spec": {**small, **change}}
        status, created = server.send("PUT", path, body)
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
    headers = {
        "ebud": "NAME LIMIT USED% REMAINING PENDING WINDOW-END ACTION READY AGE",
        "eres": "NAME KIND WORKLOAD ENERGY POWER CONSUMED GPU SETTLED AGE",
    }
    for kind, small in ((B, "ebud"), (R, "eres")):
        assert server.create(manifest(kind, SMALLEST[kind], "shown"), keep=True)[0] == 201
        assert (
            cluster.kubectl("get", small).stdout.splitlines()[0].split() == headers[small].split()
        )


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
        if schema.get("format") == "date-time":
            return "noon" if self.wrong() else "2026-11-24T12:00:00Z"
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
