"""Steady serving by continuous batching: what a mean step of an engine holds (method, section 6).

B sequences run, each gets one token a step, and a finished one is replaced at once: a mean step is
one decode step at the mean context plus a share of a prompt. Where all requests start together,
context and prompts a step follow from the lengths of the outputs and the number of slots.
"""

import heapq
import math
from typing import NamedTuple

import numpy as np

from energaizer import machine, power
from energaizer.coefficients import Coefficients
from energaizer.errors import InputError
from energaizer.gpu import Gpu
from energaizer.host import Host
from energaizer.kernels import FloatArray, Program
from energaizer.lowering import transformer
from energaizer.workload import Workload

_PROMPT_TOKENS = 2048  # tokens of prompts that are computed together, so that weights are shared
_GOLDEN = 0.6180339887498949
_MOST_REQUESTS = 20_000


class Mix(NamedTuple):
    """What runs in a mean step.

    Attributes:
        batch: Running sequences [B].
        prompt_tokens: Tokens of one prompt.
        position: Output tokens that a running sequence has, in the mean.
        prompts_per_step: Prompts that are computed in a step [lambda].
    """

    batch: float
    prompt_tokens: float
    position: float
    prompts_per_step: float

    @property
    def context(self) -> int:
        """Tokens that the next token of a sequence sees, in the mean, at least two."""
        return max(2, round(self.prompt_tokens + self.position))


class Step(NamedTuple):
    """A mean step of steady serving, or of its parts: seconds and joules of one board."""

    duration_s: FloatArray
    energy_j: FloatArray


def steady_position(mean_length: float, mean_square: float) -> float:
    """Return the mean position of a running sequence: long outputs run longer, `E[o^2]/(2 E[o])`.

    Equal lengths o give o/2, exponential ones o.
    """
    return mean_square / (2.0 * mean_length)


class Closed(NamedTuple):
    """A run in which all requests are there at the start: means over its full-batch window."""

    position: float
    prompts_per_step: float


def closed_run(lengths: FloatArray, slots: int) -> Closed:
    """Return means of a run from all slots filled until too few requests are left to fill them.

    Args:
        lengths: Output tokens of each request in the order of arrival, at least one each.
        slots: Sequences that run together at most.

    Raises:
        InputError: There is no request, or no slot.
    """
    if len(lengths) == 0 or slots < 1:
        raise InputError("a closed run needs requests and slots; give at least one of each")
    slots = min(slots, len(lengths))
    ends = [(float(length), 0.0) for length in lengths[:slots]]
    heapq.heapify(ends)
    last = max(1, len(lengths) - slots - 1)
    tokens, started, now = 0.0, 0, 0.0
    waiting = iter(lengths[slots:])
    for _ in range(last):
        now, begin = heapq.heappop(ends)
        tokens += (now - begin) ** 2 / 2.0
        following = next(waiting, None)
        if following is not None:
            heapq.heappush(ends, (now + float(following), now))
            started += 1
    window = max(now, 1.0)
    # Sequences that still run have seen the window from their begin, or from its start.
    tokens += sum((now - begin) ** 2 / 2.0 for _, begin in ends)
    return Closed(tokens / (window * slots), started / window)


def lengths_of(counts: FloatArray, first: float, last: float) -> FloatArray:
    """Return the lengths of a histogram of equal bins, shuffled by a fixed rule.

    Args:
        counts: Requests in each bin.
        first: Left edge of the first bin, tokens.
        last: Right edge of the last bin, tokens.

    Raises:
        InputError: The histogram is empty or its edges do not rise.
    """
    total = float(np.sum(counts))
    if not total >= 1 or not last > first or np.any(counts < 0):
        raise InputError("a histogram of lengths needs counts and rising edges")
    if total > _MOST_REQUESTS:
        counts = np.floor(counts * (_MOST_REQUESTS / total))
    edges = np.linspace(first, last, len(counts) + 1)
    centres = np.maximum(1.0, (edges[1:] + edges[:-1]) / 2.0)
    lengths = np.repeat(centres, counts.astype(np.intp))
    order = np.argsort(np.arange(1, len(lengths) + 1) * _GOLDEN % 1.0, kind="stable")
    found: FloatArray = lengths[order]
    return found


def decode_step(workload: Workload, mix: Mix) -> Program:
    """Return one decode step at the mean batch and context.

    Behind each other stages hold a part of the sequences each, so that all of them work.

    Args:
        workload: Model, formats and split; its batch and tokens are replaced.
        mix: What runs in a step.
    """
    whole = workload.model_copy(
        update={"batch": max(1, round(mix.batch)), "input_tokens": mix.context - 1,
                "output_tokens": 2}
    )  # fmt: skip
    return _only(transformer.lower(whole), "decode")


def prompt_step(workload: Workload, mix: Mix) -> tuple[Program, int]:
    """Return prompts that share one pass over the weights, and how many they are.

    An engine computes prompts beside decode steps, whose weights are read anyway: a prompt costs
    its share of a pass that is wide enough to be bound by arithmetic. Stages behind each other work
    on different prompts at once: none waits for the first or the last of them.
    """
    alone = workload.model_copy(
        update={"batch": 1, "input_tokens": max(1, round(mix.prompt_tokens)), "output_tokens": 1}
    )
    together = max(1, math.ceil(_PROMPT_TOKENS / alone.prompt_tokens))
    whole = alone.model_copy(update={"batch": together})
    found = _only(transformer.lower(whole), "prefill")
    pace = transformer.slowest(workload.transformer.layers, found.stages)
    return found._replace(slots=found.runs * pace), together


def without_gaps(host: Host) -> Host:
    """Return a host whose prompts leave no gaps: `mixed_wait` counts them once a step."""
    none = {"gap_step_s": 0.0, "gap_sequence_s": 0.0, "gap_layer_s": 0.0}
    return host.model_copy(update={"prefill": host.prefill.model_copy(update=none)})


def mixed_wait(host: Host, layers: FloatArray, coefficients: Coefficients, gpu: Gpu) -> Step:
    """Return how long a board waits, idle, in a step that holds prompts: no graph is replayed.

    Args:
        host: What an engine costs.
        layers: Layers of the model, any shape.
        coefficients: Idle power of the board.
        gpu: The board.
    """
    seconds = host.prefill.gap_step_s + layers * host.prefill.gap_layer_s
    board = machine.of(gpu, coefficients)
    idle_w = power.idle_power(board, np.array([gpu.max_clock_hz]))[0]
    return Step(seconds, seconds * idle_w)


def waits(prompts_per_step: FloatArray | float, stages: FloatArray | float = 1.0) -> FloatArray:
    """Return how often a board waits in a step: `p (1 - exp(-lambda/p))`.

    Of p stages behind each other each runs p parts of the sequences in turn, and waits where a part
    holds prompts.
    """
    found: FloatArray = -stages * np.expm1(-np.asarray(prompts_per_step) / stages)
    return found


def mean_step(
    decode: Step, prompt: Step, prompts_per_step: FloatArray, wait: Step | None = None,
    stages: FloatArray | float = 1.0,
) -> Step:  # fmt: skip
    """Return the mean step: `T = T_dec + lambda t_p + p (1 - exp(-lambda/p)) t_wait`, energy alike.

    Args:
        decode: A decode step.
        prompt: One prompt's share of a pass.
        prompts_per_step: Mean number of prompts in a step [lambda].
        wait: What a step that holds prompts waits besides; None: nothing.
        stages: Groups of layers behind each other [p].
    """
    seconds = decode.duration_s + prompts_per_step * prompt.duration_s
    joules = decode.energy_j + prompts_per_step * prompt.energy_j
    if wait is None:
        return Step(seconds, joules)
    often = waits(prompts_per_step, stages)
    return Step(seconds + often * wait.duration_s, joules + often * wait.energy_j)


def median_gap(decode: Step, mean: Step, prompts_per_step: FloatArray) -> FloatArray:
    """Return the median gap between tokens, s: most steps hold no prompt while `lambda < ln 2`."""
    rare = prompts_per_step < math.log(2.0)
    found: FloatArray = np.where(rare, decode.duration_s, mean.duration_s)
    return found


def _only(program: Program, phase: str) -> Program:
    """Return a program with the first step of one phase, run once."""
    step = np.array([program.phases.index(phase)])
    used = np.flatnonzero(program.counts[step[0]])
    return program.part(step, used)._replace(repetitions=np.ones(1))
