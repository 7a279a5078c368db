"""Reads a Hugging Face `config.json` into a `Model`, or into a network of `families`.

Fields that a configuration leaves out take the default of the family's class in `transformers`, as
loading the checkpoint would; anything this room does not understand is an error, never a guess.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from energaizer import configurations, families
from energaizer.errors import InputError, NoEstimateError, one_line, shorten
from energaizer.families import Network
from energaizer.model import Model
from energaizer.precision import Precision

Config = Mapping[str, Any]

_EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size")
# Words of model types whose shapes a dense decoder or encoder does not have.
_WITHOUT_METHOD = {
    "mixture of experts": ("moe", "mixtral", "deepseek_v", "gpt_oss", "dbrx", "llama4", "kimi"),
    "state-space layers": ("mamba", "jamba", "zamba", "falcon_h1", "nemotron_h", "rwkv", "bamba"),
    "vision or other media": (
        "_vl",
        "clip",
        "vit",
        "llava",
        "mllama",
        "siglip",
        "pixtral",
        "dinov",
    ),
    "encoder and decoder": ("t5", "bart", "whisper", "marian", "m2m", "pegasus", "mistral3"),
}


def model_from_config(config: Config, name: str = "") -> Model | Network:
    """Return the model that a configuration describes.

    Args:
        config: Content of a `config.json`.
        name: What to call the model; else the `_name_or_path` of the configuration.

    Raises:
        InputError: A field is missing or has an impossible value.
        NoEstimateError: The family (mixture of experts, state space, vision, ...) has no method.
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
    if any(isinstance(config.get(key), int) and config[key] > 1 for key in _EXPERT_KEYS):
        raise NoEstimateError(
            f'model type "{family}" with experts: no method for mixture of experts'
        )
    label = _label(config, family, name)
    fields = reader(config)
    precision, notes = _quantisation(config)
    notes = (*fields.pop("notes", ()), *notes)
    described = {"name": label, "family": family, "source": "config.json"} | fields
    try:
        return Model(**described, weight_precision=precision, notes=notes)
    except ValidationError as error:
        raise InputError(f"configuration of {label}: {one_line(error)}") from error


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
            return f'model type "{family}" ({what}) has no method yet; dense ones are {_known()}'
    return f'model type "{shorten(family)}" has no method; known are {_known()}'


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _known() -> str:
    return ", ".join((*_READERS, *configurations.READERS))


def _integer(config: Config, key: str, default: int | None = None) -> int:
    """Return a field that must be a positive whole number."""
    value = config.get(key)
    if value is None:
        value = default
    if value is None:
        raise InputError(f"the configuration has no {key}; add it")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"{key} of the configuration is {shorten(str(value), 40)!r}; it give a whole number"
        )
    return value


def _flag(config: Config, key: str, *, default: bool) -> bool:
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InputError(
            f"{key} of the configuration is {shorten(str(value), 40)!r}; it must be true or false"
        )
    return value


def _decoder(config: Config, *, tied: bool = False, **defaults: int) -> dict[str, Any]:
    """Return the fields that llama and its relatives share."""
    hidden = _integer(config, "hidden_size", defaults.get("hidden_size"))
    heads = _integer(config, "num_attention_heads", defaults.get("num_attention_heads"))
    head_size = defaults.get("head_dim") or max(1, hidden // heads)
    return {
        "layers": _integer(config, "num_hidden_layers", defaults.get("num_hidden_layers")),
        "hidden_size": hidden,
        "intermediate_size": _integer(
            config, "intermediate_size", defaults.get("intermediate_size")
        ),
        "attention_heads": heads,
        "key_value_heads": _integer(
            config, "num_key_value_heads", defaults.get("num_key_value_heads") or heads
        ),
        "head_size": _integer(config, "head_dim", head_size),
        "vocabulary_size": _integer(config, "vocab_size", defaults.get("vocab_size")),
        "max_positions": _integer(
            config, "max_position_embeddings", defaults.get("max_position_embeddings")
        ),
        "activation": str(config.get("hidden_activation") or config.get("hidden_act") or "silu"),
        "tied_embeddings": _flag(config, "tie_word_embeddings", default=tied),
    }


def _llama(config: Config) -> dict[str, Any]:
    return _decoder(config) | {
        "attention_bias": _flag(config, "attention_bias", default=False),
        "mlp_bias": _flag(config, "mlp_bias", default=False),
    }


def _windowed(config: Config, fields: dict[str, Any], layers: int) -> dict[str, Any]:
    """Add a sliding window to some layers, unless it never cuts anything."""
    if not layers or config.get("sliding_window") is None:
        return fields
    window = _integer(config, "sliding_window")
    if window >= fields["max_positions"]:
        return fields
    return fields | {"sliding_window": window, "sliding_layers": layers}


def _mistral(config: Config) -> dict[str, Any]:
    fields = _decoder(config, num_key_value_heads=8)
    return _windowed(config, fields, fields["layers"])


def _qwen2(config: Config) -> dict[str, Any]:
    fields = _decoder(config) | {"attention_bias": True}
    if not _flag(config, "use_sliding_window", default=False):
        return fields
    full = _integer(config, "max_window_layers", fields["layers"])
    return _windowed(config, fields, _sliding(config, max(0, fields["layers"] - full)))


def _qwen3(config: Config) -> dict[str, Any]:
    fields = _qwen2({"head_dim": 128} | dict(config))
    bias = _flag(config, "attention_bias", default=False)
    return fields | {"attention_bias": bias, "query_key_norm": True}


def _gemma(config: Config) -> dict[str, Any]:
    return _decoder(config, tied=True, head_dim=256, vocab_size=256000) | {"activation": "gelu"}


def _gemma2(config: Config) -> dict[str, Any]:
    fields = _gemma(config) | {"norms_per_layer": 4}
    return _windowed(
        {"sliding_window": 4096} | dict(config),
        fields,
        _sliding(config, (fields["layers"] + 1) // 2),
    )


def _gemma3(config: Config) -> dict[str, Any]:
    if "text_config" in config:
        text = config["text_config"]
        if not isinstance(text, Mapping):
            raise InputError("text_config of the configuration must be an object")
        note = "text stack only: the vision tower and image tokens are not counted"
        return _gemma3(text) | {"notes": (note,)}
    fields = _decoder(
        config,
        tied=True,
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        vocab_size=262208,
        max_position_embeddings=131072,
    )
    every = _integer(config, "sliding_window_pattern", 6)
    sliding = _sliding(config, fields["layers"] - fields["layers"] // every)
    fields |= {"activation": "gelu", "norms_per_layer": 4, "query_key_norm": True}
    return _windowed({"sliding_window": 4096} | dict(config), fields, sliding)


def _sliding(config: Config, default: int) -> int:
    """Return how many layers slide: as `layer_types` lists them, else by the family's rule."""
    kinds = config.get("layer_types")
    if kinds is None:
        return default
    if not isinstance(kinds, list) or set(map(str, kinds)) - {
        "sliding_attention",
        "full_attention",
    }:
        raise NoEstimateError("layer_types of the configuration names layers without a method")
    return kinds.count("sliding_attention")


def _phi3(config: Config) -> dict[str, Any]:
    fields = _decoder(config)
    return _windowed(config, fields, fields["layers"])


def _gpt2(config: Config) -> dict[str, Any]:
    if _flag(config, "add_cross_attention", default=False):
        raise NoEstimateError("gpt2 with cross-attention has no method")
    hidden, heads = _integer(config, "n_embd", 768), _integer(config, "n_head", 12)
    return {
        "layers": _integer(config, "n_layer", 12),
        "hidden_size": hidden,
        "intermediate_size": _integer(config, "n_inner", 4 * hidden),
        "attention_heads": heads,
        "key_value_heads": heads,
        "head_size": max(1, hidden // heads),
        "vocabulary_size": _integer(config, "vocab_size", 50257),
        "max_positions": _integer(config, "n_positions", 1024),
        "activation": str(config.get("activation_function") or "gelu_new"),
        "tied_embeddings": _flag(config, "tie_word_embeddings", default=True),
    } | _BIASED


_BIASED = {
    "gated_mlp": False,
    "normalization": "layernorm",
    "positions": "learned",
    "attention_bias": True,
    "mlp_bias": True,
}


def _opt(config: Config) -> dict[str, Any]:
    fields = _decoder(
        {**config, "intermediate_size": config.get("ffn_dim"), "num_key_value_heads": None},
        tied=True,
    )
    bias = _flag(config, "enable_bias", default=True)
    fields |= _BIASED | {"activation": str(config.get("activation_function") or "relu")}
    width = _integer(config, "word_embed_proj_dim", fields["hidden_size"])
    if width != fields["hidden_size"]:
        fields |= {"embedding_size": width}
    return fields | {"attention_bias": bias, "mlp_bias": bias}


def _bert(config: Config) -> dict[str, Any]:
    if _flag(config, "is_decoder", default=False):
        raise NoEstimateError(f"{config['model_type']} as a decoder has no method")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise NoEstimateError(f"{config['model_type']} with relative positions has no method")
    fields = _decoder({**config, "num_key_value_heads": None})
    extra = {"causal": False, "language_head": False, "tied_embeddings": False}
    return fields | _BIASED | extra


_READERS: dict[str, Callable[[Config], dict[str, Any]]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "mistral": _mistral,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gemma3_text": _gemma3,
    "phi3": _phi3,
    "gpt2": _gpt2,
    "opt": _opt,
    "bert": _bert,
    "roberta": _bert,
}


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
