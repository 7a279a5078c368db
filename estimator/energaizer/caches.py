"""A bounded cache by identity, for frozen descriptions that cannot be hashed cheaply.

A frozen object never changes, so the same object is the same value. An entry keeps its arguments
alive: an identity cannot be given away while it is in use as a key.
"""

from collections.abc import Callable
from functools import update_wrapper
from threading import Lock
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Remembered(Generic[P, T]):
    """A function that remembers results for the identities of its positional arguments."""

    def __init__(self, function: Callable[P, T], maxsize: int) -> None:
        """Remember nothing yet.

        Args:
            function: What is computed once.
            maxsize: Results kept; the oldest goes first.
        """
        update_wrapper(self, function)
        self._function, self._maxsize = function, maxsize
        self._found: dict[tuple[int, ...], tuple[T, tuple[object, ...]]] = {}
        self._lock = Lock()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result for these arguments, computed the first time."""
        if kwargs:  # a name is not an identity
            return self._function(*args, **kwargs)
        key = tuple(map(id, args))
        entry = self._found.get(key)
        if entry is not None:
            return entry[0]
        value = self._function(*args, **kwargs)
        self._keep(key, value, args)
        return value

    def known(self, *args: object) -> T | None:
        """Return the result for these arguments if there is one, without computing it."""
        entry = self._found.get(tuple(map(id, args)))
        return None if entry is None else entry[0]

    def put(self, value: T, *args: object) -> None:
        """Remember a result that was found elsewhere, for many arguments at once, say."""
        self._keep(tuple(map(id, args)), value, args)

    def _keep(self, key: tuple[int, ...], value: T, args: tuple[object, ...]) -> None:
        with self._lock:
            while len(self._found) >= self._maxsize:
                del self._found[next(iter(self._found))]
            self._found[key] = (value, args)

    def cache_clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._found.clear()


def remembered(maxsize: int) -> Callable[[Callable[P, T]], Remembered[P, T]]:
    """Return a decorator that remembers results for the identities of positional arguments.

    Args:
        maxsize: Results kept; the oldest goes first.
    """
    return lambda function: Remembered(function, maxsize)
