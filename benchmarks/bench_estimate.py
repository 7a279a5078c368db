"""How long an estimate takes, beside a bare numpy reference in the same process.

The reference is the arithmetic alone: one tile choice of 20 products x 48 plans as in the method's
closed form, which no estimate can beat. Prints median and 99th percentile in milliseconds.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from energaizer import catalog, lowering, pipeline, simulation, whatif
from energaizer.lowering import transformer
from energaizer.workload import Workload

_ROUNDS = 400


def timed(call: Callable[[int], object], rounds: int = _ROUNDS) -> tuple[float, float]:
    """Return median and 99th percentile of a call, ms."""
    taken = np.empty(rounds)
    for index in range(rounds):
        start = time.perf_counter()
        call(index)
        taken[index] = time.perf_counter() - start
    return float(np.median(taken) * 1e3), float(np.percentile(taken, 99) * 1e3)


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


def cold() -> float:
    """Return seconds of a fresh interpreter that makes one estimate."""
    program = (
        "from energaizer import catalog, pipeline; from energaizer.workload import Workload;"
        "w = Workload(model=catalog.model('llama-3.1-8b'), batch=16, input_tokens=512,"
        "output_tokens=256); pipeline.estimate(w, catalog.gpu('h100-sxm'))"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    gpu, model = catalog.gpu("h100-sxm"), catalog.model("llama-3.1-8b")
    base = Workload(model=model, batch=16, input_tokens=512, output_tokens=256, clock_hz=1.2e9)
    shapes = [
        base.model_copy(update={"batch": 1 + index % 80, "input_tokens": 100 + index})
        for index in range(_ROUNDS)
    ]
    boost = base.model_copy(update={"clock_hz": None, "batch": 64})

    def first_time(index: int) -> object:
        return pipeline.estimate(shapes[index], gpu)

    pipeline.estimate(base, gpu)
    transformer._lower.cache_clear()
    simulation.load.cache_clear()
    rows = [
        ("numpy reference: one tile choice", timed(reference())),
        ("estimate, new shape each time", timed(first_time)),
        ("estimate, known shape", timed(lambda _: pipeline.estimate(base, gpu))),
        ("estimate, known shape, throttled", timed(lambda _: pipeline.estimate(boost, gpu))),
        ("lower a workload, cached", timed(lambda _: lowering.lower(base))),
    ]
    free = base.model_copy(update={"clock_hz": None})
    start = time.perf_counter()
    count = len(whatif.sweep(free, [gpu], batches=range(1, 33), limits_w=[300, 400, 500, 600, 700]))
    each = (time.perf_counter() - start) / count
    for name, (median, late) in rows:
        sys.stdout.write(f"{name:40s} median {median:7.3f} ms   p99 {late:7.3f} ms\n")
    sys.stdout.write(f"{'what-if sweep':40s} {1 / each:,.0f} settings/s ({count} settings)\n")
    sys.stdout.write(f"{'cold: interpreter, imports, estimate':40s} {cold():.2f} s\n")


if __name__ == "__main__":
    main()
