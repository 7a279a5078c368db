"""The command `energaizer serve`: what a person types and reads about a server."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from energaizer.steady.answer import ServingEstimate
    from energaizer.steady.traffic import Traffic
    from energaizer.tables import Document

_PRECISIONS = click.Choice(
    ["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4"], case_sensitive=False
)
_DEGREES = ("tensor", "pipeline", "data", "expert")


def _whole(option: str, described: str, **more: Any) -> Callable[..., Any]:
    return click.option(option, type=click.IntRange(min=1), metavar="N", help=described, **more)


def _real(option: str, name: str, described: str, **more: Any) -> Callable[..., Any]:
    kind = click.FloatRange(min=0)
    return click.option(option, type=kind, metavar=name, help=described, **more)


@click.command()
@click.option("--model", required=True, metavar="NAME|FILE", help="A name, config.json or folder.")
@click.option("--gpu", required=True, metavar="NAME|FILE", help="A name or JSON file.")
@_real("--batch", "N", "Sequences that run together on a replica; or --requests-per-second.")
@_real("--requests-per-second", "RATE", "Arrivals at all replicas; the batch follows.")
@_whole("--input-tokens", "Tokens of a mean prompt, images aside.", default=512, show_default=True)
@_whole("--output-tokens", "Tokens of a mean output.", default=256, show_default=True)
@_real("--input-spread", "CV", "Standard deviation of prompts over their mean.", default=0.0)
@_real("--output-spread", "CV", "The same of outputs; 1: as wide as exponential.", default=1.0,
       show_default=True)  # fmt: skip
@_whole("--chunk-tokens", "Prompt tokens of a step at most.", default=8192, show_default=True)
@_whole("--images", "Images in each prompt of a vision-language model.")
@_whole("--frames", "Video frames in each prompt of such a model.")
@_whole("--image-size", "Pixels along an edge; the model's own by default.")
@_whole("--draft-tokens", "Speculative decoding: tokens drafted for each step.")
@_real("--acceptance", "SHARE", "Chance that a drafted token is kept.", default=0.7)
@click.option("--draft-model", metavar="NAME|FILE", help="What drafts; without it drafts are free.")
@_whole("--prefill-replicas", "Disaggregate: so many replicas compute prompts alone.")
@click.option("--precision", type=_PRECISIONS, metavar="FORMAT", help="Of arithmetic.")
@click.option("--weight-precision", type=_PRECISIONS, metavar="FORMAT", help="Of weights.")
@click.option("--cache-precision", type=_PRECISIONS, metavar="FORMAT", help="Of the KV cache.")
@_whole("--tensor-parallel", "GPUs that share every layer.", default=1)
@_whole("--pipeline-parallel", "Groups of layers in a row; each holds a part of the sequences.",
        default=1)  # fmt: skip
@click.option("--uneven", is_flag=True, default=None,
              help="Pipeline stages may differ by a layer.")  # fmt: skip
@_whole("--data-parallel", "Replicas of the model.", default=1)
@_whole("--expert-parallel", "GPUs that the experts lie on.", default=1)
@click.option("--node", metavar="NAME", help="Server: dgx-h100, ...; the GPU's usual one.")
@_whole("--gpus-per-node", "GPUs of a server; the node's by default.")
@click.option("--network", metavar="RATE", help="Of a GPU between nodes, one way: 400Gb/s.")
@click.option("--clock", metavar="CLOCK", help="Locked SM clock, e.g. 1410MHz; boost by default.")
@click.option("--power-cap", metavar="WATTS", help="Limit per board; the GPU's own by default.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv", "markdown"]),
              default="table", show_default=True, help="Format.")  # fmt: skip
@click.option("--profiles", type=click.Path(path_type=Path), metavar="DIR",
              help="Your own gpus/ and models/.")  # fmt: skip
def serve(model: str, gpu: str, **options: Any) -> int:
    """Estimate a server in steady running: latencies, throughput, watts, joules, memory.

    Requests are replaced as they finish (continuous batching); prompts are computed beside decode
    steps, or by replicas of their own. Give the running sequences or the rate of requests.

    \b
    energaizer serve --model llama-3.1-8b --gpu h100 --batch 64
    energaizer serve --model qwen3-235b-fp8 --gpu b200 --tensor-parallel 4 --expert-parallel 4 \\
        --requests-per-second 5 --input-tokens 2000 --output-tokens 500
    energaizer serve --model llama-3.1-70b --gpu h100 --tensor-parallel 4 --batch 32 \\
        --draft-tokens 4 --draft-model llama-3.2-1b
    energaizer serve --model llama-3.1-70b --gpu h100 --tensor-parallel 4 --data-parallel 2 \\
        --prefill-replicas 1 --requests-per-second 3
    """
    from energaizer import arguments, catalog, tables
    from energaizer.steady.estimate import serve as ask

    profiles = options.pop("profiles")
    found, board = catalog.resolve_model(model, profiles), catalog.resolve_gpu(gpu, profiles)
    draft = options.pop("draft_model")
    if draft is not None:
        options["draft"] = catalog.resolve_model(draft, profiles)
    traffic = traffic_of(options)
    given = {name: value for name, value in options.items() if name not in _TRAFFIC}
    given |= {part: options[f"{part}_parallel"] for part in _DEGREES}
    described = arguments.workload(found, given)
    answer = ask(described.workload, traffic, board, catalog.coefficients(board, profiles))
    answer = answer._replace(notes=(*described.notes, *answer.notes))
    form = options["output"]
    if form == "json":
        asked = {
            "workload": arguments.inputs(described.workload),
            "traffic": traffic.model_dump(mode="json", exclude_none=True),
        }
        click.echo(tables.as_json(answer.as_json() | {"inputs": asked}), nl=False)
    elif form == "csv":
        click.echo(tables.as_csv([record(answer)]), nl=False)
    else:
        write = tables.as_text if form == "table" else tables.as_markdown
        told = arguments.in_words(described.workload, settings=False)
        click.echo(write(document(answer, told)), nl=False)
    return 0


_TRAFFIC = {
    "batch", "requests_per_second", "input_spread", "output_spread", "chunk_tokens",
    "draft_tokens", "acceptance", "draft", "prefill_replicas", "output",
}  # fmt: skip


def traffic_of(options: dict[str, Any]) -> "Traffic":
    """Return the traffic that some options describe.

    Raises:
        InputError: A value is illegal, or there is no load, or two.
    """
    from pydantic import ValidationError

    from energaizer.errors import InputError, one_line
    from energaizer.steady.traffic import Lengths, Speculation, Traffic

    try:
        guess = None
        if options.get("draft_tokens") is not None:
            guess = Speculation(
                tokens=options["draft_tokens"], acceptance=options["acceptance"],
                draft=options.get("draft"),
            )  # fmt: skip
        elif options.get("draft") is not None:
            raise InputError("--draft-model needs --draft-tokens: how many for each step?")
        return Traffic(
            batch=options["batch"], requests_per_second=options["requests_per_second"],
            prompts=Lengths(mean=options["input_tokens"], spread=options["input_spread"]),
            outputs=Lengths(mean=options["output_tokens"], spread=options["output_spread"]),
            chunk_tokens=options["chunk_tokens"], speculation=guess,
            prefill_replicas=options.get("prefill_replicas") or 0,
        )  # fmt: skip
    except ValidationError as error:
        raise InputError(one_line(error)) from error


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
