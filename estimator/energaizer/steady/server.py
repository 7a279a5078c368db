"""Steady serving as closed forms: a mean step, the load that a rate makes, two pools (section 6).

A step is one token, or the kept tokens of a draft, of every running sequence, and the prompts that
arrive meanwhile. Where a rate is given the batch follows from it (Little's law): sequences run as
long as their outputs take at that batch.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from energaizer import (
    catalog,
    job,
    lowering,
    machine,
    memory,
    pipeline,
    place,
    power,
    serving,
    simulation,
)
from energaizer.coefficients import Coefficients
from energaizer.errors import InputError, TooSlowError
from energaizer.gpu import Gpu
from energaizer.host import Host, with_kernels
from energaizer.job import Total
from energaizer.kernels import COLUMN, FAMILY, Program
from energaizer.pipeline import Setting
from energaizer.result import Memory
from energaizer.serving import Mix
from energaizer.steady.traffic import Traffic
from energaizer.workload import Workload

_PER_SEQUENCE = [FAMILY[name] for name in ("attention-decode", "state-space")]


class Cost(NamedTuple):
    """Seconds and joules of one board, and its mean clock, Hz.

    Of a prompt they are those of one stage: the next stage computes it meanwhile.
    """

    duration_s: float
    energy_j: float
    clock_hz: float

    @property
    def power_w(self) -> float:
        """Mean power of one board, W."""
        return self.energy_j / self.duration_s


class Step(NamedTuple):
    """A mean step of one replica.

    Attributes:
        decode: The decode part, drafts included.
        duration_s: The whole step, prompts included.
        prompts: Prompts that it computes.
    """

    decode: Cost
    duration_s: float
    prompts: float


@dataclass
class Server:
    """One replica on its boards, and what it is asked for.

    Attributes:
        workload: Model, formats, split and setting; its batch and tokens are those of a request.
        traffic: Load and lengths.
        gpu: The board.
        coefficients: What was fitted about it.
        host: What an engine costs.
    """

    workload: Workload
    traffic: Traffic
    gpu: Gpu
    coefficients: Coefficients
    host: Host

    def __post_init__(self) -> None:
        """Check that the board can be set that way."""
        self.board = machine.of(self.gpu, self.coefficients)
        self.setting: Setting = pipeline.setting_of(self.workload, self.gpu)
        self.totals: dict[str, Total] = {}
        self.place = place.of(self.workload, self.board)

    @property
    def stages(self) -> int:
        """Groups of layers behind each other."""
        return self.workload.parallelism.pipeline

    @property
    def replicas(self) -> int:
        """Copies of the model that decode."""
        return self.workload.parallelism.data

    @property
    def boards(self) -> int:
        """Boards of one replica."""
        return self.workload.parallelism.gpus // self.replicas

    def memory(self, batch: float) -> Memory:
        """Return what a board holds for so many sequences, each at its full length."""
        return memory.need(self._at(max(1, round(batch))), self.gpu)

    def _at(self, batch: int) -> Workload:
        return self.workload.model_copy(update={"batch": batch})

    def _cost(self, program: Program, host: Host, weight: float = 0.0) -> Cost:
        """Return one run of a program; with a weight its kernels count in intervals."""
        loaded = simulation.load(program, self.board, host, self.place.fabric)
        settled = simulation.settle(loaded, self.setting.clock_hz, self.setting.limit_w)
        if weight:
            job.add(self.totals, job.sums(loaded, settled), weight)
        return Cost(
            float(settled.duration_s[0]), float(settled.energy_j[0].sum()),
            float(settled.clock_hz[0]),
        )  # fmt: skip

    @cached_property
    def prompt(self) -> Cost:
        """One prompt's share of a pass, the mean over their lengths, tower included."""
        lengths, weights = self.traffic.prompts.points()
        found = np.zeros(3)
        alone = serving.without_gaps(self.host)
        for length, weight in zip(lengths, weights, strict=True):
            program, together = serving.prompt_step(
                self.workload, Mix(1.0, float(length), 0.0, 0.0)
            )
            cost = self._cost(program, alone, weight)
            share = weight / together
            found += (share * cost.duration_s, share * cost.energy_j, weight * cost.clock_hz)
        return Cost(*(float(value) for value in found))

    @cached_property
    def wait(self) -> Cost:
        """What a stage that computes prompts waits besides."""
        layers = np.array(self.workload.transformer.layers / self.stages)
        found = serving.mixed_wait(self.host, layers, self.coefficients, self.gpu)
        clock = self.setting.clock_hz
        return Cost(float(found.duration_s), float(found.energy_j), clock)

    @property
    def idle_w(self) -> float:
        """Power of a board that waits, W."""
        return float(power.idle_power(self.board, np.array([self.setting.clock_hz]))[0])

    def decode(self, batch: float, weight: float = 0.0) -> Cost:
        """Return one decode step of so many sequences, drafts included."""
        traffic, guess = self.traffic, self.traffic.speculation
        mean = Mix(batch, traffic.prompts.mean, traffic.position, 0.0)
        if guess is None:
            return self._cost(serving.decode_step(self.workload, mean), self.host, weight)
        checked = guess.tokens + 1
        program = serving.decode_step(self.workload, mean._replace(batch=batch * checked))
        own = self._cost(_shared_context(program, checked), self.host, weight)
        if guess.draft is None:
            return own
        drafting = self.workload.model_copy(
            update={"model": guess.draft, "weight_precision": guess.draft.weight_precision,
                    "images": 0, "frames": 0}
        )  # fmt: skip
        draft = self._cost(serving.decode_step(drafting, mean), self.host, weight)
        return Cost(
            own.duration_s + guess.tokens * draft.duration_s,
            own.energy_j + guess.tokens * draft.energy_j,
            own.clock_hz,
        )

    @property
    def context(self) -> float:
        """Tokens that the next token sees, in the mean."""
        seen = self.workload.prompt_tokens - self.workload.input_tokens
        return self.traffic.prompts.mean + seen + self.traffic.position

    def step(self, batch: float, weight: float = 0.0) -> Step:
        """Return the mean step of so many running sequences."""
        decode = self.decode(batch, weight)
        if self.traffic.prefill_replicas:
            return Step(decode, decode.duration_s, 0.0)
        prompts = batch * self.traffic.kept / self.traffic.outputs.mean
        waits = serving.waits(prompts, self.stages) * self.wait.duration_s
        seconds = decode.duration_s + prompts * self.prompt.duration_s + waits
        return Step(decode, float(seconds), prompts)

    def rate(self, batch: float) -> float:
        """Return requests that one replica finishes in a second at that batch."""
        step = self.step(batch)
        return batch * self.traffic.kept / (self.traffic.outputs.mean * step.duration_s)

    def batch_at(self, rate: float) -> tuple[float, float]:
        """Return the running sequences that a rate makes at one replica, and its highest rate.

        Below one sequence a replica is idle for the rest of the time.

        Raises:
            TooSlowError: Requests arrive faster than they are served.
        """
        most = self.memory(1.0).largest_batch
        highest = self.rate(most) if most else 0.0
        if rate > highest:
            raise TooSlowError(
                f"{rate * self.replicas:.4g} requests/s arrive but {self.gpu.name} x "
                f"{self.workload.parallelism.gpus} serves {highest * self.replicas:.3g} at its "
                f"largest batch of {most}; add replicas or choose a faster GPU"
            )
        low, high = 0, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.rate(middle) < rate else (low, middle)
        below, above = (self.rate(low) if low else 0.0), self.rate(high)
        share = (rate - below) / (above - below) if above > below else 1.0
        return low + share * (high - low), highest

    def transfer_s(self) -> float:
        """Return how long the cache of one prompt travels between pools, s."""
        work = self.workload.model_copy(update={"batch": 1, "output_tokens": 1})
        held = memory.need(work, self.gpu).kv_cache_bytes
        pools = self.workload.parallelism.gpus + self.traffic.prefill_replicas * self.boards
        node = place.server(self.workload, self.board)
        if pools > node.link_boards:
            return held / (node.network.bandwidth * node.network.efficiency)
        return held / self.board.link.bandwidth


def server(
    workload: Workload, traffic: Traffic, gpu: Gpu, coefficients: Coefficients | None = None
) -> Server:
    """Return one replica of a model on a GPU.

    Raises:
        InputError: The workload contradicts itself or outgrows the model's context.
        DoesNotFitError: Not even one sequence fits.
    """
    if not workload.transformer.causal or not workload.transformer.language_head:
        raise InputError(
            f"{workload.model.name} writes no tokens; `energaizer estimate` answers for it"
        )
    host = catalog.host(pipeline.host_name(workload))
    known = with_kernels(host, gpu, coefficients or catalog.coefficients(gpu))
    lowering.lower(workload)  # checks the split
    found = Server(workload, traffic, gpu, known, host)
    batch = max(1, round(traffic.batch or 1.0))
    memory.check(workload.model_copy(update={"batch": batch}), gpu)
    return found


def _shared_context(program: Program, checked: int) -> Program:
    """Return a step that checks some tokens of each sequence: they read its cache together."""
    rows = program.rows.copy()
    own = np.isin(rows[:, COLUMN["family"]], _PER_SEQUENCE)
    for name in ("read_bytes", "write_bytes", "onchip_bytes"):
        rows[own, COLUMN[name]] /= checked
    # Rows that fill up a tile are there once, whatever the tokens.
    padding = np.maximum(1.0, rows[own, COLUMN["padding"]] / checked)
    rows[own, COLUMN["special"]] *= padding / rows[own, COLUMN["padding"]]
    rows[own, COLUMN["padding"]] = padding
    sequences = program.sequences / checked
    return program._replace(rows=rows, sequences=sequences)
