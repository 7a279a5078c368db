"""How long estimates take, beside references in the same run: one table, no verdict.

Two references. Warm figures stand beside a bare numpy tile choice (20 products x 48 plans, the
method's closed form), which no estimate can beat. Cold figures stand beside an interpreter that
imports numpy and pydantic and does nothing; both run from byte code, as an installed package does,
and take turns, so that a busy machine slows them alike. The fastest turn says most where others
use the machine too: ratios are those of the fastest. Targets are those of docs/performance.md.
"""

import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer import catalog, lowering, pipeline, simulation, whatif
from energaizer.coefficients import Coefficients
from energaizer.gpu import Gpu
from energaizer.lowering import transformer
from energaizer.parallelism import Parallelism
from energaizer.recipe import Training
from energaizer.steady.estimate import serve
from energaizer.steady.traffic import Lengths, Traffic
from energaizer.workload import Workload
from energaizer_operator import estimation
from energaizer_operator.decision import Subject, World, decide
from energaizer_operator.estimation import Estimator
from energaizer_operator.resources.aiworkload import AIWorkload

_ROUNDS = 400
_COLD_ROUNDS = 15
_BOARDS = ("h100-sxm", "a100-80gb", "l40s", "h200")
_CLUSTER = (
    "a100-sxm4-40gb", "a100-sxm4-80gb", "h100-sxm5-80gb", "h200-sxm-141gb", "b200-sxm-180gb",
    "l40s-48gb", "l4-24gb", "t4-16gb",
)  # fmt: skip
_REFERENCE = "import numpy, pydantic"
_LIBRARIES = "import click, numpy; from pydantic import BaseModel, model_validator"
_SCRIPT = ("-c", "from energaizer.cli import run; run()")  # as the installed command does
_COMMAND = (*_SCRIPT, "estimate", "--model", "llama-3.1-8b", "--gpu", "h100-sxm")
_COLD = {
    "reference: import numpy, pydantic": ("-c", _REFERENCE),
    "no code of ours: numpy, pydantic models, click": ("-c", _LIBRARIES),
    "energaizer estimate": (*_COMMAND, "--batch", "16"),
    "energaizer estimate, GPU without a fit": (*_COMMAND[:-1], "l4", "--precision", "fp16"),
    "energaizer --help": (*_SCRIPT, "--help"),
}
_COLD_TARGETS = {"energaizer estimate": "1.6 x"}


class Row(NamedTuple):
    """One line of the table; times in milliseconds."""

    figure: str
    fastest: float
    median: float
    p99: float
    target: str
    reference: float


def timed(call: Callable[[int], object], rounds: int = _ROUNDS) -> tuple[float, float, float]:
    """Return the fastest, median and 99th percentile of a call, ms."""
    taken = np.empty(rounds)
    for index in range(rounds):
        start = time.perf_counter()
        call(index)
        taken[index] = time.perf_counter() - start
    return spread(taken)


def spread(taken_s: npt.ArrayLike) -> tuple[float, float, float]:
    """Return the fastest, median and 99th percentile, ms."""
    fastest, median, slow = 1e3 * np.percentile(taken_s, [0, 50, 99])
    return float(fastest), float(median), float(slow)


def reference() -> Callable[[int], object]:
    """Return the arithmetic of one tile choice, 20 products x 48 plans."""
    random = np.random.default_rng(0)
    waves, depth, area = (random.uniform(1, 100, (20, 48)) for _ in range(3))

    def call(_: int) -> object:
        mma = (waves + 0.15) * area * (depth + 64) * 1.1 / 1024
        l2 = waves * depth * 3.0
        total = mma**4 + l2**4
        return np.sqrt(np.sqrt(total.min(axis=1)))

    return call


def forget() -> None:
    """Empty the caches that know a workload; profiles stay."""
    lowering.lower.cache_clear()
    transformer._lower.cache_clear()
    simulation.load.cache_clear()


def trained(gpu: Gpu) -> Callable[[int], object]:
    """Return estimates of a 70B model over 4,096 boards, each of another sequence length."""
    base = Workload(
        model=catalog.model("llama-3.1-70b"), input_tokens=4096, node_power=True,
        parallelism=Parallelism(tensor=8, pipeline=8, data=64),
        training=Training(global_batch=1024, zero=1, recompute="selective", checkpoint_every=100),
    )  # fmt: skip
    runs = [base.model_copy(update={"input_tokens": 2048 + 8 * i}) for i in range(_ROUNDS)]
    pipeline.estimate(base, gpu)
    return lambda index: pipeline.estimate(runs[index], gpu)


def stated() -> Callable[[int], object]:
    """Return the decisions behind statuses, each of a new serving workload: 56 candidates."""
    seen, estimator = World.of(estimation.catalogue(), [], _CLUSTER), Estimator()

    def call(index: int) -> object:
        spec = {
            "task": "Inference",
            "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "FP16"},
            "inference": {
                "batchSize": 1 + index % 50, "inputTokens": 100 + index, "outputTokens": 128,
            },
            "accelerator": {"countPerReplica": 1, "replicas": 1},
        }  # fmt: skip
        body = {"metadata": {"name": f"w-{index}", "namespace": "team"}, "spec": spec}
        asked = Subject(None, AIWorkload.model_validate(body))
        return decide(asked, seen, estimator, wide=True)

    call(_ROUNDS)
    return call


def warm() -> list[Row]:
    """Return the figures of a process that has its profiles."""
    gpu, model = catalog.gpu("h100-sxm"), catalog.model("llama-3.1-8b")
    base = Workload(model=model, batch=16, input_tokens=512, output_tokens=256, clock_hz=1.2e9)
    forward = base.model_copy(update={"output_tokens": 0})
    images = Workload(model=catalog.model("vit-large-patch16-224"), input_tokens=1, clock_hz=1.2e9)
    batches = [images.model_copy(update={"batch": 1 + index}) for index in range(_ROUNDS)]
    boost = base.model_copy(update={"clock_hz": None, "batch": 64})

    def anew(workload: Workload) -> Callable[[int], object]:
        shapes = [
            workload.model_copy(update={"batch": 1 + index % 80, "input_tokens": 100 + index})
            for index in range(_ROUNDS)
        ]
        return lambda index: pipeline.estimate(shapes[index], gpu)

    split = Parallelism(tensor=8, expert=8)
    mixture = base.model_copy(update={"model": catalog.model("qwen3-235b"), "parallelism": split})
    traffic = Traffic(batch=16, prompts=Lengths(mean=512), outputs=Lengths(mean=256, spread=1.0))
    arriving = traffic.model_copy(update={"batch": None, "requests_per_second": 2.0})
    for workload in (base, forward, boost, mixture, images.model_copy(update={"batch": 999})):
        pipeline.estimate(workload, gpu)
    forget()
    calls = (
        ("serving estimate, new shape each time", anew(base), "1 ms"),
        ("serving estimate, known shape", lambda _: pipeline.estimate(base, gpu), "1 ms"),
        ("the same, the limit lowers the clock", lambda _: pipeline.estimate(boost, gpu), "1 ms"),
        ("235B mixture over TP=8, new shape each time", anew(mixture), "3 ms"),
        ("235B mixture over TP=8, known shape", lambda _: pipeline.estimate(mixture, gpu), "3 ms"),
        ("the same served at a batch", lambda _: serve(mixture, traffic, gpu), "3 ms"),
        ("the same served at a rate", lambda _: serve(mixture, arriving, gpu), ""),
        ("training on 4,096 GPUs, new batch each time", trained(gpu), "10 ms"),
        ("forward estimate, new shape each time", anew(forward), "0.5 ms"),
        ("the same, ViT-L", lambda index: pipeline.estimate(batches[index], gpu), "0.5 ms"),
        ("forward estimate, known shape", lambda _: pipeline.estimate(forward, gpu), "0.5 ms"),
        ("a status: 8 kinds of GPU x clocks x caps", stated(), "10 ms"),
        ("lower a workload, cached", lambda _: lowering.lower(base), ""),
    )
    bare = timed(reference())
    rows = [Row("reference: one tile choice in numpy", *bare, "", bare[0])]
    return rows + [Row(name, *timed(call), target, bare[0]) for name, call, target in calls]


def sweeps() -> tuple[int, float]:
    """Return how many settings a sweep over clock, limit, batch and GPU has, and seconds of it."""
    boards: list[Gpu] = [catalog.gpu(name) for name in _BOARDS]
    fitted: dict[str, Coefficients] = {one.name: catalog.coefficients(one) for one in boards}
    free = Workload(model=catalog.model("llama-3.1-8b"), input_tokens=512, output_tokens=256)
    forget()
    start = time.perf_counter()
    found = whatif.sweep(
        free, boards, batches=range(1, 17), limits_w=[250, 300, 350, 400], coefficients=fitted
    )
    return len(found), time.perf_counter() - start


def cold() -> list[Row]:
    """Return the figures of fresh interpreters that take turns."""
    taken: dict[str, list[float]] = {name: [] for name in _COLD}
    with tempfile.TemporaryDirectory() as folder:
        inherited = {
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        }
        environment = inherited | {"PYTHONPYCACHEPREFIX": folder}
        for index, (name, arguments) in itertools.product(range(_COLD_ROUNDS + 1), _COLD.items()):
            seconds = run(arguments, environment)
            if index:  # the first run writes the byte code
                taken[name].append(seconds)
    bare = 1e3 * min(next(iter(taken.values())))
    return [
        Row(name, *spread(each), _COLD_TARGETS.get(name, ""), bare) for name, each in taken.items()
    ]


def run(arguments: Sequence[str], environment: dict[str, str]) -> float:
    """Return seconds of one fresh interpreter."""
    start = time.perf_counter()
    subprocess.run(  # noqa: S603
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return time.perf_counter() - start


def peak_mib(arguments: Sequence[str]) -> float:
    """Return the largest resident memory of a fresh interpreter, MiB."""
    program = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    told = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program, sys.executable, *arguments],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(told.stdout)


def main() -> None:
    """Print the table."""
    say = sys.stdout.write
    say(f"{'figure':46s} {'fastest':>11s} {'median':>11s} {'p99':>11s} {'target':>8s}")
    say(f" {'reference':>12s}  ratio\n")
    for part in (warm, cold):
        for row in part():
            say(
                f"{row.figure:46s} {row.fastest:8.3f} ms {row.median:8.3f} ms {row.p99:8.3f} ms"
                f" {row.target:>8s} {row.reference:9.3f} ms {row.fastest / row.reference:6.2f}\n"
            )
    count, seconds = sweeps()
    say(f"\nsweep of clock x limit x batch x GPU: {count / seconds:,.0f} settings/s, target 20,000")
    say(f" ({count} settings on one core)\n")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, arguments in _COLD.items():
        say(f"{name:46s} {peak_mib(arguments):5.0f} MiB at most\n")
    say(f"{'this process, warm, after the sweep':46s} {own:5.0f} MiB at most\n")


if __name__ == "__main__":
    main()
