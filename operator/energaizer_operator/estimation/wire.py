"""What the two processes of the estimator say to each other, and how it is cut into messages.

Both are of one installation and speak through a socket that nobody else has, so that messages are
pickled.
"""

import pickle
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.translate import Answer, Setting

_LENGTH = struct.Struct("!I")


class Asked(NamedTuple):
    """A question whose profile is told apart."""

    inputs: ResolvedInputs
    profile: str
    """Its digest, of coefficients too."""
    settings: tuple[Setting, ...]
    config: str | None


class Task(NamedTuple):
    """Questions that are asked at once, by one caller."""

    number: int
    asked: list[Asked]
    now: datetime
    wide: bool
    """Whether they hold a sweep, which takes too long for others to wait."""
    profiles: Mapping[str, tuple[GPUProfile, str | None]]
    """Profiles with their coefficients, by digest, that were not told before."""
    anew: bool = False
    """Whether all that was told before is forgotten."""


class Reply(NamedTuple):
    """The answers to a task; None where nobody foresaw why there are none."""

    number: int
    answers: list[tuple[Answer, ...]] | None
    each_s: float
    """Time that one question took, s."""


READY = Reply(0, None, 0.0)
"""Said once, when everything is loaded."""


def framed(message: Task | Reply) -> bytes:
    """Return a message as it is sent."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._rest = bytearray()

    def split(self, data: bytes) -> Iterator[Any]:
        """Yield the messages that are whole with some more bytes."""
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._rest)[0]
            if len(self._rest) < end:
                return
            with memoryview(self._rest) as view:
                message = pickle.loads(view[_LENGTH.size : end])  # noqa: S301  # of our own process
            del self._rest[:end]
            yield message
