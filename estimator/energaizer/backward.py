"""What the backward pass and the optimiser run for the kernels of a forward pass.

Each product of the forward pass has two in the backward pass, one for its input and one for its
weights, so that a token costs about 6 FLOP per parameter (method, section 3: training). Frozen
weights have one.
"""

from energaizer import kernels
from energaizer.kernels import FAMILY, Kernel
from energaizer.links import ALL_GATHER, REDUCE_SCATTER
from energaizer.precision import RATE_KEYS
from energaizer.recipe import Optimizer

_FLASH_BACKWARD = 2.5  # five products where the forward pass has two
_COPIES = {FAMILY["copy"], FAMILY["gather"]}
_ADJOINT = {float(ALL_GATHER): float(REDUCE_SCATTER), float(REDUCE_SCATTER): float(ALL_GATHER)}
# Bytes per parameter that an update reads and writes, and its FLOP: the gradient in, states both
# ways, the weight out (method, section 3).
_UPDATES: dict[str, tuple[float, float, float]] = {
    "adam": (14.0, 14.0, 12.0),
    "adam-8bit": (8.0, 8.0, 20.0),
    "sgd": (10.0, 10.0, 4.0),
}


def gradients(kernel: Kernel, *, frozen: bool = False) -> tuple[tuple[Kernel, float], ...]:
    """Return the kernels that the backward pass runs for one of the forward pass, with counts.

    A product has two: the gradient of its input and that of its weights, of equal FLOP. Others
    read what the forward pass read and its result's gradient, and write as much as it read. A
    gathering is answered by a scattered sum.

    Args:
        kernel: Of the forward pass.
        frozen: Its weights are not trained: there is no gradient of them.
    """
    family = int(kernel.family)
    if kernel.m:
        inputs, weights = _products(kernel)
        return ((inputs, 1.0),) if frozen else ((inputs, 1.0), (weights, 1.0))
    if family == FAMILY["attention-prefill"]:
        grown = ("flops", "special", "onchip_bytes", "read_bytes", "write_bytes")
        more = {name: _FLASH_BACKWARD * getattr(kernel, name) for name in grown}
        return ((kernel._replace(**more), 1.0),)
    if family == FAMILY["collective"]:
        operation = _ADJOINT.get(kernel.link_operation, kernel.link_operation)
        return ((kernel._replace(link_operation=operation), 1.0),)
    if family in _COPIES:
        return ((kernel, 1.0),)
    read = kernel.read_bytes + kernel.write_bytes
    twice = kernel._replace(
        read_bytes=read, write_bytes=kernel.read_bytes, onchip_bytes=read + kernel.read_bytes,
        core_flops=2.0 * kernel.core_flops,
    )  # fmt: skip
    return ((twice, 1.0),)


def _products(kernel: Kernel) -> tuple[Kernel, Kernel]:
    """Return the gradient of a product's input and that of its weights."""
    sizes = (kernel.b_bytes, kernel.a_bytes, kernel.a_bytes)
    key = RATE_KEYS[int(kernel.rate)]
    inputs = kernels.gemm(kernel.batch, kernel.m, kernel.k, kernel.n, sizes, key)
    weights = kernels.gemm(kernel.batch, kernel.n, kernel.k, kernel.m, sizes, key)
    kept: dict[str, float] = {"family": kernel.family, "core_flops": kernel.core_flops}
    if int(kernel.family) == FAMILY["convolution"]:  # never the expanded matrix as traffic
        kept |= {"read_bytes": kernel.read_bytes, "write_bytes": kernel.write_bytes}
    return inputs._replace(**kept), weights._replace(**(kept | {"core_flops": 0.0}))


def update(parameters: float, optimizer: Optimizer) -> Kernel:
    """Return the optimiser's update of so many parameters; Adam moves 28 bytes each (section 3)."""
    read, write, flops = _UPDATES[optimizer]
    kernel = kernels.elementwise(parameters, read * parameters, write * parameters, flops)
    return kernel._replace(family=float(FAMILY["optimizer"]), cacheable=0.0)
