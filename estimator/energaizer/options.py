"""Options that commands share: what runs, on how many GPUs, and where the answer goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

# As in `precision`, which a command loads only when it runs; a test compares the two.
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4")
FORMATS: Final = ("table", "json", "csv", "markdown")


def options(*chosen: Callable[..., Any]) -> Callable[..., Any]:
    """Return a decorator that adds options to a command, in this order."""

    def wrap(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(chosen):
            command = option(command)
        return command

    return wrap


def text(option: str, name: str, described: str) -> Callable[..., Any]:
    """Return an option that takes a text."""
    return click.option(option, metavar=name, help=described)


def whole(option: str, described: str, **more: Any) -> Callable[..., Any]:
    """Return an option that takes a whole number, under further names `to`."""
    return click.option(option, *more.pop("to", ()), type=int, metavar="N", help=described, **more)


def _format_of(option: str, described: str, **more: Any) -> Callable[..., Any]:
    formats = click.Choice(PRECISIONS, case_sensitive=False)
    return click.option(option, type=formats, metavar="FORMAT", help=described, **more)


def _path(option: str, name: str, described: str) -> Callable[..., Any]:
    return click.option(option, type=click.Path(path_type=Path), metavar=name, help=described)


MODEL = click.option(
    "--model", required=True, metavar="NAME|PATH", help="Hugging Face id, alias, or a config.json."
)
GPU = click.option(
    "--gpu", required=True, metavar="NAME|PATH", help="As `energaizer gpus` lists, or a JSON file."
)
SETTING = options(
    text("--clock", "FREQ", "Locked clock, 1410MHz; by default the highest."),
    text("--power-cap", "POWER", "Limit per GPU, 500W; by default that of the board."),
)
ARITHMETIC = options(
    _format_of(
        "--precision",
        f"Of activations and arithmetic: {', '.join(PRECISIONS)}; bf16 by default, or as an "
        "8-bit checkpoint.",
    ),
    _format_of("--weight-precision", "Of weights; that of the checkpoint, else --precision."),
    _format_of("--cache-precision", "Of the KV cache; --precision by default."),
)
DEGREES = options(
    whole("--tensor-parallel", "GPUs that share every layer.", to=["--tp", "tensor"]),
    whole("--pipeline-parallel", "Groups of layers in a row.", to=["--pp", "pipeline"]),
    whole("--data-parallel", "Replicas of the model.", to=["--dp", "data"]),
    whole("--expert-parallel", "GPUs that the experts lie on.", to=["--ep", "expert"]),
)
CONTEXT = whole(
    "--context-parallel", "GPUs that share a sequence or a latent.", to=["--cp", "context"]
)
UNEVEN = click.option(
    "--uneven",
    is_flag=True,
    default=None,
    help="Pipeline stages may differ by a layer, as vLLM and SGLang split them.",
)
PLACE = options(
    text("--node", "NAME", "Server: dgx-h100, gb200-nvl72, ...; the GPU's usual one by default."),
    whole("--gpus-per-node", "GPUs of a server; the node's by default."),
    text("--network", "RATE", "Of a GPU between nodes, one way: 400Gb/s, 50GB/s."),
)
IMAGES = options(
    whole("--image-size", "Pixels along an edge; the model's own by default."),
    whole("--images", "Images in each prompt of a vision-language model."),
)
OUTPUT = options(
    click.option("-o", "--output", type=click.Choice(FORMATS), help="Format; table by default."),
    _path("--out", "FILE", "Write to FILE; without -o its suffix names the format."),
    _path("--profiles", "DIR", "Your own gpus/ and models/; ~/.config/energaizer by default."),
)
JOB = options(
    whole("--input-tokens", "Tokens of one prompt; 1024 by default. Not for images."),
    whole("--output-tokens", "Tokens per prompt; 256 by default, 0: prefill only."),
    IMAGES,
    whole("--height", "Pixels of a generated image or video; --width, --frames alike."),
    whole("--width", "The model's own size, frames and steps are the default."),
    whole("--frames", "Frames of a generated video, or of video in each prompt of such a model."),
    whole("--steps", "Denoising steps."),
    click.option(
        "--guidance",
        "guidance_scale",
        type=float,
        metavar="SCALE",
        help="Above 1 classifier-free guidance evaluates twice a step; distilled models never do.",
    ),
    whole("--requests", "Requests of the job; one batch by default."),
    click.option(
        "--requests-per-second",
        type=click.FloatRange(min=0, min_open=True),
        metavar="RATE",
        help="Arrivals at all replicas, for --duration; the GPUs are idle for what is left of it.",
    ),
    text("--duration", "TIME", "Hold the GPUs for 90s, 15min, 2h; alone: serve all that time."),
    ARITHMETIC,
    DEGREES,
    UNEVEN,
    CONTEXT,
    whole("--ring", "Of these, GPUs that pass keys on; the others exchange heads (Ulysses)."),
    PLACE,
    click.option(
        "--host",
        default="serving",
        show_default=True,
        metavar="NAME",
        help="What launches the kernels: serving, pytorch-eager (of vision models), ...",
    ),
    click.option(
        "--attention",
        type=click.Choice(["fused", "eager"]),
        default="fused",
        show_default=True,
        help="Flash attention, or one kernel a step.",
    ),
)
