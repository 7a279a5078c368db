"""Training benchmarks of MLPerf as workloads, by the names that tables of results give them.

A result names a system and a benchmark, not how it ran; what the rules and public submissions say
of that is data, `profiles/tables/mlperf.json`.
"""

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, Self

from energaizer import catalog, pipeline
from energaizer.errors import InputError, NoEstimateError
from energaizer.gpu import Gpu
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.records import Field, Record
from energaizer.result import Estimate
from energaizer.workload import Workload

_NODES = re.compile(r"^(\d+)x")
_BOARD = re.compile(r"(?:(\d+)x?)?_?(H100|H200|B200|A100)", re.IGNORECASE)


class Benchmark(Record):
    """How one benchmark runs: what it trains, in which batches, split how."""

    model: str
    sequence: int | None = None
    precision: Precision
    weight_precision: Precision | None = None
    global_batch: int | None = None
    batch_per_gpu: int | None = None
    micro_batch: int | None = None
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    replicas: int | None = Field(
        default=None, description="at most; further boards share sequences"
    )
    recipe: dict[str, Any] = Field(default_factory=dict)

    def workload(self, boards: int) -> Workload:
        """Return the run on so many boards.

        Raises:
            EnergaizerError: There is no method for it, or it does not divide.
            pydantic.ValidationError: A setting is impossible.
        """
        copy = self.tensor * self.pipeline * self.context
        data = max(1, min(boards // copy, self.replicas or boards))
        context = max(self.context, boards // (self.tensor * self.pipeline * data))
        whole = self.global_batch or (self.batch_per_gpu or 1) * boards
        micro = self.micro_batch or max(1, whole // data)
        split = Parallelism(tensor=self.tensor, pipeline=self.pipeline, context=context, data=data)
        fields: dict[str, Any] = {} if self.sequence is None else {"input_tokens": self.sequence}
        return Workload(
            model=catalog.model(self.model), precision=self.precision,
            weight_precision=self.weight_precision, parallelism=split, node_power=True,
            training=Training(global_batch=whole, micro_batch=micro, **self.recipe), **fields,
        )  # fmt: skip


class Benchmarks(Record):
    """Benchmarks by the name that tables give them, and why some have no estimate."""

    schema_version: int
    source: str
    benchmarks: dict[str, Benchmark]
    unmodelled: dict[str, str]

    @classmethod
    @lru_cache(maxsize=1)
    def shipped(cls) -> Self:
        """Return the shipped settings."""
        file = files("energaizer") / "profiles" / "tables" / "mlperf.json"
        return cls.model_validate_json(file.read_text(encoding="utf-8"))

    def named(self, name: str) -> Benchmark:
        """Return a benchmark.

        Raises:
            NoEstimateError: It has none; the message says why.
        """
        if name in self.unmodelled:
            raise NoEstimateError(f"{name}: {self.unmodelled[name]}")
        if name not in self.benchmarks:
            raise NoEstimateError(f"{name}: no settings; known are {', '.join(self.benchmarks)}")
        return self.benchmarks[name]


def system_of(name: str) -> tuple[int, Gpu]:
    """Return the nodes of a system and their boards, from its name: `8xSMC-H100-SXM-80GB`.

    Raises:
        InputError: It names no board that is known.
    """
    found = _BOARD.search(name)
    if found is None:
        raise InputError(f'system "{name}" names no known board; expected H100, B200, ...')
    nodes = _NODES.match(name)
    return int(nodes[1]) if nodes else 1, catalog.gpu(found[2])


def estimate(system: str, benchmark: str) -> Estimate:
    """Return the estimate of a cell: boards and nodes of a benchmark on a system.

    Raises:
        EnergaizerError: There is none; the message says why.
    """
    nodes, gpu = system_of(system)
    node = catalog.usual_node(gpu)
    settings = Benchmarks.shipped().named(benchmark)
    return pipeline.estimate(settings.workload(nodes * node.gpus_per_node), gpu)
