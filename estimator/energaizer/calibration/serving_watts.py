"""What long steady runs move of a board's power, and what of it belongs to their engine."""

import numpy as np
import numpy.typing as npt

from energaizer.coefficients import Coefficients

FloatArray = npt.NDArray[np.float64]
PRODUCTS = ("gemm", "grouped-gemm")
FLOOR_W = {"h100-sxm5-80gb": 121.0, "b200-sxm-180gb": 245.0}
"""Prior of a held board: H100 from its idle table at boost, B200 from kernels (method, 4.1)."""
_DRAM_PJ = 55.0
_CORE = ("power.flop_pj.", "power.l2_pj_per_byte", "power.special_pj")
WATTS = 4  # numbers that `with_watts` and `with_engine` take
# Kernels at the limit tell core energies of a board: more of them would slow those kernels too
# much. Bytes of DRAM are what a decode step is made of, and kernels tell little of them.
BOARD_SD = np.array([0.05, 0.15, 0.05, 0.4])
# Operands of the kernel table are constants or memory as it was found: what an engine's products
# draw besides is free.
ENGINE_SD = np.array([0.05, 0.15, 0.4, 0.4])
ENGINE_SCALES = (*_CORE, "power.sm_active_w_per_ghz", "power.dram_pj_per_byte", "link.hop_s")
"""Beginnings of paths in which an engine may differ from the board: its energies, and hops."""


def with_watts(coefficients: Coefficients, values: FloatArray) -> Coefficients:
    """Return coefficients with held idle, and with SM, core and DRAM energies scaled.

    Args:
        coefficients: As fitted on kernels.
        values: Held idle and DRAM energy relative to their priors, the others to the kernels'.
    """
    held, active, core, dram = (float(value) for value in values)
    known = coefficients.values()
    new = {path: value * core for path, value in known.items() if path.startswith(_CORE)}
    return coefficients.with_values(new | _scaled(coefficients, held, active, dram))


def with_engine(coefficients: Coefficients, values: FloatArray) -> Coefficients:
    """Return the same with the energy of an engine's products in place of all core energies."""
    held, active, toggle, dram = (float(value) for value in values)
    new = {f"families.{name}.toggle": toggle for name in PRODUCTS}
    return coefficients.with_values(new | _scaled(coefficients, held, active, dram))


def _scaled(
    coefficients: Coefficients, held: float, active: float, dram: float
) -> dict[str, float]:
    return {
        "power.held_idle_w": FLOOR_W[coefficients.gpu] * held,
        "power.sm_active_w_per_ghz": coefficients.power.sm_active_w_per_ghz * active,
        "power.dram_pj_per_byte": _DRAM_PJ * dram,
    }
