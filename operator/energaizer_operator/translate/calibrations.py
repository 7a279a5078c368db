"""Coefficients that a cluster holds itself, as the text of `coefficients.json` in a ConfigMap."""

from functools import lru_cache

from energaizer import catalog
from energaizer.coefficients import Coefficients
from energaizer.errors import EnergaizerError, UnknownNameError


class CalibrationError(Exception):
    """A text is not the coefficients of a GPU; the message says what to do."""


@lru_cache(maxsize=64)
def read(text: str) -> Coefficients:
    """Return the coefficients that a text holds.

    Raises:
        CalibrationError: It is no JSON, or breaks the schema.
    """
    try:
        return Coefficients.loads(text)
    except EnergaizerError as error:
        raise CalibrationError(str(error)) from None


def check(text: str, profile: str) -> None:
    """Check that a text holds the coefficients of the GPU that a profile names.

    Raises:
        CalibrationError: It does not.
    """
    found = read(text).gpu
    try:
        known = catalog.gpu(profile).name
    except UnknownNameError:
        known = profile
    if found not in (profile, known):
        raise CalibrationError(
            f'these are coefficients of "{found}", not of "{profile}"; refer to those of {profile}'
        )
