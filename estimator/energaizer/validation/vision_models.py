"""Vision models of the published sizes, until the catalogue holds their families."""

from functools import lru_cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

from energaizer.lowering.vision import ConvNet, VisionTransformer
from energaizer.validation import names


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    source: str
    transformers: tuple[VisionTransformer, ...]
    networks: tuple[ConvNet, ...]


@lru_cache(maxsize=1)
def _known() -> dict[str, ConvNet | VisionTransformer]:
    file = files("energaizer") / "profiles" / "tables" / "vision.json"
    read = _Known.model_validate_json(file.read_text(encoding="utf-8"))
    models: list[ConvNet | VisionTransformer] = [*read.transformers, *read.networks]
    return {model.name: model for model in models}


def find(model: str, size: str) -> ConvNet | VisionTransformer | None:
    """Return the vision model of a table's `model` and `size`; None: it is none of those known."""
    for spelling in names.spellings(model, size):
        if spelling in _known():
            return _known()[spelling]
    return None
