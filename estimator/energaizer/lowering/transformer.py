"""Dense transformers to kernels: prompt and sampled decode steps, fused or eager, sharded.

Generated from the architecture, not from a trace, so that no kernel is missing that a tracer does
not see. Decode steps differ only in their context; a few contexts stand for all (Gauss points,
exact for whatever is affine in context), split where a window fills.
"""

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from energaizer import kernels, stacks
from energaizer.blocks import Formats, Listing, Shard
from energaizer.errors import InputError
from energaizer.kernels import FloatArray, Kernel, Program
from energaizer.model import Model
from energaizer.workload import Workload

_EXACT_STEPS = 4
_OUTER_CALLS = 8.0  # modules around the layers: embeddings, last norm, head or pooler
# Three Gauss-Legendre points of [-1, 1], as numpy.polynomial gives them: importing it takes 3 ms.
_NODES = np.array([-0.7745966692414834, 0.0, 0.7745966692414834])
_WEIGHTS = np.array([0.5555555555555557, 0.8888888888888888, 0.5555555555555557])


class Step(NamedTuple):
    """One kind of step: its phase, how often it runs, and its share on one GPU."""

    phase: str
    repetitions: float
    shard: Shard


def decode_contexts(
    first: float, last: float, breaks: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return contexts that stand for the steps `first`, `first + 1`, ..., `last`, with weights.

    Weights sum to the number of steps, and the weighted sum of any affine function over the points
    is its sum over all steps; between breaks the same holds for polynomials of degree five in the
    limit of many steps.

    Args:
        first: Context of the first step.
        last: Context of the last step, at least `first`.
        breaks: Contexts at which a sliding window fills.
    """
    steps = last - first + 1.0
    if steps <= _EXACT_STEPS:
        return np.arange(first, last + 1.0), np.ones(int(steps))
    low, high = first - 0.5, last + 0.5
    edges = [low, *sorted({edge for edge in breaks if low < edge < high}), high]
    points, weights = [], []
    for start, stop in itertools.pairwise(edges):
        half = (stop - start) / 2.0
        points.append(start + half + half * _NODES)
        weights.append(half * _WEIGHTS)
    return np.concatenate(points), np.concatenate(weights)


def lower(workload: Workload) -> Program:
    """Return the kernels of one batch of a workload on one GPU of one replica.

    Raises:
        InputError: The split does not divide the model, or an encoder is asked to decode.
        NoEstimateError: The workload needs a method that this room lacks.
    """
    if workload.output_tokens and not workload.model.causal:
        raise InputError(
            f"{workload.model.name} is an encoder and cannot decode; set output_tokens to 0"
        )
    stacks.check_split(workload)
    return _lower(
        workload.model, workload.batch, (workload.input_tokens, workload.output_tokens),
        workload.attention, stacks.formats_of(workload),
        (workload.parallelism.tensor, workload.parallelism.pipeline),
    )  # fmt: skip


class _Table:
    """Distinct kernels and their counts in each step."""

    def __init__(self, steps: int, stages: int) -> None:
        self.index: dict[Kernel, int] = {}
        self.counts: FloatArray = np.zeros((steps, 32))
        self.stages = stages

    def add(self, listing: Listing, places: slice) -> None:
        """Add the kernels of a listing to some steps; a stage runs its share of them."""
        for kernel, count in listing.counts.items():
            column = self.index.setdefault(kernel, len(self.index))
            if column == self.counts.shape[1]:
                self.counts = np.hstack([self.counts, np.zeros_like(self.counts)])
            self.counts[places, column] += count / self.stages


@lru_cache(maxsize=1024)
def _lower(
    model: Model, batch: int, tokens: tuple[int, int], attention: str, formats: Formats,
    split: tuple[int, int],
) -> Program:  # fmt: skip
    (prompt, output), (tensor, stages) = tokens, split
    micro = min(stages, batch)
    sequences = batch / micro
    steps = [Step("prefill", 1.0, stacks.shard_of(model, sequences, prompt, prompt, tensor))]
    if output > 1:
        window = (float(model.sliding_window),) if model.sliding_window else ()
        contexts, weights = decode_contexts(prompt + 1.0, prompt + output - 1.0, window)
        for context, weight in zip(contexts, weights, strict=True):
            shard = stacks.shard_of(model, sequences, 1.0, float(context), tensor)
            steps.append(Step("decode", float(weight), shard))
    table = _Table(len(steps), stages)
    run, attend = (
        (stacks.eager, stacks.eager_attention)
        if attention == "eager"
        else (stacks.fused, stacks.fused_attention)
    )
    # Decode steps differ in their attention only: what they share is listed once.
    for first, places in ((0, slice(0, 1)), (1, slice(1, len(steps)))):
        if first >= len(steps):
            continue
        shard, listing = steps[first].shard, Listing()
        stacks.embed(listing, model, shard, formats)
        run(listing, model, shard, formats)
        rows = shard.tokens if output == 0 else shard.sequences
        stacks.finish(listing, model, shard, rows, formats, sampled=output > 0)
        if stages > 1:  # hidden states go to the next stage
            message = shard.tokens * model.hidden_size * formats.activation
            listing.add(kernels.all_reduce(message, 2.0), stages - 1.0)
        table.add(listing, places)
    for index, step in enumerate(steps):
        listing = Listing()
        attend(listing, model, step.shard, formats)
        table.add(listing, slice(index, index + 1))
    slots = [micro + stages - 1.0 if step.phase == "prefill" else float(stages) for step in steps]
    return Program(
        rows=kernels.table(list(table.index)),
        counts=table.counts[:, : len(table.index)],
        phases=tuple(step.phase for step in steps),
        repetitions=np.array([step.repetitions for step in steps]),
        sequences=np.full(len(steps), sequences),
        layers=np.full(len(steps), model.layers / stages),
        graphed=np.array([step.phase == "decode" for step in steps]),
        calls=np.full(len(steps), _calls(model) / stages),
        slots=np.array(slots),
        runs=np.full(len(steps), float(micro)),
        stages=stages,
        notes=_notes(model, prompt + max(0, output - 1)),
    )


def _calls(model: Model) -> float:
    """Return how many framework modules one step calls."""
    return model.layers * stacks.style_of(model).calls + _OUTER_CALLS


def _notes(model: Model, context: int) -> tuple[str, ...]:
    if model.max_positions is not None and context > model.max_positions:
        return (
            f"context of {context} tokens exceeds the {model.max_positions} positions "
            f"of {model.name}: extrapolated",
        )
    return ()
