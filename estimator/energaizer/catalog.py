"""Profiles by name: the built-in ones, then those of the user's folder.

The only room, calibration aside, that opens files. `gpu` and `model` take names and nothing else,
so that a name from an untrusted manifest never becomes a path; `load_gpu` and `load_model` read a
file that a person pointed at, and `resolve_*` accept either, for the command line.

A profile folder holds `gpus/*.json` (one GPU a file), `models/*.json` (a family a file, or one
model), `calibrations/*.json` (fits, one GPU a file), `hosts/*.json` and `nodes/*.json`. The user's
folder is `~/.config/energaizer`; a profile there replaces a built-in one of the same name. Folders
are read once a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from pydantic_core import ValidationError

from energaizer import families
from energaizer.coefficients import Coefficients
from energaizer.errors import InputError, ProfileError, UnknownNameError, one_line, shorten, similar
from energaizer.families import Network
from energaizer.gpu import Gpu
from energaizer.host import Host
from energaizer.model import Model
from energaizer.records import Record

if TYPE_CHECKING:  # loaded for what spans servers, and for a GPU without a fit
    from energaizer.node import Node
    from energaizer.priors import Prior

_BUILT_IN = Path(__file__).parent / "profiles"  # not importlib.resources, which takes 10 ms
_MAX_BYTES = 4 * 2**20  # a configuration is a few kB; more is not one
_GPU_PREFIXES = ("nvidia-", "tesla-", "amd-instinct-", "amd-")
Kind = Literal["gpus", "models", "calibrations", "hosts", "nodes"]
_INDEX = "model_index.json"
_PRIOR = "prior.json"  # beside the fits, but not one
_NOUNS = {
    "gpus": "GPU", "models": "model", "hosts": "host", "nodes": "node",
    "calibrations": "calibration",
}  # fmt: skip
_ADVICE = {
    "gpus": "`energaizer gpus` lists the known ones; a JSON file of your own also works",
    "models": "`energaizer models` lists the known ones; the path of its config.json also works",
}
T = TypeVar("T", bound=Record)


class _Entry(NamedTuple):
    name: str
    fields: dict[str, Any]
    where: str


def gpu(name: str, profiles: Path | None = None) -> Gpu:
    """Return the GPU of a name, alias or product name, upper and lower case alike.

    Args:
        name: For instance `h100-sxm5-80gb`, `h100-sxm`, `NVIDIA H100 80GB HBM3`.
        profiles: Folder of further profiles; None: `~/.config/energaizer`.

    Raises:
        UnknownNameError: No profile has that name; the message holds the closest ones.
        ProfileError: A profile file is unreadable or breaks its schema.
    """
    return _gpu(_find("gpus", name, profiles).name, profiles)


def model(name: str, profiles: Path | None = None) -> Model | Network:
    """Return the model of a Hugging Face id or alias, upper and lower case alike.

    Args:
        name: For instance `meta-llama/Llama-3.1-8B`, `llama-3.1-8b`.
        profiles: Folder of further profiles; None: `~/.config/energaizer`.

    Raises:
        UnknownNameError: No profile has that name; the message holds the closest ones.
        ProfileError: A profile file is unreadable or breaks its schema.
    """
    return _model(_find("models", name, profiles).name, profiles)


def gpus(profiles: Path | None = None) -> tuple[Gpu, ...]:
    """Return every known GPU, by name."""
    return tuple(_gpu(name, profiles) for name in sorted(_entries("gpus", profiles)))


def models(profiles: Path | None = None) -> tuple[Model | Network, ...]:
    """Return every known model, in the order of the profile files."""
    return tuple(_model(name, profiles) for name in _entries("models", profiles))


def host(name: str, profiles: Path | None = None) -> Host:
    """Return the host profile of a name: `serving`, `pytorch-eager`, ...

    Raises:
        UnknownNameError: No profile has that name; the message holds the closest ones.
    """
    return _host(_find("hosts", name, profiles).name, profiles)


def hosts(profiles: Path | None = None) -> tuple[str, ...]:
    """Return the names of the host profiles."""
    return tuple(_entries("hosts", profiles))


def node(name: str, profiles: Path | None = None) -> Node:
    """Return the node profile of a name: `dgx-h100`, `gb200-nvl72`, `pcie-server`, ...

    Raises:
        UnknownNameError: No profile has that name; the message holds the closest ones.
    """
    return _node(_find("nodes", name, profiles).name, profiles)


def nodes(profiles: Path | None = None) -> tuple[Node, ...]:
    """Return every known node, by name."""
    return tuple(_node(name, profiles) for name in sorted(_entries("nodes", profiles)))


def usual_node(board: Gpu, profiles: Path | None = None) -> Node:
    """Return the node that a board usually sits in, by its name or else by its kind of link."""
    return _usual_node(board.name, board.link.kind, profiles)


@lru_cache(maxsize=1)
def prior() -> Prior:
    """Return the prior from which coefficients of a GPU without a fit are scaled."""
    from energaizer.priors import Prior  # noqa: PLC0415

    file = _BUILT_IN / "calibrations" / _PRIOR
    return Prior.loads(file.read_text(encoding="utf-8"))


def coefficients(board: Gpu, profiles: Path | None = None) -> Coefficients:
    """Return what was fitted about a GPU, or else the prior scaled to its datasheet.

    Raises:
        ProfileError: The calibration file is unreadable or breaks its schema.
    """
    fitted = _coefficients(board.name, profiles)
    if fitted is not None:
        return fitted
    from energaizer.priors import from_specification  # noqa: PLC0415

    return from_specification(board, prior())


def load_gpu(path: Path) -> Gpu:
    """Return the GPU that a JSON file describes, in the form of the built-in profiles.

    Raises:
        InputError: There is no such file, or it does not describe a GPU.
        ProfileError: The file cannot be read.
    """
    return _described(Gpu, _read_fields(path), path)


def load_model(path: Path) -> Model | Network:
    """Return the model that a file or folder describes.

    It is a `config.json` of Hugging Face, a `model_index.json` or a component's `config.json` of
    diffusers, the folder of either, or a profile.

    Raises:
        InputError: There is no such file, or it is not a configuration.
        NoEstimateError: The configuration is of a family without a method.
        ProfileError: The file cannot be read.
    """
    if path.is_dir() and (path / _INDEX).is_file():
        path = path / _INDEX
    path = path / "config.json" if path.is_dir() else path
    fields = _read_fields(path)
    if "_class_name" in fields:
        return _load_pipeline(path, fields)
    if "model_type" in fields:
        from energaizer import huggingface  # noqa: PLC0415

        given = fields.get("_name_or_path")
        own = path.resolve().parent.name if path.name == "config.json" else path.stem
        name = given if isinstance(given, str) and given else own
        return huggingface.model_from_config(fields, name=name)
    return _described(_schema(fields), fields, path)


def _load_pipeline(path: Path, fields: dict[str, Any]) -> Network:
    """Return a pipeline of diffusers, or one around a denoiser of which nothing else is at hand."""
    folder = path.resolve().parent
    found = sorted(folder.glob("*/config.json")) if path.name == _INDEX else []
    configs = {part.parent.name: _read_fields(part) for part in found}
    return pipeline(configs or {"transformer": fields}, folder.name)


def pipeline(configs: Mapping[str, Mapping[str, Any]], name: str) -> Network:
    """Return the pipeline of diffusers that the `config.json` of its components describe."""
    from energaizer import diffusers  # noqa: PLC0415

    known = [entry.fields for entry in _entries("models", None).values()]
    return diffusers.pipeline_from_configs(configs, known, name)


def resolve(text: str, profiles: Path | None = None) -> Gpu | Model | Network:
    """Return the GPU or the model of a name, or of the path of a file."""
    path = _as_path("gpus", text, profiles)
    if path and path.is_file() and "peak_flops" in _read_fields(path):
        return load_gpu(path)
    try:
        return gpu(text, profiles)
    except UnknownNameError as no_gpu:
        try:
            return resolve_model(text, profiles)
        except UnknownNameError as no_model:
            raise UnknownNameError(f"{no_gpu}; {no_model}") from None


def resolve_gpu(text: str, profiles: Path | None = None) -> Gpu:
    """Return a GPU by name, or else by the path of its file."""
    path = _as_path("gpus", text, profiles)
    return load_gpu(path) if path else gpu(text, profiles)


def resolve_model(text: str, profiles: Path | None = None) -> Model | Network:
    """Return a model by name, or else by the path of its configuration or folder."""
    path = _as_path("models", text, profiles)
    return load_model(path) if path else model(text, profiles)


def _as_path(kind: Kind, text: str, profiles: Path | None) -> Path | None:
    if not text.strip() or _normal(text) in _names(kind, profiles):
        return None
    try:
        path = Path(text).expanduser()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError):
        return None
    return path if exists or text.endswith(".json") or text.startswith((".", "/", "~")) else None


@lru_cache(maxsize=1024)
def _coefficients(name: str, profiles: Path | None) -> Coefficients | None:
    entry = _entries("calibrations", profiles).get(name)
    return entry and _validated(Coefficients, entry.fields, entry.where)


@lru_cache(maxsize=1024)
def _gpu(name: str, profiles: Path | None) -> Gpu:
    entry = _entries("gpus", profiles)[name]
    return _validated(Gpu, entry.fields, entry.where)


@lru_cache(maxsize=1024)
def _usual_node(board: str, link: str, profiles: Path | None) -> Node:
    for found in nodes(profiles):
        if board in found.gpus:
            return found
    return node("pcie-server" if link == "PCIe" else "dgx-h100", profiles)


@lru_cache(maxsize=1024)
def _host(name: str, profiles: Path | None) -> Host:
    entry = _entries("hosts", profiles)[name]
    return _validated(Host, entry.fields, entry.where)


@lru_cache(maxsize=1024)
def _node(name: str, profiles: Path | None) -> Node:
    from energaizer.node import Node  # noqa: PLC0415

    entry = _entries("nodes", profiles)[name]
    return _validated(Node, entry.fields, entry.where)


@lru_cache(maxsize=1024)
def _model(name: str, profiles: Path | None) -> Model | Network:
    entry = _entries("models", profiles)[name]
    return _validated(_schema(entry.fields), entry.fields, entry.where)


def _schema(fields: dict[str, Any]) -> type[Model] | type[Network]:
    """Return the class that describes a model, by its family."""
    family = fields.get("family")
    return families.schema(family) if family in families.FAMILIES else Model


def _find(kind: Kind, name: str, profiles: Path | None) -> _Entry:
    names = _names(kind, profiles)
    wanted = _normal(name)
    if kind == "gpus" and wanted not in names:
        wanted = _without_vendor(wanted)
    if wanted in names:
        return _entries(kind, profiles)[names[wanted]]
    close = similar(wanted[:200], tuple(names))
    shown = json.dumps(shorten(name))
    advice = " or ".join(f'"{match}"' for match in close)
    known = _ADVICE.get(kind) or f"known are {', '.join(names)}"
    raise UnknownNameError(f"no {_NOUNS[kind]} {shown}; " + (f"try {advice}" if close else known))


@lru_cache(maxsize=64)
def _names(kind: Kind, profiles: Path | None) -> dict[str, str]:
    """Every way to say a profile -> its name; a full name beats an alias, the user's beats ours."""
    names: dict[str, str] = {}
    entries = _entries(kind, profiles)
    for entry in entries.values():
        spoken = [*entry.fields.get("aliases", ()), *entry.fields.get("product_names", ())]
        if kind == "models":
            spoken.append(entry.name.rsplit("/", 1)[-1])
            spoken += [alias.rsplit("/", 1)[-1] for alias in entry.fields.get("aliases", ())]
        for text in spoken:
            names[_normal(text)] = entry.name
            if kind == "gpus":
                names[_without_vendor(_normal(text))] = entry.name
    return names | {_normal(name): name for name in entries}


@lru_cache(maxsize=64)
def _entries(kind: Kind, profiles: Path | None) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for folder in _folders(kind, profiles):
        for file in sorted(folder.iterdir(), key=lambda item: item.name):
            if file.name.endswith(".json") and file.name != _PRIOR:
                entries |= {entry.name: entry for entry in _parse(kind, file)}
    return entries


def _folders(kind: Kind, profiles: Path | None) -> Iterator[Path]:
    yield _BUILT_IN / kind
    if profiles is not None:
        if not profiles.is_dir():
            raise InputError(f"no folder {profiles}; give one that holds gpus/ or models/")
    else:
        try:
            profiles = Path.home() / ".config" / "energaizer"
        except RuntimeError:  # no home: a container without a user
            return
    if (profiles / kind).is_dir():
        yield profiles / kind


def _parse(kind: Kind, file: Path) -> Iterator[_Entry]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ProfileError(f"{file} is unreadable: {one_line(error)}; mend or remove it") from error
    if not isinstance(content, dict):
        raise ProfileError(f"{file} holds no JSON object; see the built-in profiles for the form")
    family = kind == "models" and isinstance(content.get("models"), list)
    for fields in content["models"] if family else [content]:
        key = "gpu" if kind == "calibrations" else "name"
        if not isinstance(fields, dict) or not isinstance(fields.get(key), str):
            raise ProfileError(f"{file} holds a profile without a {key}; add one")
        shared = {"source": content.get("source", "")} if family else {}
        yield _Entry(fields[key], shared | fields, str(file))


def _read_fields(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise InputError(f"no file {path}; give a name or the path of a JSON file")
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(
                f"{path} is larger than a configuration ever is; is it the right file?"
            )
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"{path} is unreadable: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object")
    return content


def _validated(schema: type[T], fields: dict[str, Any], where: str) -> T:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise ProfileError(f"{where}: {one_line(error)}") from error


def _described(schema: type[T], fields: dict[str, Any], path: Path) -> T:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{path} describes no {schema.__name__}: {one_line(error)}") from error


def _normal(text: str) -> str:
    return "-".join(text.casefold().replace("_", " ").split())


def _without_vendor(text: str) -> str:
    for prefix in _GPU_PREFIXES:
        text = text.removeprefix(prefix)
    return text
