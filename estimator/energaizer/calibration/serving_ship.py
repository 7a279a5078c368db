"""What serving rows change in shipped profiles: two boards, their die's sibling, and the host."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from energaizer.calibration import dataset, kernel_fit, serving_fit, serving_watts
from energaizer.calibration.boards import rounded
from energaizer.calibration.chips import Chip
from energaizer.calibration.residuals import spread
from energaizer.calibration.serving_fit import Rows, Said
from energaizer.coefficients import Coefficients, FittedOn, Residual
from energaizer.gpu import Source
from energaizer.host import Host, Kernels, LaunchCost, Reach
from energaizer.result import Provenance

PROMPT_TOKENS = {"gpqa": 250.0, "lm-arena-chat": 100.0, "image-chat": 100.0, "video-chat": 100.0}
"""Effective: for chat the least time error of four tried; the others are priors, never fitted."""
HOLD_OUT = "whole shape group of models left out"
PRIOR = Host(
    name="serving",
    prefill=LaunchCost(launch_s=5.0e-6, step_s=6.0e-5, gap_step_s=1.0e-3),
    decode=LaunchCost(launch_s=1.5e-6, step_s=6.0e-5, gap_step_s=1.0e-3, gap_sequence_s=4.0e-5),
    source=Source(citation="prior", date="2026-11", licence="Apache-2.0"),
)
_WARM = np.linspace(0.0, 1.0, 41)
_FAMILIES = ("gemm", "attention-decode", "grouped-gemm", "state-space")
_DEFAULT = "default"
_GROUPED = "grouped-gemm"  # the engine multiplies experts in tiles of its own
# products, attention and a sort add in quadrature, which narrows a width that they share
_APART = 1.5


@dataclass(frozen=True)
class Served:
    """Serving rows, the fit on all of them and predictions of groups left out.

    Attributes:
        measured: Rows of text, by board.
        seen: Rows of images and videos, which no fit sees.
        fitted: The fit on all rows of text.
        held_out: Predictions of rows of text by fits without their group.
        seen_out: The same of rows of images and videos.
    """

    measured: Mapping[str, Rows]
    seen: Mapping[str, Rows]
    fitted: serving_fit.Fitted
    held_out: Mapping[str, Said]
    seen_out: Mapping[str, Said]


def serve(data: Path, start: Mapping[str, Coefficients]) -> Served:
    """Return the fit of the serving table from coefficients that kernels told."""
    measured = serving_fit.rows(serving_fit.table(data), PROMPT_TOKENS)
    every = {name: np.ones(len(own.step_s), dtype=np.bool_) for name, own in measured.items()}
    fitted = serving_fit.fit(measured, start, PRIOR, every)
    seen = serving_fit.rows(serving_fit.table(data, seen=True), PROMPT_TOKENS)
    held_out, seen_out = serving_fit.leave_out(measured, start, PRIOR, seen)
    return Served(measured, seen, fitted, held_out, seen_out)


def boards(served: Served, start: Mapping[str, Coefficients]) -> dict[str, Coefficients]:
    """Return boards whose energies the serving rows moved, as far as single kernels let them.

    Args:
        served: The fit of the serving table.
        start: Coefficients by board, as all that is known of it beside serving rows told them.
    """
    return serving_fit.sustained(served.measured, start, PRIOR, served.fitted)


def profile(served: Served, board: Coefficients, data: Path, today: date) -> Coefficients:
    """Return one of `boards` as it ships, with the residuals of its serving rows."""
    name = board.gpu
    found, own = without_engine(board), served.measured[name]
    told = FittedOn(
        dataset=serving_fit.stamp(data), date=today.isoformat(), rows=len(own.step_s),
        held_out=HOLD_OUT,
    )  # fmt: skip
    changed = found.model_copy(
        update={
            "residuals": (*found.residuals, *residual_rows(own, served.held_out[name])),
            "fitted_on": (*found.fitted_on, told),
            "notes": (),
        }
    )
    return rounded(changed)


def without_engine(found: Coefficients) -> Coefficients:
    """Return a board without what belongs to the engine's kernels: `kernels_of` says that."""
    families = {
        name: family.model_copy(update={"compute_efficiency": 1.0}) if name == _GROUPED else family
        for name, family in found.families.items()
        if name not in serving_fit.ENGINE_FAMILIES
    }
    return found.model_copy(update={"families": families})


def kernels_of(engine: Coefficients, board: Coefficients | None, architecture: str) -> Kernels:
    """Return an engine's kernels on an architecture.

    Args:
        engine: A board as the engine's rows tell it.
        board: The same as it ships; None: products of the architecture are its own.
        architecture: Its name, or "default".
    """

    def short(value: float) -> float:
        return float(f"{value:.4g}")

    reach = [
        Reach(family=name, block_cycles=short(engine.families[name].block_cycles))
        for name in serving_fit.ENGINE_FAMILIES
    ]
    tiles = short(engine.families[_GROUPED].compute_efficiency)
    scales: tuple[tuple[str, float], ...] = ()
    if board is None:
        reach.append(Reach(family=_GROUPED, compute_efficiency=tiles))
    else:
        told, known = engine.values(), board.values()
        reach += [
            Reach(
                family=name, toggle=short(engine.families[name].toggle),
                compute_efficiency=tiles if name == _GROUPED else None,
            )
            for name in serving_watts.PRODUCTS
        ]  # fmt: skip
        factors = {
            path: short(told[path] / value)
            for path, value in known.items()
            if value and path.startswith(serving_watts.ENGINE_SCALES)
        }
        scales = tuple((path, factor) for path, factor in factors.items() if factor != 1.0)
    return Kernels(architecture=architecture, families=tuple(reach), scales=scales)


def residual_rows(own: Rows, said: Said) -> tuple[Residual, ...]:
    """Return spreads of left-out rows, for the memory-bound kernels that decode steps are."""
    time = np.log(own.step_s / said.step_s)
    power = np.log(own.power_w / said.power_w)
    found: list[Residual] = []
    for quantity, logs in (("duration", time), ("power", power), ("energy", time + power)):
        wide = spread(logs)
        common = {
            "quantity": quantity, "regime": "memory", "bias": round(wide.bias, 4), "n": wide.n,
            "log_sd": round(_APART * wide.log_sd, 4),
        }  # fmt: skip
        found.extend(Residual.model_validate({**common, "family": name}) for name in _FAMILIES)
        found.append(Residual.model_validate({**common, "family": "sort", "regime": "any"}))
    return tuple(found)


def sibling(
    chip: Chip, own: Coefficients, served: Served, board: Coefficients
) -> Coefficients:  # fmt: skip
    """Return a board with the energies and spreads of its die's sibling; its own floor stays.

    Args:
        chip: Its kernels.
        own: What they told.
        served: The fit of the serving table.
        board: The sibling, as `boards` returns it.
    """
    known, engine, sibling = board.power, without_engine(board).families, board.gpu
    tree = {
        "sm_active_w_per_ghz": known.sm_active_w_per_ghz, "flop_pj": known.flop_pj,
        "l2_pj_per_byte": known.l2_pj_per_byte, "special_pj": known.special_pj,
        "dram_pj_per_byte": known.dram_pj_per_byte,
    }  # fmt: skip
    families = dict(own.families)
    for name in serving_fit.OWN_FAMILIES:
        families[name] = engine[name].model_copy(update={"provenance": Provenance.ANALYTICAL})
    note = f"energies of sustained serving on {sibling}, the same chip"
    spreads = residual_rows(served.measured[sibling], served.held_out[sibling])
    changed = own.model_copy(
        update={
            "power": own.power.model_copy(update=tree),
            "families": families,
            "residuals": (*own.residuals, *spreads),
            "notes": (*own.notes, note),
        }
    )
    return rounded(with_warm_share(chip, changed))


def with_warm_share(chip: Chip, own: Coefficients) -> Coefficients:
    """Return coefficients with the warm share of the sensor that goes with their energies (5.3)."""
    rows = kernel_fit.scorable(chip.table)
    watts = chip.table.column("power_w")[rows]
    share = chip.table.column("obs_weight_g")[rows]
    kernel = kernel_fit.predict(chip.table, own).power_w[rows]
    floor = float(own.power.held_idle_w or 0.0)
    cost = []
    for warm in _WARM:
        recorded = dataset.recorded_power(kernel, floor + warm * (kernel - floor), share)
        cost.append(float(np.mean(np.abs(np.log(recorded / watts)))))
    return own.with_values({"power.warm_share": float(_WARM[int(np.argmin(cost))])})


def host(
    served: Served, shipped: Mapping[str, Coefficients], data: Path, today: date
) -> Host:  # fmt: skip
    """Return the host profile of a serving engine, its kernels relative to boards as they ship."""
    found = served.fitted.host

    def short(cost: LaunchCost) -> LaunchCost:
        return LaunchCost(
            **{key: float(f"{value:.4g}") for key, value in cost.model_dump().items()}
        )

    told = served.fitted.coefficients
    kernels = [
        kernels_of(engine, shipped[name], served.measured[name].gpu.architecture.lower())
        for name, engine in told.items()
    ]
    kernels.append(kernels_of(next(iter(told.values())), None, _DEFAULT))
    citation = f"fit of steady serving, {serving_fit.stamp(data)}; launches are priors"
    return Host(
        name="serving", prefill=short(found.prefill), decode=short(found.decode), log_sd=0.4,
        kernels=tuple(kernels),
        source=Source(citation=citation, date=today.isoformat(), licence="Apache-2.0"),
    )  # fmt: skip
