"""The command line. Data go to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from localcluster import instances
from localcluster.build import build
from localcluster.cluster import Cluster
from localcluster.components import START_ORDER
from localcluster.errors import LocalClusterError
from localcluster.instances import Record
from localcluster.pools import load_pools
from localcluster.toolset import toolset_names

NAME = click.option("--name", default="default", show_default=True, help="Which instance.")
OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the data."
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def cli() -> None:
    """Run a real Kubernetes control plane on this machine, without containers or root.

    \b
    python -m localcluster up
    export KUBECONFIG=$(python -m localcluster kubeconfig)
    kubectl get nodes
    python -m localcluster down

    The first `up` builds the programs from pinned sources (about ten minutes, 4 GB of Go caches,
    0.5 GB of programs); each later one takes seconds. The nodes are simulated by KWOK: pods are
    scheduled and run to completion in name only. A Service gets a loopback address, so a process
    of this machine that binds it is what the API server's webhooks reach.
    """


@cli.command("build", short_help="Build the programs into the cache, unless they are there.")
@click.argument("toolset", default="kubernetes")
@OUTPUT
def build_command(toolset: str, output: str) -> None:
    """Build the programs of TOOLSET into the cache, unless they are there."""
    built = build(toolset)
    data = {"toolset": toolset, "version": built.version, "bin": str(built.bin)}
    _show(output, data, f"{toolset} {built.version} in {built.bin}")


build_command.help = f"{build_command.help}\n\nTool sets: {', '.join(toolset_names())}."


@cli.command(short_help="Start an instance and wait until it works.")
@NAME
@click.option(
    "--nodes",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML file of node pools; localcluster/pools.yaml is the default and the example.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for its data, absent or empty; `down` deletes it.",
)
@OUTPUT
def up(name: str, nodes: Path | None, directory: Path | None, output: str) -> None:
    """Start an instance and wait until it works. One that runs already is left running.

    \b
    python -m localcluster up                                 # the instance "default"
    python -m localcluster up --name mine --nodes pools.yaml  # another one beside it
    python -m localcluster up -o json | jq -r .kubeconfig
    """
    began = time.monotonic()
    pools = None if nodes is None else load_pools(nodes)
    _report(instances.sweep())
    record = instances.find(name)
    if record is not None and instances.condition(record) == "running":
        _say(f'"{name}" is running already')
        cluster = Cluster.attach(name)
        if pools is not None:
            cluster.apply_nodes(pools)
    else:
        cluster = Cluster(name, pools=pools, directory=directory, leashed=False, say=_say).start()
        _say(f"up in {time.monotonic() - began:.1f} s")
    text = (
        f"Kubernetes {cluster.version} at {cluster.server}, Services in {cluster.services}\n"
        f"  export KUBECONFIG={cluster.kubeconfig}\n"
        f"  export PATH={cluster.bin}:$PATH\n"
        f"stop it with: python -m localcluster down --name {name}"
    )
    _show(output, _data(cluster.record), text)


@cli.command(short_help="Stop an instance and delete its data.")
@NAME
@click.option("--all", "every", is_flag=True, help="Stop every instance of this user.")
def down(name: str, every: bool) -> None:
    """Stop an instance and delete its data; one that does not run is no error."""
    _report(instances.sweep())
    chosen = instances.records() if every else [r for r in instances.records() if r.name == name]
    for record in chosen:
        instances.remove(record)
        _say(f'"{record.name}" stopped')
    if not chosen:
        _say("no instance runs" if every else f'no instance "{name}" runs')


@cli.command()
@NAME
@OUTPUT
def kubeconfig(name: str, output: str) -> None:
    """Print the path of the admin's kubeconfig."""
    cluster = Cluster.attach(name)
    _show(output, {"kubeconfig": str(cluster.kubeconfig)}, str(cluster.kubeconfig))


@cli.command()
@click.argument("component", required=False, type=click.Choice(START_ORDER))
@NAME
@click.option("--lines", default=20, show_default=True, help="How many of the last; 0 for all.")
@OUTPUT
def logs(component: str | None, name: str, lines: int, output: str) -> None:
    """Print the end of the log of COMPONENT, or of each."""
    record = instances.find(name)
    if record is None:
        raise LocalClusterError(f'no instance "{name}"; `python -m localcluster list` shows them')
    chosen = START_ORDER if component is None else (component,)
    found = {one: record.plan.log(one, lines) for one in chosen}
    text = "\n".join(f"{one}: {line}" for one, tail in found.items() for line in tail)
    _show(output, found, text)


@cli.command("list", short_help="List the instances and their conditions.")
@OUTPUT
def list_command(output: str) -> None:
    """List the instances and their conditions, clearing away what crashed ones left."""
    _report(instances.sweep())
    data = [_data(record) for record in instances.records()]
    rows = [
        [str(one[key]) for key in ("name", "condition", "server", "services", "folder")]
        for one in data
    ]
    rows.insert(0, ["NAME", "CONDITION", "SERVER", "SERVICES", "FOLDER"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    _show(output, data, "\n".join(lines) if data else "no instance runs")


def main() -> None:
    """Run the command line; SIGTERM and a closed terminal clean up as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        cli(standalone_mode=False, prog_name="python -m localcluster")
    except LocalClusterError as error:
        _fail(str(error), 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; nothing is left running", 130)


def _data(record: Record) -> dict[str, Any]:
    """Return what is printed of an instance."""
    return {
        "name": record.name,
        "condition": instances.condition(record),
        "version": record.version,
        "server": record.plan.server,
        "services": str(record.services),
        "kubeconfig": str(record.kubeconfig),
        "bin": str(record.plan.built.bin),
        "folder": str(record.folder),
        "created": record.created.isoformat(),
    }


def _show(output: str, data: object, text: str) -> None:
    """Print data in the form that was asked for."""
    click.echo(json.dumps(data, indent=2) if output == "json" else text)


def _say(line: str) -> None:
    """Print a line of progress."""
    click.echo(line, err=True)


def _report(swept: list[str]) -> None:
    """Say which debris was removed."""
    for name in swept:
        _say(f'removed what a crashed "{name}" left')


def _fail(message: str, code: int) -> NoReturn:
    """Print an error and end."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def _terminate(number: int, _: object) -> NoReturn:
    """Turn a signal into an exit that runs every `finally`."""
    sys.exit(128 + number)
