"""Diffusion models to kernels: a prompt is read, a latent denoised step by step, then decoded.

All steps are alike, so that one stands for all. Sequence parallelism splits the latent over boards:
Ulysses exchanges tokens for heads before and after each attention, a ring passes keys and values on
while queries stay; text encoders run on every board, the decoder on one or on each, as the pipeline
says (docs/method.md, 3).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from energaizer import kernels, networks
from energaizer.blocks import Formats, Listing
from energaizer.errors import InputError, NoEstimateError
from energaizer.families.diffusion.pipeline import Pipeline, Setting, tapes
from energaizer.families.operators import Attention, Tape
from energaizer.kernels import FAMILY, RATE, Kernel, Program
from energaizer.links import ALL_TO_ALL, SEND
from energaizer.parallelism import Parallelism
from energaizer.workload import Workload

PHASES = ("text-encode", "denoise", "decode")
_MERGE_STREAMS = 8.0  # tensors that joining the parts of a ring's result reads and writes, in fp32
_TILE, _HEAD_STEP = 128.0, 32
_CASTS = 2.0  # of a score: slots of special-function units besides its exponential
_EXCHANGES = 4.0  # query, key, value; result
_EXCHANGE_CALLS = 12.0  # host cost of a collective, in calls of a framework module


class _Split(NamedTuple):
    """How many boards share a latent."""

    ulysses: int
    ring: int

    @property
    def boards(self) -> int:
        return self.ulysses * self.ring

    @property
    def collectives(self) -> float:
        """Exchanges around one attention."""
        return (_EXCHANGES if self.ulysses > 1 else 0.0) + (self.ring - 1.0)


def lower(workload: Workload) -> Program:
    """Return the kernels of one batch of images or videos on one GPU.

    Raises:
        InputError: The model cannot make such an image, or the split does not divide its heads.
        NoEstimateError: The workload needs a method that this room lacks.
    """
    pipeline = workload.network
    if not isinstance(pipeline, Pipeline):
        raise NoEstimateError(f"{pipeline.name} is no diffusion model")
    setting = pipeline.setting(workload.generation)
    fault = pipeline.fault_of(setting) or _fault_of_split(pipeline, workload.parallelism)
    if fault:
        raise InputError(fault)
    formats = networks.formats_of(workload.precision)
    split = _Split(workload.parallelism.ulysses, workload.parallelism.ring)
    return _lower(pipeline, setting, workload.batch, split, workload.attention, formats)


def _fault_of_split(pipeline: Pipeline, split: Parallelism) -> str | None:
    if split.tensor > 1 or split.pipeline > 1:
        raise NoEstimateError(
            f"tensor and pipeline parallelism of {pipeline.name} have no method; "
            "use context (sequence) or data parallelism"
        )
    if split.context > 1 and not pipeline.denoiser.splits:
        raise NoEstimateError(
            f"sequence parallelism of {pipeline.denoiser.class_name} has no method; "
            "use data-parallel replicas"
        )
    heads, degree = pipeline.denoiser.heads, split.ulysses
    if heads % degree:
        near = math.gcd(heads, split.context)
        return (
            f"Ulysses over {degree} boards does not divide the {heads} heads of {pipeline.name}; "
            f"set ring to {split.context // near} of {split.context} boards, so that {near} do"
        )
    return None


@lru_cache(maxsize=1024)
def _lower(
    pipeline: Pipeline, setting: Setting, batch: int, split: _Split, attention: str,
    formats: Formats,
) -> Program:  # fmt: skip
    phases = tapes(pipeline, setting, split.boards)
    twice = pipeline.guided(setting)
    together = twice and pipeline.guidance == "batched"
    evaluated = batch * (2.0 if together else 1.0)
    prompts = batch * (2.0 if twice else 1.0)
    fused = attention == "fused"
    listings = (
        networks.listing(phases.encode, prompts, formats, fused=fused),
        _denoise(phases.denoise, evaluated, split, formats, fused),
        networks.listing(phases.decode, float(batch), formats, fused=fused),
    )
    if split.boards > 1:
        _exchange(listings[1], pipeline, setting, evaluated, split, formats)
    rows = list(dict.fromkeys(kernel for listing in listings for kernel in listing.counts))
    steps = setting.steps * (2.0 if twice and not together else 1.0)
    calls = np.array([phase.calls for phase in phases])
    calls[1] += _EXCHANGE_CALLS * split.collectives * pipeline.denoiser.attends
    one, runs = np.ones(len(PHASES)), np.ones(len(PHASES))
    if pipeline.decoding == "one board":
        runs[2] = 1.0 / split.boards  # of the mean board; the others wait
    return Program(
        rows=kernels.table(rows),
        counts=np.array([[listing.counts.get(row, 0.0) for row in rows] for listing in listings]),
        phases=PHASES,
        repetitions=np.array([1.0, steps, 1.0]),
        sequences=np.array([0.0, 0.0, batch * _megapixels(setting)]),
        layers=np.array([phase.layers for phase in phases]),
        graphed=np.zeros(len(PHASES), dtype=np.bool_),
        calls=calls,
        slots=one,
        runs=runs,
    )


def _megapixels(setting: Setting) -> float:
    """Return what a host takes over, converts and stores while boards wait."""
    return setting.height * setting.width * setting.frames / 1e6


def _denoise(tape: Tape, batch: float, split: _Split, formats: Formats, fused: bool) -> Listing:
    """Return the kernels of one step on one board: its share of tokens, or of heads."""
    to, rest = Listing(), Tape()
    for operator, count in tape.counts.items():
        if not isinstance(operator, Attention):
            rest.add(operator, count)
            continue
        latent = operator.queries == operator.keys
        passes = split.ring if latent else 1.0
        each = _shared(operator, split) if latent else operator
        if fused:
            _attend(to, each, batch, count * passes, formats)
        else:
            rest.add(each, count * passes)
    for kernel, count in networks.listing(rest, batch, formats, fused=False).counts.items():
        to.add(kernel, count)
    return to


def _attend(to: Listing, operator: Attention, batch: float, count: float, formats: Formats) -> None:
    """Add attention as the FlashAttention-2 kernels of PyTorch run it.

    A head is filled up to a multiple of 32. Exponentials, scalings and casts of scores take slots
    beside tensor cores, which is why small heads reach less of the peak; exponentials alone are
    priced as special operations.
    """
    act, groups = formats.activation, batch * operator.groups * operator.heads
    pairs = groups * operator.queries * operator.keys
    moved = groups * operator.size * act
    tiles = groups * math.ceil(operator.queries / _TILE)
    padded = math.ceil(operator.size / _HEAD_STEP) * _HEAD_STEP
    to.add(
        Kernel(
            FAMILY["attention-prefill"], 4.0 * padded * pairs, RATE[formats.attention_rate],
            moved * (operator.queries + 2.0 * operator.keys), moved * operator.queries,
            2.0 * moved * operator.queries * (1.0 + operator.keys / _TILE),
            special=pairs, casts=_CASTS * pairs, blocks=max(1.0, tiles), cacheable=0.0,
        ),
        count,
    )  # fmt: skip


def _shared(operator: Attention, split: _Split) -> Attention:
    """Return one pass of attention over the latent on one board, from its share of tokens.

    Ulysses gathers the tokens of its boards for fewer heads.
    """
    return operator._replace(
        heads=max(1, round(operator.heads / split.ulysses)),
        queries=operator.queries * split.ulysses,
        keys=operator.keys * split.ulysses,
    )


def _exchange(
    to: Listing, pipeline: Pipeline, setting: Setting, batch: float, split: _Split,
    formats: Formats,
) -> None:  # fmt: skip
    """Add what boards send each other around the attentions over the latent."""
    denoiser, count = pipeline.denoiser, pipeline.denoiser.attends
    scene = pipeline.scene(setting, split.boards)
    elements = batch * scene.tokens(denoiser.patch, denoiser.patch_frames) * denoiser.width
    message = elements * formats.activation
    if split.ulysses > 1:
        # Boards of a ring stand side by side; those that exchange heads are a ring apart.
        swapped = kernels.collective(ALL_TO_ALL, message, float(split.ulysses), float(split.ring))
        to.add(swapped, _EXCHANGES * count)
        to.add(kernels.copy(elements, formats.activation), 2.0 * _EXCHANGES * count)
    if split.ring > 1:
        passed = kernels.collective(SEND, 2.0 * message, 2.0, hidden=1.0)
        to.add(passed, (split.ring - 1.0) * count)
        streamed = _MERGE_STREAMS * kernels.FP32_BYTES * elements / 2.0
        merged = kernels.elementwise(elements, streamed, streamed, 4.0, 1.0)
        to.add(merged._replace(launches=_MERGE_STREAMS), (split.ring - 1.0) * count)
