"""The operator at work, on a real control plane of this machine, in a minute: `make demo`.

Every line after a `$` is a command that runs, and what follows is what it printed. Each step checks
what it claims; the first claim that does not hold ends the demo with a reason and exit code 1.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from localcluster import instances, monitoring, operator
from localcluster.build import build
from localcluster.cluster import Cluster
from localcluster.errors import LocalClusterError
from localcluster.monitoring import PrometheusProcess
from localcluster.operator import ROOT, OperatorProcess
from observability.pages import FILES
from observability.querying import Prometheus, blank, panels

NAME = "demo"
WAIT_S = 120.0
WINDOW_S = 4
"""Of measured energy; five minutes elsewhere."""
EXAMPLES = "examples"
MEGA = 1e6


class Demo:
    """One run."""

    def __init__(self, name: str) -> None:
        """Begin the clock; the instance will have this name."""
        self._began = time.monotonic()
        self._name = name
        self._cluster: Cluster
        self._controller: OperatorProcess
        self._webhook: OperatorProcess
        self._prometheus: PrometheusProcess

    def run(self) -> None:
        """Tell the whole story."""
        self._start()
        self._ask()
        self._annotate()
        self._refuse()
        self._budget()
        self._measure()
        self._watch()
        self._end()

    def _start(self) -> None:
        self._title("A real control plane with simulated GPU nodes")
        build("kubernetes", sys.stderr)
        build("prometheus", sys.stderr)
        earlier = instances.find(self._name)
        if earlier is not None:
            self._say("an earlier demo is still up; it makes room")
            instances.remove(earlier)
        self._cluster = Cluster(self._name, leashed=False, say=self._say).start()
        self._shell("kubectl get nodes -L nvidia.com/gpu.product,amd.com/gpu.product-name")
        self._title("energaizer: its kinds, accounts, webhooks and GPU profiles; two processes")
        operator.install(self._cluster)
        rights = str(ROOT / "charts/kustomize/power")
        self._cluster.kubectl("apply", "--server-side", "-k", rights)
        self._webhook = operator.start_webhook(
            self._cluster, leashed=False, drain_s=0.2, power_resource=True
        )
        self._prometheus = monitoring.start_prometheus(
            self._cluster, sorted((FILES / "rules").iterdir()), leashed=False
        )
        self._controller = operator.start_controller(
            self._cluster,
            leashed=False,
            lease_duration_s=60,  # nobody else would lead, and a laptop may be busy
            lease_renew_deadline_s=50,
            metrics_candidates=True,
            power_resource=True,
            feedback_prometheus_url=self._prometheus.url,
            feedback_s=WINDOW_S,
        )
        exporter = monitoring.start_exporter(self._cluster, leashed=False)
        self._prometheus.scrape(monitoring.EXPORTER, exporter.address)
        quotas = monitoring.start_state_metrics(self._cluster, leashed=False)
        self._prometheus.scrape(monitoring.STATE_METRICS, quotas.address)
        self._webhook.wait_ready()
        self._controller.wait_leading()
        for process in (self._webhook, self._controller):
            self._say(f"{process.component} ready (process {process.child.pid}, {process.log})")
        ours = (f"127.0.0.1:{one.metrics_port}" for one in (self._webhook, self._controller))
        self._prometheus.scrape("energaizer", *ours)
        self._wait("the profiles know their nodes", self._all_counted)
        self._shell("kubectl get gpuprofiles | awk 'NR == 1 || $4 > 0'")

    def _ask(self) -> None:
        self._title("What will it take? An AIWorkload for serving Llama 3.1 8B")
        self._shell(f"kubectl apply -f {EXAMPLES}/namespaces.yaml -f {EXAMPLES}/serving.yaml")
        body = self._ready("llama-8b-chat", "team-a")
        self._shell("kubectl get aiworkloads -n team-a")
        self._shell(
            "kubectl describe aiworkload llama-8b-chat -n team-a"
            " | sed -n '/^  Conditions:/,/^  Estimate:/p; /^Events:/,$p'"
        )
        estimate = body["status"]["estimate"]
        self._claim(
            estimate["energyLowJoules"] <= estimate["energyJoules"] <= estimate["energyHighJoules"],
            f"the energy lies in its interval: {estimate}",
        )
        self._wait("an EstimateReady event", lambda: self._event("llama-8b-chat"))

    def _annotate(self) -> None:
        self._title("A Job that only has annotations: its pods are priced and placed")
        self._shell(f"kubectl apply -f {EXAMPLES}/annotated-job.yaml")
        select = "-n team-a -l energaizer.io/workload=job-summarise"
        pods = self._wait("two pods on nodes", lambda: self._placed(select, 2))
        self._shell(
            f"kubectl get pods {select} -o custom-columns="
            r"'POD:.metadata.name,WATTS:.metadata.annotations.energaizer\.io/predicted-power-watts,"
            r"JOULES:.metadata.annotations.energaizer\.io/predicted-energy-joules,"
            r"SECONDS:.metadata.annotations.energaizer\.io/predicted-duration-seconds,"
            "NODE:.spec.nodeName'"
        )
        body = self._ready("job-summarise", "team-a")
        plain = [
            one
            for one in body["status"]["candidates"]
            if one["feasibility"] == "Feasible" and one["name"] == one["profile"]
        ]
        cheapest = min(plain, key=lambda one: one["energyJoules"])
        self._say("energy of the whole Job by GPU, at the board's own clock:")
        for one in sorted(plain, key=lambda one: one["energyJoules"]):
            self._say(f"  {one['profile']:<18} {one['energyJoules'] / MEGA:6.2f} MJ")
        profiles = self._nodes_by_profile()
        for pod in pods:
            keys = pod["metadata"]["annotations"]
            node = pod["spec"]["nodeName"]
            for quantity in ("power-watts", "energy-joules", "duration-seconds"):
                value = keys.get(f"energaizer.io/predicted-{quantity}", "")
                self._claim(value.isdecimal(), f"pod carries predicted-{quantity}: {keys}")
            self._claim(
                profiles.get(node) == cheapest["profile"],
                f"{node} is {profiles.get(node)}, but {cheapest['profile']} takes least",
            )
        self._say(f"the scheduler chose {cheapest['profile']}, which takes least: checked")

    def _refuse(self) -> None:
        self._title("A Job over its namespace's limit is refused, with a way out")
        self._shell(f"kubectl apply -f {EXAMPLES}/energy-policy.yaml")
        self._wait("the policy is in force", lambda: self._policy_counts("team-b-limit"))
        rehearsal = (
            "create",
            "--dry-run=server",
            "-f",
            str(ROOT / EXAMPLES / "job-over-limit.yaml"),
        )
        kubectl = functools.partial(self._cluster.kubectl, *rehearsal, check=False)
        self._wait("admission knows it too", lambda: kubectl().returncode != 0)
        said = self._shell(f"kubectl apply -f {EXAMPLES}/job-over-limit.yaml", fails=True)
        refusal = re.search(
            r"needs (\S+ \S+) \(predicted (\S+ \S+), 90 % interval [^;]+; .*limit is (\S+ \S+) .*"
            r"Fits: \d+ x ([a-z0-9-]+): ",
            said,
        )
        if refusal is None:
            self._fail("the refusal does not give prediction, interval, limit and alternative")
        chosen = re.search(r"nodeSelector (\S+): (\S+) in its pods", said)
        if chosen is None:
            self._fail("the refusal does not say how to choose the alternative")
        self._say(f"it offers {refusal[4]}; the same Job with that nodeSelector:")
        line = f"      nodeSelector: {{{chosen[1]}: {chosen[2]}}}"
        self._shell(
            f"sed '/restartPolicy/i\\{line}' {EXAMPLES}/job-over-limit.yaml | kubectl apply -f -"
        )
        self._ready("job-summarise-archive", "team-b")
        self._shell("kubectl get aiworkloads -A")

    def _budget(self) -> None:
        self._title("Joules of a month and a day: what does not fit is refused, or waits its turn")
        budgets = f"kubectl apply -f {EXAMPLES}/energy-budget.yaml"
        self._shell(budgets)
        self._say("suppose that nearly all of it were spent:")
        small = """'{"spec": {"limitJoules": 4000000}}'"""
        for name in ("monthly", "experiments"):
            self._shell(f"kubectl patch energybudget {name} -n team-c --type=merge -p {small}")
            self._wait(f"budget {name} is counted", functools.partial(self._left, name))
        self._shell(f"kubectl apply -f {EXAMPLES}/experiments.yaml")
        said = self._shell(
            "sed '/labels:/d; s/name: experiment/name: urgent/'"
            f" {EXAMPLES}/experiments.yaml | kubectl apply -f -",
            fails=True,
        )
        refusal = r"energy budget team-c/monthly: needs .*, 90 % interval .* remain until 20"
        self._claim(bool(re.search(refusal, said)), "the refusal says what remains until when")
        self._wait("both experiments are held", lambda: self._left("experiments", pending=2))
        self._shell("kubectl energaizer budget -n team-c")
        self._say("the next window, or a larger budget, lets them go:")
        self._shell(budgets)
        self._wait("both experiments were let go", self._let_go)
        self._shell("kubectl get energyreservations -n team-c")

    def _left(self, name: str, pending: int = 0) -> bool:
        body = self._json(f"energybudget {name} -n team-c")
        status = body.get("status", {})
        seen = status.get("observedGeneration") == body["metadata"]["generation"]
        return bool(seen and status.get("pendingWorkloads") == pending)

    def _let_go(self) -> bool:
        jobs = self._json("jobs -n team-c").get("items", [])
        return len(jobs) > 1 and not any(job["spec"].get("suspend") for job in jobs)

    def _measure(self) -> None:
        self._title("The same numbers as metrics")
        page = f"http://127.0.0.1:{self._controller.metrics_port}/metrics"
        said = self._shell(
            f"curl -sf {page} | grep -E 'predicted_(energy_joules|power_watts)' | grep -v '^#'"
        )
        for name in ("llama-8b-chat", "job-summarise", "job-summarise-archive"):
            self._claim(f'workload="{name}"' in said, f"the page has no series of {name}")

    def _watch(self) -> None:
        self._title("Measured beside predicted: a server that nobody annotated, a GPU exporter")
        self._say("(the exporter is a stand-in: simulated GPUs draw 0.93 of what is predicted)")
        self._shell(f"kubectl apply -f {EXAMPLES}/watt-quota.yaml")
        self._shell(f"kubectl apply -f {EXAMPLES}/unannotated-vllm.yaml")
        self._ready("deployment-chat", "team-a")
        self._wait("what runs is measured", self._measured)
        self._shell("kubectl get aiworkloads -n team-a -o wide")
        self._say("what it may draw counts against the quota of its namespace:")
        said = self._shell("kubectl describe quota power -n team-a")
        counted = re.search(r"requests.energaizer.io/watts +([1-9]\d*) +20k", said)
        self._claim(counted is not None, "the quota counts the watts of the server")
        self._title("The dashboards ask a real Prometheus")
        source = Prometheus(self._prometheus.url)
        for path in sorted((FILES / "dashboards").glob("*.json")):
            board = json.loads(path.read_text())
            ask = functools.partial(blank, board, source, {})
            self._wait(f"every panel of {path.stem} has data", functools.partial(_none, ask))
            self._say(f"{board['title']:<32} {sum(1 for _ in panels(board)):>2} panels with data")

    def _measured(self) -> bool:
        body = self._json("aiworkload deployment-chat -n team-a")
        return body.get("status", {}).get("measured", {}).get("errorPercent") is not None

    def _end(self) -> None:
        took = time.monotonic() - self._began
        self._title(f"Everything held, in {took:.0f} s. The cluster stays up; look further:")
        for line in (
            f"export KUBECONFIG={self._cluster.kubeconfig}",
            f"export PATH={self._cluster.bin}:$PATH",
            "kubectl get aiworkloads -A -o wide",
            f"curl '{self._prometheus.url}/api/v1/query?query=energaizer_leader'",
            f"python -m observability draw {self._prometheus.url} --out /tmp/dashboards",
            "kubectl get aiworkload job-summarise -n team-a -o yaml",
            f"ls {self._cluster.directory}/*.log",
            "make demo-down    # stops it and leaves nothing behind",
        ):
            self._say(f"  {line}")

    def _shell(self, command: str, *, fails: bool = False) -> str:
        """Show and run a command line; return what it printed."""
        click.secho(f"\n$ {command}", bold=True)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=ROOT,
            env={
                **os.environ,
                "KUBECONFIG": str(self._cluster.kubeconfig),
                "PATH": f"{self._cluster.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "KUBECACHEDIR": str(self._cluster.directory / "kubectl-cache"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        click.echo(done.stdout.rstrip())
        if (done.returncode != 0) != fails:
            self._fail(f"`{command}` ended with code {done.returncode}")
        return done.stdout

    def _json(self, arguments: str) -> dict[str, Any]:
        """Return what kubectl gets, without showing it; an empty object if there is none."""
        words = shlex.split(arguments)
        done = self._cluster.kubectl("get", *words, "-o", "json", check=False)
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def _ready(self, name: str, namespace: str) -> dict[str, Any]:
        """Wait until an AIWorkload is Ready and return it."""

        def look() -> dict[str, Any] | None:
            body = self._json(f"aiworkload {name} -n {namespace}")
            conditions = body.get("status", {}).get("conditions", [])
            good = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
            return body if good else None

        found: dict[str, Any] = self._wait(f"AIWorkload {name} is ready", look)
        return found

    def _placed(self, select: str, count: int) -> list[dict[str, Any]] | None:
        pods: list[dict[str, Any]] = self._json(f"pods {select}").get("items", [])
        placed = [pod for pod in pods if pod["spec"].get("nodeName")]
        return placed if len(placed) == count else None

    def _policy_counts(self, name: str) -> bool:
        return bool(self._json(f"energypolicy {name}").get("status", {}).get("matchedNamespaces"))

    def _event(self, name: str) -> bool:
        events = self._json("events -n team-a").get("items", [])
        return any(
            one["reason"] == "EstimateReady" and one["involvedObject"]["name"] == name
            for one in events
        )

    def _all_counted(self) -> bool:
        """Say whether the profiles count every GPU node: prices and places depend on it."""
        nodes = self._json("nodes").get("items", [])
        gpus = [one for one in nodes if any("/gpu" in key for key in one["status"]["capacity"])]
        profiles = self._json("gpuprofiles").get("items", [])
        counted: int = sum(one.get("status", {}).get("nodes", 0) for one in profiles)
        return counted == len(gpus) > 0

    def _nodes_by_profile(self) -> dict[str, str]:
        """Return the profile of each node, as the controller exports it."""
        series = self._controller.series("energaizer_node_gpu_profile_info")
        pairs = (re.findall(r'="([^"]*)"', labels) for labels in series)
        return {node: profile for profile, node in pairs}

    def _wait(self, what: str, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT_S
        while not (found := look()):
            self._webhook.check()
            self._controller.check()
            if time.monotonic() > deadline:
                self._fail(f"after {WAIT_S:.0f} s still not so: {what}")
            time.sleep(0.1)
        return found

    def _claim(self, holds: bool, what: str) -> None:
        if not holds:
            self._fail(what)

    @staticmethod
    def _title(text: str) -> None:
        click.secho(f"\n== {text}", fg="green", bold=True)

    @staticmethod
    def _say(text: str) -> None:
        click.echo(text)

    @staticmethod
    def _fail(reason: str) -> NoReturn:
        raise LocalClusterError(reason)


def _none(ask: Callable[[], list[str]]) -> bool:
    """Say whether a question has no answers."""
    return not ask()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--name", default=NAME, show_default=True, help="Which instance.")
def main(name: str) -> None:
    """Show the operator at work on a control plane of its own, which stays up for a look.

    An earlier instance of that name makes room. Stop it: python -m localcluster down --name NAME.
    """
    down = "make demo-down" if name == NAME else f"python -m localcluster down --name {name}"
    try:
        Demo(name).run()
    except LocalClusterError as error:
        click.secho(f"\nthe demo failed: {error}", fg="red", err=True)
        click.echo(
            f"what is left can be looked at: python -m localcluster logs --name {name}; "
            f"{down} removes it",
            err=True,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted; {down} removes what was started", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
