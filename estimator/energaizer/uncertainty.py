"""Intervals of sums, from the residuals of what a fit did not see (method, 5.6).

Within a group of kernels that share a residual errors add linearly, between groups in quadrature.
What is unknown never narrows an interval.
"""

import itertools
import math

import numpy as np
import numpy.typing as npt

from energaizer.caches import remembered
from energaizer.coefficients import FAMILIES, Residual
from energaizer.machine import Machine
from energaizer.result import Provenance

FloatArray = npt.NDArray[np.float64]
QUANTITIES = ("duration", "power", "energy")
REGIMES = ("launch", "memory", "compute", "capped")
LAUNCH, MEMORY, COMPUTE, CAPPED = range(len(REGIMES))
SHAPE = (len(FAMILIES), len(REGIMES))
_CENTRAL_90 = 1.645  # half-width of the central 90 % of a normal, in standard deviations
_SHRINK = 10.0  # a group of n counts n/(n + 10) against its parent
_WIDEN = {Provenance.EXTRAPOLATED: 1.5, Provenance.SPECIFICATION: 2.0}


@remembered(256)
def spread_of(residuals: tuple[Residual, ...]) -> FloatArray:
    """Return products of half-widths that share their error, shape (quantities, cells, cells).

    A cell is a family in a regime, with a half-width of ln(measured/predicted); small groups shrink
    to their parents. Cells of one residual row err together, others apart (product 0), so that the
    square of the half-width of a sum is a quadratic form of the shares of its cells.

    The parent of a family in a regime is the family, or else the regime of all families, then
    everything of the quantity; a quantity without a row borrows the widest row there is.
    """
    table = {
        (row.quantity, row.family, row.regime): (index, row) for index, row in enumerate(residuals)
    }
    widest = max((_half(row) for row in residuals), default=math.log(2.0))
    shape = (len(QUANTITIES), len(FAMILIES), len(REGIMES))
    half_width, group = np.empty(shape), np.empty(shape, dtype=np.intp)
    for cell in itertools.product(*map(range, shape)):
        quantity, family, regime = QUANTITIES[cell[0]], FAMILIES[cell[1]], REGIMES[cell[2]]
        half, index = widest, len(residuals)
        for key in (
            (quantity, "any", "any"), (quantity, "any", regime),
            (quantity, family, "any"), (quantity, family, regime),
        ):  # fmt: skip
            if key in table:
                index, row = table[key]
                # a row without a count is a prior: it stands in full
                share = row.n / (row.n + _SHRINK) if row.n else 1.0
                half = share * _half(row) + (1.0 - share) * half
        half_width[cell], group[cell] = half, index
    wide, of = half_width.reshape(len(QUANTITIES), -1), group.reshape(len(QUANTITIES), -1)
    found: FloatArray = wide[:, :, None] * wide[:, None, :] * (of[:, :, None] == of[:, None, :])
    return found


def _half(row: Residual) -> float:
    return _CENTRAL_90 * row.log_sd + abs(row.bias)


def combined(spread: FloatArray, shares: FloatArray) -> FloatArray:
    """Return the half-width of ln of N sums, one for each quantity, shape (N, quantities).

    Args:
        spread: Products of half-widths (`spread_of`).
        shares: Share of each sum by family and regime, summing to 1, (N, families, regimes) or
            (N, families x regimes).
    """
    cells = shares.reshape(len(shares), -1)
    return half_widths(cells @ spread, cells)


def half_widths(products: FloatArray, cells: FloatArray) -> FloatArray:
    """Return the same where each sum has a spread of its own, shape (N, quantities).

    Args:
        products: The cells of each sum times its spread, shape (quantities, N, cells).
        cells: Its shares, shape (N, cells).
    """
    found: FloatArray = np.sqrt(np.add.reduce(products * cells, axis=-1)).T
    return found


def widening(provenance: Provenance) -> float:
    """Return the factor on the half-width of what is extrapolated or comes from a datasheet."""
    return _WIDEN.get(provenance, 1.0)


def outside_hull(machine: Machine, inputs: dict[str, float]) -> tuple[str, ...]:
    """Return a note for each input beyond the range that was fitted."""
    notes = []
    for name, (low, high) in machine.coefficients.hull.items():
        value = inputs.get(name)
        if value is not None and not low <= value <= high:
            notes.append(f"{name} {value:g} is outside the fitted range {low:g} to {high:g}")
    return tuple(notes)
