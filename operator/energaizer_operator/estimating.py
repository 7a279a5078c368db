"""Estimates of one workload, on the GPU that it may land on or on all, and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from energaizer_operator import estimation, human, offline
from energaizer_operator.contents import Contents
from energaizer_operator.decision import prepare
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.offline import Item
from energaizer_operator.printing import Row, aligned

_BAD_INPUT = 2
_FEW = 3  # GPUs whose own notes still fit below a table


@dataclass(frozen=True)
class Failure:
    """Why a workload has no estimate, and the exit code that says so."""

    message: str
    exit_code: int


@dataclass(frozen=True)
class Answer:
    """What is known of one workload."""

    inputs: ResolvedInputs
    found: Sequence[dict[str, Any]] = ()
    """Estimates as documents, the one first that takes least energy for the same work."""
    failures: Sequence[Failure] = ()


def estimates(item: Item, contents: Contents, gpus: Sequence[str]) -> Answer:
    """Return the estimates of a workload, and what failed.

    Where nobody named a GPU all are compared, and those that cannot run it are left out.

    Args:
        item: The workload.
        contents: What else the files hold.
        gpus: Names and aliases of GPUs that somebody asked for.

    Raises:
        ManifestError: The manifest excludes what `gpus` name, or all that is known.
        EstimateError: A name is in no file and no catalogue.
    """
    choice = offline.choose(item, contents, gpus)
    resolution = prepare(item.subject, offline.world(contents)).resolution
    inputs = resolution.inputs
    if resolution.problems:
        problems = (problem.message for problem in resolution.problems)
        failures = [Failure(f"{item.place}: {message}", _BAD_INPUT) for message in problems]
        return Answer(inputs, failures=failures)
    setting = estimation.Setting(inputs.clock_megahertz, inputs.power_cap_watts)
    found: list[dict[str, Any]] = []
    failed: dict[str, estimation.EstimateError] = {}
    known = offline.profiles(contents)
    for name in choice.names:
        try:
            found.append(estimation.report(inputs, known[name], setting, item.subject.config))
        except estimation.EstimateError as error:
            failed[name] = error
    found.sort(key=lambda one: float(one["energy"]["value"] / one["completed"]))
    if choice.compared and found:
        return Answer(inputs, found)
    if len(failed) > 1 and len({str(error) for error in failed.values()}) == 1:
        one = next(iter(failed.values()))  # whatever the GPU
        return Answer(inputs, found, [Failure(f"{item.place}: {one}", one.exit_code)])
    failures = [
        Failure(f"{item.place}: on {name}: {error}", error.exit_code)
        for name, error in failed.items()
    ]
    return Answer(inputs, found, failures[:1] if choice.compared else failures)


def lines(item: Item, answer: Answer) -> list[str]:
    """Return a table of estimates, at least one, a line a GPU, and what to know of them."""
    inputs, found = answer.inputs, answer.found
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
    return [title, *aligned(rows), *_notes(found)]


def _notes(found: Sequence[dict[str, Any]]) -> list[str]:
    """Return what holds for all GPUs, then, of a few, what holds for each."""
    shared = [note for note in found[0]["notes"] if all(note in one["notes"] for one in found)]
    lines = [f"note: {note}" for note in shared]
    if len(found) <= _FEW:
        for one in found:
            own = (note for note in one["notes"] if note not in shared)
            lines += [f"note on {one['gpu']}: {note}" for note in own]
    return lines
