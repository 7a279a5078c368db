"""`kubectl energaizer accuracy` and `recalibrate`: predictions against measurements."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from energaizer_operator.names import SYSTEM_NAMESPACE
from energaizer_operator.terminal import (
    NAMESPACE,
    NO_ESTIMATE,
    ask_cluster,
    fail,
    of_cluster,
    options,
    write,
)


@click.command()
@NAMESPACE
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Workloads of all.")
@of_cluster
@options("table", "json")
def accuracy(
    namespace: str | None,
    everywhere: bool,
    asked: Mapping[str, object],
    output: str,
    out: Path | None,
) -> None:
    """Show predicted and measured energy of a cluster's workloads, and the error by GPU."""
    from energaizer_operator import accuracy as room

    found = ask_cluster(
        lambda settings: room.workloads(settings, namespace, everywhere=everywhere), asked
    )
    if output == "json":
        document = {"workloads": [vars(one) for one in found], "gpus": room.by_profile(found)}
        write(json.dumps(document, indent=2), out)
        return
    write("\n".join(room.lines(found)), out)


@click.command()
@click.argument("profile")
@click.option(
    *("-n", "--namespace"),
    default=SYSTEM_NAMESPACE,
    show_default=True,
    help="Of the ConfigMap; the controller may read that of its own.",
)
@of_cluster
@options("yaml", "json")
def recalibrate(
    profile: str, namespace: str, asked: Mapping[str, object], output: str, out: Path | None
) -> None:
    """Propose coefficients for the GPUs of PROFILE from measured workloads, as a ConfigMap.

    One factor on all energy above idle, judged with each workload left out in turn. Nothing is
    applied. Exit 3 where too few workloads are measured, or where it would not help.
    """
    from energaizer_operator import accuracy as room
    from energaizer_operator import manifests
    from energaizer_operator.estimation import CalibrationError

    seen = ask_cluster(lambda settings: room.history(settings, profile), asked)
    try:
        found = room.propose(seen)
    except CalibrationError as error:
        fail(str(error), NO_ESTIMATE)
    for line in room.review(profile, namespace, found) if found.improves else ():
        click.echo(line, err=True)
    if not found.improves:
        fail(
            f"no correction of {profile} helps workloads that it was not fitted to: mean error "
            f"{found.error_before:.1%} now, {found.error_after:.1%} with each left out",
            NO_ESTIMATE,
        )
    document = room.manifest(profile, namespace, found)
    text = json.dumps(document, indent=2) if output == "json" else manifests.dump([document])
    write(text, out)
    sys.exit(0)
