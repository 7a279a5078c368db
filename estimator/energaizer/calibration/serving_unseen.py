"""Serving on a GPU that no fit saw: its datasheet and priors, an engine told by another board.

One measured row of the new board may anchor it: a factor on its times and one on its power above
idle, of which half is taken over, as everywhere (method, 5.7).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from energaizer import catalog, machine, power
from energaizer.calibration import serving_fit
from energaizer.calibration.pages import table
from energaizer.calibration.residuals import errors
from energaizer.calibration.serving_fit import Rows, Said
from energaizer.coefficients import Coefficients
from energaizer.host import Host
from energaizer.priors import from_specification

FloatArray = npt.NDArray[np.float64]
_GOAL = 18.0
_TAKEN = 0.5  # share of the log factor of one row that others inherit


@dataclass(frozen=True)
class Unseen:
    """Rows of a board, predicted by fits of the other board alone.

    Attributes:
        rows: The rows.
        said: Predictions from the datasheet.
        idle_w: Idle power by the priors, W.
    """

    rows: Rows
    said: Said
    idle_w: float

    def anchored(self, row: int) -> Said:
        """Return predictions after one measured row told how far time and power are off."""
        own, said = self.rows, self.said
        slower = float(own.step_s[row] / said.step_s[row]) ** _TAKEN
        above = max(1.0, float(own.power_w[row]) - self.idle_w)
        hotter = (above / max(1.0, float(said.power_w[row]) - self.idle_w)) ** _TAKEN
        watts = self.idle_w + hotter * np.maximum(0.0, said.power_w - self.idle_w)
        watts = np.minimum(watts, own.gpu.power_limit_w)
        seconds = slower * said.step_s
        return Said(seconds, slower * said.gap_s, watts, own.boards * watts * seconds / own.batch)


def unseen(
    measured: Mapping[str, Rows], start: Mapping[str, Coefficients], host: Host, name: str
) -> Unseen:
    """Return predictions of a board from its datasheet, the engine fitted on the other boards.

    Args:
        measured: Rows by board.
        start: Coefficients by board, as kernels told them; that of `name` is not read.
        host: What an engine costs without a fit.
        name: The board that is left out, with its kernels.
    """
    others = {board: own for board, own in measured.items() if board != name}
    every = {board: np.ones(len(own.step_s), dtype=np.bool_) for board, own in others.items()}
    fitted = serving_fit.fit(others, start, host, every)
    own = measured[name]
    plain = from_specification(own.gpu, catalog.prior())
    known = serving_fit.prepared({name: plain})[name]
    timed, engine = serving_fit.with_host(known, host, fitted.steps)
    board = machine.build(own.gpu, timed)
    idle_w = float(power.idle_power(board, np.array([own.gpu.max_clock_hz]))[0])
    return Unseen(own, serving_fit.predict(own, timed, engine), idle_w)


def markdown(measured: Mapping[str, Rows], start: Mapping[str, Coefficients], host: Host) -> str:
    """Return the table: each board left out, from its datasheet alone and with each row as anchor.

    A row scores all others but those of its shape group.
    """
    lines = []
    for board, name in serving_fit.BOARDS.items():
        found = unseen(measured, start, host, name)
        own = found.rows
        token = own.boards * own.power_w * own.step_s / own.batch
        truth = {"step time": own.step_s, "power": own.power_w, "J/token": token}
        for what, seen in truth.items():
            alone = errors(_of(found.said, what), seen)
            anchored = []
            for row in range(len(own.step_s)):
                rest = own.group != own.group[row]
                anchored.append(errors(_of(found.anchored(row), what)[rest], seen[rest]).median)
            low, middle, high = np.quantile(anchored, (0.1, 0.5, 0.9))
            goal = f"{_GOAL:g}" if what == "J/token" else ""
            lines.append(
                (board, what, f"{len(seen)}", f"{alone.median:.1f}", f"{alone.bias:+.1f}",
                 f"{middle:.1f}", f"{low:.1f} to {high:.1f}", goal)
            )  # fmt: skip
    head = ("board left out", "quantity", "rows", "datasheet alone", "bias", "with one row",
            "best and worst tenth of rows", "goal")  # fmt: skip
    return _TEXT + table(head, lines)


def _of(said: Said, what: str) -> FloatArray:
    return {"step time": said.step_s, "power": said.power_w, "J/token": said.token_j}[what]


_TEXT = """
### A board that no fit saw

H100 from B200 and the reverse: the board's kernels and serving rows are left out, its coefficients
are those of its datasheet and priors, and the engine is that of the other board. Then each of its
rows in turn tells one factor of time and one of power above idle, half of which is taken over;
scored are the rows of other shape groups. Median error in percent; of anchors, the median over
rows.

"""
