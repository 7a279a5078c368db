"""Placement on a real scheduler: what we add to a pod is accepted and obeyed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import energaizer_operator
from energaizer_operator import affinity, placement
from energaizer_operator.identity import Catalogue, identities
from energaizer_operator.options import Option
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import EstimateSummary
from localcluster import Cluster
from patient import make_namespace
from polling import wait_for

IDENTITIES = Path(energaizer_operator.__file__).parent / "profiles" / "identities.yaml"
NAMESPACE = "placement"
ENERGY = {"a100-sxm4-80gb": 300, "h100-sxm5-80gb": 200, "l40s-48gb": 100}


@pytest.fixture(scope="module")
def profiles(cluster: Cluster) -> Iterator[dict[str, GPUProfile]]:
    """Profiles of three GPUs, with the labels by which nodes of the cluster show them."""
    found = identities(yaml.safe_load(IDENTITIES.read_text("utf-8")))
    catalogue = Catalogue(profile(name, found[name].to_dict(), []) for name in ENERGY)
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json").stdout)["items"]
    terms: dict[str, dict[tuple[str, str], int]] = {name: {} for name in ENERGY}
    for node in nodes:
        identified = catalogue.identify(node["metadata"]["labels"])
        for term in identified.terms if identified.profile else ():
            seen = terms[identified.profile or ""]
            seen[term] = seen.get(term, 0) + 1
    make_namespace(cluster, NAMESPACE)
    yield {name: profile(name, found[name].to_dict(), list(terms[name].items())) for name in ENERGY}
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def profile(name: str, identity: dict[str, Any], terms: list[Any]) -> GPUProfile:
    observed = [{"key": key, "value": value, "nodes": count} for (key, value), count in terms]
    return GPUProfile.model_validate(
        {
            "metadata": {"name": name},
            "spec": {"vendor": "NVIDIA", "thermalDesignPowerWatts": 700, **identity},
            "status": {"observedTerms": observed},
        }
    )


def options() -> list[Option]:
    return [
        Option(
            name,
            EstimateSummary(
                profile=name,
                gpu_count=1,
                power_watts=10,
                power_low_watts=10,
                power_high_watts=10,
                duration_seconds=10,
                energy_joules=energy,
                energy_low_joules=energy - 1,
                energy_high_joules=energy + 1,
                method="Calibrated",
            ),
        )
        for name, energy in ENERGY.items()
    ]


def pod(name: str, gpus: int, affinity: Any = None) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "c",
                "image": "example.com/none:1",
                "resources": {"limits": {"nvidia.com/gpu": gpus}},
            }
        ],
    }
    if affinity:
        spec["affinity"] = affinity
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def create(cluster: Cluster, made: dict[str, Any], plan: placement.Plan) -> None:
    """Create a pod as admission would: patched by kubectl's own JSON Patch."""
    patch = json.dumps(affinity.patch(made["spec"], plan))
    text = json.dumps(made)
    done = cluster.kubectl(
        "patch", "--local", "-f", "-", "--type=json", "-p", patch, "-o", "json", input=text
    )
    cluster.kubectl("create", "-f", "-", input=done.stdout)


def nodes_of(cluster: Cluster, *names: str) -> list[str]:
    def placed(name: str) -> str:
        node = wait_for(cluster, "pod", name, lambda pod: pod["spec"]["nodeName"], NAMESPACE)
        return str(node["spec"]["nodeName"])

    return [placed(name) for name in names]


def test_pods_go_where_they_take_least(cluster: Cluster, profiles: dict[str, GPUProfile]) -> None:
    plan = placement.plan(placement.Wish(options(), profiles))
    assert plan.preferred_profiles == ("l40s-48gb", "h100-sxm5-80gb", "a100-sxm4-80gb")
    names = [f"prefers-{number}" for number in range(6)]
    for name in names:
        create(cluster, pod(name, 1), plan)
    assert {node.split("-")[0] for node in nodes_of(cluster, *names)} == {"l40s"}


def test_a_user_s_demand_stays_and_ours_joins_it(
    cluster: Cluster, profiles: dict[str, GPUProfile]
) -> None:
    wish = placement.Wish(options(), profiles, allowed_profiles=["a100-sxm4-80gb", "l40s-48gb"])
    zone = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["zone-a"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    create(cluster, pod("demands", 1, {"nodeAffinity": required}), placement.plan(wish))
    node = nodes_of(cluster, "demands")[0]
    labels = json.loads(cluster.kubectl("get", "node", node, "-o", "json").stdout)["metadata"][
        "labels"
    ]
    assert node.split("-")[0] in {"a100", "l40s"}
    assert labels["topology.kubernetes.io/zone"] == "zone-a"
