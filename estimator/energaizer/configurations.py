"""Configurations of vision, speech and encoder-decoder models on Hugging Face -> their fields.

Each reader returns the fields of one family's class, which checks them. What a configuration leaves
out takes the default of `transformers`; a shape that a family has no method for is an error.
"""

from collections.abc import Callable, Mapping
from typing import Any

from energaizer.errors import InputError, NoEstimateError

Config = Mapping[str, Any]
Fields = dict[str, Any]
_DEFAULT_CLASSES = 2  # of a classifier whose configuration names none


def _only(config: Config, **expected: Any) -> None:
    """Refuse values other than the ones that the family is described with."""
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise NoEstimateError(
                f"{config.get('model_type')} with {key} other than {value} has no method"
            )


def _classes(config: Config) -> int:
    """Return the classes of a classifier; 0: the model ends in hidden states."""
    named = config.get("id2label")
    if isinstance(named, Mapping) and named:
        return len(named)
    kinds = config.get("architectures")
    classifies = isinstance(kinds, list) and any("Classification" in str(kind) for kind in kinds)
    return int(config.get("num_labels") or _DEFAULT_CLASSES) if classifies else 0


def _numbers(config: Config, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return a list of whole numbers."""
    found = config.get(key)
    if found is None:
        return default
    if not isinstance(found, list) or not all(type(item) is int for item in found):
        raise InputError(f"{key} of the configuration must be a list of whole numbers")
    return tuple(found)


def _nested(config: Config, key: str) -> Config:
    found = config.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise InputError(f"{key} of the configuration must be an object")
    return found


def _resnet(config: Config) -> Fields:
    _only(config, num_channels=3, downsample_in_bottleneck=False, downsample_in_first_stage=False)
    basic = config.get("layer_type", "bottleneck") == "basic"
    expansion = 1 if basic else 4
    outer = _numbers(config, "hidden_sizes", (256, 512, 1024, 2048))
    return {
        "depths": _numbers(config, "depths", (3, 4, 6, 3)),
        "widths": tuple(width // expansion for width in outer),
        "expansion": expansion,
        "stem_channels": config.get("embedding_size", 64),
        "classes": _classes(config),
    }


def _vit(config: Config) -> Fields:
    _only(config, num_channels=3)
    classes = _classes(config)
    return {
        "layers": config.get("num_hidden_layers", 12),
        "hidden_size": config.get("hidden_size", 768),
        "intermediate_size": config.get("intermediate_size", 3072),
        "attention_heads": config.get("num_attention_heads", 12),
        "image_size": config.get("image_size", 224),
        "patch_size": config.get("patch_size", 16),
        "classes": classes,
        "head": "classifier" if classes else "pooler",
    }


def _deit(config: Config) -> Fields:
    return _vit(config) | {"special_tokens": 2}  # of class and of distillation


def _swin(config: Config) -> Fields:
    _only(config, num_channels=3, qkv_bias=True, use_absolute_embeddings=False)
    return {
        "hidden_size": config.get("embed_dim", 96),
        "depths": _numbers(config, "depths", (2, 2, 6, 2)),
        "attention_heads": _numbers(config, "num_heads", (3, 6, 12, 24)),
        "window_size": config.get("window_size", 7),
        "patch_size": config.get("patch_size", 4),
        "mlp_ratio": config.get("mlp_ratio", 4.0),
        "image_size": config.get("image_size", 224),
        "classes": _classes(config),
    }


def _convnext(config: Config) -> Fields:
    _only(config, num_channels=3, patch_size=4)
    return {
        "depths": _numbers(config, "depths", (3, 3, 9, 3)),
        "widths": _numbers(config, "hidden_sizes", (96, 192, 384, 768)),
        "image_size": config.get("image_size", 224),
        "classes": _classes(config),
    }


def _mobilevit(config: Config) -> Fields:
    _only(config, num_channels=3, patch_size=2, num_attention_heads=4, mlp_ratio=2.0)
    _only(config, conv_kernel_size=3, output_stride=32)
    return {
        "necks": _numbers(config, "neck_hidden_sizes", (16, 32, 64, 96, 128, 160, 640)),
        "hidden_sizes": _numbers(config, "hidden_sizes", (144, 192, 240)),
        "ratio": config.get("expand_ratio", 4.0),
        "image_size": config.get("image_size", 256),
        "classes": _classes(config),
    }


def _mobilenet_v2(config: Config) -> Fields:
    from energaizer.families import inverted  # noqa: PLC0415  # loaded with its first model

    _only(config, num_channels=3, expand_ratio=6.0, output_stride=32, first_layer_is_expansion=True)
    width = _ratio(config, "depth_multiplier", 1.0)
    fine = bool(config.get("finegrained_output", True))
    return inverted.mobilenet_v2(width, whole_head=fine) | {
        "image_size": config.get("image_size", 224), "classes": _classes(config),
    }  # fmt: skip


def _efficientnet(config: Config) -> Fields:
    from energaizer.families import inverted  # noqa: PLC0415  # loaded with its first model

    _only(config, num_channels=3, depth_divisor=8, squeeze_expansion_ratio=0.25)
    _only(config, kernel_sizes=[3, 3, 5, 3, 5, 5, 3], num_block_repeats=[1, 2, 2, 3, 3, 4, 1])
    width = _ratio(config, "width_coefficient", 2.0)
    depth = _ratio(config, "depth_coefficient", 3.1)
    return inverted.efficientnet(width, depth) | {
        "image_size": config.get("image_size", 600), "classes": _classes(config),
    }  # fmt: skip


def _ratio(config: Config, key: str, default: float) -> float:
    """Return a factor of width or depth."""
    found = config.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found <= 100:  # noqa: PLR2004
        raise InputError(f"{key} of the configuration must be a number between 0 and 100")
    return float(found)


def _clip(config: Config) -> Fields:
    image, text = _nested(config, "vision_config"), _nested(config, "text_config")
    fields = {
        "layers": image.get("num_hidden_layers", 12),
        "hidden_size": image.get("hidden_size", 768),
        "attention_heads": image.get("num_attention_heads", 12),
        "patch_size": image.get("patch_size", 32),
        "image_size": image.get("image_size", 224),
        "text_layers": text.get("num_hidden_layers", 12),
        "text_hidden_size": text.get("hidden_size", 512),
        "text_attention_heads": text.get("num_attention_heads", 8),
        "vocabulary_size": text.get("vocab_size", 49408),
        "max_positions": text.get("max_position_embeddings", 77),
        "projection_size": config.get("projection_dim", 512),
    }
    for part, width in ((image, fields["hidden_size"]), (text, fields["text_hidden_size"])):
        if isinstance(width, int) and part:
            _only({"model_type": "clip", **part}, intermediate_size=4 * width)
    return fields


def _t5(config: Config) -> Fields:
    form = str(config.get("feed_forward_proj", "relu"))
    if form not in {"relu", "gated-gelu"}:
        raise NoEstimateError(f"t5 with feed_forward_proj {form[:40]!r} has no method")
    gated = form == "gated-gelu"
    layers = config.get("num_layers", 6)
    return {
        "layers": layers,
        "decoder_layers": config.get("num_decoder_layers") or layers,
        "hidden_size": config.get("d_model", 512),
        "intermediate_size": config.get("d_ff", 2048),
        "attention_heads": config.get("num_heads", 8),
        "head_size": config.get("d_kv", 64),
        "vocabulary_size": config.get("vocab_size", 32128),
        "gated_mlp": gated,
        "function": "gelu_new" if gated else "relu",
        "tied_embeddings": config.get("tie_word_embeddings", True),
    }


def _whisper(config: Config) -> Fields:
    heads, inner = config.get("encoder_attention_heads", 6), config.get("encoder_ffn_dim", 1536)
    _only(config, decoder_attention_heads=heads, decoder_ffn_dim=inner)
    positions = config.get("max_source_positions", 1500)
    return {
        "layers": config.get("encoder_layers", 4),
        "decoder_layers": config.get("decoder_layers", 4),
        "hidden_size": config.get("d_model", 384),
        "intermediate_size": inner,
        "attention_heads": heads,
        "mel_bins": config.get("num_mel_bins", 80),
        "frames": 2 * positions if isinstance(positions, int) else positions,
        "vocabulary_size": config.get("vocab_size", 51865),
        "max_positions": config.get("max_target_positions", 448),
    }


READERS: dict[str, tuple[str, Callable[[Config], Fields]]] = {
    "clip": ("clip", _clip),
    "convnext": ("convnext", _convnext),
    "deit": ("vit", _deit),
    "efficientnet": ("efficientnet", _efficientnet),
    "mobilenet_v2": ("mobilenet_v2", _mobilenet_v2),
    "mobilevit": ("mobilevit", _mobilevit),
    "resnet": ("resnet", _resnet),
    "swin": ("swin", _swin),
    "t5": ("t5", _t5),
    "vit": ("vit", _vit),
    "whisper": ("whisper", _whisper),
}
"""model_type of a configuration -> family, and what reads its fields."""
