"""Traffic of a server: what arrives, how long it is, and how the engine takes it."""

import math
from typing import NamedTuple, Self

import numpy as np

from energaizer.kernels import FloatArray
from energaizer.model import Model
from energaizer.records import Field, Record, model_validator

# Three Gauss-Hermite points of a normal variable: exact for polynomials of degree five.
_POINTS = np.array([-math.sqrt(3.0), 0.0, math.sqrt(3.0)])
_WEIGHTS = np.array([1.0, 4.0, 1.0]) / 6.0


class Lengths(Record):
    """A distribution of lengths by its mean and spread: log-normal unless the spread is 0."""

    mean: float = Field(gt=0, le=16777216, description="tokens")
    spread: float = Field(default=0.0, ge=0, le=10, description="standard deviation over mean")

    @property
    def mean_square(self) -> float:
        """Mean of the squared length, tokens squared."""
        return self.mean**2 * (1.0 + self.spread**2)

    def points(self) -> tuple[FloatArray, FloatArray]:
        """Return lengths that stand for all, whole and at least one, and their weights."""
        if self.spread == 0:
            return np.array([max(1.0, round(self.mean))]), np.ones(1)
        sigma = math.sqrt(math.log1p(self.spread**2))
        found = self.mean * np.exp(sigma * _POINTS - sigma * sigma / 2.0)
        return np.maximum(1.0, np.round(found)), _WEIGHTS


class Speculation(Record):
    """Drafted tokens that the model checks in one step."""

    tokens: int = Field(ge=1, le=64, description="drafted for each step [k]")
    acceptance: float = Field(ge=0, lt=1, description="chance that a drafted token is kept")
    draft: Model | None = Field(default=None, description="None: drafting costs nothing")

    @property
    def kept(self) -> float:
        """Tokens of a sequence that a step yields, `(1 - a^(k+1)) / (1 - a)`."""
        return (1.0 - self.acceptance ** (self.tokens + 1)) / (1.0 - self.acceptance)


class Traffic(Record):
    """What a server is asked for: running sequences or a rate, and the lengths of requests."""

    batch: float | None = Field(
        default=None, gt=0, le=65536, description="sequences that run together on a replica"
    )
    requests_per_second: float | None = Field(
        default=None, gt=0, le=1e9, description="arrivals at all replicas"
    )
    prompts: Lengths
    outputs: Lengths
    chunk_tokens: int = Field(
        default=8192, ge=16, le=1048576, description="prompt tokens that one step computes at most"
    )
    speculation: Speculation | None = None
    prefill_replicas: int = Field(
        default=0, ge=0, le=65536,
        description="replicas that compute prompts alone; 0: prompts interleave with decode",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        if (self.batch is None) == (self.requests_per_second is None):
            raise ValueError("give one of batch and requests_per_second")
        return self

    @property
    def position(self) -> float:
        """Output tokens that a running sequence has in the mean: `E[o^2] / (2 E[o])`."""
        return self.outputs.mean_square / (2.0 * self.outputs.mean)

    @property
    def kept(self) -> float:
        """Tokens of a sequence that a step yields."""
        return 1.0 if self.speculation is None else self.speculation.kept


class Pools(NamedTuple):
    """Boards that decode, and boards that compute prompts alone; 0: the same do both."""

    decode: int
    prefill: int
