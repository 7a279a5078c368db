"""Language models to kernels: prompt and sampled decode steps, fused or eager, sharded.

Generated from the architecture, not from a trace, so that no kernel is missing that a tracer does
not see. Decode steps differ only in their context; a few contexts stand for all.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from energaizer import blocks, kernels, stacks
from energaizer.blocks import Formats, Listing, Shard
from energaizer.errors import InputError
from energaizer.kernels import FloatArray, Kernel, Program
from energaizer.links import SEND
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.workload import Workload

_OUTER_CALLS = 8.0  # modules around the layers: embeddings, last norm, head or pooler


class Step(NamedTuple):
    """One kind of step: its phase, how often it runs, and its share on one GPU."""

    phase: str
    repetitions: float
    shard: Shard


class _Inputs(NamedTuple):
    """One request: tokens of its prompt and output, its images or frames and their edge."""

    prompt: int
    output: int
    images: float
    edge: int


def lower(workload: Workload) -> Program:
    """Return the kernels of one batch of a workload on one GPU of one replica.

    Raises:
        InputError: The split does not divide the model, or an encoder is asked to decode.
        NoEstimateError: The workload needs a method that this room lacks.
    """
    model = workload.transformer
    if workload.output_tokens and not model.causal:
        raise InputError(f"{model.name} is an encoder and cannot decode; set output_tokens to 0")
    stacks.check_split(workload)
    stacks.check_stages(model, workload.parallelism)
    return _lower(
        model, workload.batch,
        _Inputs(workload.prompt_tokens, workload.output_tokens, workload.pictures, workload.edge),
        workload.attention, stacks.formats_of(workload), workload.parallelism,
    )  # fmt: skip


class _Table:
    """Distinct kernels and their counts in each step."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.index: dict[Kernel, int] = {}
        self.listed: list[tuple[slice, list[int], list[float]]] = []

    def add(self, listing: Listing, places: slice) -> None:
        """Add the kernels of a listing to some steps."""
        columns = [self.index.setdefault(kernel, len(self.index)) for kernel in listing.counts]
        self.listed.append((places, columns, list(listing.counts.values())))

    def counts(self) -> FloatArray:
        """Return launches of each kernel in each step, shape (P, K)."""
        found = [[0.0] * len(self.index) for _ in range(self.steps)]
        for places, columns, counts in self.listed:
            # the kernels of a listing are distinct, so that no column is there twice
            for row in found[places]:
                for column, count in zip(columns, counts, strict=True):
                    row[column] += count
        return np.array(found)


class _Run(NamedTuple):
    """What the steps of a batch have in common."""

    model: Model
    eager: bool
    formats: Formats
    split: Parallelism


def _around(
    to: Listing, run: _Run, shard: Shard, rows: float, pictures: tuple[float, int], *,
    sampled: bool,
) -> None:  # fmt: skip
    """Add what a step runs around attention.

    Args:
        to: Listing to extend.
        run: How.
        shard: Share of this GPU; nothing here depends on its context.
        rows: Positions whose logits are wanted.
        pictures: Images that this GPU looks at, and their edge.
        sampled: A token is chosen for each row.
    """
    model, eager, formats, split = run
    stacks.embed(to, model, shard, formats)
    if eager:
        stacks.eager(to, model, shard, formats)
    else:
        stacks.fused(to, model, shard, formats, stacks.spread_of(split))
    stacks.look(to, model, *pictures, formats)
    stacks.finish(to, model, shard, rows, formats, sampled=sampled)


def _pass_on(to: Listing, run: _Run, shard: Shard) -> None:
    """Add the hidden states that go to the next stage."""
    if run.split.pipeline > 1:
        message = shard.tokens * run.model.hidden_size * run.formats.activation
        ranks, stages = float(run.split.tensor), float(run.split.pipeline)
        to.add(kernels.collective(SEND, message, 2.0, ranks), stages - 1.0)


@lru_cache(maxsize=256)
def _decoded(run: _Run, sequences: float) -> Listing:
    """Return what every decode step of so many sequences runs around its attention.

    No length is in it, so that it is the same for all prompts and outputs.
    """
    listing, model = Listing(), run.model
    shard = stacks.shard_of(model, sequences, 1.0, math.nan, run.split.tensor)
    _around(listing, run, shard, sequences, (0.0, 1), sampled=True)
    if model.language_head and not run.eager:
        blocks.sort(listing, sequences * model.vocabulary_size)
    _pass_on(listing, run, shard)
    return listing


@lru_cache(maxsize=256)
def _lower(
    model: Model, batch: int, inputs: _Inputs, attention: str, formats: Formats,
    split: Parallelism,
) -> Program:  # fmt: skip
    prompt, output, images, edge = inputs
    tensor, stages = split.tensor, split.pipeline
    micro = min(stages, batch)
    sequences = batch / micro
    steps = [Step("prefill", 1.0, stacks.shard_of(model, sequences, prompt, prompt, tensor))]
    if output > 1:
        window = (float(model.sliding_window),) if model.sliding_window else ()
        contexts, weights = stacks.decode_contexts(prompt + 1.0, prompt + output - 1.0, window)
        for context, weight in zip(contexts, weights, strict=True):
            shard = stacks.shard_of(model, sequences, 1.0, float(context), tensor)
            steps.append(Step("decode", float(weight), shard))
    table = _Table(len(steps))
    attend = stacks.eager_attention if attention == "eager" else stacks.fused_attention
    run = _Run(model, attention == "eager", formats, split)
    listing, shard = Listing(), steps[0].shard
    rows = shard.sequences if output else shard.tokens
    pictures = (sequences * images / tensor, edge)  # the ranks share them out
    _around(listing, run, shard, rows, pictures, sampled=output > 0)
    _pass_on(listing, run, shard)
    if len(steps) == 1:
        attend(listing, model, shard, formats)
    table.add(listing, slice(0, 1))
    if len(steps) > 1:
        table.add(_decoded(run, sequences), slice(1, len(steps)))
        for index, step in enumerate(steps):
            listing = Listing()
            attend(listing, model, step.shard, formats)
            table.add(listing, slice(index, index + 1))
    # A round trip takes every stage once; the longest stage sets the pace of those that follow.
    pace = slowest(model.layers, stages)
    calls = _calls(model) / stages
    one = [
        (
            step.repetitions,
            stages + (micro - 1.0) * pace if step.phase == "prefill" else max(stages, micro * pace),
            sequences, model.layers / stages, calls, micro,
        )
        for step in steps
    ]  # fmt: skip
    repetitions, slots, advanced, layers, called, runs = np.array(one, dtype=np.float64).T
    return Program(
        rows=kernels.table(list(table.index)),
        counts=table.counts() / stages,  # a stage runs its share
        phases=tuple(step.phase for step in steps),
        repetitions=repetitions,
        sequences=advanced,
        layers=layers,
        graphed=np.array([step.phase == "decode" for step in steps]),
        calls=called,
        slots=slots,
        runs=runs,
        stages=stages,
    )


def slowest(layers: int, stages: int) -> float:
    """Return the layers of the longest stage over the mean: stages may differ by a layer."""
    return math.ceil(layers / stages) * stages / layers


def _calls(model: Model) -> float:
    """Return how many framework modules one step calls."""
    return model.layers * stacks.style_of(model).calls + _OUTER_CALLS
