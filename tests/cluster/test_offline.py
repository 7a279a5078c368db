"""What `kubectl energaizer review` says without a cluster is what the API server says with one."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from crowd import INPUTS, energybudget, job
from energaizer_operator import kubectl, names
from localcluster.operator import OperatorProcess
from polling import PATIENCE_S

Namespace = Any
Object = dict[str, Any]
REFUSED = 4
HELD = "held until there is room: "
RULES: dict[str, Object] = {
    "policy Deny": {"action": "Deny", "limits": {"maxEnergyJoules": 5000, "maxPowerWatts": 300}},
    "policy Warn": {"action": "Warn", "limits": {"maxEnergyJoules": 5000}},
    "policy Deny, joules a token": {
        "action": "Deny",
        "limits": {"maxEnergyPerTokenMicrojoules": 1, "allowedProfiles": ["b200"]},
    },
    "budget Deny": {"action": "Deny"},
    "budget Hold": {"action": "Hold"},
    "budget Warn": {"action": "Warn"},
}


@pytest.fixture(scope="module", autouse=True)
def _processes(
    foreign_kinds: None, controller_process: OperatorProcess, webhook_process: OperatorProcess
) -> None:
    """Both run, after the kinds are there."""


def template(name: str, restart: str = "Always") -> Object:
    spec = {**job(name)["spec"]["template"]["spec"], "restartPolicy": restart}
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def of(version: str, kind: str, spec: Object, inputs: dict[str, str] = INPUTS) -> Object:
    metadata = {"name": kind.lower(), "annotations": dict(inputs)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


SERVING = {key: value for key, value in INPUTS.items() if key != names.ANNOTATION_REQUESTS} | {
    names.ANNOTATION_TASK: "Inference"
}
WORKER = {"name": "w", "replicas": 2, "template": {"spec": {"template": template("w", "Never")}}}
APP = {"selector": {"matchLabels": {"app": "app"}}, "template": template("app"), "replicas": 3}
OBJECTS = (
    job("job"),
    of("jobset.x-k8s.io/v1alpha2", "JobSet", {"replicatedJobs": [WORKER]}),
    of("apps/v1", "Deployment", APP, SERVING),
    of("apps/v1", "StatefulSet", {**APP, "serviceName": "s"}, SERVING),
    of("v1", "Pod", template("pod", "Never")["spec"]),
    of("v1", "Pod", template("pod", "Never")["spec"], {}),  # nothing but a bound is known
    {
        "apiVersion": names.API_VERSION,
        "kind": "AIWorkload",
        "metadata": {"name": "alone"},
        "spec": {
            "task": "BatchInference",
            "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
            "inference": {"batchSize": 16, "inputTokens": 512, "outputTokens": 9, "requests": 9999},
            "accelerator": {"resourceName": "nvidia.com/gpu", "countPerReplica": 1},
            "limits": {"maxEnergyJoules": 100},
        },
    },
)


def rule(namespace: Namespace, name: str) -> Object:
    """Make a rule of this namespace alone, and return it as the cluster holds it."""
    if name.startswith("budget"):
        namespace.apply(energybudget(1000, RULES[name]["action"], "monthly"))
        found: Object = namespace.wait(
            "energybudget", "monthly", lambda body: "observedGeneration" in body.get("status", {})
        )
        return found
    here = {"matchLabels": {names.LABEL_NAMESPACE_NAME: namespace.name}}
    made: Object = {
        "apiVersion": names.API_VERSION,
        "kind": "EnergyPolicy",
        "metadata": {"name": namespace.name},
        "spec": {**RULES[name], "namespaceSelector": here},
    }
    namespace.apply(made)
    namespace.wait("energypolicy", namespace.name, lambda body: "status" in body)
    return made


@pytest.mark.parametrize("name", RULES)
def test_both_say_the_same_of_every_kind(namespace: Namespace, tmp_path: Path, name: str) -> None:
    try:
        made = rule(namespace, name)
        actions = set()
        for obj in OBJECTS:
            # Nodes are still being counted, and the webhook hears of a rule when its watch says so.
            deadline = time.monotonic() + PATIENCE_S
            while differences := different(namespace, obj, world(namespace, made, tmp_path)):
                assert time.monotonic() < deadline, differences
                time.sleep(0.2)
            offline = reviewed(namespace, obj, tmp_path)
            actions.add(offline["action"])
        assert name.split()[1].rstrip(",") in actions
    finally:
        namespace.cluster.kubectl(
            "delete", "energypolicy", namespace.name, "--ignore-not-found", "--wait=false"
        )


def world(namespace: Namespace, made: Object, folder: Path) -> Path:
    """Write a rule and the profiles of the GPUs that are there, as a pipeline would keep them."""
    profiles = namespace.items("gpuprofiles")
    there = [one for one in profiles if one.get("status", {}).get("nodes")]
    (folder / "rules.yaml").write_text(yaml.safe_dump_all([made, *there]))
    return folder


def different(namespace: Namespace, obj: Object, folder: Path) -> list[str]:
    """Return where the API server does or says something else than a review without it."""
    offline, online = reviewed(namespace, obj, folder), applied(namespace, obj)
    about = f"{obj['kind']} {offline['action']}, online: {online}"
    found = []
    if (offline["action"] == "Deny") is online["created"]:
        found.append(f"verdict of {about}")
    if offline["action"] == "Deny" and offline["message"] not in online["said"]:
        found.append(f"{offline['message']} of {about}")
    warned: list[str] = re.findall(r"^Warning: (.*)$", online["said"], re.MULTILINE)
    held = [text.removeprefix(HELD) for text in warned if text.startswith(HELD)]
    if offline["action"] == "Hold" and not [
        text for text in held if offline["message"].startswith(text.rstrip("…"))
    ]:
        found.append(f"{offline['message']} of {about}")
    ours = {text for text in warned if not text.startswith(HELD)}
    if ours != set(offline["warnings"]):
        found.append(f"{offline['warnings']} of {about}")
    return found


def reviewed(namespace: Namespace, obj: Object, folder: Path) -> Object:
    """Return the verdict that a pipeline gets, and check its exit code."""
    placed = {**obj, "metadata": {**obj["metadata"], "namespace": namespace.name}}
    (folder / "object.yaml").write_text(yaml.safe_dump(placed))
    arguments = ["review", "-f", str(folder / "object.yaml"), "-o", "json"]
    done = CliRunner().invoke(kubectl.main, [*arguments, "--policies", str(folder / "rules.yaml")])
    (verdict,) = json.loads(done.stdout)
    assert done.exit_code == (REFUSED if verdict["action"] == "Deny" else 0)
    found: Object = verdict
    return found


def applied(namespace: Namespace, obj: Object) -> Object:
    """Return whether the API server takes an object, and what it says; nothing stays."""
    done = namespace.cluster.kubectl(
        *("apply", "--dry-run=server", "-n", namespace.name, "-f", "-"),
        input=json.dumps(obj),
        check=False,
    )
    return {"created": done.returncode == 0, "said": done.stdout + done.stderr}
