"""AdmissionReview v1, in and out: what the API server asks, and the answer in its own form.

The body of a review is somebody else's object: of any size, depth and type. Reading it either gives
a checked `Request` or raises `MalformedReviewError`; nothing in between. Writing it trims what the
API server would drop: warnings of over 256 characters, or of over 4096 together.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from energaizer_operator.names import AuditKey

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
MAX_WARNING = 256
MAX_WARNINGS = 4096
MAX_MESSAGE = 4096
MAX_AUDIT = 1024


class MalformedReviewError(ValueError):
    """The body is no AdmissionReview v1: answer HTTP 400, there is no uid to answer to."""


def _or_empty(value: object) -> object:
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(_or_empty)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class GroupVersionKind(_Part):
    """The kind of the object under review."""

    group: Text = ""
    version: Text = ""
    kind: Text = ""


class GroupVersionResource(_Part):
    """The resource that was asked for."""

    group: Text = ""
    version: Text = ""
    resource: Text = ""


class UserInfo(_Part):
    """Who asked."""

    username: Text = ""
    groups: list[str] | None = None


class Request(_Part):
    """One question of the API server."""

    uid: str = Field(min_length=1, max_length=253)
    kind: GroupVersionKind
    resource: GroupVersionResource = GroupVersionResource()
    sub_resource: Text = Field(default="", alias="subResource")
    name: Text = ""
    namespace: Text = ""
    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    user: UserInfo = Field(default=UserInfo(), alias="userInfo")
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = Field(default=None, alias="oldObject")
    dry_run: bool | None = Field(default=False, alias="dryRun")

    @property
    def api_version(self) -> str:
        """`batch/v1`, or `v1` for the core group."""
        return f"{self.kind.group}/{self.kind.version}" if self.kind.group else self.kind.version


Operation = Mapping[str, Any]
"""One JSON Patch operation (RFC 6902): an addition, or the removal of what is ours to write."""


class Patch:
    """Gathers additions to an object: makes parents that lack, leaves what is there already."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Start from the object under review, which is not changed."""
        self._document: dict[str, Any] = dict(document)
        self._copied: dict[int, object] = {}
        """Parts that are copies of ours, by identity, and kept so that none is given away."""
        self.operations: list[Operation] = []

    def put(self, path: tuple[str | int, ...], value: object) -> None:
        """Set the member at `path`.

        Raises:
            MalformedReviewError: Something on the way is neither a map nor a list.
        """
        node: Any = self._document
        for depth, part in enumerate(path[:-1]):
            child = _member(node, part)
            if child is None:
                for key in reversed(path[depth + 1 :]):
                    value = [value] if key == "-" else {key: value}
                self._add(node, path[: depth + 1], value)
                return
            if isinstance(child, dict | list) and id(child) not in self._copied:
                child = child.copy()
                self._copied[id(child)] = child
                node[part] = child
            node = child
        if path[-1] == "-" or _member(node, path[-1]) != value:
            self._add(node, path, value)

    def put_all(self, path: tuple[str, ...], members: Mapping[str, object]) -> None:
        """Set members of the map at `path`, as one addition of all that it then holds.

        The API server reads and writes anew each map that a patch goes into, so that one addition
        for each member takes it a fifth longer.

        Raises:
            MalformedReviewError: Something on the way, or there, is no map.
        """
        present: Any = self._document
        for part in path:
            present = {} if present is None else _member(present, part)
        if not isinstance(present, dict | None):
            raise MalformedReviewError(f"{path[-1]}: {type(present).__name__} in place of a map")
        self.put(path, {**(present or {}), **members})

    def drop(self, path: tuple[str | int, ...]) -> None:
        """Remove the member at `path`, which is there."""
        self.operations.append({"op": "remove", "path": pointer(path)})

    def _add(self, node: Any, path: tuple[str | int, ...], value: object) -> None:
        if isinstance(node, list):
            node.append(value)
        else:
            node[path[-1]] = value
        self.operations.append({"op": "add", "path": pointer(path), "value": value})


@dataclass(frozen=True)
class Answer:
    """What we say: yes or no, and what goes with it."""

    allowed: bool
    message: str = ""
    reason: str = ""
    code: int = 200
    retry_after_s: int | None = None
    warnings: tuple[str, ...] = ()
    audit: Mapping[str, str] = field(default_factory=dict)
    patch: tuple[Operation, ...] = ()
    cause: str = ""
    """Why, as one word of a few: for the metric."""

    @property
    def decision(self) -> str:
        """Return what was decided, as one word."""
        return self.audit.get(AuditKey.DECISION) or ("allow" if self.allowed else "deny")


def allow(
    warnings: Iterable[str] = (),
    audit: Mapping[str, str] | None = None,
    patch: Iterable[Operation] = (),
    cause: str = "",
) -> Answer:
    """Say yes."""
    return Answer(
        True, warnings=tuple(warnings), audit=audit or {}, patch=tuple(patch), cause=cause
    )


def deny(
    message: str,
    warnings: Iterable[str] = (),
    audit: Mapping[str, str] | None = None,
    cause: str = "",
) -> Answer:
    """Say no, for good: 403 Forbidden."""
    return Answer(False, message, "Forbidden", 403, None, tuple(warnings), audit or {}, (), cause)


def invalid(message: str) -> Answer:
    """Say that the object means nothing: 422, as the API server's own validation does."""
    return Answer(False, message, "Invalid", 422, cause="Invalid")


def busy(message: str) -> Answer:
    """Say "not now": 429, which client-go retries by itself."""
    return Answer(False, message, "TooManyRequests", 429, 1, cause="Late")


def parse(body: bytes) -> Request:
    """Return the request of a review.

    Raises:
        MalformedReviewError: The body is no JSON, no AdmissionReview v1, or nested beyond reason.
    """
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedReviewError(f"not JSON: {_short(error)}") from None
    if not isinstance(document, dict):
        raise MalformedReviewError(f"not an object but {type(document).__name__}")
    if document.get("apiVersion") != API_VERSION or document.get("kind") != KIND:
        raise MalformedReviewError(f"not {KIND} of {API_VERSION}")
    try:
        return Request.model_validate(document.get("request"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in ("request", *first["loc"]))
        raise MalformedReviewError(f"{where}: {first['msg']}") from None


def encode(answer: Answer, uid: str) -> dict[str, Any]:
    """Return the review that carries `answer` back to the question `uid`."""
    response: dict[str, Any] = {"uid": uid, "allowed": answer.allowed}
    if not answer.allowed:
        response["status"] = _status(answer)
    if warnings := trim(answer.warnings):
        response["warnings"] = warnings
    if answer.audit:
        response["auditAnnotations"] = {
            key: clean(value, MAX_AUDIT) for key, value in answer.audit.items()
        }
    if answer.patch and answer.allowed:
        operations = json.dumps(answer.patch)
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(operations.encode()).decode()
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def trim(warnings: Iterable[str]) -> list[str]:
    """Return the warnings as the API server will pass them on: 256 characters each, 4096 in all."""
    kept: list[str] = []
    room = MAX_WARNINGS
    for warning in dict.fromkeys(clean(text, MAX_WARNING) for text in warnings):
        if warning and len(warning) <= room:
            kept.append(warning)
            room -= len(warning)
    return kept


def clean(text: str, limit: int) -> str:
    """Return one printable line of at most `limit` characters; an ellipsis shows a cut."""
    text = text[: 4 * limit]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


@lru_cache(maxsize=256)
def pointer(path: tuple[str | int, ...]) -> str:
    """Return a JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _member(node: object, part: str | int) -> Any:
    if isinstance(node, dict):
        return node.get(part)
    if isinstance(node, list) and (part == "-" or (isinstance(part, int) and part < len(node))):
        return None if part == "-" else node[int(part)]
    raise MalformedReviewError(f"{part}: its parent is {type(node).__name__}")


def _status(answer: Answer) -> dict[str, Any]:
    status: dict[str, Any] = {
        "status": "Failure",
        "code": answer.code,
        "reason": answer.reason,
        "message": clean(answer.message, MAX_MESSAGE),
    }
    if answer.retry_after_s is not None:
        status["details"] = {"retryAfterSeconds": answer.retry_after_s}
    return status


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _short(error: Exception) -> str:
    return clean(str(error) or type(error).__name__, 120)
