"""What our webhooks add to the creation of a GPU pod, beside a bare aiohttp webhook and none.

Three replicas of ours and a leader on a control plane of this machine; the bare webhook is called
as ours are, once to change and once to judge; it changes nothing, or answers with the patch that
ours made of the first pod. AT_ONCE clients create pods one after the other, in turns: some without
a webhook, some with the bare one, its patch, ours, and again. Prints
milliseconds of each, and where they go: processor time of each process for one pod, and how long
the API server waited for each webhook.
"""

from __future__ import annotations

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
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from aiohttp import web
from bench_cluster import cpu, since

from crowd import INPUTS, Crowd
from energaizer_operator import certificates
from localcluster import Cluster, operator

AT_ONCE, TURNS, PODS = 5, 8, 60
REPLICAS = 3
LEAST_MS = 0.05
WAITED = re.compile(
    r'^apiserver_admission_webhook_admission_duration_seconds_(sum|count)\{name="(.+?)".*\} (\S+)$',
    re.MULTILINE,
)
CREATED = 201
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


def say(line: str) -> None:
    """Print a line of the table."""
    print(line, flush=True)  # noqa: T201


def serve_bare(told: Connection, patch: str) -> None:
    """Say yes to every review, with nothing between aiohttp and the answer."""
    asyncio.run(_serve_bare(told, patch))


async def _serve_bare(told: Connection, patch: str) -> None:
    changing = {"patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}

    async def admit(http: web.Request) -> web.Response:
        review = await http.json()
        more = changing if http.path == "/patch" else {}
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


def our_patch(cluster: Cluster) -> str:
    """Return what ours adds to a pod, as a patch."""
    made = pod("first", 1000)
    text = json.dumps(made)
    answer = cluster.kubectl("create", "-n", "ours", "-f", "-", "-o", "json", input=text).stdout
    stored = json.loads(answer)
    added = {
        f"/metadata/annotations/{key.replace('/', '~1')}": value
        for key, value in stored["metadata"]["annotations"].items()
        if key not in INPUTS
    }
    added |= {"/metadata/labels": stored["metadata"]["labels"]}
    added |= {"/spec/affinity": stored["spec"]["affinity"]}
    return json.dumps([{"op": "add", "path": path, "value": it} for path, it in added.items()])


def pod(name: str, tokens: int) -> dict[str, Any]:
    """Return a pod that nobody schedules; other tokens are another estimate."""
    limits = {"nvidia.com/gpu": 1}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    annotations = {**INPUTS, "energaizer.io/input-tokens": str(tokens)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [container], "schedulerName": "nobody"},
    }


def turn(cluster: Cluster, space: str, number: int, *, fresh: bool) -> list[float]:
    """Create some pods; return how long each took, ms."""
    clients = [Crowd(cluster, space, "/api/v1", "pods") for _ in range(AT_ONCE)]

    def create(client: Crowd, first: int) -> list[float]:
        took = []
        with client.connection() as send:
            for at in range(first, PODS, AT_ONCE):
                body = pod(f"p-{number}-{at}", 1000 + (number * PODS + at if fresh else 0))
                began = time.perf_counter()
                status, said = send(body, "")
                took.append((time.perf_counter() - began) * 1e3)
                if status != CREATED:
                    raise RuntimeError(f"{space}: {status} {said}")
        return took

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [one for part in pool.map(create, clients, range(AT_ONCE)) for one in part]


def waited(cluster: Cluster) -> Counter[str]:
    """Return seconds that the API server has waited for each webhook, and its calls (`NAME #`)."""
    found: Counter[str] = Counter()
    for what, name, value in WAITED.findall(cluster.kubectl("get", "--raw", "/metrics").stdout):
        found[name if what == "sum" else f"{name} #"] += float(value)
    return found


def table(cluster: Cluster, bare: int, *, fresh: bool, first: int) -> None:
    """Print what creation takes with each kind of webhook; `bare` is a process of its own."""
    took: dict[str, list[float]] = {space: [] for space in SPACES}
    spent: dict[str, Counter[str]] = {space: Counter() for space in SPACES}
    for number in range(first, first + TURNS):
        for space in SPACES:
            before = cpu(cluster, bare=bare)
            part = turn(cluster, space, number, fresh=fresh)
            if number > first:  # the first turn warms up
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


def main() -> int:
    """Print the tables."""
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
        patch = our_patch(cluster)
        process = context.Process(target=serve_bare, args=(theirs, patch), daemon=True)
        process.start()
        port, trusted = ours.recv()
        configure_bare(cluster, port, trusted)
        time.sleep(2)  # for the API server
        head = f"{AT_ONCE} clients create pods{'':<14} {'p50':>9} {'p99':>9} {'over none':>9}  ms"
        say(head)
        for number, who in enumerate(
            ("leader at work", "leader at work", "no leader", "no leader")
        ):
            fresh = bool(number % 2)
            if who == "no leader" and leader.running:
                leader.terminate()
            say(f"every estimate {'new' if fresh else 'known'}, {who}")
            table(cluster, process.pid or 0, fresh=fresh, first=number * TURNS)
    process.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
