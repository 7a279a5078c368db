"""Configurations with experts, latent attention or recurrent layers -> fields of a `Model`.

Defaults are those of the family's class in `transformers`; what decides a shape and has no default
must be there.
"""

from collections.abc import Callable
from typing import Any

from energaizer.decoders import Config, Fields, flag, integer, kinds_of, llama, sliding, windowed
from energaizer.errors import InputError, NoEstimateError, shorten

_DELTA = "linear_attention"
_MAMBA_STATE = 16


def experts(
    config: Config, layers: int, *, count: str, each: str, visits: str = "num_experts_per_tok",
    shared: int = 0,
) -> Fields:  # fmt: skip
    """Return the mixture of a configuration whose keys have these names."""
    if layers < 1:
        return {}
    return {
        "experts": {
            "count": integer(config, count), "per_token": integer(config, visits),
            "intermediate_size": integer(config, each), "shared_size": shared, "layers": layers,
        }
    }  # fmt: skip


def _whole(config: Config, key: str, default: int = 0) -> int:
    """Return a field that may be zero."""
    value = config.get(key)
    if value in (None, 0):
        return default if value is None else 0
    return integer(config, key)


def _mixtral(config: Config) -> Fields:
    fields = llama({"num_key_value_heads": 8} | dict(config))
    fields = windowed(config, fields, fields["layers"])
    return fields | experts(
        config, fields["layers"], count="num_local_experts", each="intermediate_size"
    )


def _sparse_layers(config: Config, layers: int) -> int:
    """Return the layers with experts: every so many, but for those listed as dense."""
    step = integer(config, "decoder_sparse_step", 1)
    dense = config.get("mlp_only_layers") or []
    if not isinstance(dense, list):
        raise InputError("mlp_only_layers of the configuration must be a list of layers")
    return sum((layer + 1) % step == 0 and layer not in dense for layer in range(layers))


def _qwen_moe(config: Config) -> Fields:
    newer = config.get("model_type") != "qwen2_moe"
    given: dict[str, Any] = {"attention_bias": not newer} | dict(config)
    if newer:
        given = {"head_dim": 128} | given
    fields = llama(given) | {"query_key_norm": newer, "mlp_bias": False}
    shared = _whole(config, "shared_expert_intermediate_size")
    return fields | experts(
        config, _sparse_layers(config, fields["layers"]), count="num_experts",
        each="moe_intermediate_size", shared=shared,
    )  # fmt: skip


def _shared(config: Config, key: str = "n_shared_experts") -> int:
    return _whole(config, key) * integer(config, "moe_intermediate_size")


def _dense_first(config: Config, layers: int, default: int = 0) -> int:
    """Return the layers with experts after the first dense ones, every `moe_layer_freq`."""
    first = _whole(config, "first_k_dense_replace", default)
    step = config.get("moe_layer_freq")
    if isinstance(step, list):
        return sum(bool(one) for one in step)
    every = integer(config, "moe_layer_freq", 1)
    return sum(layer >= first and layer % every == 0 for layer in range(layers))


def _deepseek(config: Config) -> Fields:
    fields = llama(config) | {"mlp_bias": False}
    rank = config.get("q_lora_rank")
    indexed = config.get("index_n_heads") is not None
    fields["latent"] = {
        "query_rank": None if rank is None else integer(config, "q_lora_rank"),
        "cache_rank": integer(config, "kv_lora_rank", 512),
        "plain_size": integer(config, "qk_nope_head_dim", 128),
        "rotary_size": integer(config, "qk_rope_head_dim", 64),
        "value_size": integer(config, "v_head_dim", 128),
        "index_heads": integer(config, "index_n_heads") if indexed else 0,
        "index_size": integer(config, "index_head_dim", 128) if indexed else 0,
        "index_keys": integer(config, "index_topk", 2048) if indexed else 0,
    }
    fields["head_size"] = fields["latent"]["plain_size"] + fields["latent"]["rotary_size"]
    if config.get("n_routed_experts") is None:
        return fields
    return fields | experts(
        config, _dense_first(config, fields["layers"]), count="n_routed_experts",
        each="moe_intermediate_size", shared=_shared(config),
    )  # fmt: skip


def _glm_moe(config: Config) -> Fields:
    fields = llama({"head_dim": 128} | dict(config)) | {"mlp_bias": False}
    fields["query_key_norm"] = flag(config, "use_qk_norm", default=False)
    return fields | experts(
        config, _dense_first(config, fields["layers"]), count="n_routed_experts",
        each="moe_intermediate_size", shared=_shared(config),
    )  # fmt: skip


def _gpt_oss(config: Config) -> Fields:
    fields = llama({"head_dim": 64, "attention_bias": True} | dict(config))
    default = (fields["layers"] + 1) // 2
    given = {"sliding_window": 128} | dict(config)
    fields = windowed(given, fields, sliding(config, default)) | {"quantised": "experts"}
    given = {"num_experts_per_tok": config.get("experts_per_token"), **config}
    return fields | experts(
        given, fields["layers"], count="num_local_experts", each="intermediate_size"
    )


def _llama4(config: Config) -> Fields:
    """Return a Llama 4: dense layers are `intermediate_size_mlp` wide, one expert is shared."""
    fields = llama({"head_dim": 128} | dict(config)) | {"query_key_norm": False}
    layers = fields["layers"]
    listed, step = config.get("moe_layers"), integer(config, "interleave_moe_layer_step", 1)
    mixed = len(listed) if isinstance(listed, list) else layers // step
    fields["intermediate_size"] = integer(config, "intermediate_size_mlp", 16384)
    chunk = config.get("attention_chunk_size")
    if chunk is not None:
        local = layers - layers // integer(config, "no_rope_layer_interval", 4)
        chunked = {**config, "sliding_window": integer(config, "attention_chunk_size")}
        fields = windowed(chunked, fields, sliding(config, local))
    return fields | experts(
        config, mixed, count="num_local_experts", each="intermediate_size",
        shared=integer(config, "intermediate_size"),
    )  # fmt: skip


def _every_layer(count: str, each: str = "intermediate_size") -> Callable[[Config], Fields]:
    def read(config: Config) -> Fields:
        fields = llama(config)
        return fields | experts(config, fields["layers"], count=count, each=each)

    return read


def _phimoe(config: Config) -> Fields:
    fields = llama({"attention_bias": True} | dict(config)) | {"normalization": "layernorm"}
    fields = windowed(config, fields, fields["layers"])
    return fields | experts(
        config, fields["layers"], count="num_local_experts", each="intermediate_size"
    )


def _olmoe(config: Config) -> Fields:
    return _every_layer("num_experts")(config) | {"query_key_norm": True}


def _minimax_m2(config: Config) -> Fields:
    fields = _every_layer("num_local_experts")(config)
    return fields | {"query_key_norm": flag(config, "use_qk_norm", default=True)}


def _ernie(config: Config) -> Fields:
    fields = llama({"mlp_bias": False, **config})
    first = _whole(config, "moe_layer_start_index", 1)
    return fields | experts(
        config, fields["layers"] - first, count="moe_num_experts", visits="moe_k",
        each="moe_intermediate_size", shared=_shared(config, "moe_num_shared_experts"),
    )  # fmt: skip


def _dbrx(config: Config) -> Fields:
    attention, mixture = config.get("attn_config"), config.get("ffn_config")
    if not isinstance(attention, dict) or not isinstance(mixture, dict):
        raise InputError("dbrx needs attn_config and ffn_config; add them")
    renamed = {
        "hidden_size": config.get("d_model"), "num_hidden_layers": config.get("n_layers"),
        "num_attention_heads": config.get("n_heads"), "vocab_size": config.get("vocab_size"),
        "num_key_value_heads": attention.get("kv_n_heads"),
        "max_position_embeddings": config.get("max_seq_len"),
        "intermediate_size": mixture.get("ffn_hidden_size"),
    }  # fmt: skip
    fields = llama(renamed) | {"normalization": "layernorm"}
    return fields | experts(
        mixture, fields["layers"], count="moe_num_experts", visits="moe_top_k",
        each="ffn_hidden_size",
    )  # fmt: skip


def _mamba2(config: Config, layers: int, **keys: str) -> Fields:
    """Return Mamba-2 layers of a configuration, by the names of its keys."""
    head_size = integer(config, keys.get("size", "mamba_d_head"), 64)
    heads = integer(config, keys.get("heads", "mamba_n_heads"))
    return {
        "recurrent": {
            "kind": "mamba2", "layers": layers, "heads": heads, "head_size": head_size,
            "state_size": integer(config, keys.get("state", "mamba_d_state"), 128),
            "groups": integer(config, keys.get("groups", "mamba_n_groups"), 1),
            "taps": integer(config, keys.get("taps", "mamba_d_conv"), 4),
        }
    }  # fmt: skip


def _nemotron_h(config: Config) -> Fields:
    """Return a Nemotron-H: a pattern of M (Mamba-2), * (attention), - (MLP) and E (experts)."""
    pattern = config.get("hybrid_override_pattern")
    if not isinstance(pattern, str) or not pattern or set(pattern) - set("M*-E"):
        raise InputError("hybrid_override_pattern must be a text of M, *, - and E; add it")
    fields = llama({"num_key_value_heads": 8, **config, "num_hidden_layers": len(pattern)})
    fields |= {
        "attention_layers": pattern.count("*"), "dense_layers": pattern.count("-"),
        "gated_mlp": False, "norms_per_layer": 1, "positions": "none", "activation": "relu2",
    }  # fmt: skip
    if "E" in pattern:
        shared = _whole(config, "moe_shared_expert_intermediate_size")
        fields |= experts(
            config, pattern.count("E"), count="n_routed_experts", each="moe_intermediate_size",
            shared=shared * _whole(config, "n_shared_experts", 1),
        )  # fmt: skip
    if "M" not in pattern:
        return fields
    return fields | _mamba2(
        config, pattern.count("M"), heads="mamba_num_heads", size="mamba_head_dim",
        state="ssm_state_size", groups="n_groups", taps="conv_kernel",
    )  # fmt: skip


def _falcon_h1(config: Config) -> Fields:
    """Return a Falcon-H1: attention and Mamba-2 side by side in every layer."""
    fields = llama(config)
    return fields | _mamba2(config, fields["layers"])


def _attention_at(config: Config, layers: int) -> int:
    """Return the layers of a hybrid that attend: by a list, or every so many."""
    kinds = kinds_of(config) or config.get("layers_block_type")
    if isinstance(kinds, list):
        return sum("attention" in str(kind) for kind in kinds)
    listed = config.get("attn_layer_indices")
    if isinstance(listed, list):
        return len(listed)
    every, first = integer(config, "attn_layer_period", 8), _whole(config, "attn_layer_offset", 4)
    return sum(layer % every == first for layer in range(layers))


def _bamba(config: Config) -> Fields:
    fields = llama(config)
    attention = _attention_at(config, fields["layers"])
    return fields | {"attention_layers": attention} | _mamba2(config, fields["layers"] - attention)


def _granite_hybrid(config: Config) -> Fields:
    fields = _bamba(config)
    shared = integer(config, "shared_intermediate_size", fields["intermediate_size"])
    if not _whole(config, "num_local_experts"):
        return fields | {"intermediate_size": shared}
    return fields | experts(
        config, fields["layers"], count="num_local_experts", each="intermediate_size",
        shared=shared,
    )  # fmt: skip


def _mamba1(config: Config, layers: int, hidden: int, names: str = "mamba_") -> Fields:
    """Return Mamba layers, whose channels are heads of size one."""
    inner = integer(config, f"{names}expand" if names else "expand", 2) * hidden
    state = "mamba_d_state" if names else "state_size"
    rank = config.get("mamba_dt_rank" if names else "time_step_rank", "auto")
    return {
        "recurrent": {
            "kind": "mamba", "layers": layers, "heads": inner, "head_size": 1,
            "state_size": integer(config, state, _MAMBA_STATE),
            "taps": integer(config, "mamba_d_conv" if names else "conv_kernel", 4),
            "step_rank": rank if isinstance(rank, int) else -(-hidden // 16),
        }
    }  # fmt: skip


def _jamba(config: Config) -> Fields:
    fields = llama({"num_key_value_heads": 8} | dict(config)) | {"positions": "none"}
    layers = fields["layers"]
    attention = _attention_at(config, layers)
    every, first = (
        integer(config, "expert_layer_period", 2),
        _whole(config, "expert_layer_offset", 1),
    )
    mixed = sum(layer % every == first for layer in range(layers))
    fields |= {"attention_layers": attention}
    fields |= _mamba1(config, layers - attention, fields["hidden_size"])
    if _whole(config, "num_experts", 16) < 2:  # noqa: PLR2004  # one expert is a dense MLP
        return fields
    return fields | experts(config, mixed, count="num_experts", each="intermediate_size")


def _pure_mamba(config: Config) -> Fields:
    """Return a model of Mamba or Mamba-2 layers alone."""
    hidden, layers = integer(config, "hidden_size"), integer(config, "num_hidden_layers")
    tied = flag(config, "tie_word_embeddings", default=config.get("model_type") == "mamba")
    fields = {
        "layers": layers, "hidden_size": hidden, "intermediate_size": hidden,
        "attention_heads": 1, "key_value_heads": 1, "head_size": 1, "attention_layers": 0,
        "dense_layers": 0, "norms_per_layer": 1, "positions": "none", "tied_embeddings": tied,
        "vocabulary_size": integer(config, "vocab_size"),
    }  # fmt: skip
    if config.get("model_type") == "mamba":
        return fields | _mamba1(config, layers, hidden, "")
    given = {"head_dim": 64, "num_heads": 2 * hidden // 64, **config}
    return fields | _mamba2(
        given, layers, heads="num_heads", size="head_dim", state="state_size", groups="n_groups",
        taps="conv_kernel",
    )  # fmt: skip


def _qwen3_next(config: Config) -> Fields:
    """Return a Qwen3-Next: three gated delta layers to one of gated attention."""
    fields = llama({"head_dim": 256} | dict(config))
    layers = fields["layers"]
    kinds = kinds_of(config)
    every = integer(config, "full_attention_interval", 4)
    linear = kinds.count(_DELTA) if kinds else layers - layers // every
    fields |= {"attention_layers": layers - linear, "gated_attention": True, "query_key_norm": True}
    fields["recurrent"] = {
        "kind": "delta", "layers": linear, "heads": integer(config, "linear_num_value_heads", 32),
        "head_size": integer(config, "linear_value_head_dim", 128),
        "state_size": integer(config, "linear_key_head_dim", 128),
        "groups": integer(config, "linear_num_key_heads", 16),
        "taps": integer(config, "linear_conv_kernel_dim", 4),
    }  # fmt: skip
    if not _whole(config, "num_experts"):
        return fields
    return fields | experts(
        config, _sparse_layers(config, layers), count="num_experts", each="moe_intermediate_size",
        shared=_whole(config, "shared_expert_intermediate_size"),
    )  # fmt: skip


def _minimax(config: Config) -> Fields:
    """Return a MiniMax-01: lightning attention, whose state is one matrix a head, and experts."""
    fields = llama({"head_dim": 128} | dict(config))
    layers = fields["layers"]
    kinds = config.get("attn_type_list") or kinds_of(config)
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise NoEstimateError(
            f"{shorten(str(config.get('model_type')))} without a list of its attention layers "
            "has no method; add attn_type_list"
        )
    full = sum(kind in (1, "full_attention") for kind in kinds)
    heads, size = fields["attention_heads"], fields["head_size"]
    fields |= {"attention_layers": full}
    fields["recurrent"] = {
        "kind": "delta", "layers": layers - full, "heads": heads, "head_size": size,
        "state_size": size, "groups": heads, "taps": 1,
    }  # fmt: skip
    return fields | experts(config, layers, count="num_local_experts", each="intermediate_size")


READERS: dict[str, Callable[[Config], Fields]] = {
    "mixtral": _mixtral,
    "qwen2_moe": _qwen_moe,
    "qwen3_moe": _qwen_moe,
    "qwen3_next": _qwen3_next,
    "qwen3_5_text": _qwen3_next,
    "qwen3_5_moe_text": _qwen3_next,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "deepseek_v32": _deepseek,
    "kimi_k2": _deepseek,
    "glm_moe_dsa": _deepseek,
    "glm4_moe_lite": _deepseek,
    "glm4_moe": _glm_moe,
    "dots1": _glm_moe,
    "gpt_oss": _gpt_oss,
    "llama4_text": _llama4,
    "phimoe": _phimoe,
    "olmoe": _olmoe,
    "granitemoe": _every_layer("num_local_experts"),
    "minimax_m2": _minimax_m2,
    "minimax": _minimax,
    "minimax_m1": _minimax,
    "minimax_text_01": _minimax,
    "ernie4_5_moe": _ernie,
    "dbrx": _dbrx,
    "jamba": _jamba,
    "nemotron_h": _nemotron_h,
    "falcon_h1": _falcon_h1,
    "bamba": _bamba,
    "granitemoehybrid": _granite_hybrid,
    "mamba": _pure_mamba,
    "mamba2": _pure_mamba,
}
