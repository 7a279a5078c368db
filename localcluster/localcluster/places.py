"""Where things live outside the repository: programs in the cache, instances in state."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

TOOLSETS = Path(__file__).parent.parent / "toolsets"
STAGES = Path(__file__).parent.parent / "stages"
DEFAULT_POOLS = Path(__file__).parent.parent / "pools.yaml"


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the built programs: worth keeping, safe to delete."""
    return _base(environment, "XDG_CACHE_HOME", ".cache") / "energaizer" / "localcluster"


def state_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the records and the data of live instances."""
    return _base(environment, "XDG_STATE_HOME", ".local/state") / "energaizer" / "localcluster"


def _base(environment: Mapping[str, str], variable: str, fallback: str) -> Path:
    """Return the folder that `variable` names; as the XDG rules say, a relative one is ignored."""
    chosen = Path(environment.get(variable, ""))
    return chosen if chosen.is_absolute() else Path.home() / fallback


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the kernel releases it when the process dies, however it dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Say whether another process holds the lock file `path` now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    draft.replace(path)
