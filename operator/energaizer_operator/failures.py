"""What it means that the API server did not do what was asked: one error a decision."""

from __future__ import annotations

import json


class ClusterError(Exception):
    """The API server did not do what was asked; `status` is its HTTP status, 0 without answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Keep the HTTP status, or 0 where there was no answer."""
        super().__init__(message)
        self.status = status


class Unreachable(ClusterError):  # noqa: N818, an error means a decision: try again later
    """No answer: no network, no server, or none in time."""


class Missing(ClusterError):  # noqa: N818, a decision: the object is not there
    """404: neither the object nor perhaps its kind exists."""


class Conflict(ClusterError):  # noqa: N818, a decision: read again, decide again
    """409: somebody wrote first, the object exists already, or another manager owns the field."""


class Expired(ClusterError):  # noqa: N818, a decision: list again
    """410: the resource version is too old to continue from."""


class Refused(ClusterError):  # noqa: N818, a decision: repeating it is useless
    """401, 403 or 422: not allowed, or not valid."""


_MEANING = {401: Refused, 403: Refused, 404: Missing, 409: Conflict, 410: Expired, 422: Refused}


def failure(method: str, path: str, status: int, content: bytes) -> ClusterError:
    """Return the error that an answer means, with the server's own words."""
    try:
        answer = json.loads(content)
        message = answer.get("object", answer).get("message", "")
    except (ValueError, AttributeError):
        message = content.decode(errors="replace")[:200]
    kind = _MEANING.get(status, ClusterError)
    return kind(f"{method} {path}: {status} {message}".strip(), status)
