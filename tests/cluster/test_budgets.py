"""Energy budgets on a real API server: three replicas of the webhook, one leader, many at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import patient
from crowd import AT_ONCE, INPUTS, Crowd, deployment, energybudget, job
from energaizer_operator import names
from localcluster import Cluster, operator
from localcluster.operator import OperatorProcess
from polling import reason, until

Namespace = Any
REPLICAS = 3
HUGE = 10**15


@pytest.fixture(scope="module", autouse=True)
def replicas(installed: Cluster, controller_process: OperatorProcess) -> Iterator[None]:
    """Three replicas of the webhook behind one Service, and a leader that knows the GPUs."""
    assert controller_process.running
    started = [patient.start_webhook(installed, number) for number in range(1, REPLICAS + 1)]
    patient.wait_reached(installed, *started)
    yield
    for one in started:
        assert one.running, one.tail(40)
        one.terminate()


@pytest.fixture
def budget(namespace: Namespace) -> Callable[..., dict[str, Any]]:
    """Make an EnergyBudget and wait until the leader and every replica know it."""

    def make(joules: int, action: str = "Deny", name: str = "monthly", **spec: Any) -> Any:
        namespace.apply(energybudget(joules, action, name, **spec))

        def seen(body: dict[str, Any]) -> bool:
            generation = body["metadata"]["generation"]
            return bool(body.get("status", {}).get("observedGeneration") == generation)

        namespace.wait("energybudget", name, seen)
        if joules < HUGE:
            until(lambda: heard(namespace, action), f"every replica knows {name}")
        return namespace.get("energybudget", name)

    return make


def heard(namespace: Namespace, action: str) -> bool:
    """Say whether what is above any budget meets one, on as many connections as a crowd has.

    A replica learns of a budget by a watch of its own, and one that knows none lets everybody in.
    """
    greedy = job("greedy")
    greedy["metadata"]["annotations"] = {**INPUTS, names.ANNOTATION_REQUESTS: "100000000000"}
    if action == "Warn":  # to be heard only in a header, which kubectl shows
        return "Warning: energy budget" in namespace.rehearse(greedy).stderr
    answers = Crowd(namespace.cluster, namespace.name).create([greedy] * AT_ONCE, "?dryRun=All")
    return all(status == 403 or names.ANNOTATION_HELD in said for status, said in answers)


@pytest.fixture(scope="module")
def need(replicas: None, new_namespace: Callable[[], Namespace]) -> int:  # noqa: ARG001
    """Joules of one Job, as any budget books it."""
    place = new_namespace()
    place.apply(energybudget(HUGE, "Deny", "probe"))
    place.wait("energybudget", "probe", lambda body: body.get("status"))
    place.apply(job("probe"))
    uid = place.get("job", "probe")["metadata"]["uid"]
    reserved = place.wait("energyreservation", uid, bool)
    place.cluster.kubectl("delete", "namespace", place.name, "--wait=false")
    joules = int(reserved["spec"]["energyJoules"])
    assert joules > 1000
    return joules


def balance(namespace: Namespace, name: str = "monthly") -> dict[str, Any]:
    found: dict[str, Any] = namespace.get("energybudget", name).get("status", {})
    return found


def booked(namespace: Namespace, count: int) -> dict[str, Any]:
    """Wait until the leader has booked every promise."""

    def done(body: dict[str, Any]) -> bool:
        status = body.get("status", {})
        return not status.get("provisional") and status.get("activeReservations") == count

    found: dict[str, Any] = namespace.wait("energybudget", "monthly", done)
    return found["status"]


def test_many_at_once_get_exactly_what_there_is(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    strict = ("label", "namespace", namespace.name, "energaizer.io/admission=strict")
    namespace.cluster.kubectl(*strict, "--overwrite")  # a slow machine lets nothing in unjudged
    room = 5
    budget(room * need + need // 2)
    bodies = [job(f"crowd-{number}", completions=1) for number in range(40)]
    answers = Crowd(namespace.cluster, namespace.name).create(bodies)
    created = [said for status, said in answers if status == 201]
    refused = [said for status, said in answers if status == 403]
    assert (len(created), len(refused)) == (room, 40 - room), [one[0] for one in answers]
    assert f"energy budget {namespace.name}/monthly: needs" in refused[0]
    assert "remain until 20" in refused[0]
    status = balance(namespace)
    assert status["limitHuman"]
    uids = {json.loads(said)["metadata"]["uid"] for said in created}

    def all_reserved() -> bool:
        found = {one["metadata"]["name"] for one in namespace.items("energyreservations")}
        return found >= uids

    until(all_reserved, lambda: balance(namespace))


def test_a_rehearsal_changes_nothing_and_is_judged(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    budget(need + need // 2)

    def versions() -> list[str]:
        kinds = ("energybudgets", "energyreservations", "aiworkloads", "jobs", "pods")
        return [
            one["metadata"]["resourceVersion"] for kind in kinds for one in namespace.items(kind)
        ]

    before = versions()
    crowd = Crowd(namespace.cluster, namespace.name)
    fits = crowd.create([job(f"fits-{number}") for number in range(5)], "?dryRun=All")
    large = job("large", parallelism=2, completions=2)
    large["metadata"]["annotations"] = {**INPUTS, names.ANNOTATION_REQUESTS: "400000"}
    [refused] = crowd.create([large], "?dryRun=All")
    assert [status for status, _ in fits] == [201] * 5
    assert refused[0] == 403
    assert f"energy budget {namespace.name}/monthly: needs" in refused[1]
    assert versions() == before


def test_what_was_promised_and_never_created_is_not_charged_twice_nor_for_ever(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    """A Job that exists already is refused by the API server after we promised its joules."""
    budget(10 * need)
    crowd = Crowd(namespace.cluster, namespace.name)
    assert crowd.create([job("once")])[0][0] == 201
    assert [status for status, _ in crowd.create([job("once")] * 3)] == [409] * 3
    booked = namespace.wait(
        "energybudget", "monthly", lambda body: body["status"].get("activeReservations") == 1
    )
    ghosts = booked["status"].get("provisional", [])
    assert all(ghost["energyJoules"] == need for ghost in ghosts)
    assert len(ghosts) <= 3, "each leaves after its minute; the unit tests turn the clock"


def test_held_jobs_start_suspended_and_go_by_priority_as_there_is_room(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    cluster: Cluster = namespace.cluster
    budget(need // 2, "Hold")
    said = namespace.apply(job("early"), job("late"))
    assert "held until there is room: energy budget" in said
    urgent = job("urgent")
    urgent["spec"]["template"]["spec"]["priorityClassName"] = "system-cluster-critical"
    namespace.apply(urgent)
    for name in ("early", "late", "urgent"):
        made = namespace.get("job", name)
        assert made["spec"]["suspend"] is True
        assert made["metadata"]["annotations"][names.ANNOTATION_HELD] == "budget"
    namespace.wait(
        "energybudget", "monthly", lambda body: body["status"].get("pendingWorkloads") == 3
    )
    where = ("-n", namespace.name)
    lift = json.dumps({"spec": {"suspend": False}})
    done = cluster.kubectl("patch", "job", "late", *where, "--type=merge", "-p", lift, check=False)
    assert namespace.get("job", "late")["spec"]["suspend"] is True, done.stdout + done.stderr
    bare = {**json.loads(lift), "metadata": {"annotations": {names.ANNOTATION_HELD: None}}}
    done = cluster.kubectl(
        "patch", "job", "late", *where, "--type=merge", "-p", json.dumps(bare), check=False
    )
    assert f"is held by energy budget {namespace.name}/monthly" in done.stderr
    namespace.wait(
        "aiworkload",
        "job-late",
        lambda body: reason(body, "BudgetReserved") == "BudgetExhausted",
    )

    budget(need + need // 2, "Hold")
    first = namespace.wait("job", "urgent", lambda body: not body["spec"].get("suspend"))
    assert names.ANNOTATION_HELD not in first["metadata"].get("annotations", {})
    namespace.wait(
        "aiworkload", "job-urgent", lambda body: reason(body, "BudgetReserved") == "Reserved"
    )
    assert namespace.get("job", "early")["spec"]["suspend"] is True
    budget(2 * need + need // 2, "Hold")
    namespace.wait("job", "early", lambda body: not body["spec"].get("suspend"))
    assert namespace.get("job", "late")["spec"]["suspend"] is True
    said = namespace.refuse(deployment("serve", 1))
    assert "this Deployment cannot be held" in said


def test_a_deployment_pays_for_the_rest_of_the_window_and_for_what_it_grows_by(
    namespace: Namespace, budget: Callable[..., Any]
) -> None:
    budget(HUGE)
    namespace.apply(deployment("serve", 2))
    uid = namespace.get("deployment", "serve")["metadata"]["uid"]
    two = namespace.wait("energyreservation", uid, bool)["spec"]
    assert two["replicas"] == 3, "a rolling update may run a third beside them"
    status = booked(namespace, 1)
    used = status["reservedJoules"] + status["consumedJoules"]
    budget(used + used // 4)
    said = namespace.refuse(deployment("serve", 3))
    assert "its power to the end of the window" in said
    assert "configured" in namespace.apply(deployment("serve", 1)), "who shrinks is let in"
    budget(2 * used)
    assert "configured" in namespace.apply(deployment("serve", 3))
    grown = namespace.wait("energyreservation", uid, lambda body: body["spec"]["replicas"] == 4)[
        "spec"
    ]
    assert 3 * grown["powerWatts"] == pytest.approx(4 * two["powerWatts"], rel=0.01)


def test_what_is_bound_is_charged_by_the_gpu_that_it_got(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    """Admission charges the dearest GPU that is possible; here that is none of the H100."""
    budget(3 * need)
    h100 = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-H100-80GB-HBM3"]}
    liked = [{"weight": 100, "preference": {"matchExpressions": [h100]}}]
    runs = job("runs")
    template = runs["spec"]["template"]
    template["metadata"] = {"annotations": {"pod-complete.stage.kwok.x-k8s.io/delay": "10m"}}
    del template["spec"]["schedulerName"]
    kind = "preferredDuringSchedulingIgnoredDuringExecution"
    template["spec"]["affinity"] = {"nodeAffinity": {kind: liked}}
    namespace.apply(runs)
    uid = namespace.get("job", "runs")["metadata"]["uid"]

    def landed() -> str:
        pods = namespace.items("pods")
        return str(pods[0]["spec"].get("nodeName", "")) if pods else ""

    def by_its_node(body: dict[str, Any]) -> bool:
        node, profile = landed(), body["spec"]["profile"]
        return bool(node) and profile.split("-")[0] == node.split("-")[0]

    spec = namespace.wait("energyreservation", uid, by_its_node)["spec"]
    if landed().startswith("h100"):
        assert spec["energyJoules"] < need


def test_what_ends_is_settled_and_its_surplus_comes_back(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    budget(3 * need)
    short = job("short")
    del short["spec"]["template"]["spec"]["schedulerName"]  # simulated nodes complete it at once
    namespace.apply(short)
    uid = namespace.get("job", "short")["metadata"]["uid"]
    status = booked(namespace, 0)
    assert status["consumedJoules"] == status["closedJoules"] < need
    assert status.get("reservedJoules", 0) == 0
    until(lambda: not namespace.get("energyreservation", uid), "the reservation is gone")
    namespace.wait(
        "aiworkload", "job-short", lambda body: reason(body, "BudgetReserved") == "Settled"
    )


def test_a_crashed_leader_leaves_no_joule_behind_and_charges_none_twice(
    installed: Cluster,
    controller_process: OperatorProcess,
    namespace: Namespace,
    budget: Callable[..., Any],
    need: int,
) -> None:
    budget(20 * need)
    controller_process.kill()
    answers = Crowd(installed, namespace.name).create([job(f"j-{n}") for n in range(8)])
    assert [status for status, _ in answers] == [201] * 8
    assert len(balance(namespace)["provisional"]) + balance(namespace)["activeReservations"] == 8
    vars(controller_process).update(vars(operator.start_controller(installed)))
    controller_process.wait_leading()
    status = booked(namespace, 8)
    assert status["reservedJoules"] + status["consumedJoules"] == 8 * need
    # Somebody meddles with the balance: it is repaired, and said to be.
    body = namespace.get("energybudget", "monthly")
    patch = json.dumps({"status": {"reservedJoules": body["status"]["reservedJoules"] * 9 // 10}})
    edit = ("patch", "energybudget", "monthly", "-n", namespace.name, "--subresource=status")
    installed.kubectl(*edit, "--type=merge", "-p", patch)

    def repaired(body: dict[str, Any]) -> bool:
        drifted = reason(body, "Drifted") == "Repaired"
        return drifted and body["status"]["reservedJoules"] == 8 * need

    namespace.wait("energybudget", "monthly", repaired)


def test_a_deleted_namespace_goes(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    budget(20 * need)
    namespace.apply(*(job(f"left-{number}") for number in range(4)))
    booked(namespace, 4)
    namespace.cluster.kubectl("delete", "namespace", namespace.name, "--timeout=120s")


def test_budgets_that_warn_or_mean_nothing(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    budget(need // 2, "Warn")
    said = namespace.apply(job("warned"))
    assert f"Warning: energy budget {namespace.name}/monthly: needs" in said
    uid = namespace.get("job", "warned")["metadata"]["uid"]
    reserved = namespace.wait("energyreservation", uid, bool)
    assert reserved["spec"]["budgetNames"] == ["monthly"], "it counts, though it refuses nobody"
    namespace.wait("energybudget", "monthly", lambda body: reason(body, "Exceeded") == "Exceeded")
    budget(HUGE, "Deny", name="lost", window={"period": "Day", "timeZone": "Mars/Base"})
    until(lambda: namespace.rehearse(job("other")).returncode != 0, "every replica knows it")
    said = namespace.refuse(job("other"))
    assert "energy budget " in said
    assert '"Mars/Base" is no IANA time zone' in said


def test_less_work_that_a_refusal_offers_is_let_in(
    namespace: Namespace, budget: Callable[..., Any], new_namespace: Callable[[], Namespace]
) -> None:
    def on_h100(**annotations: str) -> dict[str, Any]:
        made = job("long")
        made["metadata"]["annotations"] = {**INPUTS, **annotations}
        chosen = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
        made["spec"]["template"]["spec"]["nodeSelector"] = chosen
        return made

    place = new_namespace()
    place.apply(energybudget(HUGE, "Deny", "probe"))
    place.wait("energybudget", "probe", lambda body: body.get("status"))
    place.apply(on_h100())
    uid = place.get("job", "long")["metadata"]["uid"]
    whole = place.wait("energyreservation", uid, bool)["spec"]["energyJoules"]
    place.cluster.kubectl("delete", "namespace", place.name, "--wait=false")
    budget(int(whole) // 4)
    said = namespace.wait_refused(on_h100())
    told = re.search(r'for (\d+) % of its work: .* set annotation (\S+): "(\d+)"', said)
    assert told is not None, said
    percent, key, value = told.groups()
    assert key == names.ANNOTATION_REQUESTS, said
    assert 10 <= int(percent) <= 25, said
    assert "created" in namespace.apply(on_h100(**{key: value}))
    assert booked(namespace, 1)["reservedJoules"] <= int(whole) // 4


def test_a_review_without_a_cluster_gives_the_same_verdict(
    namespace: Namespace, budget: Callable[..., Any], need: int, tmp_path: Path
) -> None:
    cluster: Cluster = namespace.cluster
    budget(need + need // 2)
    manifests = [job("first"), job("second")]
    profiles = json.loads(cluster.kubectl("get", "gpuprofiles", "-o", "json").stdout)["items"]
    there = [one for one in profiles if one.get("status", {}).get("nodes")]
    rules = [namespace.get("energybudget", "monthly"), *there]
    placed = [
        {**one, "metadata": {**one["metadata"], "namespace": namespace.name}} for one in manifests
    ]
    for name, objects in (("rules.yaml", rules), ("jobs.yaml", placed)):
        (tmp_path / name).write_text(yaml.safe_dump_all(objects))
    review = (
        "review",
        "-f",
        str(tmp_path / "jobs.yaml"),
        "--policies",
        str(tmp_path / "rules.yaml"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "energaizer_operator.kubectl", *review, "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    first, second = json.loads(done.stdout)
    assert first["action"] == "Allow"
    assert "created" in namespace.apply(manifests[0])
    assert second["message"] in namespace.refuse(manifests[1])
