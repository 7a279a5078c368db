"""The accuracy table of diffusion: whole models left out, beside trivial predictions."""

from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from energaizer.calibration import diffusion_fit
from energaizer.calibration.diffusion_fit import Fitted
from energaizer.calibration.residuals import coverage, errors, spread

FloatArray = npt.NDArray[np.float64]
_GOALS = {
    ("text-to-image", "power"): 10, ("text-to-video", "power"): 6,
    ("text-to-image", "energy"): 15, ("text-to-video", "energy"): 15,
}  # fmt: skip


def markdown(data: Path) -> str:
    """Return the section; the fits behind it take minutes."""
    return section(diffusion_fit.fit(data, date(1970, 1, 1)))


def section(fitted: Fitted) -> str:
    """Return the section of a fit with its models left out."""
    parts: dict[str, list[FloatArray]] = {name: [] for name in ("time", "power", "constant")}
    said: dict[str, list[FloatArray]] = {name: [] for name in ("time", "power")}
    tasks, boards, models = [], [], []
    for name, own in fitted.rows.items():
        out = fitted.held_out[name]
        parts["time"].append(own.time_s)
        parts["power"].append(own.power_w)
        said["time"].append(out.time_s)
        said["power"].append(out.power_w)
        parts["constant"].append(
            np.array([own.power_w[own.model != model].mean() for model in own.model])
        )
        tasks.append(own.task)
        boards.append(np.full(len(own), name))
        models.append(own.model)
    measured = {name: np.concatenate(parts[name]) for name in ("time", "power")}
    predicted = {name: np.concatenate(said[name]) for name in ("time", "power")}
    measured["energy"] = measured["time"] * measured["power"]
    predicted["energy"] = predicted["time"] * predicted["power"]
    constant = np.concatenate(parts["constant"])
    task, board, model = (np.concatenate(each) for each in (tasks, boards, models))
    rows = []
    for kind in np.unique(task):
        for where in ("all", *fitted.rows):
            own = (task == kind) & ((board == where) | (where == "all"))
            for quantity, told in measured.items():
                rows.append(
                    _line(
                        (str(kind), where, quantity), (predicted[quantity][own], told[own]),
                        model[own], constant[own],
                    )
                )  # fmt: skip
    each = [
        f"| {name} | "
        + " | ".join(
            f"{found.median:.1f} ({found.bias:+.1f})"
            for quantity in measured
            for found in (errors(predicted[quantity][model == name],
                                 measured[quantity][model == name]),)
        )
        + " |"
        for name in np.unique(model)
    ]  # fmt: skip
    return _TEXT + "\n".join(rows) + "\n" + _MODELS + "\n".join(each) + "\n" + _END


def _line(
    where: tuple[str, str, str], both: tuple[FloatArray, FloatArray],
    models: npt.NDArray[np.str_], constant_w: FloatArray,
) -> str:  # fmt: skip
    """Return one row: errors, their mean over models, coverage, a trivial prediction."""
    predicted, measured = both
    found = errors(predicted, measured)
    by_model = [
        errors(predicted[models == name], measured[models == name]).median
        for name in np.unique(models)
    ]
    goal = _GOALS.get((where[0], where[2]))
    trivial = f"{errors(constant_w, measured).median:.1f}" if where[2] == "power" else ""
    return (
        f"| {' | '.join(where)} | {found.n} | {found.median:.1f} | {found.mean:.1f} | "
        f"{found.p90:.0f} | {found.bias:+.1f} | {np.mean(by_model):.1f} | "
        f"{100 * _inside(np.log(measured / predicted), models):.0f} | {goal or ''} | {trivial} |"
    )


def _inside(logs: FloatArray, models: npt.NDArray[np.str_]) -> float:
    """Return the share of rows in the 90 % interval that the other models' residuals give."""
    names = np.unique(models)
    found = np.empty(len(logs))
    for name in names:
        out = models == name
        factor = spread(logs[~out] if len(names) > 1 else logs).factor
        ones, measured = np.ones(int(out.sum())), np.exp(logs[out])
        found[out] = coverage(ones / factor, ones * factor, measured)
    return float(np.mean(found))


_TEXT = """## Diffusion

Images and videos, one to eight boards (Ulysses and ring), boards' energy counters. A **model** is
left out at a time, on both boards: what the framework's kernels reach on each architecture, and the
costs of its host, are fitted without it; the GPUs' own coefficients stay. Time is that of a batch,
energy predicted power times predicted time. *Models* is the mean over models of the median. The
constant is the mean power of the other models on that board.

| task | board | what | rows | median | mean | p90 | bias | models | inside, % | goal | constant |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""
_MODELS = """
Median error (bias) by model left out, in percent:

| model | time | power | energy |
|---|---|---|---|
"""
_END = """
- **Variants.** Six were run on these same rows, without an inner loop: attention as a serving
  engine's; FlashAttention-2 with slots of the softmax beside its products; with a host that takes
  images over while boards wait; with prompts that do not divide evenly on every board; collectives
  as all-reduces of half the size, and as exchanges. The last of each is kept.
- **Power of videos** was 10.0 % after those (energy 13.6; CogVideoX1.5 +16, both others -9), and
  some 35 variants followed on the same rows, each model left out by one Gauss-Newton step from
  the common fit, on the boards as they were then (what is kept: 4.0). It has as many parameters as
  before, and reasons in the framework:
  - One board decodes while the others wait, in pipelines of xDiT's own; all decode where it takes
    only the denoiser over. What does not get shorter with more boards costs each further one 200 W
    on the H100 in CogVideoX1.5, 380 in HunyuanVideo, 400 and 900 on the B200. Everything decoded
    everywhere: 8.7 with the rest.
  - Convolutions over frames are a family. They reach a tenth of the peak, others a third, so that
    decoding takes a third (B200) to half (H100) of the time of CogVideoX1.5 on eight boards.
  - HunyuanVideo decodes overlapping tiles (without: 5.4, its time 11 % low); CogVideoX1.5 in tiles
    as well: its time 17 % off.
  - A score is priced as one exponential, though it takes three slots (priced as three: 5.1).
    Attention then draws what the board's own energies say, so that its factor, .5 to .7 before,
    left the fit, and that of convolutions of images with it.

  Not kept: tensor work of attention that draws more (3.9 with one factor of 3 to 10 for both
  boards, 5.0 with one each), waiting boards that spin (3.8), more or fewer busy SMs of collectives
  (3.7), one efficiency of convolutions over frames for both boards (3.9), one energy (4.3), no
  energy of theirs (4.6), watts of busy SMs (4.5).
- **Energies of convolutions over frames** are effective: a B200 draws nearly as much while it
  decodes as while it denoises, at a tenth of the FLOP, hence eight times the energy of each; on
  the H100 busy SMs alone draw that much.
- **Framework.** Nobody says which kernels ran. Eager PyTorch with FlashAttention-2 fits: on the
  B200 attention reaches about a fifth of the peak, as kernels for an older architecture would.
- **Joint scales.** One efficiency a kernel family stands for many kernels: rotary embeddings of
  FLUX.1 and linear attention of SANA are predicted too slow, norms and modulations of the largest
  SANA and of Stable Diffusion 3.5 too fast.
"""
