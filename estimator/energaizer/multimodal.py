"""Configurations of vision-language models on Hugging Face -> a language model with its tower.

The text stack is read by its own family; what the tower hands over is counted in prompt tokens.
"""

from collections.abc import Callable, Mapping

from energaizer import decoders, mixtures
from energaizer.decoders import Config, Fields, integer
from energaizer.errors import InputError, NoEstimateError, shorten

_TEXT = decoders.READERS | mixtures.READERS
_QWEN_IMAGE = 1024  # edge where none is named: these towers take any


def _part(config: Config, *keys: str) -> Config:
    """Return the first nested configuration that exists."""
    for key in keys:
        found = config.get(key)
        if isinstance(found, Mapping):
            return found
    raise InputError(f"the configuration has no {keys[0]}; add it")


def _text(config: Config, default: str = "", *keys: str) -> Fields:
    """Return the language model inside a configuration."""
    inner = _part(config, *(keys or ("text_config", "llm_config", "language_config")))
    family = str(inner.get("model_type") or default)
    reader = _TEXT.get(family)
    if reader is None:
        raise NoEstimateError(f'language model "{shorten(family, 60)}" inside it has no method')
    return reader(inner)


def _siglip(config: Config, **more: object) -> Fields:
    """Return a tower of a fixed image size, in the keys of CLIP and SigLIP."""
    return {
        "layers": integer(config, "num_hidden_layers", 27),
        "hidden_size": integer(config, "hidden_size", 1152),
        "intermediate_size": integer(config, "intermediate_size", 4304),
        "heads": integer(config, "num_attention_heads", 16),
        "patch": integer(config, "patch_size", 14),
    } | more


def _qwen_vl(config: Config) -> Fields:
    """Return a Qwen-VL: native resolution, 2 x 2 patches to a token, two frames to a patch."""
    family = str(config.get("model_type"))
    dense = {"qwen3_vl": "qwen3", "qwen3_vl_moe": "qwen3_moe"}.get(family, "qwen2")
    if "text_config" in config:
        inner = {**_part(config, "text_config"), "model_type": dense}
    else:
        inner = {**config, "model_type": dense}
    fields = _TEXT[dense](inner)
    seen = _part(config, "vision_config")
    old = family == "qwen2_vl"
    hidden = integer(seen, "embed_dim" if old else "hidden_size", 1280)
    wide = seen.get("intermediate_size")
    tower = {
        "layers": integer(seen, "depth", 32), "hidden_size": hidden,
        "intermediate_size": 4 * hidden if wide is None else integer(seen, "intermediate_size"),
        "heads": integer(seen, "num_heads", 16),
        "patch": integer(seen, "patch_size", 14), "merge": integer(seen, "spatial_merge_size", 2),
        "frames_per_patch": integer(seen, "temporal_patch_size", 2), "image_size": _QWEN_IMAGE,
    }  # fmt: skip
    if family == "qwen2_5_vl":
        full = seen.get("fullatt_block_indexes")
        window = integer(seen, "window_size", 112) // tower["patch"]
        tower |= {"gated_mlp": True, "window": window**2,
                  "full_layers": len(full) if isinstance(full, list) else 4}  # fmt: skip
    return fields | {"vision": tower}


def _qwen_omni(config: Config) -> Fields:
    thinker = _part(config, "thinker_config")
    note = "text and vision of the thinker only: audio and the talker are not counted"
    fields = _qwen_vl({**thinker, "model_type": "qwen3_vl_moe"})
    return fields | {"notes": (note,)}


def _gemma3(config: Config) -> Fields:
    fields = _text({"text_config": _part(config, "text_config")}, "gemma3_text")
    seen = config.get("vision_config")
    if not isinstance(seen, Mapping) or not seen:
        return fields | {"notes": ("the configuration has no vision tower: text alone",)}
    edge = integer(seen, "image_size", 896)
    tower = _siglip(seen, image_size=edge, tile_size=edge)
    given = integer(config, "mm_tokens_per_image", 256)
    merge = round(edge / tower["patch"] / given**0.5)
    return fields | {"vision": tower | {"merge": max(1, merge)}}


def _llama4(config: Config) -> Fields:
    fields = _text(config, "llama4_text")
    seen = _part(config, "vision_config")
    edge = integer(seen, "image_size", 336)
    ratio = seen.get("pixel_shuffle_ratio", 0.5)
    merge = round(1.0 / ratio) if isinstance(ratio, float) and ratio > 0 else 2
    tower = _siglip(
        {"num_hidden_layers": 34, "hidden_size": 1408, "intermediate_size": 5632} | dict(seen),
        image_size=1024, tile_size=edge, most_tiles=16, merge=merge,
    )  # fmt: skip
    return fields | {"vision": tower}


def _llava(config: Config) -> Fields:
    fields = _text({"text_config": {"model_type": "llama", **_part(config, "text_config")}})
    seen = _part(config, "vision_config")
    edge = integer(seen, "image_size", 336)
    tiles = 4 if "next" in str(config.get("model_type")) else 1
    tower = _siglip(
        {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096} | dict(seen),
        image_size=edge * (2 if tiles > 1 else 1), tile_size=edge, most_tiles=tiles,
    )  # fmt: skip
    return fields | {"vision": tower}


def _internvl(config: Config) -> Fields:
    fields = _text(config)
    seen = _part(config, "vision_config")
    edge = seen.get("image_size")
    edge = edge[0] if isinstance(edge, list) and edge and isinstance(edge[0], int) else edge
    edge = edge if isinstance(edge, int) else 448
    patch = seen.get("patch_size")
    patch = patch[0] if isinstance(patch, list) and patch else patch
    most = integer(config, "max_dynamic_patch", 12)
    tower = _siglip(
        {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096}
        | {**seen, "patch_size": patch},
        image_size=2 * edge, tile_size=edge, most_tiles=most, merge=2,
    )  # fmt: skip
    return fields | {"vision": tower}


def _pixtral(config: Config) -> Fields:
    fields = _text({"text_config": {"model_type": "mistral", **_part(config, "text_config")}})
    seen = _part(config, "vision_config")
    tower = _siglip(
        {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096,
         "patch_size": 16} | dict(seen),
        image_size=1024, merge=integer(config, "spatial_merge_size", 1), gated_mlp=True,
    )  # fmt: skip
    return fields | {"vision": tower}


def _nemotron_vl(config: Config) -> Fields:
    """Return a Nemotron Nano VL: C-RADIO, a ViT-H of 512-pixel tiles, 256 tokens each."""
    inner = {"model_type": "nemotron_h", **_part(config, "llm_config", "text_config")}
    fields = _TEXT["nemotron_h"](inner)
    edge = integer(config, "force_image_size", 512)
    tower = {
        "layers": 32, "hidden_size": 1280, "intermediate_size": 5120, "heads": 16,
        "patch": integer(config, "patch_size", 16), "merge": 2, "image_size": 2 * edge,
        "tile_size": edge, "most_tiles": 12,
    }  # fmt: skip
    return fields | {"vision": tower}


READERS: dict[str, Callable[[Config], Fields]] = {
    "qwen2_vl": _qwen_vl,
    "qwen2_5_vl": _qwen_vl,
    "qwen3_vl": _qwen_vl,
    "qwen3_vl_moe": _qwen_vl,
    "qwen3_omni_moe": _qwen_omni,
    "gemma3": _gemma3,
    "llama4": _llama4,
    "llava": _llava,
    "llava_next": _llava,
    "internvl": _internvl,
    "internvl_chat": _internvl,
    "mistral3": _pixtral,
    "pixtral": _pixtral,
    "NemotronH_Nano_VL_V2": _nemotron_vl,
}
