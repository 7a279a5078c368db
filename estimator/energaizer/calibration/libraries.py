"""Kernels of one library: what sets them apart from the common coefficients of a GPU.

One shape in several frameworks is several kernels (method, 5.1 c). An estimate does not know which
will run and takes the common ones; a row of measured kernels names its library, operation and
formats, and is predicted with these instead. They are fitted like all others: a few efficiencies
and fixed costs with priors around the common values.
"""

from collections.abc import Container, Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Literal, Self

from pydantic_core import ValidationError

from energaizer.coefficients import Coefficients, FittedOn, Residual
from energaizer.errors import ProfileError
from energaizer.gpu import Source
from energaizer.records import Field, Record

FOLDER = "kernels"
ATTENTION = frozenset({"attn_ctx", "attn_enc", "attn_gen"})


class Library(Record):
    """Kernels of one library, operation and formats on one GPU."""

    values: dict[str, float] = Field(description="coefficients by dotted path, in place of common")
    residuals: tuple[Residual, ...] = Field(description="of shapes left out")
    rows: int = Field(ge=1, description="measured kernels behind it")

    def of(self, common: Coefficients) -> Coefficients:
        """Return the coefficients of these kernels."""
        known = {row.quantity for row in self.residuals}
        kept = tuple(row for row in common.residuals if row.quantity not in known)
        return common.with_values(self.values, residuals=(*kept, *self.residuals))


class HeldOut(Record):
    """Errors of kernels whose shapes no fit saw, percent; bias is the median signed error."""

    framework: str = Field(description='"": all')
    op: str = Field(description='"": all')
    quantity: Literal["time", "power", "energy"]
    n: int
    median: float
    mean: float
    p90: float
    bias: float
    percentiles: tuple[float, ...] = Field(
        default=(), description="absolute errors at 1 to 99 %, to join those of several GPUs"
    )


class Libraries(Record):
    """The libraries whose kernels were measured on one GPU."""

    schema_version: Literal[1] = 1
    gpu: str
    kernels: dict[str, Library] = Field(description="by key, as `keys` gives them")
    held_out: tuple[HeldOut, ...] = ()
    together: tuple[HeldOut, ...] = Field(
        default=(), description="of all rows whose power tells (tiers A and A+), drawn or not"
    )
    fitted_on: FittedOn
    source: Source

    @classmethod
    @lru_cache(maxsize=64)
    def shipped(cls, gpu: str) -> Self | None:
        """Return the libraries of a GPU; None: none of its kernels were measured.

        Raises:
            ProfileError: The file breaks the schema.
        """
        file = files("energaizer") / "profiles" / FOLDER / f"{gpu}.json"
        if not file.is_file():
            return None
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise ProfileError.of(str(file), error) from error

    def find(self, row: "Row") -> str:
        """Return the key of a row's library, "" if its kernels are known to none."""
        return narrowest(row, self.kernels)


Row = tuple[str, str, str, str, float]
"""Framework, operation, format, cache format and head size of a measured kernel."""


def keys(row: Row) -> Iterator[str]:
    """Yield the keys under which a row's library may be known, the narrowest first.

    Attention of another head size is another kernel, often of another backend.
    """
    framework, op, dtype, kv_dtype, head_dim = row
    key = f"{framework} {op} {dtype}" + (f" {kv_dtype}" if kv_dtype else "")
    if op in ATTENTION:
        yield f"{key} {head_dim:.0f}"
    yield key


def narrowest(row: Row, known: Container[str]) -> str:
    """Return the narrowest known key of a row's library, "" if none is known."""
    return next((key for key in keys(row) if key in known), "")
