"""What is measured: a standard set of forward passes and kernels, small to large.

Names and columns are those of the tables that `validate` and `calibrate` read (docs/validation.md).
The set holds launch-bound, memory-bound and compute-bound rows of several families, because a fit
can tell no more than its rows show.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

Which = Literal["forward", "kernels", "all"]


class Forward(NamedTuple):
    """A forward pass of the bare model; `seq` is 0 for images."""

    model: str
    size: str
    precision: str
    batch: int
    seq: int

    def __str__(self) -> str:
        """Return it in words."""
        tokens = f" s{self.seq}" if self.seq else ""
        return f"{self.model} {self.size} {self.precision} b{self.batch}{tokens}"

    def columns(self) -> dict[str, str | int]:
        """Return the columns that say what ran."""
        vision = not self.seq
        return self._asdict() | {
            "mode": "forward" if vision else "prefill",
            "attention": "model_default" if vision else "eager",
        }


class Kernel(NamedTuple):
    """One kernel: a product, or causal attention of a prompt; sizes that do not apply are 0."""

    op: str
    dtype: str
    m: int = 0
    n: int = 0
    k: int = 0
    batch: int = 0
    seq_q: int = 0
    seq_kv: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0

    def __str__(self) -> str:
        """Return it in words."""
        if self.op == "gemm":
            return f"gemm {self.dtype} {self.m} x {self.n} x {self.k}"
        return f"{self.op} {self.dtype} b{self.batch} s{self.seq_q} {self.heads} x {self.head_dim}"

    def columns(self) -> dict[str, str | int]:
        """Return the columns that say what ran."""
        return {name: value for name, value in self._asdict().items() if value or value == ""}


Case = Forward | Kernel
_LANGUAGE = (
    ("gpt2", "gpt2", ((1, 128), (8, 128), (8, 512), (32, 512), (8, 1024))),
    ("bert", "large", ((1, 128), (8, 128), (8, 512), (32, 512))),
    ("opt", "opt-1p3b", ((1, 128), (1, 1024), (8, 128), (8, 512))),
)
_IMAGES = (("vit", "large", (1, 8, 32)),)
_PLAIN = (("gpt2", "gpt2", 8, 512), ("bert", "large", 8, 512), ("vit", "large", 8, 0))
_PRODUCTS = (
    (1, 4096, 4096), (16, 4096, 4096), (128, 4096, 4096), (512, 4096, 4096), (2048, 4096, 4096),
    (8192, 4096, 4096), (4096, 11008, 4096), (4096, 4096, 11008), (256, 1024, 1024),
    (8192, 8192, 8192),
)  # fmt: skip
_ATTENTION = ((1, 512, 32, 128), (4, 1024, 32, 128), (1, 4096, 32, 128), (8, 2048, 16, 64))


def cases(which: Which) -> Iterator[Case]:
    """Yield the standard set, or its forward passes or kernels alone."""
    if which != "kernels":
        for model, size, shapes in _LANGUAGE:
            for batch, seq in shapes:
                yield Forward(model, size, "bf16", batch, seq)
        for model, size, batches in _IMAGES:
            for batch in batches:
                yield Forward(model, size, "bf16", batch, 0)
        for model, size, batch, seq in _PLAIN:
            yield Forward(model, size, "fp32", batch, seq)
    if which != "forward":
        for m, n, k in _PRODUCTS:
            yield Kernel("gemm", "bfloat16", m, n, k)
        for batch, seq, heads, width in _ATTENTION:
            yield Kernel(
                "attn_ctx", "bfloat16", batch=batch, seq_q=seq, seq_kv=seq, heads=heads,
                kv_heads=heads, head_dim=width,
            )  # fmt: skip
