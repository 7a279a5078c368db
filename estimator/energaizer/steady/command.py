"""The command `energaizer serve`: what a person types and reads about a server."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from energaizer.options import (
    ARITHMETIC,
    DEGREES,
    GPU,
    IMAGES,
    MODEL,
    OUTPUT,
    PLACE,
    SETTING,
    UNEVEN,
    options,
    whole,
)

if TYPE_CHECKING:
    from pathlib import Path

    from energaizer.model import Model
    from energaizer.steady.answer import ServingEstimate
    from energaizer.steady.traffic import Lengths, Traffic
    from energaizer.tables import Document


def _real(option: str, name: str, described: str, **more: Any) -> Callable[..., Any]:
    return click.option(option, type=float, metavar=name, help=described, **more)


_TRAFFIC = options(
    _real("--batch", "N", "Sequences that run together on a replica; or --requests-per-second."),
    _real("--requests-per-second", "RATE", "Arrivals at all replicas; the batch follows."),
    whole("--input-tokens", "Tokens of a mean prompt, images aside.",
          default=512, show_default=True),
    whole("--output-tokens", "Tokens of a mean output.", default=256, show_default=True),
    _real("--input-spread", "CV", "Standard deviation of prompts over their mean.",
          default=0.0, show_default=True),
    _real("--output-spread", "CV", "The same of outputs; 1: as wide as exponential.",
          default=1.0, show_default=True),
    whole("--chunk-tokens", "Prompt tokens of a step at most.", default=8192, show_default=True),
    IMAGES,
    whole("--frames", "Video frames in each prompt of such a model."),
    whole("--draft-tokens", "Speculative decoding: tokens drafted for each step."),
    _real("--acceptance", "SHARE", "Chance that a drafted token is kept.",
          default=0.7, show_default=True),
    click.option("--draft-model", metavar="NAME|PATH",
                 help="What drafts; without it drafts are free."),
    whole("--prefill-replicas", "Disaggregate: so many replicas compute prompts alone."),
)  # fmt: skip


@click.command()
@MODEL
@GPU
@_TRAFFIC
@ARITHMETIC
@DEGREES
@UNEVEN
@PLACE
@SETTING
@OUTPUT
def serve(model: str, gpu: str, **options: Any) -> None:
    """Estimate a server in steady running: latencies, throughput, watts, joules, memory.

    Requests are replaced as they finish (continuous batching); prompts are computed beside decode
    steps, or by replicas of their own. Give the running sequences or the rate of requests.

    \b
    energaizer serve --model llama-3.1-8b --gpu h100 --batch 64
    energaizer serve --model qwen3-235b-fp8 --gpu b200 --tp 4 --ep 4 \\
        --requests-per-second 5 --input-tokens 2000 --output-tokens 500
    energaizer serve --model llama-3.1-70b --gpu h100 --tp 4 --batch 32 \\
        --draft-tokens 4 --draft-model llama-3.2-1b
    energaizer serve --model llama-3.1-70b --gpu h100 --tp 4 --dp 2 \\
        --prefill-replicas 1 --requests-per-second 3
    """
    from energaizer import arguments, catalog, delivery
    from energaizer.steady.estimate import serve as ask

    profiles = options["profiles"]
    found = _decoder(model, profiles, "`energaizer estimate` answers for it")
    board = catalog.resolve_gpu(gpu, profiles)
    draft = options["draft_model"]
    options["draft"] = draft and _decoder(draft, profiles, "as --draft-model name a small decoder")
    traffic = traffic_of(options)
    # What a load is of a job would run that many at once, or for a duration.
    described = arguments.workload(found, options | {"batch": None, "requests_per_second": None})
    answer = ask(described.workload, traffic, board, catalog.coefficients(board, profiles))
    answer = answer._replace(notes=(*described.notes, *answer.notes))
    asked = {
        "workload": arguments.inputs(described.workload),
        "traffic": traffic.model_dump(mode="json", exclude_none=True),
    }
    told = arguments.in_words(described.workload, settings=False)
    full = answer.as_json() | {"inputs": asked}
    delivery.deliver(options, full, [record(answer)], document(answer, told))


def traffic_of(options: dict[str, Any]) -> "Traffic":
    """Return the traffic that some options describe.

    Raises:
        InputError: A value is illegal, or there is no load, or two.
    """
    from energaizer.arguments import checked
    from energaizer.errors import InputError
    from energaizer.steady.traffic import Speculation, Traffic

    if (options["batch"] is None) == (options["requests_per_second"] is None):
        raise InputError(
            "give --batch, the sequences that run together, or --requests-per-second, one of them"
        )
    guess = None
    if options["draft_tokens"] is not None:
        said = {
            "tokens": options["draft_tokens"],
            "acceptance": options["acceptance"],
            "draft": options["draft"],
        }
        guess = checked(Speculation, said, {"tokens": "--draft-tokens", "draft": "--draft-model"})
    elif options["draft"] is not None:
        raise InputError("--draft-model needs --draft-tokens: how many for each step?")
    load = {
        "batch": options["batch"],
        "requests_per_second": options["requests_per_second"],
        "prompts": _lengths(options, "input"),
        "outputs": _lengths(options, "output"),
        "chunk_tokens": options["chunk_tokens"],
        "speculation": guess,
    }
    if options["prefill_replicas"] is not None:
        load["prefill_replicas"] = options["prefill_replicas"]
    return checked(Traffic, load)


def _decoder(name: str, profiles: "Path | None", otherwise: str) -> "Model":
    """Return a decoder-only language model, of which servers decode many sequences at once."""
    from energaizer import catalog
    from energaizer.errors import InputError
    from energaizer.model import Model

    found = catalog.resolve_model(name, profiles)
    if not isinstance(found, Model) or not found.causal:
        raise InputError(f"{found.name} is no decoder-only language model; {otherwise}")
    return found


def _lengths(options: dict[str, Any], what: str) -> "Lengths":
    """Return lengths of `input` or `output`."""
    from energaizer.arguments import checked
    from energaizer.steady.traffic import Lengths

    tokens, spread = f"{what}_tokens", f"{what}_spread"
    named = {"mean": f"--{what}-tokens", "spread": f"--{what}-spread"}
    return checked(Lengths, {"mean": options[tokens], "spread": options[spread]}, named)


def record(answer: "ServingEstimate") -> dict[str, Any]:
    """Return an answer as one flat record in SI."""
    found: dict[str, Any] = {}
    for name, value in answer.as_json().items():
        if isinstance(value, dict) and "value" in value:
            found |= {name: value["value"], f"{name}_low": value["low"],
                      f"{name}_high": value["high"]}  # fmt: skip
        elif not isinstance(value, dict | list):
            found[name] = value
    return found


def document(answer: "ServingEstimate", told: str) -> "Document":
    """Return an answer as tables."""
    from energaizer.tables import Document, Table
    from energaizer.units import format_bytes, format_frequency, format_si

    def row(name: str, what: str) -> tuple[str, ...]:
        said = getattr(answer, what)
        unit = said.unit.split("/")[0] if said.unit[0] == "J" else said.unit
        return (name, *(format_si(one, unit) for one in (said.value, said.low, said.high)),
                said.provenance.value)  # fmt: skip

    rows = [row(name, what) for name, what in (
        ("Time to first token", "time_to_first_token"),
        ("Time per output token", "time_per_output_token"),
        ("Median gap of tokens", "inter_token_latency"),
        ("Longest step", "longest_step"),
        ("Output tokens", "output_tokens_per_second"), ("Requests", "requests_per_second"),
        ("Power", "power"), ("Peak power", "peak_power"), ("  in decode", "decode_power"),
        ("  in prompts", "prefill_power"),
        ("Energy per output token", "energy_per_output_token"),
        ("Energy per request", "energy_per_request"),
        ("  prompt", "prefill_energy_per_request"), ("  decode", "decode_energy_per_request"),
        ("  idle", "idle_energy_per_request"),
    )]  # fmt: skip
    memory, boards = answer.memory, f"{answer.gpu_count} x {answer.gpu}"
    state = (
        f"{answer.batch:.1f} sequences run on a replica at a context of "
        f"{answer.context_tokens:.0f}, {answer.prompts_per_step:.3g} prompts a step; the host holds"
        f" {format_si(answer.host_s_per_step, 's')} of it; busy {100 * answer.busy_fraction:.0f} %"
    )
    fits = (
        f"Memory of one GPU: {format_bytes(memory.total_bytes)} of "
        f"{format_bytes(memory.capacity_bytes)} (weights {format_bytes(memory.weights_bytes)}, KV "
        f"cache {format_bytes(memory.kv_cache_bytes)}); largest batch {memory.largest_batch}"
    )
    remarks = [state, fits]
    if answer.prefill_gpu_count:
        remarks.append(f"{answer.prefill_gpu_count} of the GPUs compute prompts alone")
    if answer.most_requests_per_second is not None:
        remarks.append(f"At most {answer.most_requests_per_second:.3g} requests/s are served")
    remarks += [f"Note: {note}" for note in answer.notes]
    remarks.append("low and high: central 90 % interval of a new measurement; "
                   f"profile {answer.profile_hash}, energaizer {answer.version}")  # fmt: skip
    title = f"{answer.model} served on {boards}, {format_frequency(answer.clock_hz)}"
    headings = ("", ">Value", ">Low", ">High", "Provenance")
    return Document(title, (Table(headings, rows),), told, tuple(remarks))
