"""The local control plane does what a cluster does: nodes, jobs, services, accounts."""

from __future__ import annotations

import json
import socket
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import pytest
import yaml

from localcluster import Cluster, LocalClusterError, NodePool, load_pools, network
from localcluster.places import DEFAULT_POOLS
from localcluster.pools import node_manifests
from polling import holds, until, wait_for

JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: three-gpu-pods, namespace: default}
spec:
  completions: 3
  parallelism: 3
  template:
    spec:
      restartPolicy: Never
      nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}
      containers:
      - name: train
        image: registry.invalid/train:1
        resources: {limits: {nvidia.com/gpu: 8}}
"""

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {ports: [{port: 9443}]}
"""


def test_nodes_are_ready_with_the_labels_of_their_vendors(cluster: Cluster) -> None:
    expected = {node["metadata"]["name"] for node in node_manifests(load_pools(DEFAULT_POOLS))}
    nodes = [wait_for(cluster, "node", name, holds("Ready")) for name in sorted(expected)]
    labels = {node["metadata"]["name"]: node["metadata"]["labels"] for node in nodes}
    allocatable = {node["metadata"]["name"]: node["status"]["allocatable"] for node in nodes}
    assert labels["h100-0"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert labels["mi300x-1"]["amd.com/gpu.device-id"] == "74a1"
    assert allocatable["b200-0"]["nvidia.com/gpu"] == "8"
    assert allocatable["mi300x-0"]["amd.com/gpu"] == "8"


def running_for(delay: str, name: str) -> str:
    """Return the job whose pods complete after some time, as a manifest."""
    job = yaml.safe_load(JOB)
    job["metadata"]["name"] = name
    note = {"pod-complete.stage.kwok.x-k8s.io/delay": delay}
    job["spec"]["template"]["metadata"] = {"annotations": note}
    return json.dumps(job)


def test_pods_that_fill_their_nodes_get_a_node_each(cluster: Cluster) -> None:
    # They run until they are deleted: one that ended would make room for the next.
    cluster.kubectl("apply", "-f", "-", input=running_for("1h", "three-gpu-pods"))
    wait_for(cluster, "job", "three-gpu-pods", lambda body: body["status"]["ready"] == 3)
    pods = cluster.kubectl("get", "pods", "-l", "job-name=three-gpu-pods", "-o", "json").stdout
    placed = sorted(pod["spec"]["nodeName"] for pod in json.loads(pods)["items"])
    cluster.kubectl("delete", "job", "three-gpu-pods", "--cascade=foreground", "--timeout=120s")
    assert placed == ["h100-0", "h100-1", "h100-2"]  # eight GPUs each: one pod a node


def test_a_job_runs_for_as_long_as_its_annotation_says(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", input=running_for("3s", "three-seconds"))
    status = wait_for(cluster, "job", "three-seconds", holds("Complete"))["status"]
    began, ended = (datetime.fromisoformat(status[key]) for key in ("startTime", "completionTime"))
    assert (ended - began).total_seconds() >= 2  # times of objects are whole seconds


def test_a_service_gets_a_loopback_address_that_a_process_can_bind(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", input=SERVICE)
    address = cluster.kubectl("get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}").stdout
    assert ip_address(address) in cluster.services
    assert ip_address(address).is_loopback
    with socket.socket() as server:
        server.bind((address, 9443))


def test_a_service_account_has_its_own_rights_and_none_more(cluster: Cluster) -> None:
    cluster.kubectl("create", "serviceaccount", "reader")
    cluster.kubectl("create", "role", "reads", "--verb=list", "--resource=configmaps")
    cluster.kubectl("create", "rolebinding", "r", "--role=reads", "--serviceaccount=default:reader")
    reader = cluster.service_account_kubeconfig("default", "reader")
    lists = ("get", "configmaps")
    until(  # the API server learns of a role by a watch of its own
        lambda: cluster.kubectl(*lists, kubeconfig=reader, check=False).returncode == 0,
        "the role is in force",
    )
    with pytest.raises(LocalClusterError, match='cannot list resource "secrets"'):
        cluster.kubectl("get", "secrets", kubeconfig=reader)
    user, kubernetes = "system:serviceaccount:default:reader", "system:serviceaccount:kube-system:"

    def read_by_it() -> set[str]:
        calls = cluster.audit()
        assert not any(call["user"]["username"].startswith(kubernetes) for call in calls)
        mine = [call for call in calls if call["user"]["username"] == user]
        return {call.get("objectRef", {}).get("resource", "") for call in mine}

    until(lambda: {"configmaps", "secrets"} <= read_by_it(), "the audit log tells of its calls")


def test_nodes_can_be_added_and_changed(cluster: Cluster) -> None:
    small = NodePool(name="extra", count=1, capacity={"cpu": "4", "memory": "8Gi", "pods": "10"})
    cluster.apply_nodes([small])
    cluster.apply_nodes([small.model_copy(update={"capacity": {**small.capacity, "cpu": "6"}})])
    wait_for(cluster, "node", "extra-0", lambda node: node["status"]["allocatable"]["cpu"] == "6")
    cluster.kubectl("delete", "node", "extra-0")


def test_a_port_that_another_process_takes_is_chosen_anew(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    choose = network.choose_ports
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        stolen = thief.getsockname()[1]

        def choose_stolen_first(*arguments: Any) -> tuple[int, ...]:
            chosen = choose(*arguments)
            return chosen if said else (stolen, *chosen[1:])

        monkeypatch.setattr(network, "choose_ports", choose_stolen_first)
        with Cluster(f"{cluster.name}-robbed", pools=[], say=said.append) as robbed:
            assert str(stolen) not in robbed.server
    assert said[0] == "another process took one of the ports; choosing others"


def test_two_instances_live_side_by_side(cluster: Cluster) -> None:
    with Cluster(f"{cluster.name}-twin", pools=[]) as twin:
        assert not twin.services.overlaps(cluster.services)
        assert twin.server != cluster.server
        twin.kubectl("create", "namespace", "only-in-the-twin")
        missing = cluster.kubectl("get", "namespace", "only-in-the-twin", check=False)
        assert "not found" in missing.stderr
        folder = twin.directory
    assert not folder.exists()
    cluster.kubectl("get", "nodes")
