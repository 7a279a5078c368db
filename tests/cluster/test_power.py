"""Power as a resource: what nodes advertise and pods request, counted by Kubernetes itself."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import patient
from annotated import BATCH
from energaizer_operator import kubectl
from localcluster import Cluster, build, operator
from localcluster.crds import workload_crds
from localcluster.operator import ROOT, OperatorProcess
from localcluster.places import DEFAULT_POOLS
from localcluster.pools import load_pools
from polling import until

WATTS = "energaizer.io/watts"
CAPACITY = "energaizer.io/power-capacity-watts"
RUNS, WRITERS, ROOM = 20, 20, 5
INPUTS = BATCH | {"energaizer.io/requests": "100000"}


@pytest.fixture(scope="module")
def powered() -> Iterator[Cluster]:
    """A control plane of H100 nodes only, with the setting on."""
    build()
    pools = [pool for pool in load_pools(DEFAULT_POOLS) if pool.name == "h100"]
    with Cluster(pools=pools) as cluster:
        patient.install(cluster)
        cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "charts/kustomize/power"))
        files = [part for path in workload_crds() for part in ("-f", str(path))]
        cluster.kubectl("apply", "--server-side", *files)
        cluster.wait_for_kinds("jobsets.jobset.x-k8s.io")
        start(cluster, power_resource=True, audit_s=2)
        until(lambda: set(advertised(cluster).values()) == {"5600"})
        until(lambda: power_nodes(cluster) == 3)
        yield cluster
        for process in RUNNING.pop(cluster.name):
            process.terminate()


def start(cluster: Cluster, **settings: Any) -> tuple[OperatorProcess, OperatorProcess]:
    controller = operator.start_controller(cluster, **settings)
    webhook = patient.start_webhook(cluster, drain_s=0, **settings)
    patient.wait_reached(cluster, webhook)
    controller.wait_leading()
    RUNNING[cluster.name] = (controller, webhook)
    return controller, webhook


RUNNING: dict[str, tuple[OperatorProcess, OperatorProcess]] = {}


def read(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("get", *arguments, "-o", "json").stdout)
    return found


def advertised(cluster: Cluster, field: str = "allocatable") -> dict[str, str]:
    nodes = read(cluster, "nodes")["items"]
    return {
        node["metadata"]["name"]: node["status"][field][WATTS]
        for node in nodes
        if WATTS in node["status"][field]
    }


def power_nodes(cluster: Cluster) -> int:
    profile = read(cluster, "gpuprofile", "h100-sxm5-80gb")
    return int(profile.get("status", {}).get("powerNodes", 0))


def pod(name: str, forged: str | None = None, **spec: Any) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": "1"} | ({WATTS: forged} if forged else {})
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    metadata = {"name": name, "annotations": INPUTS}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }


def create(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=text)


def namespaces(cluster: Cluster, *names: str) -> None:
    for name in names:
        patient.make_namespace(cluster, name, "enabled")


def requested(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return request and limit of the only container."""
    resources = body["spec"]["containers"][0]["resources"]
    return resources.get("requests", {}).get(WATTS), resources["limits"].get(WATTS)


def test_a_pod_requests_what_it_is_predicted_to_draw(powered: Cluster) -> None:
    namespaces(powered, "predicted")
    create(powered, "predicted", pod("plain"), pod("forged", forged="1"))
    plain, forged = (read(powered, "pod", name, "-n", "predicted") for name in ("plain", "forged"))
    request, limit = requested(plain)
    assert request == limit == requested(forged)[1] == requested(forged)[0]
    mean = int(plain["metadata"]["annotations"]["energaizer.io/predicted-power-watts"])
    assert mean <= int(limit or 0) <= 700


def test_templates_of_job_sets_and_runs_of_cron_jobs_carry_the_watts_of_their_pods(
    powered: Cluster,
) -> None:
    namespaces(powered, "kinds")
    each = int(requested(read(powered, "pod", "plain", "-n", "predicted"))[1] or 0)
    template = {"spec": {"template": {"spec": pod("x")["spec"]}}}
    jobs = [{"name": "worker", "replicas": 2, "template": template}]
    metadata = {"name": "pair", "annotations": INPUTS}
    create(
        powered,
        "kinds",
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": metadata,
            "spec": {"replicatedJobs": jobs},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "nightly", "annotations": INPUTS},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": template},
        },
    )
    made = read(powered, "jobset", "pair", "-n", "kinds")["spec"]["replicatedJobs"][0]
    inside = made["template"]["spec"]["template"]
    assert int(requested(inside)[0] or 0) == pytest.approx(each, rel=0.05)
    powered.kubectl("create", "job", "run", "--from=cronjob/nightly", "-n", "kinds")
    run = read(powered, "job", "run", "-n", "kinds")["spec"]["template"]
    assert int(requested(run)[1] or 0) == pytest.approx(each, rel=0.05)

    def of_the_run() -> list[dict[str, Any]]:
        labels = ("-l", "batch.kubernetes.io/job-name=run")
        found: list[dict[str, Any]] = read(powered, "pods", "-n", "kinds", *labels)["items"]
        return found

    until(of_the_run)
    assert requested(of_the_run()[0]) == requested(run)
    powered.kubectl("delete", "jobset,cronjob,job", "--all", "-n", "kinds", "--wait=false")


def test_the_audit_finds_pods_whose_watts_nobody_counts(powered: Cluster) -> None:
    controller = RUNNING[powered.name][0]

    def uncounted() -> float:
        return controller.series("energaizer_unwatted_pods").get("", -1.0)

    until(lambda: uncounted() == 0)
    patient.make_namespace(powered, "unseen")
    create(powered, "unseen", pod("early"))
    until(lambda: uncounted() == 1)
    told = ("events", "-n", "unseen", "--field-selector", "reason=UnwattedPod")
    assert not read(powered, *told)["items"]  # a namespace that did not opt in is left alone
    powered.kubectl("label", "namespace", "unseen", "energaizer.io/admission=enabled")
    until(lambda: read(powered, *told)["items"])
    powered.kubectl("delete", "pod", "early", "-n", "unseen", "--force", "--grace-period=0")
    until(lambda: uncounted() == 0)


def test_a_quota_of_watts_admits_exactly_what_fits(powered: Cluster) -> None:
    """Twenty writers at once, twenty times: floor(W / w) of them succeed, every time."""
    each = int(requested(read(powered, "pod", "plain", "-n", "predicted"))[1] or 0)
    room = ROOM * each + each // 2
    names = [f"quota-{run}" for run in range(RUNS)]
    namespaces(powered, *names)
    hard = {f"requests.{WATTS}": str(room)}
    for name in names:
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "power"},
            "spec": {"hard": hard},
        }
        create(powered, name, quota)
    until(lambda: all(counted(powered, name) for name in names))
    post = poster(powered)
    admitted = []
    with ThreadPoolExecutor(WRITERS) as writers:
        for name in names:
            bodies = [pod(f"p-{n}", schedulerName="nobody") for n in range(WRITERS)]
            codes = list(writers.map(lambda body, name=name: post(name, body), bodies))  # type: ignore[misc]
            admitted.append(codes.count(201))
            assert set(codes) == {201, 403}
    assert admitted == [ROOM] * RUNS

    def used() -> int:
        quota = read(powered, "resourcequota", "power", "-n", names[-1])
        return int(quota["status"]["used"][f"requests.{WATTS}"])

    until(lambda: used() == ROOM * each, lambda: f"{ROOM} of {each} W are used: {used()}")


def test_a_review_without_a_cluster_counts_watts_as_the_quota_does(
    powered: Cluster, tmp_path: Path
) -> None:
    namespaces(powered, "offline")
    create(powered, "offline", pod("there", schedulerName="nobody"))  # used before the review
    each = int(requested(read(powered, "pod", "there", "-n", "offline"))[1] or 0)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "power"},
        "spec": {"hard": {f"requests.{WATTS}": str(2 * each + each // 2)}},
    }
    create(powered, "offline", quota)
    until(lambda: counted(powered, "offline"))
    asked = [pod(name, schedulerName="nobody") for name in ("first", "second")]
    profiles = read(powered, "gpuprofiles")["items"]
    rules = [one for one in profiles if one.get("status", {}).get("nodes")]
    rules.append(read(powered, "resourcequota", "power", "-n", "offline"))
    placed = [{**one, "metadata": {**one["metadata"], "namespace": "offline"}} for one in asked]
    for name, objects in (("rules", rules), ("pods", placed)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(objects))
    files = ["-f", str(tmp_path / "pods.yaml"), "--policies", str(tmp_path / "rules.yaml")]
    done = CliRunner().invoke(kubectl.main, ["review", *files, "-o", "json"])
    assert done.exit_code == 4, done.output
    first, second = json.loads(done.stdout)
    assert (first["action"], second["action"]) == ("Allow", "Deny")
    create(powered, "offline", asked[0])
    apply = ("create", "-n", "offline", "-f", "-")
    refused = powered.kubectl(*apply, input=json.dumps(asked[1]), check=False)
    assert refused.returncode != 0
    assert second["message"] in refused.stderr


def counted(cluster: Cluster, namespace: str) -> bool:
    return bool(read(cluster, "resourcequota", "power", "-n", namespace)["status"].get("used"))


def poster(cluster: Cluster) -> Callable[[str, dict[str, Any]], int]:
    """Return what creates a pod and says with which HTTP status."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    token = config["users"][0]["user"]["token"]
    context = ssl.create_default_context(cafile=str(cluster.directory / "pki" / "ca.crt"))

    def post(namespace: str, body: dict[str, Any]) -> int:
        url = f"{cluster.server}/api/v1/namespaces/{namespace}/pods"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code if "exceeded quota: power" in error.read().decode() else -error.code

    return post


def test_a_statement_lowers_a_node_at_run_time_and_a_broken_one_stops_it(powered: Cluster) -> None:
    powered.kubectl("annotate", "node", "h100-2", f"{CAPACITY}=2000")
    until(lambda: advertised(powered)["h100-2"] == "2k")
    powered.kubectl("annotate", "--overwrite", "node", "h100-2", f"{CAPACITY}=2kW")
    until(lambda: advertised(powered)["h100-2"] == "0")
    until(
        lambda: any(
            '"2kW" is no whole number' in event["message"]
            for event in read(
                powered, "events", "-A", "--field-selector", "reason=InvalidPowerCapacity"
            )["items"]
        )
    )
    powered.kubectl("annotate", "node", "h100-2", f"{CAPACITY}-")
    until(lambda: advertised(powered)["h100-2"] == "5600")


def test_the_scheduler_never_binds_more_watts_than_a_node_has(powered: Cluster) -> None:
    namespaces(powered, "bound")
    each = int(requested(read(powered, "pod", "plain", "-n", "predicted"))[1] or 0)
    powered.kubectl("delete", "pods", "--all", "-n", "predicted", "--force", "--grace-period=0")
    powered.kubectl("annotate", "node", "--all", f"{CAPACITY}={2 * each + 10}")
    until(lambda: set(advertised(powered).values()) == {str(2 * each + 10)})
    create(powered, "bound", *(pod(f"p-{number}") for number in range(8)))

    def scheduled() -> Counter[str]:
        pods = read(powered, "pods", "-n", "bound")["items"]
        return Counter(one["spec"].get("nodeName", "") for one in pods)

    until(lambda: scheduled()[""] == 2)
    time.sleep(1)
    assert scheduled() == {"h100-0": 2, "h100-1": 2, "h100-2": 2, "": 2}
    waiting = ("events", "-n", "bound", "--field-selector", "reason=FailedScheduling")
    until(
        lambda: any(
            f"Insufficient {WATTS}" in event["message"]
            for event in read(powered, *waiting)["items"]
        ),
        "the scheduler says why",
    )
    powered.kubectl("annotate", "node", "--all", f"{CAPACITY}-")
    until(lambda: scheduled()[""] == 0)  # back at the GPUs' own limits there is room for all


def test_switched_off_no_trace_remains(powered: Cluster) -> None:
    for process in RUNNING[powered.name]:
        process.terminate()
    start(powered)
    until(lambda: not advertised(powered) and not advertised(powered, "capacity"))
    until(lambda: power_nodes(powered) == 0)
    namespaces(powered, "off")
    create(powered, "off", pod("plain"), pod("forged", forged="1"))
    for name in ("plain", "forged"):
        assert requested(read(powered, "pod", name, "-n", "off")) == (None, None)
    managers = str(read(powered, "nodes")["items"][0]["metadata"].get("managedFields", ""))
    assert "energaizer" not in managers


def test_switched_on_again_pods_of_before_run_beside_new_ones(powered: Cluster) -> None:
    for process in RUNNING[powered.name]:
        process.terminate()
    start(powered, power_resource=True)
    until(lambda: power_nodes(powered) == 3)
    assert requested(read(powered, "pod", "plain", "-n", "off")) == (None, None)
    create(powered, "off", pod("later"))
    assert requested(read(powered, "pod", "later", "-n", "off"))[1] is not None
