"""Configurations of dense decoders and encoders on Hugging Face -> fields of a `Model`.

Fields that a configuration leaves out take the default of the family's class in `transformers`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from energaizer.errors import InputError, NoEstimateError, shorten

Config = Mapping[str, Any]
Fields = dict[str, Any]
_FULL_KINDS = {"full_attention", "attention", "global"}
_WINDOWED_KINDS = {"sliding_attention", "chunked_attention", "local"}


def integer(config: Config, key: str, default: int | None = None) -> int:
    """Return a field that must be a positive whole number.

    Raises:
        InputError: It is missing without a default, or is none.
    """
    value = config.get(key)
    if value is None:
        value = default
    if value is None:
        raise InputError(f"the configuration has no {key}; add it")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"{key} of the configuration is {shorten(str(value), 40)!r}; give a whole number"
        )
    return value


def flag(config: Config, key: str, *, default: bool) -> bool:
    """Return a field that must be true or false."""
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InputError(
            f"{key} of the configuration is {shorten(str(value), 40)!r}; it must be true or false"
        )
    return value


def decoder(config: Config, *, tied: bool = False, **defaults: int) -> Fields:
    """Return the fields that llama and its relatives share."""
    hidden = integer(config, "hidden_size", defaults.get("hidden_size"))
    heads = integer(config, "num_attention_heads", defaults.get("num_attention_heads"))
    head_size = defaults.get("head_dim") or max(1, hidden // heads)
    return {
        "layers": integer(config, "num_hidden_layers", defaults.get("num_hidden_layers")),
        "hidden_size": hidden,
        "intermediate_size": integer(
            config, "intermediate_size", defaults.get("intermediate_size")
        ),
        "attention_heads": heads,
        "key_value_heads": integer(
            config, "num_key_value_heads", defaults.get("num_key_value_heads") or heads
        ),
        "head_size": integer(config, "head_dim", head_size),
        "vocabulary_size": integer(config, "vocab_size", defaults.get("vocab_size")),
        "max_positions": integer(
            config, "max_position_embeddings", defaults.get("max_position_embeddings")
        ),
        "activation": str(config.get("hidden_activation") or config.get("hidden_act") or "silu"),
        "tied_embeddings": flag(config, "tie_word_embeddings", default=tied),
    }


def llama(config: Config) -> Fields:
    """Return the fields of a llama: what most families change little of."""
    return decoder(config) | {
        "attention_bias": flag(config, "attention_bias", default=False),
        "mlp_bias": flag(config, "mlp_bias", default=False),
    }


def windowed(config: Config, fields: Fields, layers: int) -> Fields:
    """Add a sliding window to some layers, unless it never cuts anything."""
    if not layers or config.get("sliding_window") is None:
        return fields
    window = integer(config, "sliding_window")
    if window >= fields["max_positions"]:
        return fields
    return fields | {"sliding_window": window, "sliding_layers": layers}


def _mistral(config: Config) -> Fields:
    fields = decoder(config, num_key_value_heads=8)
    return windowed(config, fields, fields["layers"])


def _qwen2(config: Config) -> Fields:
    fields = decoder(config) | {"attention_bias": True}
    if not flag(config, "use_sliding_window", default=False):
        return fields
    full = integer(config, "max_window_layers", fields["layers"])
    return windowed(config, fields, sliding(config, max(0, fields["layers"] - full)))


def _qwen3(config: Config) -> Fields:
    fields = _qwen2({"head_dim": 128} | dict(config))
    bias = flag(config, "attention_bias", default=False)
    return fields | {"attention_bias": bias, "query_key_norm": True}


def _gemma(config: Config) -> Fields:
    return decoder(config, tied=True, head_dim=256, vocab_size=256000) | {"activation": "gelu"}


def _gemma2(config: Config) -> Fields:
    fields = _gemma(config) | {"norms_per_layer": 4}
    return windowed(
        {"sliding_window": 4096} | dict(config),
        fields,
        sliding(config, (fields["layers"] + 1) // 2),
    )


def _gemma3(config: Config) -> Fields:
    fields = decoder(
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
    every = integer(config, "sliding_window_pattern", 6)
    local = sliding(config, fields["layers"] - fields["layers"] // every)
    fields |= {"activation": "gelu", "norms_per_layer": 4, "query_key_norm": True}
    return windowed({"sliding_window": 4096} | dict(config), fields, local)


def kinds_of(config: Config) -> list[str] | None:
    """Return what `layer_types` calls each layer; None: the configuration has no such list."""
    kinds = config.get("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list):
        raise InputError("layer_types of the configuration must be a list of names")
    return [str(kind) for kind in kinds]


def sliding(config: Config, default: int) -> int:
    """Return how many layers slide: as `layer_types` lists them, else by the family's rule."""
    kinds = kinds_of(config)
    if kinds is None:
        return default
    unknown = set(kinds) - _FULL_KINDS - _WINDOWED_KINDS
    if unknown:
        raise NoEstimateError(
            f"layer_types of the configuration names {shorten(', '.join(sorted(unknown)), 80)}: "
            "layers without a method in this family"
        )
    return sum(kind in _WINDOWED_KINDS for kind in kinds)


def _phi3(config: Config) -> Fields:
    fields = decoder(config)
    return windowed(config, fields, fields["layers"])


def _gpt2(config: Config) -> Fields:
    if flag(config, "add_cross_attention", default=False):
        raise NoEstimateError("gpt2 with cross-attention has no method")
    hidden, heads = integer(config, "n_embd", 768), integer(config, "n_head", 12)
    return {
        "layers": integer(config, "n_layer", 12),
        "hidden_size": hidden,
        "intermediate_size": integer(config, "n_inner", 4 * hidden),
        "attention_heads": heads,
        "key_value_heads": heads,
        "head_size": max(1, hidden // heads),
        "vocabulary_size": integer(config, "vocab_size", 50257),
        "max_positions": integer(config, "n_positions", 1024),
        "activation": str(config.get("activation_function") or "gelu_new"),
        "tied_embeddings": flag(config, "tie_word_embeddings", default=True),
    } | BIASED


BIASED = {
    "gated_mlp": False,
    "normalization": "layernorm",
    "positions": "learned",
    "attention_bias": True,
    "mlp_bias": True,
}


def _opt(config: Config) -> Fields:
    fields = decoder(
        {**config, "intermediate_size": config.get("ffn_dim"), "num_key_value_heads": None},
        tied=True,
    )
    bias = flag(config, "enable_bias", default=True)
    fields |= BIASED | {"activation": str(config.get("activation_function") or "relu")}
    width = integer(config, "word_embed_proj_dim", fields["hidden_size"])
    if width != fields["hidden_size"]:
        fields |= {"embedding_size": width}
    return fields | {"attention_bias": bias, "mlp_bias": bias}


def _bert(config: Config) -> Fields:
    if flag(config, "is_decoder", default=False):
        raise NoEstimateError(f"{config['model_type']} as a decoder has no method")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise NoEstimateError(f"{config['model_type']} with relative positions has no method")
    fields = decoder({**config, "num_key_value_heads": None})
    extra = {"causal": False, "language_head": False, "tied_embeddings": False}
    return fields | BIASED | extra


def _cohere(config: Config) -> Fields:
    fields = llama(config) | {"normalization": "layernorm", "norms_per_layer": 1}
    fields["tied_embeddings"] = flag(config, "tie_word_embeddings", default=True)
    return fields | {"query_key_norm": flag(config, "use_qk_norm", default=False)}


def _cohere2(config: Config) -> Fields:
    fields = _cohere({**config, "use_qk_norm": False})
    every = integer(config, "sliding_window_pattern", 4)
    default = fields["layers"] - fields["layers"] // every
    return windowed({"sliding_window": 4096} | dict(config), fields, sliding(config, default))


def _olmo2(config: Config) -> Fields:
    fields = llama(config) | {"query_key_norm": True}
    return windowed(config, fields, sliding(config, 0))


def _glm(config: Config) -> Fields:
    fields = llama(config)
    norms = 4 if config.get("model_type") == "glm4" else 2
    return fields | {"norms_per_layer": norms}


def _plain(config: Config) -> Fields:
    """Return the fields of decoders with a two-matrix MLP and layer norms, beside rotary."""
    fields = decoder(config)
    bias = flag(config, "use_bias", default=True)
    return fields | {
        "gated_mlp": False,
        "normalization": "layernorm",
        "attention_bias": bias,
        "mlp_bias": bias,
    }


def _starcoder2(config: Config) -> Fields:
    fields = _plain(config)
    return windowed(config, fields, fields["layers"])


def _nemotron(config: Config) -> Fields:
    return _plain({"use_bias": False} | dict(config)) | {"activation": "relu"}


def _neox(config: Config) -> Fields:
    return _plain({**config, "num_key_value_heads": None}) | {
        "tied_embeddings": flag(config, "tie_word_embeddings", default=False)
    }


def _falcon(config: Config) -> Fields:
    hidden = integer(config, "hidden_size")
    heads = integer(config, "num_attention_heads")
    new = flag(config, "new_decoder_architecture", default=False)
    multi = flag(config, "multi_query", default=True)
    groups = integer(config, "num_kv_heads", heads) if new else 1 if multi else heads
    wide = integer(config, "ffn_hidden_size", 4 * hidden)
    given = {**config, "num_key_value_heads": groups, "intermediate_size": wide}
    given.setdefault("max_position_embeddings", 2048)
    fields = _plain({"use_bias": flag(config, "bias", default=False), **given})
    return fields | {"tied_embeddings": flag(config, "tie_word_embeddings", default=True)}


def _internlm2(config: Config) -> Fields:
    return llama({**config, "attention_bias": flag(config, "bias", default=False)})


def _modernbert(config: Config) -> Fields:
    fields = decoder({**config, "num_key_value_heads": None}, tied=True)
    every = integer(config, "global_attn_every_n_layers", 3)
    local = fields["layers"] - -(-fields["layers"] // every)
    given = {"sliding_window": integer(config, "local_attention", 128)} | dict(config)
    fields |= {"causal": False, "language_head": False, "tied_embeddings": False}
    return windowed(given, fields, sliding(config, local)) | {"normalization": "layernorm"}


def _distilbert(config: Config) -> Fields:
    renamed = {
        "hidden_size": config.get("dim"), "intermediate_size": config.get("hidden_dim"),
        "num_hidden_layers": config.get("n_layers"),
        "num_attention_heads": config.get("n_heads"),
    }  # fmt: skip
    return _bert({**config, **renamed, "position_embedding_type": "absolute"})


READERS: dict[str, Callable[[Config], Fields]] = {
    "llama": llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "mistral": _mistral,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "phi3": _phi3,
    "gpt2": _gpt2,
    "opt": _opt,
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "camembert": _bert,
    "electra": _bert,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "ministral": _mistral,
    "cohere": _cohere,
    "cohere2": _cohere2,
    "olmo": llama,
    "olmo2": _olmo2,
    "olmo3": _olmo2,
    "glm": _glm,
    "glm4": _glm,
    "granite": llama,
    "smollm3": llama,
    "seed_oss": llama,
    "internlm2": _internlm2,
    "internlm3": llama,
    "exaone4": _olmo2,
    "starcoder2": _starcoder2,
    "nemotron": _nemotron,
    "gpt_neox": _neox,
    "falcon": _falcon,
}
