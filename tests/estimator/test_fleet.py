"""Many kinds of GPU at once give what each gives alone."""

import numpy as np
import pytest

from energaizer import catalog, fleet, lowering, machine, pipeline, place, simulation, whatif
from energaizer.host import with_kernels
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
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
    for cache in (simulation.load, simulation.every_clock, simulation.settle, simulation.unset):
        cache.cache_clear()


def loaded_together(name):
    workload = described(name)
    program = lowering.lower(workload)
    host, machines, fabrics = boards_of(workload, catalog.gpus())
    forget()
    together = fleet.load(program, machines, host, fabrics)
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


@pytest.mark.parametrize("name", WORKLOADS)
def test_steps_of_all_boards_settle_as_those_of_each(name):
    *_, together = loaded_together(name)
    fleet.settle(together)
    settled = [simulation.unset.known(one) for one in together]
    held = 0
    for one, found in zip(together, settled, strict=True):
        simulation.unset.cache_clear()
        alone = simulation.unset(one)
        held += alone.throttled.any()
        assert found is not None
        equal(found, alone)
    assert len(together) > held > 0


def test_what_is_known_and_what_lacks_a_rate_is_left_out():
    workload = described("serving", precision=Precision.FP8)
    program = lowering.lower(workload)
    gpus = [catalog.gpu(name) for name in ("h100-sxm", "a100-80gb", "l40s", "h200")]
    host, machines, fabrics = boards_of(workload, gpus)
    forget()
    known = simulation.load(program, machines[0], host, fabrics[0])
    found = fleet.load(program, machines, host, fabrics)
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
    whatif.load_together(workload, gpus, {}, clocks=True)
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
