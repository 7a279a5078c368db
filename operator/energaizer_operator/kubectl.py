"""`kubectl energaizer`: what manifests will take, and whether a policy lets them in, offline."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from energaizer_operator.decision import Case, Decision
    from energaizer_operator.offline import Contents, Item

ENVIRONMENT_FAILED, BAD_INPUT, NO_ESTIMATE, REFUSED = 1, 2, 3, 4
_FEW = 3  # GPUs whose own notes still fit below a table
_SUFFIXES = (".yaml", ".yml", ".json")
Row = Sequence[str]
F = TypeVar("F", bound=Callable[..., Any])


def _options(*formats: str) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        command = click.option(
            "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write to."
        )(command)
        return click.option(
            "-o",
            "--output",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            help="Format.",
        )(command)

    return decorate


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
    exists, 4 refused by a policy.
    """


@main.command()
@_FILES
@_GPUS
@_options("table", "json")
def estimate(paths: tuple[str, ...], gpus: tuple[str, ...], output: str, out: Path | None) -> None:
    """Estimate the workloads of some manifests; needs no cluster.

    The GPU is the one that allowedProfiles, nodeSelector or affinity leave, else --gpu, else a
    GPUProfile of the files; where nobody names one, all GPUs of the catalogue that fit are
    compared, the one first that takes least energy for the same work.
    """
    contents, items = _load(paths)
    _need(items, contents)
    documents: list[dict[str, Any]] = []
    text: list[str] = []
    code = 0
    for item in items:
        case, found, failures = _estimates(item, contents, gpus)
        code = code or (failures[0][1] if failures else 0)
        for message, _ in failures:
            _complain(message)
        documents += [{"workload": item.subject.name, **document} for document in found]
        text += _estimate_table(item, case, found)
    if output == "json":
        alone = len(items) == 1 and len(documents) == 1
        if alone:
            del documents[0]["workload"]
        _write(json.dumps(documents[0] if alone else documents, indent=2), out)
    elif text:
        _write("\n".join(text), out)
    sys.exit(code)


@main.command()
@_FILES
@click.option("--policy", "policies", multiple=True, help="File of EnergyPolicies; repeatable.")
@_GPUS
@_options("table", "json")
def review(
    paths: tuple[str, ...],
    policies: tuple[str, ...],
    gpus: tuple[str, ...],
    output: str,
    out: Path | None,
) -> None:
    """Say whether EnergyPolicies and limits would let the workloads in; exit 4 if not.

    The verdict is the webhook's, for a cluster that has the GPUs of --gpu, else the GPUProfiles of
    the files, else every GPU of the catalogue: what is charged is the dearest that is possible.
    """
    from energaizer_operator import decision, offline
    from energaizer_operator.estimation import EstimateError, Estimator
    from energaizer_operator.policy import Action

    contents, items = _load((*paths, *policies))
    _need(items, contents)
    try:
        world = offline.world(contents, gpus)
    except EstimateError as error:
        _fail(str(error), error.exit_code)
    if not world.policies:
        _complain("note: the files hold no EnergyPolicy; add one by --policy FILE")
    estimator = Estimator()
    decisions = [(item, decision.decide(item.subject, world, estimator)) for item in items]
    estimator.close()
    if output == "json":
        _write(json.dumps([_verdict(item, decided) for item, decided in decisions], indent=2), out)
    else:
        _write("\n".join(line for pair in decisions for line in _verdict_lines(*pair)), out)
    refused = any(decided.verdict.action is Action.DENY for _, decided in decisions)
    sys.exit(REFUSED if refused else 0)


@main.command()
@_FILES
@_options("table", "json")
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
        _write(json.dumps(documents, indent=2), out)
        return
    text: list[str] = []
    for item, resolution in explained:
        rows = [(entry.name, entry.value, entry.source) for entry in resolution.sources]
        text += [item.place, *_aligned([("INPUT", "VALUE", "SOURCE"), *rows])]
        text += [f"! {problem.message}" for problem in resolution.problems]
        text.append("")
    _write("\n".join(text[:-1]), out)


@main.command()
@_FILES
@_GPUS
@_options("yaml", "json")
def claim(paths: tuple[str, ...], gpus: tuple[str, ...], output: str, out: Path | None) -> None:
    """Print a ResourceClaimTemplate (DRA) for each workload: GPUs in order of predicted energy."""
    from energaizer_operator import manifests, offline
    from energaizer_operator.estimation import EstimateError

    contents, items = _load(paths)
    _need(items, contents)
    try:
        found = [offline.claim(item, offline.world(contents, gpus)) for item in items]
    except EstimateError as error:
        _fail(str(error), error.exit_code)
    for item, (document, problem) in zip(items, found, strict=True):
        if document is None:
            _complain(f"{item.place}: {problem}")
    made = [document for document, _ in found if document is not None]
    if output == "json":
        _write(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}, indent=2), out)
    elif made:
        _write(manifests.dump(made), out)
    sys.exit(0 if len(made) == len(items) else NO_ESTIMATE)


@main.command()
@click.argument("names", nargs=-1)
@_options("yaml", "json", "table")
def profiles(names: tuple[str, ...], output: str, out: Path | None) -> None:
    """Print the GPUs of the catalogue as GPUProfile manifests, all or some by NAMES."""
    from energaizer_operator import estimation, manifests

    try:
        wanted = {estimation.canonical(name) for name in names}
    except estimation.EstimateError as error:
        _fail(str(error), error.exit_code)
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
        _write("\n".join(_aligned(rows)), out)
    elif output == "json":
        _write(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}, indent=2), out)
    else:
        _write(manifests.dump(made), out)


def _estimates(
    item: "Item", contents: "Contents", gpus: tuple[str, ...]
) -> tuple["Case", list[dict[str, Any]], list[tuple[str, int]]]:
    """Return the case of an item, its estimates by energy, and what failed with its exit code."""
    from energaizer_operator import estimation, manifests, offline
    from energaizer_operator.decision import prepare

    try:
        choice = offline.choose(item, contents, gpus)
    except manifests.ManifestError as error:
        _fail(str(error), BAD_INPUT)
    except estimation.EstimateError as error:
        _fail(str(error), error.exit_code)
    case = prepare(item.subject, offline.world(contents))
    inputs = case.resolution.inputs
    if problems := [problem.message for problem in case.resolution.problems]:
        return case, [], [(f"{item.place}: {message}", BAD_INPUT) for message in problems]
    setting = estimation.Setting(inputs.clock_megahertz, inputs.power_cap_watts)
    found: list[dict[str, Any]] = []
    failures: list[tuple[str, int]] = []
    known = offline.profiles(contents)
    for name in choice.names:
        try:
            found.append(estimation.report(inputs, known[name], setting, item.subject.config))
        except estimation.EstimateError as error:
            failures.append((f"{item.place}: on {name}: {error}", error.exit_code))
    if choice.compared and found:
        failures = []
    elif choice.compared:
        failures = failures[:1]
    found.sort(key=lambda one: float(one["energy"]["value"] / one["completed"]))  # same work
    return case, found, failures


def _estimate_table(item: "Item", case: "Case", found: list[dict[str, Any]]) -> list[str]:
    from energaizer_operator import human

    if not found:
        return []
    inputs = case.resolution.inputs
    rows: list[Row] = [("GPU", "GPUS", "POWER", "ENERGY", "90 %", "TIME", "J/TOKEN", "METHOD")]
    for document in found:
        energy, token = document["energy"], document["energy_per_output_token"]
        rows.append(
            (
                document["gpu"],
                str(document["gpu_count"]),
                human.quantity(document["power"]["value"], "W"),
                human.energy(energy["value"]),
                human.span(energy["low"], energy["high"], "J"),
                human.duration(document["duration"]["value"]),
                f"{token['value']:.3g}" if token else "-",
                energy["provenance"],
            )
        )
    title = f"{item.place}: {inputs.model_name or 'inline model'}, {inputs.precision}"
    return [title, *_aligned(rows), *_notes(found), ""]


def _notes(found: list[dict[str, Any]]) -> list[str]:
    """Return what holds for all GPUs, then, of a few, what holds for each."""
    shared = [note for note in found[0]["notes"] if all(note in one["notes"] for one in found)]
    lines = [f"note: {note}" for note in shared]
    if len(found) <= _FEW:
        for one in found:
            own = (note for note in one["notes"] if note not in shared)
            lines += [f"note on {one['gpu']}: {note}" for note in own]
    return lines


def _verdict_lines(item: "Item", decided: "Decision") -> list[str]:
    verdict = decided.verdict
    if decided.case.idle:
        return [f"Allow   {item.place}: asks for no GPU"]
    lines = [f"{verdict.action:<7} {item.place}"]
    if verdict.charged is not None:
        charged, estimate = verdict.charged, verdict.charged.estimate
        lines.append(
            f"        charged {estimate.gpu_count} x {charged.profile}: {estimate.energy_human}, "
            f"{estimate.power_human}, {estimate.method}"
        )
    if verdict.message:
        lines.append(f"        {verdict.message}")
    return lines + [f"        warning: {warning}" for warning in verdict.warnings]


def _verdict(item: "Item", decided: "Decision") -> dict[str, Any]:
    verdict = decided.verdict
    return {
        "workload": item.subject.name,
        "place": item.place,
        "action": str(verdict.action),
        "message": verdict.message,
        "warnings": list(verdict.warnings),
        "violations": [
            {"owner": one.owner, "limit": one.limit, "action": str(one.action)}
            for one in verdict.violations
        ],
        "charged": verdict.charged.estimate.to_dict() if verdict.charged else None,
        "alternative": verdict.alternative.estimate.to_dict() if verdict.alternative else None,
        "problems": [problem.message for problem in decided.case.resolution.problems],
    }


def _load(paths: Iterable[str]) -> tuple["Contents", tuple["Item", ...]]:
    """Return what the files hold; end the process where one cannot be read or means nothing."""
    from energaizer_operator import manifests, offline

    try:
        found = [
            m for path in paths for text, name in _read(path) for m in manifests.load(text, name)
        ]
        contents = offline.sort(found)
        return contents, offline.items(contents)
    except manifests.ManifestError as error:
        _fail(str(error), BAD_INPUT)


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
            _fail(f"{path}: holds no {', '.join(_SUFFIXES)} file", BAD_INPUT)
        for file in files:
            yield file.read_bytes().decode("utf-8"), str(file)
    except OSError as error:
        _fail(f"{path}: {error.strerror}", ENVIRONMENT_FAILED)
    except UnicodeDecodeError:
        _fail(f"{path}: not a text file in UTF-8", BAD_INPUT)


def _need(items: Sequence["Item"], contents: "Contents") -> None:
    """End the process where there is nothing to look at."""
    for place in contents.ignored:
        _complain(f"note: {place} runs no pods that we judge; ignored")
    if not items:
        _fail("the files hold no AIWorkload, Job, Deployment, StatefulSet or Pod", BAD_INPUT)


def _aligned(rows: Sequence[Row]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _write(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text)
        return
    try:
        out.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        _fail(f"{out}: {error.strerror}", ENVIRONMENT_FAILED)


def _complain(message: str) -> None:
    click.echo(message if message.startswith("note: ") else f"error: {message}", err=True)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
