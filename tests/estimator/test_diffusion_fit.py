"""The fit of diffusion: what its vector means, what is recovered, how it is reported."""

from typing import Any

import numpy as np
import pytest

from energaizer import catalog, lowering
from energaizer.batch import Batch
from energaizer.calibration import diffusion_fit, diffusion_report
from energaizer.calibration.diffusion_fit import Fitted, Rows, Said
from energaizer.families import Generation
from energaizer.workload import Workload

NAMES = ("pixart-sigma", "sdxl", "flux.1-dev")


def rows() -> Rows:
    gpu = catalog.gpu("h100-sxm")
    loads = [
        Workload(model=catalog.model(name), input_tokens=1, batch=batch,
                 generation=Generation(height=512, width=512, steps=10))
        for name in NAMES for batch in (1, 4, 16)
    ]  # fmt: skip
    count = np.ones(len(loads))
    own: Any = Rows(
        gpu=gpu, coefficients=catalog.coefficients(gpu),
        runs=Batch(gpu, [lowering.lower(load) for load in loads], gpu.max_clock_hz * count,
                   gpu.power_limit_w * count),
        time_s=count, power_w=count, model=np.repeat(NAMES, 3),
        task=np.full(len(loads), "text-to-image"), boards=count, batch=count, weight=count,
    )  # fmt: skip
    return own


def told_by(own: Rows, values: list[float]) -> Rows:
    said = diffusion_fit._predict(own, diffusion_fit._host(values, {"H100": own}))
    return Rows(**{**vars(own), "time_s": said.time_s, "power_w": said.power_w})


def priors() -> list[float]:
    return [parameter.mean for parameter in (*diffusion_fit._REACH, *diffusion_fit._HOST)]


def test_a_vector_is_a_host_profile() -> None:
    host = diffusion_fit._host(priors(), {"H100": rows()})
    (kernels,) = host.kernels
    assert kernels.architecture == "hopper"
    reach = {part.family: part for part in kernels.families}
    assert reach["gemm"].compute_efficiency == 0.8
    assert reach["copy"] == reach["elementwise"].model_copy(update={"family": "copy"})
    assert host.prefill.gap_sequence_s == 0.1
    assert host.prefill.step_s == 1e-3


def test_what_made_the_rows_is_found_again() -> None:
    values = priors()
    values[0], values[8] = 0.65, 0.16  # products reach less, images are taken over more slowly
    own = told_by(rows(), values)
    kept = {"H100": np.ones(len(own), dtype=np.bool_)}
    theta = diffusion_fit._least({"H100": own}, kept, np.log(priors()), 8)
    found = diffusion_fit._predict(own, diffusion_fit._host(np.exp(theta).tolist(), {"H100": own}))
    assert np.abs(np.log(found.time_s / own.time_s)).max() < 0.03
    assert np.exp(theta[8]) == pytest.approx(0.16, rel=0.1)


def test_a_section_gives_the_errors_it_was_given() -> None:
    own = told_by(rows(), priors())
    fitted = Fitted(
        host=catalog.host("diffusion"), rows={"H100": own},
        held_out={"H100": Said(1.1 * own.time_s, 0.95 * own.power_w)},
    )  # fmt: skip
    lines = diffusion_report.section(fitted).splitlines()
    power = next(line for line in lines if line.startswith("| text-to-image | all | power"))
    cells = [cell.strip() for cell in power.strip("|").split("|")]
    assert cells[3:8] == ["9", "5.0", "5.0", "5", "-5.0"]
    assert cells[10] == "10"
    energy = next(line for line in lines if line.startswith("| text-to-image | H100 | energy"))
    assert "| 9 | 4.5 | 4.5 |" in energy
