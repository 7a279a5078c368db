"""A bounded cache by identity, for frozen descriptions that cannot be hashed cheaply.

A frozen object never changes, so the same object is the same value. An entry keeps its arguments
alive: an identity cannot be given away while it is in use as a key.
"""

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def remembered(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that remembers results for the identities of positional arguments.

    Args:
        maxsize: Results kept; the oldest goes first.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        found: dict[tuple[int, ...], tuple[T, tuple[object, ...]]] = {}
        lock = Lock()

        @wraps(function)
        def inner(*args: P.args, **kwargs: P.kwargs) -> T:
            if kwargs:  # a name is not an identity
                return function(*args, **kwargs)
            key = tuple(map(id, args))
            entry = found.get(key)
            if entry is None:
                entry = (function(*args, **kwargs), args)
                with lock:
                    while len(found) >= maxsize:
                        del found[next(iter(found))]
                    found[key] = entry
            return entry[0]

        return inner

    return decorate
