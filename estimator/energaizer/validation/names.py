"""What tables call GPUs and models -> profiles; the names are data, `profiles/tables/`."""

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple, Self

from energaizer import catalog, measured
from energaizer.families import Network
from energaizer.gpu import Gpu
from energaizer.host import Host
from energaizer.model import Model
from energaizer.records import Field, Record

_EMPTY = {"", "nan", "none", "<na>"}


class Names(Record):
    """Names of published tables, and how their runs were made."""

    schema_version: int
    source: str
    gpus: dict[str, str] = Field(description="name in a table -> profile")
    models: dict[str, str] = Field(description="model-size in a table -> name in the catalogue")
    hosts: dict[str, str] = Field(description="GPU profile -> host that runs it eagerly")
    startup_s: dict[str, float] = Field(
        description="seconds near idle that a recorded run begins with, by board (method, 5.2)"
    )
    warm_share: float = Field(
        ge=0, le=1, description="as in coefficients, where the fit of a board has none: their mean"
    )
    prompt_tokens: dict[str, float] = Field(
        description="tokens of a prompt by task, where a table does not say"
    )
    pictures: dict[str, dict[str, int]] = Field(
        description="images or frames of a prompt by task, which tables do not say"
    )

    @classmethod
    @lru_cache(maxsize=1)
    def shipped(cls) -> Self:
        """Return the shipped names."""
        file = files("energaizer") / "profiles" / "tables" / "names.json"
        return cls.model_validate_json(file.read_text(encoding="utf-8"))


class Board(NamedTuple):
    """A GPU under the name that a table gives it."""

    name: str
    gpu: Gpu


def text(value: Any) -> str:
    """Return a cell as text; what is missing is empty, and 101.0 is 101."""
    told = str(value).strip()
    if told.casefold() in _EMPTY:
        return ""
    return told.removesuffix(".0") if re.fullmatch(r"\d+\.0", told) else told


def board(name: str) -> Board:
    """Return the GPU of a table's name: of the shipped list, else any name of a profile.

    Raises:
        UnknownNameError: No profile has that name.
    """
    plain = _at_any_clock(name)
    return Board(name, catalog.gpu(Names.shipped().gpus.get(plain.casefold(), plain)))


def startup_s(name: str) -> float:
    """Return the seconds near idle with which runs on a board begin; 0 where none is published."""
    shipped, plain = Names.shipped(), _at_any_clock(name).casefold()
    if plain not in shipped.gpus:
        return 0.0
    known = shipped.startup_s
    return known.get(name.strip().casefold(), known.get(plain, known["default"]))


def _at_any_clock(name: str) -> str:
    """Return the name of a board without the `_dvfs` of tables in which its clock varies."""
    return re.sub(r"[_-]dvfs$", "", name.strip(), flags=re.IGNORECASE)


def eager_host(gpu: Gpu) -> Host:
    """Return the host that is taken to have launched eager forward passes on a board."""
    known = Names.shipped().hosts
    return catalog.host(known.get(gpu.name, known["default"]))


def spellings(model: str, size: str) -> tuple[str, ...]:
    """Return the names under which the catalogue may hold a model of a size."""
    return measured.spellings(model, size, Names.shipped().models)


def model(name: str, size: str) -> Model | Network:
    """Return the catalogue's model of a table's `model` and `size`.

    Raises:
        UnknownNameError: No spelling of it is in the catalogue.
    """
    return measured.model(name, size, Names.shipped().models)
