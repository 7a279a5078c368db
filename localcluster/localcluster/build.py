"""Builds the programs of a tool set once per version into the cache, with honest progress."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from localcluster.errors import BuildError
from localcluster.places import is_locked, locked
from localcluster.progress import Progress, is_package
from localcluster.toolchain import Toolchain, find_go, go_environment, install
from localcluster.toolset import (
    BUILD_FLAGS,
    ModuleFiles,
    Toolset,
    default_program_name,
    expand_ldflags,
    load_toolset,
)

ATTEMPTS = 3
"""Tries of a step that downloads modules: a proxy that times out once answers the next time."""


@dataclass(frozen=True)
class Built:
    """The finished build of a tool set."""

    home: Path

    @property
    def bin(self) -> Path:
        """Folder of the programs, fit for PATH."""
        return self.home / "bin"

    @property
    def version(self) -> str:
        """Version of the module that names the set, such as v1.37.2."""
        return (self.home / "VERSION").read_text().strip()

    def program(self, name: str) -> Path:
        """Return the path of one program."""
        return self.bin / name

    def files(self, folder: str) -> tuple[Path, ...]:
        """Return the data files that were copied into `folder`, in order of their paths."""
        return tuple(sorted(path for path in (self.home / folder).rglob("*") if path.is_file()))


def build(name: str = "kubernetes", out: TextIO | None = None) -> Built:
    """Return the programs of a tool set, built now if they are not in the cache.

    Args:
        name: The tool set.
        out: Where progress goes; standard error if none is given.
    """
    out = sys.stderr if out is None else out
    toolset = load_toolset(name)
    go = find_go(toolset.go_version)
    home = toolset.home(go.version)
    if home.is_dir():
        return Built(home)
    lock = home.with_suffix(".lock")
    if is_locked(lock):
        _say(out, f"another build of {name} is running; waiting for it")
    with locked(lock):
        if not home.is_dir():
            _say(out, f"building {name} with {go.version}; the first time takes minutes")
            _sweep_drafts(home)
            install(go, lambda line: _say(out, line))
            with _draft(home) as draft:
                _Build(toolset, go, draft, out).run()
    return Built(home)


@dataclass(frozen=True)
class _Build:
    """One build on its way into a draft folder."""

    toolset: Toolset
    go: Toolchain
    draft: Path
    out: TextIO

    def run(self) -> None:
        """Download, compile, link and copy."""
        _say(self.out, "downloading the modules that are missing")
        recipe = self.toolset.recipe
        version = self._go("list", "-m", "-f", "{{.Version}}", recipe.version_of).strip()
        self._compile(version)
        for files in recipe.files:
            source = Path(self._go("list", "-m", "-f", "{{.Dir}}", files.module).strip())
            copy(files, source, self.draft / files.to)
        (self.draft / "VERSION").write_text(f"{version}\n")

    def _compile(self, version: str) -> None:
        """Build every program, counting the packages that Go names."""
        packages = tuple(self.toolset.recipe.programs.values())
        tags = f"-tags={','.join(self.toolset.recipe.tags)}"
        named_if_stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
        stale = self._go("list", tags, "-deps", "-f", named_if_stale, *packages)
        progress = Progress(len(stale.split()), self.toolset.name, self.out)
        target = self.draft / "bin"
        ldflags = expand_ldflags(self.toolset.recipe.ldflags, version)
        flags = (*BUILD_FLAGS, tags, "-ldflags", ldflags)
        command = ["build", "-v", *flags, "-o", f"{target}/", *packages]
        target.mkdir(parents=True)
        told: list[str] = []
        with subprocess.Popen(
            [str(self.go.program), *command],
            cwd=self.toolset.folder,
            env=go_environment(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as running:
            try:
                for line in _lines(running.stderr, progress):
                    if is_package(line):
                        progress.compiled()
                    else:
                        told.append(line)
            except BaseException:
                running.terminate()
                raise
            finally:
                progress.close()
        if running.returncode != 0:
            raise _failure(self.toolset, "build", "\n".join(told))
        for name, package in self.toolset.recipe.programs.items():
            (target / default_program_name(package)).rename(target / name)
        _say(self.out, f"built {self.toolset.name} {version} in {progress.elapsed}")

    def _go(self, *arguments: str) -> str:
        """Return what a `go` command prints; tried again, for it may download modules."""
        for _ in range(ATTEMPTS):
            done = subprocess.run(
                [str(self.go.program), *arguments],
                cwd=self.toolset.folder,
                env=go_environment(os.environ),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                return done.stdout
        raise _failure(self.toolset, " ".join(arguments[:2]), done.stderr)


def copy(files: ModuleFiles, source: Path, target: Path) -> None:
    """Copy the chosen files of a module, each at its path below the folder they come from.

    Args:
        files: Which.
        source: The module.
        target: Where they go; made if absent.
    """
    folder = source / files.folder
    for name in files.names:
        found = sorted(folder.glob(name))
        if not found:
            raise BuildError(f"{files.module}: no {files.folder}/{name} in {source}; mend `names`")
        for path in found:
            copied = target / path.relative_to(folder)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())


def _lines(stream: IO[bytes] | None, progress: Progress) -> Iterator[str]:
    """Yield the lines of a pipe as they come, and keep the progress moving in between."""
    if stream is None:
        return
    rest = b""
    while True:
        progress.tick()
        if not select.select([stream], [], [], 0.5)[0]:
            continue
        chunk = os.read(stream.fileno(), 65536)
        if not chunk:
            break
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


@contextmanager
def _draft(home: Path) -> Iterator[Path]:
    """Give a folder beside `home` that becomes `home` at the end, or vanishes on any error."""
    draft = home.with_name(f"{home.name}.draft-{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sweep_drafts(home: Path) -> None:
    """Remove what killed builds left; the lock is held, so none of them lives."""
    for draft in home.parent.glob(f"{home.name}.draft-*"):
        shutil.rmtree(draft, ignore_errors=True)


def _failure(toolset: Toolset, step: str, told: str) -> BuildError:
    """Return the error of a failed step, with the end of what Go said."""
    tail = "\n".join(told.strip().splitlines()[-15:])
    return BuildError(
        f"tool set {toolset.name}: `go {step}` failed in {toolset.folder}:\n{tail}\n"
        "If a module could not be fetched, check GOPROXY and the network, then run it again: "
        "what is compiled already is kept"
    )


def _say(out: TextIO, line: str) -> None:
    """Print a line of progress."""
    out.write(f"{line}\n")
    out.flush()
