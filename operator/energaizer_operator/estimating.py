"""Estimates of one workload as a table: one line a GPU, and what to know of each."""

from typing import Any

from energaizer_operator import human
from energaizer_operator.decision import Case
from energaizer_operator.offline import Item
from energaizer_operator.printing import Row, aligned

_FEW = 3  # GPUs whose own notes still fit below a table


def lines(item: Item, case: Case, found: list[dict[str, Any]]) -> list[str]:
    """Return a table of estimates, one line a GPU."""
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
    return [title, *aligned(rows), *_notes(found), ""]


def _notes(found: list[dict[str, Any]]) -> list[str]:
    """Return what holds for all GPUs, then, of a few, what holds for each."""
    shared = [note for note in found[0]["notes"] if all(note in one["notes"] for one in found)]
    lines = [f"note: {note}" for note in shared]
    if len(found) <= _FEW:
        for one in found:
            own = (note for note in one["notes"] if note not in shared)
            lines += [f"note on {one['gpu']}: {note}" for note in own]
    return lines
