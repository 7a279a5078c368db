"""The errors a caller can decide on; every message says what is wrong, where, what to do next."""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ValidationError


class EnergaizerError(Exception):
    """Base of all errors raised on purpose by energaizer."""


class InputError(EnergaizerError):
    """The input is wrong (unknown key, illegal value, impossible split): mend it. Exit code 2."""


class UnknownNameError(InputError):
    """A model, GPU or host is in no catalogue; the message names close matches. Exit code 2."""


class DoesNotFitError(InputError):
    """Weights, cache and activations exceed the memory of the GPUs. Exit code 2."""


class TooSlowError(InputError):
    """The GPUs cannot serve the requests as fast as they arrive. Exit code 2."""


class NoEstimateError(EnergaizerError):
    """No honest estimate exists for a valid input (an operator without a method). Exit code 3."""


class ProfileError(EnergaizerError):
    """A profile file is unreadable or breaks its schema. Exit code 1."""

    @classmethod
    def of(cls, where: str, error: "ValidationError") -> "ProfileError":
        """Return what the first breach of a schema in a file is, and in which field."""
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return cls(f"{where}: {field}: {first['msg']}; mend that field")


_SHOWN_FAULTS = 4


@lru_cache(maxsize=256)  # tens of ms, and a review asks for each GPU and clock again
def similar(name: str, known: tuple[str, ...]) -> list[str]:
    """Return up to three known names that an unknown one may stand for."""
    from difflib import get_close_matches  # noqa: PLC0415 (only a miss needs it)

    return get_close_matches(name, known, n=3, cutoff=0.6)


def shorten(text: str, width: int = 80) -> str:
    """Return a text of somebody else's, cut so that it fits into a message."""
    return text if len(text) <= width else text[: width - 3] + "..."


def one_line(error: Exception) -> str:
    """Return what an error says in one line; of a failed validation, each field with its fault."""
    faults = getattr(error, "errors", None)  # pydantic's, which is not imported for a message
    if not callable(faults):
        return " ".join(str(error).split()) or type(error).__name__
    lines = []
    for fault in faults(include_url=False, include_context=False):
        field = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if field and fault["type"] != "missing":
            message += f", not {shorten(repr(fault['input']), 40)}"
        lines.append(f"{field}: {message}" if field else message)
    more = len(lines) - _SHOWN_FAULTS
    return "; ".join(lines[:_SHOWN_FAULTS]) + (f"; and {more} more" if more > 0 else "")
