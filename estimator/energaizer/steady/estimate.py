"""From a server to what is said of it: the mean step, waiting, watts and joules with intervals."""

from typing import NamedTuple

import numpy as np

from energaizer import __version__, uncertainty
from energaizer.coefficients import Coefficients
from energaizer.gpu import Gpu
from energaizer.pipeline import judges
from energaizer.result import Quantity
from energaizer.serving import Step as Arrays
from energaizer.serving import median_gap
from energaizer.serving import waits as often
from energaizer.steady.answer import ServingEstimate
from energaizer.steady.server import Server, server
from energaizer.steady.traffic import Traffic
from energaizer.uncertainty import QUANTITIES
from energaizer.workload import Workload

_DURATION, _POWER, _ENERGY = range(len(QUANTITIES))


class _Load(NamedTuple):
    """Running sequences of a replica, requests a second of all, the highest rate, busy share."""

    batch: float
    requests: float
    most: float | None
    busy: float


def serve(
    workload: Workload, traffic: Traffic, gpu: Gpu, coefficients: Coefficients | None = None
) -> ServingEstimate:
    """Return latencies, throughput, power and energy of a model that is served steadily.

    Args:
        workload: Model, formats, split, clock and limit; its tokens are those of a mean request.
        traffic: Load and lengths.
        gpu: The board.
        coefficients: What was fitted about it; None: the catalogue's.

    Raises:
        InputError: The workload contradicts itself.
        TooSlowError: Requests arrive faster than they are served.
        DoesNotFitError: It needs more memory than the GPUs have.
        NoEstimateError: There is no method for it.
    """
    one = server(workload, traffic, gpu, coefficients)
    load = _load(one)
    return _answer(one, load)


def _load(one: Server) -> _Load:
    traffic, replicas = one.traffic, one.replicas
    if traffic.batch is not None:
        return _Load(traffic.batch, one.rate(traffic.batch) * replicas, None, 1.0)
    wanted = traffic.requests_per_second or 0.0
    batch, most = one.batch_at(wanted / replicas)
    # Below one running sequence a replica has work for that share of the time.
    return _Load(max(1.0, batch), wanted, most * replicas, min(1.0, batch))


def _answer(one: Server, load: _Load) -> ServingEstimate:
    traffic, boards = one.traffic, one.boards * one.replicas
    step = one.step(load.batch, 1.0)
    output, kept = traffic.outputs.mean, traffic.kept
    per_request = output / (load.batch * kept)  # steps that one request's share amounts to
    decode_j = one.boards * per_request * step.decode.energy_j
    prompt_j = one.boards * one.prompt.energy_j
    waits = 0.0
    if step.prompts:
        waits = float(often(step.prompts, one.stages)) / step.prompts
        prompt_j += one.boards * waits * one.wait.energy_j
    apart = traffic.prefill_replicas * one.boards
    idle_w = boards * one.idle_w * (1.0 - load.busy)
    if apart:
        work = load.requests * one.prompt.duration_s / traffic.prefill_replicas
        idle_w += apart * one.idle_w * max(0.0, 1.0 - work)
    idle_j = idle_w / load.requests
    request_j = decode_j + prompt_j + idle_j
    alone = Arrays(np.array(step.decode.duration_s), np.array(0.0))
    mean = Arrays(np.array(step.duration_s), np.array(0.0))
    gap_s = float(median_gap(alone, mean, np.array(step.prompts))) / kept
    takers = apart or boards
    decode_w, prompt_w = boards * step.decode.power_w, takers * one.prompt.power_w
    peak_w = decode_w + prompt_w if apart else max(decode_w, prompt_w)
    first_s = _first_token(one, load, step.decode.duration_s, step.duration_s)
    host = one.host.decode
    waiting_s = one.stages * host.gap_step_s + load.batch * host.gap_sequence_s
    waiting_s += one.workload.transformer.layers * host.gap_layer_s
    held, of = one.memory(load.batch), _Said(one, load)
    limit = one.setting.limit_w * (boards + apart)
    return ServingEstimate(
        time_to_first_token=of(_DURATION, first_s, "s"),
        time_per_output_token=of(_DURATION, step.duration_s / kept, "s"),
        inter_token_latency=of(_DURATION, gap_s, "s"),
        longest_step=of(_DURATION, _longest(one, step.decode.duration_s), "s"),
        output_tokens_per_second=of.rate(load.requests * output, "tokens/s"),
        requests_per_second=of.rate(load.requests, "requests/s"),
        power=of(_POWER, request_j * load.requests, "W", limit),
        peak_power=of(_POWER, peak_w, "W", limit),
        decode_power=of(_POWER, decode_w, "W", limit),
        prefill_power=of(_POWER, prompt_w, "W", limit),
        energy_per_output_token=of(_ENERGY, request_j / output, "J/token"),
        energy_per_request=of(_ENERGY, request_j, "J/request"),
        prefill_energy_per_request=of(_ENERGY, prompt_j, "J/request"),
        decode_energy_per_request=of(_ENERGY, decode_j, "J/request"),
        idle_energy_per_request=of(_ENERGY, idle_j, "J/request"),
        batch=load.batch,
        prompts_per_step=step.prompts,
        context_tokens=one.context,
        busy_fraction=load.busy,
        host_s_per_step=waiting_s,
        most_requests_per_second=load.most,
        model=one.workload.model.name,
        gpu=one.gpu.name,
        gpu_count=boards + apart,
        prefill_gpu_count=apart,
        clock_hz=step.decode.clock_hz,
        power_cap_w=one.setting.limit_w,
        memory=held,
        profile_hash=one.board.digest,
        version=__version__,
        notes=_notes(one, load, of.hull),
    )


class _Said:
    """Quantities of a server, with the intervals of its kernels."""

    def __init__(self, one: Server, load: _Load) -> None:
        inputs = {
            "clock_hz": one.setting.clock_hz, "batch": load.batch,
            "tensor": float(one.workload.parallelism.tensor),
            "input_tokens": one.traffic.prompts.mean, "context_tokens": one.context,
        }  # fmt: skip
        self.hull = uncertainty.outside_hull(one.board, inputs)
        shares = np.sum([total.shares for total in one.totals.values()], axis=0)
        (self.judge,) = judges(one.board, shares[None], [bool(self.hull)])
        self.given = one.traffic.requests_per_second is not None

    def rate(self, value: float, unit: str) -> Quantity:
        """Return a rate: it is known where it was asked for."""
        found = self(_DURATION, value, unit)
        return found._replace(low=value, high=value) if self.given else found

    def __call__(
        self, quantity: int, value: float, unit: str, most: float = float("inf")
    ) -> Quantity:
        return self.judge.of(quantity, value, unit, max(most, value))


def _first_token(one: Server, load: _Load, decode_s: float, step_s: float) -> float:
    """Return the mean time to a first token, s: a step's rest, those before, one's own chunks."""
    prompt, tokens = one.prompt.duration_s, one.traffic.prompts
    through, waits = one.stages * prompt, one.stages * one.wait.duration_s
    chunks = float(np.ceil(tokens.mean / one.traffic.chunk_tokens))
    uneven = tokens.mean_square / tokens.mean**2
    if one.traffic.prefill_replicas:
        work = load.requests * prompt / one.traffic.prefill_replicas
        queue = work * prompt * uneven / (2.0 * max(1e-9, 1.0 - work))
        return queue + through + one.transfer_s() + decode_s
    work = load.requests / one.replicas * prompt
    before = work * prompt * uneven / (2.0 * max(1e-9, 1.0 - work))
    return load.busy * step_s / 2.0 + before + through + chunks * decode_s + waits


def _longest(one: Server, decode_s: float) -> float:
    """Return a step that computes as many prompt tokens as a chunk holds, s."""
    if one.traffic.prefill_replicas:
        return decode_s
    each = one.stages * one.prompt.duration_s / one.traffic.prompts.mean
    return decode_s + one.traffic.chunk_tokens * each + one.stages * one.wait.duration_s


def _notes(one: Server, load: _Load, hull: tuple[str, ...]) -> tuple[str, ...]:
    found = [*one.setting.notes, *one.place.notes]
    if load.batch < one.stages:
        found.append(
            f"{load.batch:.3g} sequences leave stages of {one.stages} idle; run "
            f"{one.stages} or more"
        )
    if one.traffic.speculation is not None and one.traffic.speculation.draft is None:
        found.append("drafting costs nothing here (look-up of n-grams); name a draft model if not")
    largest = one.memory(load.batch).largest_batch
    if load.batch > largest:
        found.append(f"the largest batch at full lengths is {largest}")
    if one.traffic.prefill_replicas:
        work = load.requests * one.prompt.duration_s / one.traffic.prefill_replicas
        if work > 1.0:
            most = one.traffic.prefill_replicas / one.prompt.duration_s
            found.append(f"prompts outrun their pool, which takes {most:.3g} requests/s")
    return (*found, *one.coefficients.notes, *one.workload.model.notes, *hull)
