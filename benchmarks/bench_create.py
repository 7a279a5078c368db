"""What our webhooks add to the creation of a GPU pod, beside a bare aiohttp webhook and none.

Three replicas of ours and a leader on a control plane of this machine; the bare webhook is called
as ours are, once to change and once to judge; it changes nothing, or answers with the patch that
ours made of the first pod. Clients create pods one after the other, in turns: some without a
webhook, some with the bare one, its patch, ours, and again. Five of them keep two cores busy, so
that the median is processor time in a queue; with one it is the time of a single creation. Pods of
a Job come as its controller sends them: they were judged with it, and are only changed. Prints
milliseconds of each, and where they go: processor time of each process for one pod, and how long
the API server waited for each webhook.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import re
import ssl
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from aiohttp import web
from bench_cluster import cpu, since

from crowd import INPUTS, Crowd, job
from energaizer_operator import certificates
from localcluster import Cluster, operator

REPLICAS = 3
JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"
LEAST_MS = 0.05
WAITED = re.compile(
    r'^apiserver_admission_webhook_admission_duration_seconds_(sum|count)\{name="(.+?)".*\} (\S+)$',
    re.MULTILINE,
)
CREATED = 201
JOB = "bench"
PROFILE = "gpuprofile/h100-sxm5-80gb"
SPACES = {
    "plain": {},
    "bare": {"bench": "bare"},
    "patch": {"bench": "patch"},
    "ours": {"energaizer.io/admission": "enabled"},
}
LABELS = {
    "plain": "no webhook",
    "bare": "bare aiohttp",
    "patch": "bare aiohttp, our patch",
    "ours": "energaizer",
}


@dataclass(frozen=True)
class Case:
    """How pods are created."""

    leader: bool = False
    """Whether a leader is at work beside, which describes each pod."""
    fresh: bool = False
    """Whether each pod asks for estimates that nobody asked for before."""
    owned: bool = False
    """Whether they are pods of a Job, sent as by its controller."""
    clients: int = 5

    def __str__(self) -> str:
        """Say how."""
        leader = "leader at work" if self.leader else "no leader"
        what = "pods of a Job" if self.owned else "pods by themselves"
        known = "new" if self.fresh else "known"
        return f"{self.clients} clients, {what}, every estimate {known}, {leader}"


CASES = {
    "leader-known": Case(leader=True),
    "leader-new": Case(leader=True, fresh=True),
    "known": Case(),
    "new": Case(fresh=True),
    "owned": Case(owned=True),
    "one": Case(clients=1),
    "one-owned": Case(clients=1, owned=True),
}
"""In this order, since the leader is stopped once."""


def say(line: str) -> None:
    """Print a line of the table."""
    print(line, flush=True)  # noqa: T201


def serve_bare(told: Connection, patches: tuple[str, str]) -> None:
    """Say yes to every review, with nothing between aiohttp and the answer."""
    asyncio.run(_serve_bare(told, patches))


async def _serve_bare(told: Connection, patches: tuple[str, str]) -> None:
    described, plain = (
        {"patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}
        for patch in patches
    )

    async def admit(http: web.Request) -> web.Response:
        review = await http.json()
        more: dict[str, str] = {}
        if http.path == "/patch":
            more = described if "annotations" in review["request"]["object"]["metadata"] else plain
        response = {"uid": review["request"]["uid"], "allowed": True, **more}
        return web.json_response(
            {**{k: review[k] for k in ("apiVersion", "kind")}, "response": response}
        )

    material = certificates.make(("localhost",), datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.pem"
        pair.write_bytes(material.leaf.certificate + material.leaf.key)
        context.load_cert_chain(pair)
    app = web.Application()
    for path in ("/admit", "/patch"):
        app.router.add_post(path, admit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    told.send((runner.addresses[0][1], material.trusted))
    await asyncio.Event().wait()


def configure_bare(cluster: Cluster, port: int, trusted: bytes) -> None:
    """Call the bare webhook for the pods of the namespaces that carry its labels."""
    bundle = base64.b64encode(trusted).decode()
    for name in ("bare", "patch"):
        for kind in ("Mutating", "Validating"):
            path = "patch" if (name, kind) == ("patch", "Mutating") else "admit"
            webhook = {
                "name": f"{name}.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"url": f"https://localhost:{port}/{path}", "caBundle": bundle},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                        "operations": ["CREATE"],
                    }
                ],
                "namespaceSelector": {"matchLabels": SPACES[name]},
            }
            body = {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": f"{kind}WebhookConfiguration",
                "metadata": {"name": name},
                "webhooks": [webhook],
            }
            cluster.kubectl("apply", "-f", "-", input=json.dumps(body))


def our_patch(cluster: Cluster) -> tuple[str, str]:
    """Return what ours adds to a pod with our inputs as annotations, and to one without any."""
    made = pod("first", 1000)
    text = json.dumps(made)
    answer = cluster.kubectl("create", "-n", "ours", "-f", "-", "-o", "json", input=text).stdout
    stored = json.loads(answer)
    annotations = stored["metadata"]["annotations"]
    added = {key: value for key, value in annotations.items() if key not in INPUTS}
    rest = {"/metadata/labels": stored["metadata"]["labels"]}
    rest |= {"/spec/affinity": stored["spec"]["affinity"]}

    def patch(whole: dict[str, str]) -> str:
        values = {"/metadata/annotations": whole, **rest}
        return json.dumps([{"op": "add", "path": at, "value": it} for at, it in values.items()])

    return patch(annotations), patch(added)


def pod(name: str, tokens: int, owner: str = "") -> dict[str, Any]:
    """Return a pod that nobody schedules; other tokens are another estimate.

    Args:
        name: Of the pod.
        tokens: Of the input.
        owner: UID of the Job that it is a part of, if of one.
    """
    limits = {"nvidia.com/gpu": 1}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    metadata: dict[str, Any] = {"name": name}
    if owner:
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": JOB, "uid": owner}
        metadata["ownerReferences"] = [{**reference, "controller": True}]
    else:
        metadata["annotations"] = {**INPUTS, "energaizer.io/input-tokens": str(tokens)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "schedulerName": "nobody"},
    }


def turn(cluster: Cluster, space: str, case: Case, names: range, owner: str) -> list[float]:
    """Create pods of these numbers; return how long each took, ms."""
    user = JOB_CONTROLLER if case.owned else ""
    clients = [Crowd(cluster, space, "/api/v1", "pods", user) for _ in range(case.clients)]

    def create(client: Crowd, numbers: range) -> list[float]:
        took = []
        with client.connection() as send:
            for number in numbers:
                body = pod(f"p-{number}", 1000 + number * case.fresh, owner * case.owned)
                began = time.perf_counter()
                status, said = send(body, "")
                took.append((time.perf_counter() - began) * 1e3)
                if status != CREATED:
                    raise RuntimeError(f"{space}: {status} {said}")
        return took

    with ThreadPoolExecutor(case.clients) as pool:
        shares = [names[first :: case.clients] for first in range(case.clients)]
        return [one for part in pool.map(create, clients, shares) for one in part]


def waited(cluster: Cluster) -> Counter[str]:
    """Return seconds that the API server has waited for each webhook, and its calls (`NAME #`)."""
    found: Counter[str] = Counter()
    for what, name, value in WAITED.findall(cluster.kubectl("get", "--raw", "/metrics").stdout):
        found[name if what == "sum" else f"{name} #"] += float(value)
    return found


def table(cluster: Cluster, bare: int, case: Case, turns: list[range]) -> None:
    """Print what creation takes with each kind of webhook; `bare` is a process of its own."""
    took: dict[str, list[float]] = {space: [] for space in SPACES}
    spent: dict[str, Counter[str]] = {space: Counter() for space in SPACES}
    owners = {space: uid_of_job(cluster, space) for space in SPACES}
    for number, names in enumerate(turns):
        for space in SPACES:
            before = cpu(cluster, bare=bare)
            part = turn(cluster, space, case, names, owners[space])
            if number > 0:  # the first turn warms up
                took[space] += part
                spent[space].update(since(before, cluster, bare=bare))
            else:
                calls = waited(cluster)
    calls = waited(cluster) - calls
    none = float(np.percentile(took["plain"], 50))
    for space, label in LABELS.items():
        p50, p99 = np.percentile(took[space], [50, 99])
        say(f"{label:<36} {p50:9.2f} {p99:9.2f} {p50 - none:+9.2f}")
    for space, by_process in spent.items():
        each = {name: 1e3 * used / len(took[space]) for name, used in by_process.most_common()}
        shares = ", ".join(f"{name} {ms:.1f}" for name, ms in each.items() if ms >= LEAST_MS)
        say(f"processor time of a pod, {space}: {sum(each.values()):.1f} ms: {shares}")
    for name in sorted(set(calls) - {one for one in calls if one.endswith("#")}):
        number = calls[f"{name} #"]
        say(f"{name:<36} {1e3 * calls[name] / number:9.2f} ms a call, {number:.0f} calls")


def uid_of_job(cluster: Cluster, space: str) -> str:
    """Return the UID of the Job that a namespace's pods may be of."""
    found = cluster.kubectl("get", "job", JOB, "-n", space, "-o", "jsonpath={.metadata.uid}")
    return found.stdout.strip()


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--turns", type=int, default=8, help="the first is not counted")
    parser.add_argument("--pods", type=int, default=60, help="of each turn")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with Cluster("bench-create") as cluster:
        leader = operator.start_replicas(cluster, REPLICAS)
        cluster.kubectl("wait", "--for=jsonpath={.status.nodes}", "--timeout=30s", PROFILE)
        for space, labels in SPACES.items():
            body = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": space, "labels": labels},
            }
            cluster.kubectl("apply", "-f", "-", input=json.dumps(body))
        time.sleep(2)  # for the watches
        for space in SPACES:  # nobody makes pods for these Jobs, or takes ours for superfluous
            body = job(JOB, managedBy="example.com/nobody", parallelism=4)
            cluster.kubectl("apply", "-n", space, "-f", "-", input=json.dumps(body))
        patches = our_patch(cluster)
        process = context.Process(target=serve_bare, args=(theirs, patches), daemon=True)
        process.start()
        port, trusted = ours.recv()
        configure_bare(cluster, port, trusted)
        time.sleep(2)  # for the API server
        say(f"{'':<36} {'p50':>9} {'p99':>9} {'over none':>9}  ms")
        made = 0
        for name, case in CASES.items():
            if name not in options.cases:
                continue
            if not case.leader and leader.running:
                leader.terminate()
            say(str(case))
            last = made + options.turns * options.pods
            turns = [range(at, at + options.pods) for at in range(made, last, options.pods)]
            table(cluster, process.pid or 0, case, turns)
            made = last
    process.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
