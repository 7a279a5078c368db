"""`kubectl energaizer`: what manifests will take, and whether a policy lets them in, offline."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from energaizer_operator import scoring
from energaizer_operator.printing import aligned
from energaizer_operator.terminal import (
    BAD_INPUT,
    ENVIRONMENT_FAILED,
    NAMESPACE,
    NO_ESTIMATE,
    REFUSED,
    ask_cluster,
    complain,
    fail,
    of_cluster,
    options,
    write,
)

if TYPE_CHECKING:
    from energaizer_operator.contents import Contents
    from energaizer_operator.offline import Item

_SUFFIXES = (".yaml", ".yml", ".json")
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


_FILES = click.option(
    "-f",
    "--filename",
    "paths",
    multiple=True,
    required=True,
    help="Manifest file or folder, - for standard input; may be repeated.",
)
_GPUS = click.option(
    "--gpu", "gpus", multiple=True, help="GPU by name or alias, where the manifest names none."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="energaizer", prog_name="kubectl energaizer")
def main() -> None:
    """Watts, joules and seconds of AI workloads before they run.

    Exit codes: 0 done, 1 the environment failed, 2 wrong usage or bad input, 3 no honest estimate
    exists, 4 refused by a policy or budget.
    """


@main.command()
@_FILES
@_GPUS
@options("table", "json")
def estimate(paths: tuple[str, ...], gpus: tuple[str, ...], output: str, out: Path | None) -> None:
    """Estimate the workloads of some manifests; needs no cluster.

    The GPU is the one that allowedProfiles, nodeSelector or affinity leave, else --gpu, else a
    GPUProfile of the files; where nobody names one, all GPUs of the catalogue that fit are
    compared, the one first that takes least energy for the same work.
    """
    from energaizer_operator import estimating
    from energaizer_operator.estimation import EstimateError
    from energaizer_operator.manifests import ManifestError

    contents, items = _load(paths)
    _need(items, contents)
    documents: list[dict[str, Any]] = []
    text: list[str] = []
    code = 0
    for item in items:
        try:
            answer = estimating.estimates(item, contents, gpus)
        except ManifestError as error:
            fail(str(error), BAD_INPUT)
        except EstimateError as error:
            fail(str(error), error.exit_code)
        for failure in answer.failures:
            code = code or failure.exit_code
            complain(failure.message)
        documents += [{"workload": item.subject.name, **document} for document in answer.found]
        if answer.found:
            text += [*([""] if text else []), *estimating.lines(item, answer)]
    if output == "json":
        alone = len(items) == 1 and len(documents) == 1
        if alone:
            del documents[0]["workload"]
        write(json.dumps(documents[0] if alone else documents, indent=2), out)
    elif text:
        write("\n".join(text), out)
    sys.exit(code)


@main.command()
@_FILES
@click.option(
    "--policy",
    "--policies",
    "policies",
    multiple=True,
    help="File or folder of EnergyPolicies and EnergyBudgets; repeatable.",
)
@_GPUS
@options("table", "json")
def review(
    paths: tuple[str, ...],
    policies: tuple[str, ...],
    gpus: tuple[str, ...],
    output: str,
    out: Path | None,
) -> None:
    """Say whether limits, EnergyPolicies and EnergyBudgets would let them in; exit 4 if not.

    The verdict is the webhook's, for a cluster that has the GPUs of --gpu, else the GPUProfiles of
    the files, else every GPU of the catalogue: what is charged is the dearest that is possible.
    """
    from datetime import UTC, datetime

    from energaizer_operator import offline, reviewing
    from energaizer_operator.estimation import EstimateError, Estimator

    contents, items = _load((*paths, *policies))
    _need(items, contents)
    try:
        world = offline.world(contents, gpus)
    except EstimateError as error:
        fail(str(error), error.exit_code)
    if not (world.policies or contents.budgets or contents.quotas):
        complain("note: the files hold no EnergyPolicy or EnergyBudget; add one by --policy FILE")
    estimator = Estimator()
    verdicts = list(reviewing.review(items, contents, world, estimator, datetime.now(UTC)))
    if output == "json":
        write(json.dumps([verdict.document() for verdict in verdicts], indent=2), out)
    else:
        write("\n".join(line for verdict in verdicts for line in verdict.lines()), out)
    sys.exit(REFUSED if any(verdict.refused for verdict in verdicts) else 0)


@main.command()
@_FILES
@options("table", "json")
def explain(paths: tuple[str, ...], output: str, out: Path | None) -> None:
    """Show the inputs of each workload and who stated them."""
    from energaizer_operator import offline
    from energaizer_operator.decision import prepare

    contents, items = _load(paths)
    _need(items, contents)
    world = offline.world(contents)
    explained = [(item, prepare(item.subject, world).resolution) for item in items]
    if output == "json":
        documents = [
            {
                "workload": item.subject.name,
                "inputs": [entry.to_dict() for entry in resolution.sources],
                "problems": [problem.message for problem in resolution.problems],
            }
            for item, resolution in explained
        ]
        write(json.dumps(documents, indent=2), out)
        return
    text: list[str] = []
    for item, resolution in explained:
        rows = [(entry.name, entry.value, entry.source) for entry in resolution.sources]
        text += [item.place, *aligned([("INPUT", "VALUE", "SOURCE"), *rows])]
        text += [f"! {problem.message}" for problem in resolution.problems]
        text.append("")
    write("\n".join(text[:-1]), out)


@main.command()
@_FILES
@_GPUS
@options("yaml", "json")
def claim(paths: tuple[str, ...], gpus: tuple[str, ...], output: str, out: Path | None) -> None:
    """Print a ResourceClaimTemplate (DRA) for each workload: GPUs in order of predicted energy."""
    from energaizer_operator import manifests, offline
    from energaizer_operator.estimation import EstimateError

    contents, items = _load(paths)
    _need(items, contents)
    try:
        found = [offline.claim(item, offline.world(contents, gpus)) for item in items]
    except EstimateError as error:
        fail(str(error), error.exit_code)
    for item, (document, problem) in zip(items, found, strict=True):
        if document is None:
            complain(f"{item.place}: {problem}")
    made = [document for document, _ in found if document is not None]
    if output == "json":
        write(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}, indent=2), out)
    elif made:
        write(manifests.dump(made), out)
    sys.exit(0 if len(made) == len(items) else NO_ESTIMATE)


@main.command()
@click.argument("names", nargs=-1)
@options("yaml", "json", "table")
def profiles(names: tuple[str, ...], output: str, out: Path | None) -> None:
    """Print the GPUs of the catalogue as GPUProfile manifests, all or some by NAMES."""
    from energaizer_operator import estimation, manifests

    try:
        wanted = {estimation.canonical(name) for name in names}
    except estimation.EstimateError as error:
        fail(str(error), error.exit_code)
    chosen = [
        profile
        for profile in estimation.catalogue()
        if not wanted or profile.metadata.name in wanted
    ]
    made = [manifests.tidy(profile.to_dict()) for profile in chosen]
    if output == "table":
        rows = [("NAME", "VENDOR", "ARCHITECTURE", "TDP", "PRODUCTS")]
        for profile in chosen:
            spec = profile.spec
            tdp = f"{spec.thermal_design_power_watts} W"
            products = ", ".join(spec.product_names)
            rows.append(
                (profile.metadata.name, spec.vendor, spec.architecture or "", tdp, products)
            )
        write("\n".join(aligned(rows)), out)
    elif output == "json":
        write(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}, indent=2), out)
    else:
        write(manifests.dump(made), out)


@main.command()
@NAMESPACE
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Budgets of all.")
@of_cluster
@options("table", "json")
def budget(
    namespace: str | None,
    everywhere: bool,
    asked: Mapping[str, object],
    output: str,
    out: Path | None,
) -> None:
    """Show the energy budgets of a cluster, what is left of them, and what waits for them."""
    from energaizer_operator import fleet

    found = ask_cluster(
        lambda settings: fleet.budgets(settings, namespace, everywhere=everywhere), asked
    )
    if output == "json":
        waiting = [vars(one) for one in found.waiting]
        write(json.dumps({"budgets": found.budgets, "waiting": waiting}, indent=2), out)
        return
    write("\n".join(fleet.lines(found)), out)


@main.command()
@click.argument("held", metavar="[job/|jobset/]NAME")
@NAMESPACE
@of_cluster
def release(held: str, namespace: str | None, asked: Mapping[str, object]) -> None:
    """Let a held Job or JobSet start, room or no room: for administrators.

    Its joules are reserved past the limit, so that they count, and the controller lets it go.
    Whoever may create EnergyReservations may do this.
    """
    from energaizer_operator import fleet

    try:
        resource, name = fleet.holdable(held)
        click.echo(
            ask_cluster(lambda settings: fleet.release(settings, namespace, resource, name), asked)
        )
    except fleet.ReleaseError as error:
        fail(str(error), BAD_INPUT)


def _load(paths: Iterable[str]) -> tuple["Contents", tuple["Item", ...]]:
    """Return what the files hold; end the process where one cannot be read or means nothing."""
    from energaizer_operator import contents, manifests, offline

    try:
        once: dict[Path, tuple[str, str]] = {}  # a folder may hold manifests and policies
        for path in paths:
            for text, name in _read(path):
                once.setdefault(Path(name).resolve(), (text, name))
        found = [one for text, name in once.values() for one in manifests.load(text, name)]
        known = contents.sort(found)
        return known, offline.items(known)
    except manifests.ManifestError as error:
        fail(str(error), BAD_INPUT)


def _read(path: str) -> Iterable[tuple[str, str]]:
    """Yield text and name of a file, of standard input, or of every manifest of a folder."""
    try:
        if path == "-":
            yield sys.stdin.buffer.read().decode("utf-8"), "standard input"
            return
        place = Path(path)
        files = [place]
        if place.is_dir():
            files = sorted(file for file in place.iterdir() if file.suffix in _SUFFIXES)
        if not files:
            fail(f"{path}: holds no {', '.join(_SUFFIXES)} file", BAD_INPUT)
        for file in files:
            yield file.read_bytes().decode("utf-8"), str(file)
    except OSError as error:
        fail(f"{path}: {error.strerror}", ENVIRONMENT_FAILED)
    except UnicodeDecodeError:
        fail(f"{path}: not a text file in UTF-8", BAD_INPUT)


def _need(items: Sequence["Item"], contents: "Contents") -> None:
    """End the process where there is nothing to look at."""
    for place in contents.ignored:
        complain(f"note: {place} runs no pods that we judge; ignored")
    if not items:
        fail(
            "the files hold no AIWorkload and nothing that runs pods with GPUs, such as a Job, "
            "Deployment, StatefulSet or Pod",
            BAD_INPUT,
        )


main.add_command(scoring.accuracy)
main.add_command(scoring.recalibrate)

if __name__ == "__main__":
    main()
