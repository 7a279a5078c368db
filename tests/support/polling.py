"""Waiting for what comes true in its own time: the one place that says how, and for how long.

A machine may be slow, and a watch, a controller or a scrape may be late. So whoever looks for what
another process does looks again until a deadline that only a hang can miss.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from localcluster import Cluster

PATIENCE_S = 90.0
_LOOK_EVERY_S = 0.1

Found = TypeVar("Found")


def until(check: Callable[[], Found], what: object = "", timeout_s: float = PATIENCE_S) -> Found:
    """Return the first answer of `check` that counts as true.

    Args:
        check: Looks; a `LookupError` says that what it looks at is not there yet.
        what: Is waited for, for the message of a failure, called then if it can be; the text of
            `check` if empty.
        timeout_s: Patience, s.

    Raises:
        AssertionError: It is not so in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        missing = ""
        try:
            found = check()
        except LookupError as error:
            missing = f" ({error!r})"
        else:
            if found:
                return found
        if time.monotonic() > deadline:
            said = what() if callable(what) else what or inspect.getsource(check).strip()
            raise AssertionError(f"after {timeout_s:g} s still not so: {said}{missing}")
        time.sleep(_LOOK_EVERY_S)


def read(cluster: Cluster, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
    """Return an object, or an empty one."""
    done = cluster.kubectl("get", kind, name, "-n", namespace, "-o", "json", check=False)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def wait_for(
    cluster: Cluster,
    kind: str,
    name: str,
    check: Callable[[dict[str, Any]], object],
    namespace: str = "default",
    timeout_s: float = PATIENCE_S,
) -> dict[str, Any]:
    """Return an object once it exists and `check` holds for it; fail with its last form.

    Unlike `kubectl wait` it takes an object that is not there yet, or has no status yet, for one to
    wait for.
    """
    last: dict[str, Any] = {}

    def look() -> bool:
        nonlocal last
        last = read(cluster, kind, name, namespace)
        return bool(last and check(last))

    until(look, lambda: f"{kind} {name}: {last}", timeout_s)
    return last


def condition(body: dict[str, Any], type_: str) -> dict[str, Any]:
    """Return one condition of an object, or an empty one."""
    conditions = body.get("status", {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == type_), {})


def reason(body: dict[str, Any], type_: str) -> str:
    """Return the reason of one condition of an object, or nothing."""
    return str(condition(body, type_).get("reason", ""))


def holds(type_: str = "Ready") -> Callable[[dict[str, Any]], bool]:
    """Return a check that a condition of an object is true."""
    return lambda body: condition(body, type_).get("status") == "True"
