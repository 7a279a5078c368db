"""The command `energaizer train`: what a person types, and how the answer is printed."""

from typing import Any

import click

from energaizer.options import (
    CONTEXT,
    DEGREES,
    GPU,
    MODEL,
    OUTPUT,
    PLACE,
    PRECISIONS,
    SETTING,
    options,
    text,
    whole,
)

_TRAINING = options(
    whole("--gpus", "All of them; replicas fill what tensor, pipeline and context leave."),
    whole("--global-batch", "Sequences or images of one step, all replicas."),
    whole("--micro-batch", "Those that run together on a replica; 1 by default."),
    whole("--sequence-length", "Tokens of a sequence; 4096 by default, if the model has them."),
    text("--tokens", "N", "How long: 15T, 300G, 1e9 tokens; or --steps."),
    whole("--steps", "How long: optimiser steps; 1 by default."),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS, case_sensitive=False),
        metavar="FORMAT",
        default="bf16",
        show_default=True,
        help="Of products: bf16, fp16, tf32, fp32 or fp8.",
    ),
    click.option(
        "--weight-precision",
        type=click.Choice(PRECISIONS, case_sensitive=False),
        metavar="FORMAT",
        help="Of frozen weights under --lora-rank; int4 is QLoRA.",
    ),
    click.option(
        "--optimizer",
        type=click.Choice(["adam", "adam-8bit", "sgd"]),
        help="Adam by default.",
    ),
    click.option(
        "--recompute",
        type=click.Choice(["none", "selective", "full"]),
        help="Activations that the backward pass computes again; none by default.",
    ),
    click.option(
        "--zero",
        type=click.IntRange(0, 3),
        metavar="0-3",
        help="Spread over the replicas: 1 optimiser, 2 gradients, 3 weights (FSDP); 0 by default.",
    ),
    whole("--interleave", "Chunks of layers on each pipeline stage; 1 by default."),
    click.option(
        "--sequence-parallel/--no-sequence-parallel",
        "--sp/--no-sp",
        default=None,
        help="Tensor-parallel ranks share norms; they do by default.",
    ),
    whole("--lora-rank", "Train adapters of this rank; all weights by default."),
    click.option(
        "--lora-targets",
        type=click.Choice(["attention", "all"]),
        help="Projections with an adapter; all by default.",
    ),
    DEGREES,
    CONTEXT,
    PLACE,
    whole("--checkpoint-every", "Steps from one checkpoint to the next; none by default."),
    text("--storage", "RATE", "That one node writes of a checkpoint; 2GB/s by default."),
    text("--stall", "TIME", "Of each step that waits for input; 0 by default."),
    whole("--image-size", "Pixels along an edge, for networks of images."),
    click.option(
        "--node-power", is_flag=True, help="Also what servers draw at their sockets, boards in it."
    ),
    SETTING,
)


@click.command()
@MODEL
@GPU
@_TRAINING
@OUTPUT
def train(model: str, gpu: str, **given: Any) -> None:
    """Estimate power, energy and time of training or fine-tuning, on one GPU or thousands.

    \b
    energaizer train --model llama-3.1-8b --gpu h100-sxm --gpus 64 --zero 3 \\
        --global-batch 512 --sequence-length 8192 --tokens 1T
    energaizer train --model llama-3.1-405b --gpu h100-sxm --gpus 8192 --tp 8 --pp 16 --zero 1 \\
        --recompute selective --global-batch 2048 --sequence-length 8192 --node-power
    energaizer train --model llama-2-70b --gpu h100-sxm --tp 8 --lora-rank 16 \\
        --weight-precision int4 --steps 1000 --checkpoint-every 100 -o json
    """
    from energaizer import arguments, catalog, delivery, pipeline, render
    from energaizer.train import asked

    board = catalog.resolve_gpu(gpu, given["profiles"])
    described = catalog.resolve_model(model, given["profiles"])
    workload, notes = asked.workload(described, given)
    fitted = catalog.coefficients(board, given["profiles"])
    host = catalog.host(pipeline.host_name(workload), given["profiles"])
    node = catalog.node(workload.node, given["profiles"]) if workload.node else None
    answer = pipeline.estimate(workload, board, fitted, host, node)
    answer = answer._replace(notes=(*notes, *answer.notes))
    full = answer.as_json() | {"inputs": arguments.inputs(workload)}
    document = render.estimate_document(answer, arguments.in_words(workload))
    delivery.deliver(given, full, render.estimate_records(answer), document)
