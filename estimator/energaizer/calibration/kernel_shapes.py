"""Rows of single kernels -> kernels: what each operation of a table runs at its sizes."""

import math
from typing import NamedTuple

from energaizer import attention, kernels
from energaizer.attention import Heads
from energaizer.errors import NoEstimateError
from energaizer.kernels import Kernel
from energaizer.precision import Precision

SIZES = (
    "m", "n", "k", "batch", "seq_q", "seq_kv", "window", "heads", "kv_heads", "head_dim",
)  # fmt: skip
"""Columns of a row's sizes, in the order of `Shape`."""
_UNPACK_TILE = 128.0  # rows of a tile that share one unpacked weight


class Format(NamedTuple):
    """Operands of a product: what multiplies, and how weights are stored."""

    math: Precision
    weight: Precision


_FORMATS = {
    "": Format(Precision.BF16, Precision.BF16),
    "bfloat16": Format(Precision.BF16, Precision.BF16),
    "bf16": Format(Precision.BF16, Precision.BF16),
    "float16": Format(Precision.FP16, Precision.FP16),
    "float32": Format(Precision.FP32, Precision.FP32),
    "fp8": Format(Precision.FP8, Precision.FP8),
    "fp8_block": Format(Precision.FP8, Precision.FP8),
    "nvfp4": Format(Precision.NVFP4, Precision.NVFP4),
    "sq": Format(Precision.INT8, Precision.INT8),
    "int8": Format(Precision.INT8, Precision.INT8),
    "int8_wo": Format(Precision.BF16, Precision.INT8),
    "int4_wo": Format(Precision.BF16, Precision.INT4),
    "w4a16_mxfp4": Format(Precision.BF16, Precision.MXFP4),
}
_OPERAND_BYTES = {Precision.FP8: 1.0, Precision.INT8: 1.0}  # per-tensor or per-row scales


class Shape(NamedTuple):
    """Sizes of one row; what does not apply is 0."""

    m: float
    n: float
    k: float
    batch: float
    seq_q: float
    seq_kv: float
    window: float
    heads: float
    kv_heads: float
    head_dim: float


def gemm(shape: Shape, dtype: str, _: str) -> Kernel:
    """Return the product of a row; narrow weights beside wider math are unpacked."""
    found = _format(dtype)
    a = _OPERAND_BYTES.get(found.math, found.math.bytes_per_element)
    b = found.weight.bytes_per_element
    if found.weight in _OPERAND_BYTES and dtype != "fp8_block":
        b = _OPERAND_BYTES[found.weight]
    out = max(2.0, found.math.bytes_per_element)
    product = kernels.gemm(1.0, shape.m, shape.n, shape.k, (a, b, out), found.math.rate_key)
    if found.weight is not found.math:
        passes = max(1.0, shape.m / _UNPACK_TILE)
        product = product._replace(core_flops=2.0 * shape.n * shape.k * passes)
    return product


def attention_context(shape: Shape, dtype: str, kv_dtype: str) -> Kernel:
    """Return causal attention of a prompt, or of a chunk after a prefix."""
    prefix = max(0.0, shape.seq_kv - shape.seq_q)
    window = shape.window or None
    if prefix and window is None:
        pairs = attention.chunk_pairs(prefix, shape.seq_q)
    elif prefix:
        pairs = shape.seq_q * min(shape.window, shape.seq_kv)
    else:
        pairs = attention.causal_pairs(shape.seq_q, window)
    return attention.in_pages(_prefill(shape, dtype, kv_dtype, pairs))


def attention_encoder(shape: Shape, dtype: str, kv_dtype: str) -> Kernel:
    """Return bidirectional attention."""
    return _prefill(shape, dtype, kv_dtype, shape.seq_q * max(shape.seq_q, shape.seq_kv))


def attention_generation(shape: Shape, _: str, kv_dtype: str) -> Kernel:
    """Return attention of one new token per sequence; queries stay in 16 bits.

    Replays find a small cache in L2.
    """
    kernel = attention.decode(
        _heads(shape), shape.seq_kv, 2.0, _cache_bytes(kv_dtype), "bf16", shape.window or math.inf
    )
    return kernel._replace(cacheable=1.0)


def scale_search(shape: Shape, _: str, __: str) -> Kernel:
    """Return the pass over a tensor that finds its scale."""
    size = shape.m * shape.k
    return kernels.elementwise(size, 2.0 * size, 4.0, 1.0)


def quantise(shape: Shape, dtype: str, _: str) -> Kernel:
    """Return the pass that writes a tensor in its narrow format."""
    size = shape.m * shape.k
    return kernels.elementwise(size, 2.0 * size, size * _format(dtype).math.bytes_per_element, 2.0)


METHODS = {
    "gemm": (gemm, ("m", "n", "k")),
    "attn_ctx": (attention_context, ("batch", "seq_q", "heads", "head_dim")),
    "attn_enc": (attention_encoder, ("batch", "seq_q", "heads", "head_dim")),
    "attn_gen": (attention_generation, ("batch", "seq_kv", "heads", "head_dim")),
    "quant_computescale": (scale_search, ("m", "k")),
    "quant_scalematrix": (quantise, ("m", "k")),
}
"""Operation -> kernel of a shape and two formats, and the sizes that it needs."""


def _format(dtype: str) -> Format:
    if dtype not in _FORMATS:
        raise NoEstimateError(
            f"dtype {dtype}: no method; known are {', '.join(filter(None, _FORMATS))}"
        )
    return _FORMATS[dtype]


def _cache_bytes(dtype: str) -> float:
    found = _format(dtype).math
    return _OPERAND_BYTES.get(found, found.bytes_per_element)


def _heads(shape: Shape) -> Heads:
    return Heads(shape.batch, shape.heads, shape.kv_heads or shape.heads, shape.head_dim)


def _prefill(shape: Shape, dtype: str, kv_dtype: str, pairs: float) -> Kernel:
    found = _format(dtype).math
    size = _OPERAND_BYTES.get(found, found.bytes_per_element)
    cache = _cache_bytes(kv_dtype or dtype)
    return attention.prefill(_heads(shape), shape.seq_q, pairs, size, cache, found.rate_key)
