"""Estimates and profiles as documents for a person and flat records for a program.

Nothing here computes: numbers come in SI and leave with a unit beside them, in less than 100
columns.
"""

from collections.abc import Sequence
from typing import Any

from energaizer.coefficients import Coefficients
from energaizer.gpu import Gpu
from energaizer.model import Model
from energaizer.result import Estimate, PhaseEstimate, Quantity
from energaizer.tables import Document, Row, Table
from energaizer.units import (
    format_bytes,
    format_duration,
    format_energy,
    format_frequency,
    format_power,
    format_si,
)

_HALF_PERCENT = 0.0005
_TERA = 1e12


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
    )
    return Document(
        f"{estimate.model} on {boards}, {clock}" + (" each" if estimate.gpu_count > 1 else ""),
        tables,
        subheading,
        (*_memory(estimate), *(f"Note: {note}" for note in estimate.notes), _origin(estimate)),
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
        rows.append(_quantity("Energy per output token", estimate.energy_per_output_token))
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
            name,
            format_si(energy.value, "J"),
            format_si(energy.low, "J"),
            format_si(energy.high, "J"),
            percent(energy.value / total) if total else "",
        )
        for name, energy in components.items()
    ]
    return Table(("Component", ">Energy", ">Low", ">High", ">Share"), rows)


def _memory(estimate: Estimate) -> tuple[str, ...]:
    memory = estimate.memory
    if memory is None:
        return ()
    parts = f"weights {format_bytes(memory.weights_bytes)}"
    parts += f", KV cache {format_bytes(memory.kv_cache_bytes)}"
    parts += f", activations {format_bytes(memory.activation_bytes)}"
    whole = f"{format_bytes(memory.total_bytes)} of {format_bytes(memory.capacity_bytes)}"
    return (f"Memory of one GPU: {whole} ({parts}); largest batch {memory.largest_batch}",)


def _origin(estimate: Estimate) -> str:
    interval = "low and high: central 90 % interval of a new measurement"
    return f"{interval}; profile {estimate.profile_hash[:19]}, energaizer {estimate.version}"


def gpus_document(gpus: Sequence[Gpu], provenances: Sequence[str]) -> Document:
    """Return a list of boards; a board's provenance is that of its coefficients."""
    rows = [
        (
            gpu.name,
            gpu.aliases[0] if gpu.aliases else "",
            gpu.architecture,
            format_bytes(gpu.memory_bytes).replace(".0 ", " "),
            format_si(gpu.memory_bandwidth, "B/s"),
            f"{gpu.peak_flops.get('bf16', gpu.peak_flops.get('fp16', 0.0)) / _TERA:.0f}",
            format_power(gpu.power_limit_w),
            provenance,
        )
        for gpu, provenance in zip(gpus, provenances, strict=True)
    ]
    headings = (
        *("GPU", "Alias", "Class", ">Memory", ">Bandwidth", ">TFLOP/s", ">Limit"),
        "Basis",
    )
    remark = "TFLOP/s: dense 16-bit peak; basis: provenance of the coefficients behind an estimate"
    return Document("", (Table(headings, rows),), remarks=(remark,))


def models_document(models: Sequence[Model]) -> Document:
    """Return a list of models."""
    rows = [
        (
            model.name,
            model.aliases[0] if model.aliases else "",
            _count(model.parameters),
            f"{model.layers}",
            f"{model.hidden_size}",
            f"{model.attention_heads}/{model.key_value_heads}",
            format_bytes(model.key_value_bytes_per_token()) if model.causal else "encoder",
        )
        for model in models
    ]
    headings = ("Model", "Alias", ">Params", ">Layers", ">Hidden", ">Heads/KV", ">KV/token")
    return Document("", (Table(headings, rows),))


def gpu_document(gpu: Gpu, coefficients: Coefficients) -> Document:
    """Return everything a person may ask about one board."""
    rates = [
        (key, format_si(peak, "FLOP/s"), f"{gpu.macs_per_cycle(key):.0f}")
        for key, peak in gpu.peak_flops.items()
    ]
    lowest = gpu.min_power_limit_w
    facts = [
        ("Also called", ", ".join((*gpu.aliases, *gpu.product_names)) or "-"),
        ("Class", f"{gpu.vendor} {gpu.architecture}, {gpu.compute_units} SMs or CUs"),
        ("Clock", f"{_range(gpu)}, peaks at {format_frequency(gpu.reference_clock_hz)}"),
        ("Memory", f"{format_bytes(gpu.memory_bytes)} {gpu.memory_type}"),
        (
            "Bandwidth",
            f"{format_si(gpu.memory_bandwidth, 'B/s')}, L2 {format_si(gpu.l2_bytes, 'B')}",
        ),
        ("Link", f"{gpu.link.kind}, {format_si(gpu.link.bandwidth, 'B/s')} in one direction"),
        ("Power limit", format_power(gpu.power_limit_w)),
        ("Lowest limit", format_power(lowest) if lowest else "not published"),
        ("Supply", "published" if gpu.voltage else "not published; a typical curve is assumed"),
        ("Coefficients", coefficients.provenance.value),
    ]
    tables = (
        Table(("", ""), facts),
        Table(("Rate", ">Dense peak", ">MAC/cycle/SM"), rates),
    )
    remarks = [f"Note: {note}" for note in (*gpu.notes, *coefficients.notes)]
    remarks.append(f"Source: {gpu.source.citation}")
    remarks.append(f"Coefficients: {coefficients.source.citation} ({coefficients.source.date})")
    return Document(gpu.name, tables, "", tuple(remarks))


def model_document(model: Model) -> Document:
    """Return everything a person may ask about one model."""
    window = f"{model.sliding_layers} layers see {model.sliding_window} tokens"
    heads = (
        f"{model.attention_heads} of {model.head_size}, {model.key_value_heads} for keys, values"
    )
    mlp = f"{model.intermediate_size} wide, {'gated ' if model.gated_mlp else ''}{model.activation}"
    facts = [
        ("Also called", model.aliases[0] if model.aliases else "-"),
        ("Family", f"{model.family}, {'decoder' if model.causal else 'encoder'}"),
        ("Parameters", f"{model.parameters:,} ({_count(model.parameters)})"),
        ("Layers", f"{model.layers} of {model.hidden_size}"),
        ("Heads", heads),
        ("MLP", mlp),
        ("Window", window if model.sliding_layers else "none"),
        ("Vocabulary", f"{model.vocabulary_size}{', tied head' if model.tied_embeddings else ''}"),
        ("Longest context", f"{model.max_positions or 'not stated'}"),
        ("KV cache", f"{format_bytes(model.key_value_bytes_per_token())} a token, 16-bit"),
    ]
    remarks = [f"Also: {', '.join(model.aliases[1:])}"] if model.aliases[1:] else []
    remarks += [f"Note: {note}" for note in model.notes]
    remarks += [f"Source: {model.source}"] if model.source else []
    return Document(model.name, (Table(("", ""), facts),), "", tuple(remarks))


def gpu_record(gpu: Gpu, provenance: str) -> dict[str, Any]:
    """Return a board as one flat record in SI."""
    record: dict[str, Any] = gpu.model_dump(
        mode="json",
        exclude={
            "schema_version",
            "aliases",
            "product_names",
            "peak_flops",
            "link",
            "voltage",
            "notes",
            "source",
        },
    )
    record |= {f"peak_{key}_flops": peak for key, peak in gpu.peak_flops.items()}
    record |= {"link": gpu.link.kind, "link_bandwidth": gpu.link.bandwidth}
    return record | {"coefficients": provenance, "source": gpu.source.citation}


def model_record(model: Model) -> dict[str, Any]:
    """Return a model as one flat record."""
    record: dict[str, Any] = model.model_dump(mode="json", exclude={"aliases", "notes"})
    return record | {
        "parameters": model.parameters,
        "key_value_bytes_per_token": model.key_value_bytes_per_token(),
    }


def _count(parameters: int) -> str:
    """Return `8.03 B`: parameters are counted in billions, not in giga."""
    return format_si(parameters, "").replace("G", "B")


def _range(gpu: Gpu) -> str:
    return f"{format_frequency(gpu.min_clock_hz)} to {format_frequency(gpu.max_clock_hz)}"
