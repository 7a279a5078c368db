"""The command line: parses what a person types, asks the library, prints, and exits by contract.

Exit codes: 0 done, 1 the environment failed, 2 wrong usage or bad input, 3 no honest estimate.
Commands import what they need when they run, so that `--help` and completion stay quick.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from energaizer import __version__
from energaizer.errors import EnergaizerError, NoEstimateError, ProfileError, one_line
from energaizer.options import GPU, JOB, MODEL, OUTPUT, SETTING

if TYPE_CHECKING:
    from energaizer.arguments import Settings
    from energaizer.families import Network
    from energaizer.gpu import Gpu
    from energaizer.model import Model
    from energaizer.whatif import Candidate

_DONE, _ENVIRONMENT, _USAGE, _NO_ESTIMATE = 0, 1, 2, 3
# Read when numpy is loaded; what a person sets counts. Threads for our small products cost 20 ms to
# start.
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1"}
# Objects between two collections. Loading modules makes a quarter of a million that stay, and by
# default the collector walks over them again and again: some of the start.
_COLLECT_EVERY: Final = 500_000
# Commands of rooms of their own, which are imported when somebody asks for one, or for help.
_ROOMS: Final = {
    "calibrate": "energaizer.tuning.command",
    "collect": "energaizer.collection.command",
    "serve": "energaizer.steady.command",
    "train": "energaizer.train.command",
    "validate": "energaizer.validation.command",
}


class _Root(click.Group):
    """A group that turns every expected failure into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_ROOMS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        room = _ROOMS.get(cmd_name)
        if room is None:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(importlib.import_module(room), cmd_name)
        return found

    def main(self, *args: Any, **options: Any) -> Any:
        options["standalone_mode"] = False
        os.environ.update(_ONE_THREAD | os.environ)
        gc.set_threshold(_COLLECT_EVERY)
        try:
            code = super().main(*args, **options)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(_ENVIRONMENT)
        except click.ClickException as error:
            told, context = error.format_message(), getattr(error, "ctx", None)
            help_ = f"; see `{context.command_path} --help`" if context else ""
            _fail(told.rstrip(".") + help_, error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            _fail("interrupted", _ENVIRONMENT)
        except EnergaizerError as error:
            _fail(one_line(error), _exit_code(error))
        except OSError as error:
            _fail(f"{error.filename or 'output'}: {error.strerror or error}", _ENVIRONMENT)
        sys.exit(code if isinstance(code, int) else _DONE)


def _exit_code(error: EnergaizerError) -> int:
    if isinstance(error, NoEstimateError):
        return _NO_ESTIMATE
    return _ENVIRONMENT if isinstance(error, ProfileError) else _USAGE


def _fail(message: str, code: int) -> None:
    click.echo(f"energaizer: {' '.join(message.split())}", err=True)
    sys.exit(code)


@click.group(
    cls=_Root,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Say how many watts, joules and seconds an AI workload takes on a GPU, before it runs.

    \b
    energaizer estimate --model llama-3.1-8b --gpu h100-sxm --batch 16
    energaizer sweep --model llama-3.1-8b --gpu h100-sxm,a100-80gb --clock 900MHz..1410MHz
    energaizer gpus
    energaizer models qwen
    energaizer show h100-sxm

    \b
    Exit codes: 0 done, 1 the environment failed (an unreadable file),
    2 wrong usage or bad input, 3 no honest estimate exists.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command()
@click.option("--model", metavar="NAME|PATH", help="Hugging Face id, alias, or a config.json.")
@click.option(
    "--onnx", "graph", type=click.Path(path_type=Path), metavar="FILE",
    help="An ONNX graph instead of --model; needs energaizer[onnx].",
)  # fmt: skip
@click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=DIMS",
    help="Size of an input of --onnx, x=1,3,224,224, or of a symbol, seq=128; may be repeated.",
)  # fmt: skip
@GPU
@click.option(
    "--batch",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Sequences or images that run together.",
)
@JOB
@SETTING
@OUTPUT
def estimate(model: str | None, gpu: str, **options: Any) -> None:
    """Estimate power, energy and time of one workload on one kind of GPU.

    \b
    energaizer estimate --model meta-llama/Llama-3.1-8B --gpu h100-sxm --batch 16 \\
        --input-tokens 1024 --output-tokens 256
    energaizer estimate --model ./my-model/config.json --gpu l40s --requests 10000
    energaizer estimate --model llama-3.1-70b --gpu h100-sxm --tensor-parallel 4 \\
        --weight-precision fp8 --duration 1h --power-cap 500W -o json
    energaizer estimate --model bert-base --gpu a100-40gb --batch 32 --clock 1110MHz
    energaizer estimate --model vit-large --gpu a100-40gb --batch 32 --image-size 384
    energaizer estimate --onnx resnet.onnx --gpu l4 --batch 8 --shape x=1,3,224,224
    energaizer estimate --model FLUX.1-dev --gpu h100-sxm --height 1024 --width 1024 --steps 28
    energaizer estimate --model wan2.1-14b --gpu h100-sxm --frames 81 --context-parallel 8
    """
    from energaizer import arguments, catalog, delivery, pipeline, render

    board = catalog.resolve_gpu(gpu, options["profiles"])
    if (model is None) == (options["graph"] is None):
        raise click.UsageError("give --model, or --onnx with a graph")
    described = (
        _graph(options) if model is None else catalog.resolve_model(model, options["profiles"])
    )
    workload, notes = arguments.workload(described, options)
    fitted = catalog.coefficients(board, options["profiles"])
    host = catalog.host(pipeline.host_name(workload), options["profiles"])
    answer = pipeline.estimate(workload, board, fitted, host)
    answer = answer._replace(notes=(*notes, *answer.notes))
    full = answer.as_json() | {"inputs": arguments.inputs(workload)}
    document = render.estimate_document(answer, arguments.in_words(workload))
    delivery.deliver(options, full, render.estimate_records(answer), document)


def _graph(options: dict[str, Any]) -> Network:
    """Return the network of an ONNX file."""
    from energaizer import arguments

    try:
        from energaizer.onnx import reading
    except ImportError as error:
        raise click.ClickException(
            f"a graph needs {error.name}; install it with: pip install energaizer[onnx]"
        ) from error
    return reading.load(options["graph"], arguments.shapes(options["shapes"]), options["batch"])


@main.command()
@MODEL
@click.option("--gpu", required=True, metavar="LIST", help="One or more: h100-sxm,a100-80gb.")
@click.option("--batch", metavar="LIST", help="1,8,64 or 1..64, which doubles.")
@JOB
@click.option("--clock", metavar="LIST", help="900MHz,1410MHz or 900MHz..1410MHz[..STEP].")
@click.option("--power-cap", metavar="LIST", help="300W,500W or 300W..700W[..STEP].")
@OUTPUT
def sweep(model: str, gpu: str, **options: Any) -> None:
    """Estimate one workload at many settings, and mark the best compromises.

    Every combination of GPU, batch, clock and limit that a GPU can take is one line; a star marks
    those that no other beats in both energy and time. Without any list the clock varies.

    \b
    energaizer sweep --model llama-3.1-8b --gpu h100-sxm --batch 16 --clock 600MHz..1980MHz
    energaizer sweep --model llama-3.1-8b --gpu h100-sxm,a100-80gb,l40s --batch 1..64
    energaizer sweep --model qwen3-8b --gpu h200 --power-cap 300W..700W..100W -o csv
    """
    from energaizer import arguments, catalog, delivery, render

    profiles = options["profiles"]
    named = (catalog.resolve_gpu(name.strip(), profiles) for name in gpu.split(","))
    boards = list({board.name: board for board in named}.values())
    asked = arguments.settings(catalog.resolve_model(model, profiles), options)
    candidates, left_out = _swept(boards, asked, profiles)
    answer = render.Sweep(asked.workload, candidates, (*left_out, *asked.notes))
    full = render.sweep_full(answer) | {"inputs": arguments.inputs(asked.workload)}
    delivery.deliver(options, full, render.sweep_records(answer), render.sweep_document(answer))


def _swept(
    boards: list[Gpu], asked: Settings, profiles: Path | None
) -> tuple[list[Candidate], list[str]]:
    """Return the settings of each board, and why some boards have none."""
    from energaizer import arguments, catalog, whatif

    found: list[Candidate] = []
    left_out: list[EnergaizerError] = []
    alone = len(boards) == 1 and asked.batches is None and asked.caps_w is None
    for board in boards:
        lowest = board.min_clock_hz if alone else board.max_clock_hz
        try:
            found += whatif.sweep(
                asked.workload,
                [board],
                clocks_hz=asked.clocks_hz or arguments.steps_of(lowest, board.max_clock_hz),
                limits_w=asked.caps_w,
                batches=asked.batches,
                coefficients={board.name: catalog.coefficients(board, profiles)},
            )
        except EnergaizerError as error:
            left_out.append(_reason(asked, board) or error)
    if not found:
        raise left_out[0]
    return found, [f"left out: {one_line(error)}" for error in left_out]


def _reason(asked: Settings, board: Gpu) -> EnergaizerError | None:
    """Return what the first setting of a sweep breaks on a board that can take none."""
    from energaizer import pipeline

    first = {
        "batch": (asked.batches or (asked.workload.batch,))[0],
        "clock_hz": (asked.clocks_hz or (None,))[0],
        "power_cap_w": (asked.caps_w or (None,))[0],
    }
    try:
        pipeline.estimate(asked.workload.model_copy(update=first), board)
    except EnergaizerError as error:
        return error
    return None


@main.command()
@click.argument("pattern", default="")
@OUTPUT
def gpus(pattern: str, **options: Any) -> None:
    """List the known GPUs, or those whose name holds PATTERN.

    \b
    energaizer gpus
    energaizer gpus a100 -o json
    """
    from energaizer import catalog, delivery, listing

    found = [gpu for gpu in catalog.gpus(options["profiles"]) if _holds(pattern, gpu)]
    sources = [catalog.coefficients(gpu, options["profiles"]).provenance.value for gpu in found]
    full = {"gpus": [gpu.model_dump(mode="json") for gpu in found]}
    records = [listing.gpu_record(gpu, whence) for gpu, whence in zip(found, sources, strict=True)]
    delivery.deliver(options, full, records, listing.gpus_document(found, sources))


@main.command()
@click.argument("pattern", default="")
@OUTPUT
def models(pattern: str, **options: Any) -> None:
    """List the known models, or those whose name holds PATTERN.

    \b
    energaizer models
    energaizer models qwen3 -o csv
    """
    from energaizer import catalog, delivery, listing

    found = [model for model in catalog.models(options["profiles"]) if _holds(pattern, model)]
    full = {"models": [model.model_dump(mode="json") for model in found]}
    records = [listing.model_record(model) for model in found]
    delivery.deliver(options, full, records, listing.models_document(found))


@main.command()
@click.argument("name")
@OUTPUT
def show(name: str, **options: Any) -> None:
    """Show everything known about one GPU or model, and whence.

    \b
    energaizer show h100-sxm
    energaizer show meta-llama/Llama-3.1-8B -o json
    """
    from energaizer import catalog, delivery, listing
    from energaizer.gpu import Gpu

    found = catalog.resolve(name, options["profiles"])
    if not isinstance(found, Gpu):
        record = listing.model_record(found)
        delivery.deliver(
            options, found.model_dump(mode="json"), [record], listing.model_document(found)
        )
        return
    fitted = catalog.coefficients(found, options["profiles"])
    full = {"gpu": found.model_dump(mode="json"), "coefficients": fitted.model_dump(mode="json")}
    records = [listing.gpu_record(found, fitted.provenance.value)]
    delivery.deliver(options, full, records, listing.gpu_document(found, fitted))


def _holds(pattern: str, profile: Gpu | Model | Network) -> bool:
    return any(pattern.casefold() in name.casefold() for name in (profile.name, *profile.aliases))


def run() -> NoReturn:
    """Run the command line as a process of its own.

    It ends without taking the interpreter apart, object by object: the system does that at once.
    """
    try:
        main()
    except SystemExit as left:
        if not isinstance(left.code, int):
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(left.code)
    sys.exit(_DONE)
