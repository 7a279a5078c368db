"""Reads a Hugging Face `config.json` into a `Model`, or into a network of `families`.

Fields that a configuration leaves out take the default of the family's class in `transformers`, as
loading the checkpoint would; anything this room does not understand is an error, never a guess.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ValidationError

from energaizer import configurations, decoders, families, mixtures, multimodal
from energaizer.errors import InputError, NoEstimateError, one_line, shorten
from energaizer.families import Network
from energaizer.model import Model
from energaizer.precision import Precision

Config = Mapping[str, Any]

_PUBLISHED = {"bfloat16": Precision.BF16, "float16": Precision.FP16}
_EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size")
# Words of model types whose shapes nothing here has.
_WITHOUT_METHOD = {
    "vision or other media": ("_vl", "clip", "vit", "llava", "mllama", "siglip", "dinov", "audio"),
    "encoder and decoder": ("t5", "bart", "whisper", "marian", "m2m", "pegasus"),
    "recurrent layers of another kind": ("rwkv", "xlstm", "zamba", "recurrent_gemma", "hyena"),
    "mixture of experts of another kind": ("moe", "switch", "arctic"),
}


def model_from_config(config: Config, name: str = "") -> Model | Network:
    """Return the model that a configuration describes.

    Args:
        config: Content of a `config.json`.
        name: What to call the model; else the `_name_or_path` of the configuration.

    Raises:
        InputError: A field is missing or has an impossible value.
        NoEstimateError: The family, or a layer of it, has no method; the message names it.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or not family:
        raise InputError(
            "the configuration has no model_type; is it a config.json of transformers?"
        )
    if family in configurations.READERS:
        return _network(config, family, name)
    reader = _READERS.get(family)
    if reader is None:
        raise NoEstimateError(_no_method(family))
    if family in decoders.READERS and any(
        isinstance(config.get(key), int) and config[key] > 1 for key in _EXPERT_KEYS
    ):
        raise NoEstimateError(
            f'model type "{family}" with experts: no method for mixture of experts'
        )
    label = _label(config, family, name)
    fields = reader(config)
    precision, notes = _quantisation(config)
    notes = (*fields.pop("notes", ()), *notes)
    described = {
        "name": label,
        "family": family,
        "source": "config.json",
        "checkpoint_precision": _published(config),
    } | fields
    if precision is not None:
        described["weight_precision"] = precision
    try:
        return Model.model_validate(described | {"notes": notes})
    except ValidationError as error:
        raise InputError(f"configuration of {label}: {one_line(error)}") from error


def _published(config: Config) -> Precision | None:
    """Return the 16-bit format of a checkpoint; None if it states none, or one of another width.

    What servers make of a checkpoint in fp32 is a matter of the server.
    """
    inner = config.get("text_config")
    for one in (config, inner if isinstance(inner, Mapping) else {}):
        stated = one.get("dtype") or one.get("torch_dtype")
        if stated is not None:
            return _PUBLISHED.get(str(stated))
    return None


def _label(config: Config, family: str, name: str) -> str:
    return shorten(_printable(name or str(config.get("_name_or_path") or family)), 200)


def _network(config: Config, model_type: str, name: str) -> Network:
    label = _label(config, model_type, name)
    family, read = configurations.READERS[model_type]
    try:
        fields = read(config)
        described = {"name": label, "family": family, "source": "config.json"} | fields
        return families.schema(family).model_validate(described)
    except ValidationError as error:
        raise InputError(f"configuration of {label}: {one_line(error)}") from error


def _no_method(family: str) -> str:
    for what, words in _WITHOUT_METHOD.items():
        if any(word in family for word in words):
            return f'model type "{family}" ({what}) has no method; known are {_known()}'
    return f'model type "{shorten(family)}" has no method; known are {_known()}'


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _known() -> str:
    return ", ".join((*_READERS, *configurations.READERS))


_READERS = decoders.READERS | mixtures.READERS | multimodal.READERS


def _quantisation(config: Config) -> tuple[Precision | None, tuple[str, ...]]:
    """Return the format of the weights of a quantised checkpoint, and what to say about it."""
    quantised = config.get("quantization_config")
    if quantised is None:
        return None, ()
    if not isinstance(quantised, Mapping):
        raise InputError("quantization_config of the configuration must be an object")
    method = str(quantised.get("quant_method") or quantised.get("quant_algo") or "unnamed").lower()
    precision = _weight_format(method, quantised)
    if precision is None:
        unknown = f"weights quantised by {shorten(method, 40)} are counted as wide as activations"
        return None, (f"{unknown}: state their precision",)
    return precision, (f"weights in {precision.value}, by the quantization_config ({method})",)


def _weight_format(method: str, quantised: Config) -> Precision | None:
    bits, kind = quantised.get("bits"), "int"
    if method == "compressed-tensors":
        groups = quantised.get("config_groups")
        first = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
        weights = first.get("weights") if isinstance(first, Mapping) else None
        if isinstance(weights, Mapping):
            bits, kind = weights.get("num_bits"), str(weights.get("type"))
        if kind == "float" and bits == 4:  # noqa: PLR2004  # bits
            method = "mxfp4" if "mx" in str(quantised.get("format")) else "nvfp4"
    elif method == "modelopt":
        method = str(quantised.get("quant_algo")).lower()
    elif method == "bitsandbytes":
        bits = 4 if quantised.get("load_in_4bit") else 8 if quantised.get("load_in_8bit") else None
    named = {"fp8": Precision.FP8, "nvfp4": Precision.NVFP4, "mxfp4": Precision.MXFP4}
    if method in named:
        return named[method]
    if method not in {"gptq", "awq", "compressed-tensors", "bitsandbytes"}:
        return None
    table = {("int", 4): Precision.INT4, ("int", 8): Precision.INT8, ("float", 8): Precision.FP8}
    return table.get((kind, bits)) if isinstance(bits, int) else None
