"""Vision, speech, diffusion and encoder-decoder models: a room a family, loaded when wanted."""

from functools import lru_cache
from importlib import import_module

from energaizer.families.generation import Generation
from energaizer.families.network import EncoderDecoder, Inputs, Network, passes

__all__ = ["FAMILIES", "EncoderDecoder", "Generation", "Inputs", "Network", "passes", "schema"]

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
    "text-to-image": ("diffusion.pipeline", "ImagePipeline"),
    "text-to-video": ("diffusion.pipeline", "VideoPipeline"),
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
