"""GPUs and models as documents for a person and flat records for a program."""

from collections.abc import Sequence
from typing import Any

from energaizer.coefficients import Coefficients
from energaizer.families import EncoderDecoder, Network
from energaizer.gpu import Gpu
from energaizer.model import Model
from energaizer.tables import Document, Table
from energaizer.units import format_bytes, format_frequency, format_power, format_si

_TERA, _GIB, _KIB = 1e12, 2**30, 2**10
_WIDEST_NAME = 34  # beyond it a list leaves the organisation out
_WIDEST = 60  # of a value in a table, letters


def gpus_document(gpus: Sequence[Gpu], provenances: Sequence[str]) -> Document:
    """Return a list of boards; a board's provenance is that of its coefficients."""
    rows = [
        (
            gpu.name,
            gpu.aliases[0] if gpu.aliases else "",
            gpu.architecture,
            f"{gpu.memory_bytes / _GIB:.0f} GiB",
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
    return Document("", (Table(headings, rows),), remarks=(remark,) if rows else ("none",))


def models_document(models: Sequence[Model | Network]) -> Document:
    """Return a list of models."""
    rows = [
        (
            _name(model.name),
            model.aliases[0] if model.aliases else "",
            _count(model.parameters),
            *(_of_network(model) if isinstance(model, Network) else _of_transformer(model)),
        )
        for model in models
    ]
    headings = ("Model", "Alias", ">Params", ">Layers", ">Hidden", ">Heads/KV", ">KV/token")
    return Document("", (Table(headings, rows),), remarks=() if rows else ("none",))


def _name(name: str) -> str:
    if len(name) <= _WIDEST_NAME:
        return name
    own = name.rsplit("/", 1)[-1]
    return own if len(own) <= _WIDEST_NAME else own[: _WIDEST_NAME - 1] + "…"


def _of_transformer(model: Model) -> tuple[str, str, str, str]:
    return (
        f"{model.layers}",
        f"{model.hidden_size}",
        f"{model.attention_heads}/{model.key_value_heads}",
        f"{model.key_value_bytes_per_token() / _KIB:.0f} KiB" if model.causal else "encoder",
    )


def _of_network(model: Network) -> tuple[str, str, str, str]:
    layers, hidden = (getattr(model, name, "") for name in ("layers", "hidden_size"))
    if isinstance(model, EncoderDecoder):
        return (f"{layers}", f"{hidden}", "", "enc-dec")
    if model.generates:
        return ("", "", "", model.sample)
    return (f"{layers}", f"{hidden}", "", f"{model.image_size} px")


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


def model_document(model: Model | Network) -> Document:
    """Return everything a person may ask about one model."""
    facts = _network_facts(model) if isinstance(model, Network) else _transformer_facts(model)
    remarks = [f"Also: {', '.join(model.aliases[1:])}"] if model.aliases[1:] else []
    remarks += [f"Note: {note}" for note in model.notes]
    remarks += [f"Source: {model.source}"] if model.source else []
    also = ("Also called", model.aliases[0] if model.aliases else "-")
    return Document(model.name, (Table(("", ""), [also, *facts]),), "", tuple(remarks))


def _network_facts(model: Network) -> list[tuple[str, str]]:
    found = [("Family", model.family), ("Parameters", _whole(model.parameters))]
    if model.takes_images and not model.generates:
        found.append(("Image", f"{model.image_size} x {model.image_size}"))
    work = "A step" if model.generates else "Forward pass"
    found.append((work, f"{format_si(model.macs, 'MAC')} per {model.sample}"))
    return [*found, *((name, _short(value)) for name, value in model.facts())]


def _short(value: str) -> str:
    return value if len(value) <= _WIDEST else value[: _WIDEST - 1] + "…"


def _whole(parameters: int) -> str:
    return f"{parameters:,} ({_count(parameters)})"


def _transformer_facts(model: Model) -> list[tuple[str, str]]:
    window = f"{model.sliding_layers} layers see {model.sliding_window} tokens"
    heads = (
        f"{model.attention_heads} of {model.head_size}, {model.key_value_heads} for keys, values"
    )
    mlp = f"{model.intermediate_size} wide, {'gated ' if model.gated_mlp else ''}{model.activation}"
    mlp += f", in {model.dense_count} layers" if model.dense_count != model.layers else ""
    return [
        ("Family", f"{model.family}, {'decoder' if model.causal else 'encoder'}"),
        ("Parameters", _whole(model.parameters)),
        ("Active", f"{_whole(model.active_parameters)} a token"),
        ("Layers", f"{model.layers} of {model.hidden_size}"),
        ("Heads", heads),
        ("MLP", mlp if model.dense_count else "none dense"),
        *_beside(model),
        ("Window", window if model.sliding_layers else "none"),
        ("Vocabulary", f"{model.vocabulary_size}{', tied head' if model.tied_embeddings else ''}"),
        ("Longest context", f"{model.max_positions or 'not stated'}"),
        ("KV cache", f"{format_bytes(model.key_value_bytes_per_token())} a token, 16-bit"),
    ]


def _beside(model: Model) -> list[tuple[str, str]]:
    """Return what a model has beside dense attention and MLP."""
    found = []
    if model.experts is not None:
        mixture = model.experts
        shared = f", shared {mixture.shared_size} wide" if mixture.shared_size else ""
        each = f"{mixture.per_token} of {mixture.count}, {mixture.intermediate_size} wide{shared}"
        found.append(("Experts", f"{each}, in {mixture.layers} layers"))
    if model.latent is not None:
        stored = f"{model.latent.cached_size} elements a token and layer"
        found.append(("Latent attention", stored))
    if model.recurrent is not None:
        kind, state = model.recurrent.kind, format_bytes(model.recurrent.state_bytes)
        found.append(("Recurrent", f"{model.recurrent.layers} layers of {kind}, state {state}"))
    if model.vision is not None:
        tokens = model.vision.tokens(model.vision.image_size)
        edge = model.vision.image_size
        found.append(("Vision", f"{tokens} tokens for an image of {edge} x {edge}"))
    return found


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


def model_record(model: Model | Network) -> dict[str, Any]:
    """Return a model as one flat record."""
    if isinstance(model, Network):
        record: dict[str, Any] = {"name": model.name, "family": model.family}
        if not model.generates:
            record["image_size"] = model.image_size
        record |= {name.replace(" ", "_").lower(): value for name, value in model.facts()}
        return record | {"parameters": model.parameters, "macs": model.macs}
    record = model.model_dump(mode="json", exclude={"aliases", "notes"})
    return record | {
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "key_value_bytes_per_token": model.key_value_bytes_per_token(),
    }


def _count(parameters: int) -> str:
    """Return `8.03 B`: parameters are counted in billions, not in giga."""
    return format_si(parameters, "").replace("G", "B")


def _range(gpu: Gpu) -> str:
    return f"{format_frequency(gpu.min_clock_hz)} to {format_frequency(gpu.max_clock_hz)}"
