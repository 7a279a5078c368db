"""Vision, speech and encoder-decoder models: one room for each family, loaded when it is wanted."""

from functools import lru_cache
from importlib import import_module

from energaizer.families.network import EncoderDecoder, Inputs, Network, passes

__all__ = ["FAMILIES", "EncoderDecoder", "Inputs", "Network", "passes", "schema"]

FAMILIES = {
    "clip": ("clip", "Clip"),
    "convnext": ("convnext", "ConvNext"),
    "efficientnet": ("inverted", "EfficientNet"),
    "mobilenet_v2": ("inverted", "MobileNetV2"),
    "mobilenet_v3": ("inverted", "MobileNetV3"),
    "mobilevit": ("mobilevit", "MobileVit"),
    "resnet": ("resnet", "ResNet"),
    "swin": ("swin", "Swin"),
    "t5": ("t5", "T5"),
    "vit": ("vit", "VisionTransformer"),
    "whisper": ("whisper", "Whisper"),
}
"""Family -> its room and the class in it. A room is imported with its first model."""


@lru_cache(maxsize=len(FAMILIES))
def schema(family: str) -> type[Network]:
    """Return the class that describes models of a family of `FAMILIES`."""
    room, name = FAMILIES[family]
    found: type[Network] = getattr(import_module(f"energaizer.families.{room}"), name)
    return found
