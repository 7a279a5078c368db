"""Models under the names that tables of measurements give them: a `model` and a `size`."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from energaizer import catalog
from energaizer.errors import UnknownNameError, shorten
from energaizer.families import Network
from energaizer.model import Model

_VARIANT = re.compile(r"(-instruct|-it|-chat|-thinking|-2507|-fp8)+$")  # same layer shapes
_NONE: Mapping[str, str] = MappingProxyType({})


def spellings(model: str, size: str = "", known: Mapping[str, str] = _NONE) -> tuple[str, ...]:
    """Return the names under which the catalogue may hold a model of a size.

    `opt`, `opt-1p3b` -> `opt-1.3b`; `bert`, `large` -> `bert-large`; `gpt2`, `gpt2` -> `gpt2`;
    `llama2`, `7b` -> `llama2-7b`, `llama-2-7b`; `resnet101`, `101` -> `resnet101`.

    Args:
        model: Family or model.
        size: Size, which may repeat the family; "": the model alone names it.
        known: Further names, `model-size` -> name in the catalogue.
    """
    family = _plain(model)
    family = family.removesuffix("model") or family  # a class of a library: `vitmodel`
    family, short = (re.sub(r"(?<=\d)p(?=\d)", ".", text) for text in (family, _plain(size)))
    short = short.replace("/", "-")
    if not short or short == family or (short.isdigit() and family.endswith(short)):
        found = [family]
    elif short.startswith(family):
        found = [short]
    else:
        found = [f"{family}-{short}", f"{family}{short}", short]
    found = [*(known[name] for name in found if name in known), *found]
    found += [re.sub(r"(?<=[a-z])(?=\d)", "-", name) for name in found]
    found += [re.sub(r"(?<=[a-z])-(?=\d)", "", name) for name in found]
    found += [_VARIANT.sub("", name).replace("/meta-llama", "/llama") for name in found]
    return tuple(dict.fromkeys(found))


def model(name: str, size: str = "", known: Mapping[str, str] = _NONE) -> Model | Network:
    """Return the catalogue's model of a table's `model` and `size`, as `spellings` reads them.

    Raises:
        UnknownNameError: No spelling of it is in the catalogue.
    """
    for spelling in spellings(name, size, known):
        try:
            return catalog.model(spelling)
        except UnknownNameError:
            continue
    told = shorten(name if not size or size == name else f"{name}, {size}")
    raise UnknownNameError(f'no model "{told}" in the catalogue; `energaizer models` lists them')


def _plain(text: str) -> str:
    return re.sub(r"[\s_]+", "-", text.strip().casefold())
