"""Our own writes as the watch brings them back: what we wrote ourselves is no news.

Without this every status that is written leads to a second look at its object. The answer to a
write and its echo may come in either order, so what is heard meanwhile is judged after the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from energaizer_operator.cluster import Object
from energaizer_operator.informer import Key


class Echoes:
    """Tells changes that others made from those that we made; an object is written by one task."""

    def __init__(self) -> None:
        """Begin without any write."""
        self.news: Callable[[Key], object] = lambda _key: None
        """Called with the key of an object that somebody else changed while we wrote."""
        self._written: dict[Key, str] = {}
        self._meanwhile: dict[Key, list[str]] = {}

    def is_news(self, key: Key, version: str) -> bool:
        """Say whether the version that a watch brought is known to come from somebody else."""
        if key in self._meanwhile:
            self._meanwhile[key].append(version)
            return False
        return self._written.get(key) != version

    def forget(self, key: Key) -> None:
        """Drop what is known of an object that is gone."""
        self._written.pop(key, None)

    @contextmanager
    def write(self, key: Key) -> Iterator[Callable[[Object], None]]:
        """Enclose a write; hand the answer, if there is one, to what this yields."""
        self._meanwhile[key] = []
        ours: list[str] = []
        try:
            yield lambda answer: ours.append(str(answer["metadata"]["resourceVersion"]))
        finally:
            heard = self._meanwhile.pop(key)
            if ours:
                self._written[key] = ours[0]
            if any(version not in ours for version in heard):
                self.news(key)
