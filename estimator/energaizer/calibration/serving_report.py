"""The accuracy table of steady serving: shape groups left out, beside trivial predictions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from energaizer.calibration import serving_fit, serving_ship
from energaizer.calibration.residuals import Errors, coverage, errors, spread
from energaizer.coefficients import Coefficients

FloatArray = npt.NDArray[np.float64]
_QUANTITIES = ("step time", "ITL", "power", "J/token")


def markdown(data: Path, start: Mapping[str, Coefficients]) -> str:
    """Return the section.

    Args:
        data: Folder of the tables.
        start: Coefficients by board, as kernels alone told them.
    """
    served = serving_ship.serve(data, start)
    columns, baselines, groups, boards = _columns(served)
    rows = []
    for where in ("all", *serving_fit.BOARDS):
        own = np.ones(len(groups), dtype=np.bool_) if where == "all" else boards == where
        for name in _QUANTITIES:
            predicted, measured = (part[own] for part in columns[name])
            found = errors(predicted, measured)
            each = [
                errors(columns[name][0][own & at], columns[name][1][own & at]).median
                for group in np.unique(groups[own])
                for at in (groups == group,)
            ]
            inside = _inside(np.log(measured / predicted), groups[own])
            trivial = " / ".join(
                f"{errors(values[own], measured).median:.0f}" for values in baselines[name]
            )
            rows.append(
                f"| {where} | {name} | {_cells(found)} | {np.mean(each):.1f} | "
                f"{100 * inside:.0f} | {trivial} |"
            )
    return _TEXT + "\n".join(rows) + "\n" + _END


def _columns(
    served: serving_ship.Served,
) -> tuple[
    dict[str, tuple[FloatArray, FloatArray]],
    dict[str, list[FloatArray]],
    npt.NDArray[np.str_],
    npt.NDArray[np.str_],
]:
    parts: dict[str, list[tuple[FloatArray, FloatArray]]] = {name: [] for name in _QUANTITIES}
    trivial: dict[str, list[list[FloatArray]]] = {name: [[], []] for name in _QUANTITIES}
    groups, boards = [], []
    for board, profile in serving_fit.BOARDS.items():
        own, said = served.measured[profile], served.held_out[profile]
        scale = own.boards / own.batch
        parts["step time"].append((said.step_s, own.step_s))
        parts["ITL"].append((said.gap_s, own.gap_s))
        parts["power"].append((said.power_w, own.power_w))
        parts["J/token"].append((said.token_j, scale * own.power_w * own.step_s))
        constant = np.array([own.power_w[own.group != group].mean() for group in own.group])
        limit = np.full(len(constant), own.gpu.power_limit_w)
        for index, watts in enumerate((constant, limit)):
            trivial["power"][index].append(watts)
            trivial["J/token"][index].append(scale * watts * said.step_s)
        groups.append(own.group)
        boards.append(np.full(len(constant), board))
    columns = {
        name: (np.concatenate([p for p, _ in both]), np.concatenate([m for _, m in both]))
        for name, both in parts.items()
    }
    baselines = {
        name: [np.concatenate(each) for each in both if each] for name, both in trivial.items()
    }
    return columns, baselines, np.concatenate(groups), np.concatenate(boards)


def _inside(logs: FloatArray, groups: npt.NDArray[np.str_]) -> float:
    """Return the share of rows in the 90 % interval that the other groups' residuals give."""
    found = np.empty(len(logs), dtype=np.float64)
    for group in np.unique(groups):
        out = groups == group
        factor = spread(logs[~out]).factor
        measured = np.exp(logs[out])
        found[out] = coverage(
            np.full(len(measured), 1.0 / factor), np.full(len(measured), factor), measured
        )
    return float(np.mean(found))


def _cells(found: Errors) -> str:
    return (
        f"{found.n} | {found.median:.1f} | {found.mean:.1f} | {found.p90:.0f} | {found.bias:+.1f}"
    )


_TEXT = """## Serving

Steady continuous batching of dense models (bf16 and fp8), boards' energy counters; chat and gpqa
rows without flags. A **shape group** (all checkpoints of one layout, on both boards) is left out at
a time: step costs of the engine, and the scales of held idle, SM-active, core and DRAM power, are
fitted without it. Kernel coefficients come from the kernel table. Goal: J/token and ITL and power
at most 10 % in the median, 30 % in p90 of J/token. The interval of a group is from the residuals of
the others; *groups* is the mean over
shape groups of the median. Baselines, median: constant watts of the other groups, limit; for
J/token both times predicted time.

| board | quantity | rows | median | mean | p90 | bias | groups | inside, % | constant / limit |
|---|---|---|---|---|---|---|---|---|---|
"""
_END = """
- **Variants.** Nine were run on these same rows, without an inner loop: a wait once per prompt
  with chat prompts of 100, 200, 300 and 400 tokens; once per step that holds prompts with 100 and
  200; the latter with 100 and 136 or 400 bytes per logit in the sampler. 400 is kept. 200
  tokens gave a lower power and J/token error than 100 without the sampler, and a higher time error;
  the two were not crossed. A ninth holds core energies near the kernels' and frees DRAM energy:
  left out, power 11.0 against 10.1 % and J/token 11.7 against 11.2 % in the median (p90 23
  against 28), but kernels of the H200 are off by 16.8 instead of 25.2 % in time; it is kept. The
  figures are of the choice and so optimistic. Variants started from a profile anchored to the two
  H100 rows; the table starts from kernels alone, as the fit does, and is worse for it.
- **Constant.** On the H100 a constant predicts power better than this.
- **Not joint.** Kernel rows enter as priors of the scales, not row by row.
- **Misses.** A goal is missed where its row above says so. Some B200 rows of the 8B models, 32 to
  511 sequences, run far slower than predicted at little power (27.9 ms where 11 ms were predicted);
  a slow host fits that, and was not verified. Products of the fp8 model on H100 alone are predicted
  longer than the whole measured step at 255 sequences; it is the only fp8 group, so that nothing
  mends it when it is left out.
- **Prompt lengths** are not in the table: 100 and 250 tokens are effective numbers, not lengths.
"""
