"""A tool set: one folder under toolsets/ with a go.mod that pins, and what to build of it."""

from __future__ import annotations

import hashlib
import platform
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from localcluster.errors import BuildError
from localcluster.places import TOOLSETS, cache_root

BUILD_FLAGS = ("-buildvcs=false",)
"""Flags of every `go build` here; a part of the key, so that a change builds anew."""


class ModuleFiles(BaseModel):
    """Files of a Go module that are copied beside the programs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    folder: str
    names: tuple[str, ...]
    """Paths below `folder`, or patterns such as `**/*.yaml`."""
    to: str


class Recipe(BaseModel):
    """The content of a toolset.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version_of: str
    programs: dict[str, str] = Field(min_length=1)
    ldflags: tuple[str, ...] = ("-s", "-w")
    tags: tuple[str, ...] = ()
    files: tuple[ModuleFiles, ...] = ()


@dataclass(frozen=True)
class Toolset:
    """A tool set on disk, before it is built."""

    name: str
    folder: Path
    recipe: Recipe

    def key(self, go_version: str) -> str:
        """Return the name of the build: equal keys mean equal programs."""
        digest = hashlib.sha256()
        sources = sorted(path.name for path in self.folder.glob("*.go"))
        for name in ("go.mod", "go.sum", "toolset.toml", *sources):
            digest.update((self.folder / name).read_bytes())
        digest.update(" ".join((go_version, platform.machine(), *BUILD_FLAGS)).encode())
        return f"{self.name}-{digest.hexdigest()[:16]}"

    def home(self, go_version: str) -> Path:
        """Return the folder in which the finished build lies, or will lie."""
        return cache_root() / self.key(go_version)

    @property
    def go_version(self) -> tuple[int, ...]:
        """The least Go version that go.mod accepts."""
        found = re.search(r"^go (\S+)$", (self.folder / "go.mod").read_text(), re.MULTILINE)
        if found is None:
            raise BuildError(f"{self.folder / 'go.mod'}: no `go` line; add one, such as go 1.26.0")
        return parse_version(found.group(1))


def parse_version(text: str) -> tuple[int, ...]:
    """Return `v1.37.2`, `go1.26.8` or `1.26` as numbers, without any suffix such as rc1."""
    found = re.match(r"(?:go|v)?(\d+(?:\.\d+)*)", text)
    if found is None:
        raise BuildError(f'"{text}" is no version; one looks like v1.37.2')
    return tuple(int(part) for part in found.group(1).split("."))


def toolset_names() -> list[str]:
    """Return the names of the tool sets in the repository."""
    return sorted(path.parent.name for path in TOOLSETS.glob("*/toolset.toml"))


def load_toolset(name: str) -> Toolset:
    """Read a tool set by name.

    Args:
        name: A folder under toolsets/, such as `kubernetes`.
    """
    folder = TOOLSETS / name
    if name not in toolset_names():
        raise BuildError(f'no tool set "{name}"; there are: {", ".join(toolset_names())}')
    recipe = Recipe.model_validate(tomllib.loads((folder / "toolset.toml").read_text()))
    return Toolset(name, folder, recipe)


def expand_ldflags(ldflags: tuple[str, ...], version: str) -> str:
    """Return the -ldflags argument with {version}, {major} and {minor} filled in."""
    major, minor = parse_version(version)[:2]
    return " ".join(flag.format(version=version, major=major, minor=minor) for flag in ldflags)


def default_program_name(package: str) -> str:
    """Return the name that `go build` gives a main package: a major version is no name."""
    parts = package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) and len(parts) > 1 else parts[-1]
