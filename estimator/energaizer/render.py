"""Estimates and sweeps as documents for a person and flat records for a program.

Nothing here computes: numbers come in SI and leave with a unit beside them, in less than 100
columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from energaizer import __version__
from energaizer.arguments import in_words
from energaizer.result import Estimate, NodeEstimate, PhaseEstimate, Provenance, Quantity
from energaizer.tables import Document, Row, Table
from energaizer.units import (
    format_bytes,
    format_duration,
    format_energy,
    format_frequency,
    format_power,
    format_si,
)
from energaizer.workload import Workload

if TYPE_CHECKING:
    from energaizer.whatif import Candidate

_HALF_PERCENT = 0.0005


def estimate_document(estimate: Estimate, subheading: str = "") -> Document:
    """Return an estimate for a person: totals, phases, components, memory and remarks.

    Args:
        estimate: The answer, in SI.
        subheading: The inputs in words.
    """
    boards = f"{estimate.gpu_count} x {estimate.gpu}"
    clock = f"{format_frequency(estimate.clock_hz)}, limit {format_power(estimate.power_cap_w)}"
    tables = (
        _totals(estimate),
        _phases(estimate.phases, estimate.energy.value),
        _components(estimate.components),
        *([_node(estimate.node)] if estimate.node else []),
    )
    return Document(
        f"{estimate.model} on {boards}, {clock}" + (" each" if estimate.gpu_count > 1 else ""),
        tables,
        subheading,
        (
            *_training(estimate),
            *_memory(estimate),
            *(f"Note: {note}" for note in estimate.notes),
            _origin(estimate),
        ),
    )


def estimate_records(estimate: Estimate) -> list[dict[str, Any]]:
    """Return an estimate as flat records: the job, then its phases, then its components, in SI."""
    shared = {
        "model": estimate.model,
        "gpu": estimate.gpu,
        "gpu_count": estimate.gpu_count,
        "power_cap_w": estimate.power_cap_w,
        "profile_hash": estimate.profile_hash,
        "version": estimate.version,
    }
    job: dict[str, Any] = shared | {"part": "job", "name": "", "clock_hz": estimate.clock_hz}
    job |= _flat("power_w", estimate.power) | _flat("energy_j", estimate.energy)
    job |= _flat("duration_s", estimate.duration)
    if estimate.energy_per_output_token is not None:
        job |= _flat("energy_per_output_token_j", estimate.energy_per_output_token)
    if estimate.energy_per_sample is not None:
        job |= _flat("energy_per_sample_j", estimate.energy_per_sample)
    if estimate.training is not None:
        job |= estimate.training._asdict()
    if estimate.node is not None:
        job |= _flat("node_power_w", estimate.node.power)
        job |= _flat("node_energy_j", estimate.node.energy)
    job |= {"provenance": estimate.energy.provenance.value, "coverage": estimate.energy.coverage}
    records = [job]
    for phase in estimate.phases:
        part: dict[str, Any] = shared | {"part": "phase", "name": phase.name}
        part |= {"count": phase.count, "clock_hz": phase.clock_hz, "throttled": phase.throttled}
        part |= _flat("power_w", phase.power) | _flat("energy_j", phase.energy)
        part |= _flat("duration_s", phase.duration)
        part |= {"provenance": phase.energy.provenance.value, "coverage": phase.energy.coverage}
        records.append(part)
    for name, energy in estimate.components.items():
        part = shared | {"part": "component", "name": name} | _flat("energy_j", energy)
        records.append(part | {"provenance": energy.provenance.value, "coverage": energy.coverage})
    return records


def _flat(name: str, quantity: Quantity) -> dict[str, float]:
    stem, _, unit = name.rpartition("_")
    return {
        name: quantity.value,
        f"{stem}_low_{unit}": quantity.low,
        f"{stem}_high_{unit}": quantity.high,
    }


def _totals(estimate: Estimate) -> Table:
    rows = [
        _quantity("Power", estimate.power),
        _quantity("Energy", estimate.energy),
        _quantity("Duration", estimate.duration),
    ]
    if estimate.energy_per_output_token is not None:
        what = "trained" if estimate.training else "output"
        rows.append(_quantity(f"Energy per {what} token", estimate.energy_per_output_token))
    if estimate.energy_per_sample is not None:
        each = estimate.energy_per_sample
        rows.append(_quantity(f"Energy per {each.unit.partition('/')[2]}", each))
    return Table(("", ">Value", ">Low", ">High", "Provenance", ">Coverage"), rows, "")


def _quantity(label: str, quantity: Quantity) -> Row:
    energy = quantity.unit == "J"
    value = format_energy(quantity.value) if energy else measured(quantity.value, quantity.unit)
    low, high = (measured(bound, quantity.unit) for bound in (quantity.low, quantity.high))
    return (label, value, low, high, quantity.provenance.value, percent(quantity.coverage))


def measured(value: float, unit: str) -> str:
    """Return a number with its unit; seconds in minutes and hours where those read better."""
    return format_duration(value) if unit == "s" else format_si(value, unit)


def percent(fraction: float) -> str:
    """Return `12.3 %` of a fraction; what is there but small is `< 0.1 %`."""
    if 0 < fraction < _HALF_PERCENT:
        return "< 0.1 %"
    return f"{100 * fraction:.1f} %"


def _phases(phases: Sequence[PhaseEstimate], total_j: float) -> Table:
    rows = [
        (
            phase.name,
            f"{phase.count}",
            format_duration(phase.duration.value),
            format_power(phase.power.value),
            format_si(phase.energy.value, "J"),
            percent(phase.energy.value / total_j) if total_j else "",
            format_frequency(phase.clock_hz),
            "throttled" if phase.throttled else "",
        )
        for phase in phases
    ]
    headings = ("Phase", ">Steps", ">Duration", ">Power", ">Energy", ">Share", ">Clock", "")
    return Table(headings, rows)


def _components(components: dict[str, Quantity]) -> Table:
    total = sum(energy.value for energy in components.values())
    rows = [
        (
            name.replace("_", " "),
            format_si(energy.value, "J"),
            format_si(energy.low, "J"),
            format_si(energy.high, "J"),
            percent(energy.value / total) if total else "",
        )
        for name, energy in components.items()
        if energy.value
    ]
    return Table(("Component", ">Energy", ">Low", ">High", ">Share"), rows)


def _node(node: NodeEstimate) -> Table:
    """Return what servers draw at their sockets, part by part, under its own heading."""
    rows: list[Row] = [
        (name, format_power(watts), "", "", percent(watts / node.power.value))
        for name, watts in node.parts_w.items()
    ]
    low, high = format_power(node.power.low), format_power(node.power.high)
    rows.append(("whole nodes", format_power(node.power.value), low, high, ""))
    energy = [format_si(value, "J") for value in (node.energy.low, node.energy.high)]
    rows.append(("energy of them", format_energy(node.energy.value), *energy, ""))
    title = f"At the sockets of {node.nodes:g} x {node.node} ({node.power.provenance.value})"
    return Table((title, ">Value", ">Low", ">High", ">Share"), rows)


def _training(estimate: Estimate) -> tuple[str, ...]:
    """Return what training gets done, and how well it uses its boards."""
    found = estimate.training
    if found is None:
        return ()
    rate = f"{format_si(found.samples_per_s, '')} samples/s"
    if found.tokens is not None and found.tokens_per_s is not None:
        each = found.tokens_per_s / estimate.gpu_count
        rate = f"{format_si(found.tokens_per_s, '')} tokens/s, {format_si(each, '')} a GPU"
    parts = [f"step {format_duration(found.step_s)}", rate, f"MFU {percent(found.mfu)}"]
    if found.bubble_fraction:
        parts.append(f"pipeline bubble {percent(found.bubble_fraction)}")
    return ("Training: " + ", ".join(parts),)


def _memory(estimate: Estimate) -> tuple[str, ...]:
    memory = estimate.memory
    if memory is None:
        return ()
    parts = f"weights {format_bytes(memory.weights_bytes)}"
    parts += f", KV cache {format_bytes(memory.kv_cache_bytes)}"
    parts += f", activations {format_bytes(memory.activation_bytes)}"
    batch = "micro-batch" if estimate.training else "batch"
    whole = f"{format_bytes(memory.total_bytes)} of {format_bytes(memory.capacity_bytes)}"
    return (f"Memory of one GPU: {whole} ({parts}); largest {batch} {memory.largest_batch}",)


def _origin(estimate: Estimate) -> str:
    interval = "low and high: central 90 % interval of a new measurement"
    return f"{interval}; profile {estimate.profile_hash[:19]}, energaizer {estimate.version}"


class Sweep(NamedTuple):
    """Settings of one workload side by side, and what to say about them."""

    workload: Workload
    candidates: Sequence[Candidate]
    notes: tuple[str, ...] = ()


def sweep_document(sweep: Sweep) -> Document:
    """Return a sweep: one line a setting, those on the Pareto front with a star."""
    best = _best(sweep)
    per_token = any(one.energy_per_output_token for one in sweep.candidates)
    rows = [
        (
            one.gpu,
            f"{one.batch}",
            format_frequency(one.mean_clock_hz) + (" !" if one.throttled else "  "),
            format_power(one.power_cap_w),
            format_power(one.power_w),
            format_si(one.energy_j, "J"),
            format_duration(one.duration_s),
            *(_of_token(one) if per_token else ()),
            "*" if one in best else "",
        )
        for one in sweep.candidates
    ]
    headings: Row = ("GPU", ">Batch", ">Clock  ", ">Limit", ">Power", ">Energy", ">Duration")
    headings += (">J/token", ">Token/s", "") if per_token else ("",)
    remarks = ["*: no other setting takes both less time and less energy"]
    if any(one.throttled for one in sweep.candidates):
        remarks.append("!: the limit lowers the clock")
    if len({one.gpu for one in sweep.candidates}) > 1:
        remarks.append("Between GPUs, differences below 10 % are within the error of the method")
    weakest = Provenance.weakest(*(one.provenance for one in sweep.candidates))
    wide = max(sweep.candidates, key=lambda one: one.energy_high_j / one.energy_j)
    spread = f"{wide.energy_low_j / wide.energy_j:.2f} to {wide.energy_high_j / wide.energy_j:.2f}"
    remarks.append(f"Energy: {weakest.value}, 90 % interval {spread} times the value at most")
    remarks += [f"Note: {note}" for note in sweep.notes]
    return Document(
        f"{sweep.workload.model.name}, {len(rows)} settings",
        (Table(headings, rows),),
        in_words(sweep.workload, settings=False),
        tuple(remarks),
    )


def sweep_full(sweep: Sweep) -> dict[str, Any]:
    """Return a sweep for a program: every setting in SI, those on the Pareto front marked."""
    return {
        "model": sweep.workload.model.name,
        "candidates": sweep_records(sweep),
        "notes": list(sweep.notes),
        "version": __version__,
    }


def sweep_records(sweep: Sweep) -> list[dict[str, Any]]:
    """Return each setting of a sweep as a flat record in SI."""
    best = _best(sweep)
    return [one._asdict() | {"pareto": one in best} for one in sweep.candidates]


def _best(sweep: Sweep) -> set[Candidate]:
    from energaizer.whatif import pareto  # noqa: PLC0415 (a single estimate needs no sweeps)

    return set(pareto(sweep.candidates))


def _of_token(one: Candidate) -> Row:
    values = (one.energy_per_output_token, one.output_tokens_per_s)
    energy, rate = (
        "" if value is None else format_si(value, unit)
        for value, unit in zip(values, ("J", ""), strict=True)
    )
    return (energy, rate)
