"""Many kinds of GPU at once give what each gives alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energaizer import catalog, fleet, job, lowering, machine, pipeline, place, simulation, whatif
from energaizer.fleet import Run
from energaizer.host import with_kernels
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.simulation import Settled
from energaizer.workload import Workload

WORKLOADS = {
    "serving": {"model": "llama-3.1-8b", "batch": 7, "input_tokens": 300, "output_tokens": 90},
    "eager": {"model": "opt-1.3b", "input_tokens": 77, "attention": "eager"},
    "spread": {
        "model": "qwen3-30b-a3b", "batch": 8, "input_tokens": 300, "output_tokens": 20,
        "parallelism": Parallelism(tensor=4, expert=4),
    },
    "images": {"model": "vit-large-patch16-224", "batch": 3},
}  # fmt: skip


def described(name, **changes):
    given = WORKLOADS[name] | changes
    return Workload(**(given | {"model": catalog.model(given["model"])}))


def boards_of(workload, gpus):
    host = catalog.host(pipeline.host_name(workload))
    machines = [machine.of(gpu, with_kernels(host, gpu, catalog.coefficients(gpu))) for gpu in gpus]
    return host, machines, [place.of(workload, board).fabric for board in machines]


def forget():
    for cache in (
        simulation.load, simulation.every_clock, simulation.settle, simulation.unset, job.sums
    ):  # fmt: skip
        cache.cache_clear()


def loaded_together(name):
    workload = described(name)
    program = lowering.lower(workload)
    host, machines, fabrics = boards_of(workload, catalog.gpus())
    forget()
    runs = [
        Run(program, board, host, fabric) for board, fabric in zip(machines, fabrics, strict=True)
    ]
    together = fleet.load(runs)
    return program, host, machines, fabrics, together


def equal(found, alone):
    for name, mine, own in zip(alone._fields, found, alone, strict=True):
        np.testing.assert_allclose(mine, own, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", WORKLOADS)
def test_kernels_and_clocks_of_all_boards_equal_those_of_each(name):
    program, host, machines, fabrics, together = loaded_together(name)
    fleet.every_clock(together)
    swept = [simulation.every_clock.known(one) for one in together]
    assert len(together) > len(machines) // 2
    forget()
    for found, clocks in zip(together, swept, strict=True):
        fabric = fabrics[machines.index(found.machine)]
        alone = simulation.load(program, found.machine, host, fabric)
        equal(found.work, alone.work)
        equal(found.activity, alone.activity)
        np.testing.assert_array_equal(found.host_s, alone.host_s)
        np.testing.assert_array_equal(found.gaps_s, alone.gaps_s)
        assert clocks is not None
        equal(clocks, simulation.every_clock(alone))


def settled_apart(together):
    """Return what the steps and kernels of each run settle at, found for all at once."""
    *of_steps, kernel_s, bound = fleet.settle_together(fleet.Loads.of(together))
    step = kernel = 0
    for one in together:
        steps, kernels = one.program.counts.shape
        place = slice(step, step + steps)
        own = kernel_s[kernel : kernel + kernels]
        yield Settled._make((*(array[place] for array in of_steps), own, bound[place]))
        step, kernel = step + steps, kernel + kernels


@pytest.mark.parametrize("name", WORKLOADS)
def test_steps_of_all_boards_settle_as_those_of_each(name):
    *_, together = loaded_together(name)
    held = 0
    for one, found in zip(together, settled_apart(together), strict=True):
        alone = simulation.unset(one)
        held += alone.throttled.any()
        equal(found, alone)
    assert len(together) > held > 0


def test_what_is_known_and_what_lacks_a_rate_is_left_out():
    workload = described("serving", precision=Precision.FP8)
    program = lowering.lower(workload)
    gpus = [catalog.gpu(name) for name in ("h100-sxm", "a100-80gb", "l40s", "h200")]
    host, machines, fabrics = boards_of(workload, gpus)
    forget()
    known = simulation.load(program, machines[0], host, fabrics[0])
    found = fleet.load(
        [Run(program, board, host, fabric) for board, fabric in zip(machines, fabrics, strict=True)]
    )
    assert [one.machine.gpu.name for one in found] == [gpus[2].name, gpus[3].name]
    assert simulation.load(program, machines[0], host, fabrics[0]) is known


@pytest.mark.parametrize("name", WORKLOADS)
def test_estimates_and_sweeps_are_the_same_after_loading_together(name):
    workload = described(name)
    gpus = [catalog.gpu(name) for name in ("h100-sxm", "a100-80gb", "l40s", "l4", "mi300x")]
    caps = [200.0, 300.0, 400.0]

    def asked():
        swept = whatif.sweep(workload, gpus, limits_w=caps)
        return swept, [pipeline.estimate(workload, gpu) for gpu in gpus[:3]]

    forget()
    alone, alone_each = asked()
    forget()
    whatif.load_together(workload, gpus, {})
    together, together_each = asked()
    for one, other in zip(together, alone, strict=True):
        assert one[:3] == other[:3]
        assert [x for x in one if isinstance(x, float)] == pytest.approx(
            [x for x in other if isinstance(x, float)], rel=1e-12
        )
    for one, other in zip(together_each, alone_each, strict=True):
        for quantity in ("power", "energy", "duration"):
            mine, own = getattr(one, quantity), getattr(other, quantity)
            assert (mine.value, mine.low, mine.high) == pytest.approx(
                (own.value, own.low, own.high), rel=1e-12
            )


MIXED = {
    **WORKLOADS,
    "counted": WORKLOADS["serving"] | {"requests": 1000},
    "for a day": WORKLOADS["serving"] | {"duration_s": 86400.0},
    "at a rate": WORKLOADS["serving"] | {"duration_s": 60.0, "requests_per_second": 2.0},
    "slower": WORKLOADS["serving"] | {"clock_hz": 1.2e9},
    "capped": WORKLOADS["serving"] | {"power_cap_w": 250.0},
    "narrow": WORKLOADS["serving"] | {"precision": Precision.FP8},
    "windowed": {"model": "gemma-2-9b", "batch": 3, "input_tokens": 4000, "output_tokens": 900},
    "staged": {
        "model": "llama-3.1-8b", "batch": 8, "input_tokens": 40, "output_tokens": 3,
        "parallelism": Parallelism(pipeline=2),
    },
    "too large": {"model": "llama-3.1-405b", "input_tokens": 8},
    "too fast": WORKLOADS["serving"] | {"duration_s": 60.0, "requests_per_second": 1e5},
    "trained": {
        "model": "opt-1.3b", "input_tokens": 128,
        "training": Training(global_batch=16, micro_batch=2, steps=7, stall_s=0.01),
    },
}  # fmt: skip
BOARDS = ("h100-sxm", "a100-80gb", "l40s", "l4", "mi300x", "t4")
PAIRS = st.tuples(st.sampled_from(sorted(MIXED)), st.sampled_from(BOARDS))


def alike(found, expected):
    """Hold two outcomes against each other, number by number."""
    if isinstance(expected, Exception):
        assert (type(found), str(found)) == (type(expected), str(expected))
        return
    for mine, own in zip(found, expected, strict=True):
        if isinstance(own, tuple):
            alike(mine, own)
        elif isinstance(own, float):
            assert mine == pytest.approx(own, rel=1e-13)
        else:
            assert mine == own


@settings(max_examples=25, deadline=None)
@given(st.lists(PAIRS, max_size=12))
def test_a_mix_of_workloads_and_boards_is_told_as_each_alone(pairs):
    workloads = {
        name: Workload(**(given | {"model": catalog.model(given["model"])}))
        for name, given in MIXED.items()
    }
    asked = [(workloads[name], catalog.gpu(board), None) for name, board in pairs]
    forget()
    together = pipeline.briefs(asked)
    for one, found in zip(asked, together, strict=True):
        forget()
        (alone,) = pipeline.briefs([one])
        alike(found, alone)
        whole = pipeline.attempt(pipeline.estimate, *one)
        if isinstance(whole, Exception):
            alike(found, whole)
        else:
            alike(found[:4], [getattr(whole, quantity) for quantity in found._fields[:4]])
