"""Reads what diffusers saves, `model_index.json` with its components, into a pipeline.

A configuration states shapes but not how a model is used: steps, guidance, usual size and prompt
length come from the catalogue's pipeline with the same class of denoiser, and a note says so.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import ValidationError

from energaizer import families
from energaizer.errors import InputError, NoEstimateError, one_line, shorten
from energaizer.families import Network

Config = Mapping[str, Any]
Fields = dict[str, Any]
_DENOISERS = ("transformer", "unet")
_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
_CLIP_TOKENS = 77
_LONG_TOKENS = 256


def pipeline_from_configs(
    configs: Mapping[str, Config], known: Sequence[Config], name: str
) -> Network:
    """Return the pipeline that the configurations of its components describe.

    Args:
        configs: `config.json` by component: transformer or unet, vae, text encoders.
        known: Profiles of the catalogue, from which the like takes what no configuration states.
        name: What to call it.

    Raises:
        InputError: A field is missing or has an impossible value.
        NoEstimateError: A component is of a class without a method.
    """
    denoiser = next((configs[part] for part in _DENOISERS if part in configs), None)
    if denoiser is None:
        raise InputError("model_index.json names neither transformer nor unet; is it a pipeline?")
    kind = denoiser.get("_class_name")
    classes = {
        profile["denoiser"]["_class_name"]: profile
        for profile in reversed(known)
        if "denoiser" in profile
    }
    template = classes.get(kind)
    if template is None:
        raise NoEstimateError(
            f'no method for a denoiser of class "{shorten(str(kind), 60)}"; '
            f"known are {', '.join(sorted(classes))}"
        )
    own: Fields = {"denoiser": denoiser}
    taken = ["steps", "guidance", "size"]
    if "transformer_2" in configs:
        own["denoisers"] = 2
    if "vae" in configs:
        own["decoder"] = configs["vae"]
    else:
        taken.append("decoder")
    encoders = [configs[part] for part in _ENCODERS if part in configs]
    if encoders:
        lengths = [encoder["tokens"] for encoder in template["text_encoders"]]
        own["text_encoders"] = tuple(
            text_encoder(config, lengths[index] if index < len(lengths) else None)
            for index, config in enumerate(encoders)
        )
    else:
        taken.append("text encoders")
    note = f"{', '.join(taken)} as of {template['name']}"
    described = {**template, **own} | {
        "name": shorten(name, 200), "aliases": (), "notes": (note,), "source": "diffusers",
    }  # fmt: skip
    try:
        return families.schema(template["family"]).model_validate(described)
    except ValidationError as error:
        raise InputError(f"configuration of {shorten(name, 60)}: {one_line(error)}") from error


def text_encoder(config: Config, tokens: int | None) -> Fields:
    """Return the fields of a text encoder that a configuration of transformers describes.

    Args:
        config: Content of its `config.json`.
        tokens: Length that prompts are padded to; None: what its kind usually takes.

    Raises:
        NoEstimateError: Its kind has no method.
        InputError: A field is missing.
    """
    kind = str(config.get("model_type"))
    nested = config.get("text_config")
    if kind not in _READERS and isinstance(nested, Mapping):
        return text_encoder({"model_type": "llama", **nested}, tokens)
    reader = _READERS.get(kind)
    if reader is None:
        raise NoEstimateError(
            f'no method for a text encoder of model type "{shorten(kind, 40)}"; '
            f"known are {', '.join(_READERS)}"
        )
    try:
        fields = reader(config)
    except KeyError as error:
        raise InputError(f"configuration of the text encoder {kind} has no {error}") from None
    usual = _CLIP_TOKENS if kind.startswith("clip") else _LONG_TOKENS
    return {"name": kind, "tokens": tokens or usual} | fields


def _shapes(config: Config) -> Fields:
    return {
        "layers": config["num_hidden_layers"],
        "hidden_size": config["hidden_size"],
        "intermediate_size": config["intermediate_size"],
        "attention_heads": config["num_attention_heads"],
        "vocabulary_size": config["vocab_size"],
    }


def _clip(config: Config) -> Fields:
    projects = "WithProjection" in str(config.get("architectures"))
    return _shapes(config) | {
        "positions": config.get("max_position_embeddings", _CLIP_TOKENS),
        "causal": True,
        "projection_size": config.get("projection_dim", 0) if projects else 0,
    }


def _bert(config: Config) -> Fields:
    return _shapes(config) | {"positions": config.get("max_position_embeddings", 512)}


def _t5(config: Config) -> Fields:
    return {
        "layers": config["num_layers"],
        "hidden_size": config["d_model"],
        "intermediate_size": config["d_ff"],
        "attention_heads": config["num_heads"],
        "head_size": config["d_kv"],
        "vocabulary_size": config["vocab_size"],
        "gated": str(config.get("feed_forward_proj", "relu")).startswith("gated"),
        "rms": True,
        "bias": False,
        "function": "gelu_new",
    }


def _llama(config: Config) -> Fields:
    return _shapes(config) | {
        "key_value_heads": config.get("num_key_value_heads"),
        "head_size": config.get("head_dim"),
        "gated": True,
        "rms": True,
        "bias": False,
        "causal": True,
        "function": "silu",
    }


def _gemma2(config: Config) -> Fields:
    return _llama({"head_dim": 256, **config}) | {"norms": 4, "function": "gelu"}


_READERS: dict[str, Callable[[Config], Fields]] = {
    "bert": _bert,
    "clip_text_model": _clip,
    "gemma2": _gemma2,
    "llama": _llama,
    "mt5": _t5,
    "qwen2": _llama,
    "t5": _t5,
    "umt5": _t5,
}
