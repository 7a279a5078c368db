"""What tables call GPUs and models -> profiles; the names are data, `profiles/tables/`."""

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

from energaizer import catalog
from energaizer.errors import UnknownNameError
from energaizer.gpu import Gpu
from energaizer.host import Host
from energaizer.model import Model

_VARIANT = re.compile(r"(-instruct|-it|-chat|-thinking|-2507|-fp8)+$")  # same layer shapes
_EMPTY = {"", "nan", "none", "<na>"}


class Names(BaseModel):
    """Names of published tables, and how their runs were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    known = Names.shipped().gpus
    return Board(name, catalog.gpu(known.get(name.strip().casefold(), name)))


def eager_host(gpu: Gpu) -> Host:
    """Return the host that is taken to have launched eager forward passes on a board."""
    known = Names.shipped().hosts
    return catalog.host(known.get(gpu.name, known["default"]))


def spellings(model: str, size: str) -> tuple[str, ...]:
    """Return the names under which the catalogue may hold a model of a size.

    `opt`, `opt-1p3b` -> `opt-1.3b`; `bert`, `large` -> `bert-large`; `gpt2`, `gpt2` -> `gpt2`;
    `llama2`, `7b` -> `llama2-7b`, `llama-2-7b`; `resnet101`, `101` -> `resnet101`.
    """
    family = model.strip().casefold()
    short = re.sub(r"(?<=\d)p(?=\d)", ".", size.strip().casefold()).replace("_", "-")
    if not short or short == family or (short.isdigit() and family.endswith(short)):
        found = [family]
    elif short.startswith(family):
        found = [short]
    else:
        found = [f"{family}-{short}", f"{family}{short}", short]
    known = Names.shipped().models
    found = [*(known[name] for name in found if name in known), *found]
    found += [re.sub(r"(?<=[a-z])(?=\d)", "-", name) for name in found]
    found += [re.sub(r"(?<=[a-z])-(?=\d)", "", name) for name in found]
    found += [_VARIANT.sub("", name).replace("/meta-llama", "/llama") for name in found]
    return tuple(dict.fromkeys(found))


def model(name: str, size: str) -> Model:
    """Return the catalogue's model of a table's `model` and `size`.

    Raises:
        UnknownNameError: No spelling of it is in the catalogue.
    """
    for spelling in spellings(name, size):
        try:
            return catalog.model(spelling)
        except UnknownNameError:
            continue
    told = name if not size or size == name else f"{name}, {size}"
    raise UnknownNameError(f'no model "{told}" in the catalogue; `energaizer models` lists them')
