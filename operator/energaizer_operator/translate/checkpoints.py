"""Checkpoints that others quantised: the name of a known model with a suffix that tells the bits.

`hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4` has the shape of Llama 3.1 8B and weights of
four bits. A suffix that leaves the bits open (GPTQ alone, GGUF) tells nothing for sure, and such a
name stays unknown.
"""

from __future__ import annotations

import re
from functools import cache

from energaizer import catalog
from energaizer.precision import Precision

_SUFFIXES = (
    (r"-awq(-int4|-4bit)?|-(gptq|autoround)-int4|-gptq-4bit", Precision.INT4),
    (r"(-quantized)?[-.]w4a16(-g128)?|-int4|-4bit|-bnb-4bit", Precision.INT4),
    (r"-gptq-int8|(-quantized)?[-.]w8a(8|16)|-int8|-8bit", Precision.INT8),
    (r"-fp8(-dynamic|-kv|-block)?", Precision.FP8),
    (r"-nvfp4|-fp4", Precision.NVFP4),
)


def base(name: str) -> tuple[str, Precision] | None:
    """Return the model of a quantised checkpoint and the format of its weights, or None.

    Args:
        name: An id of the Hub that names no known model itself.
    """
    last = name.rpartition("/")[2].casefold()
    for pattern, weights in _SUFFIXES:
        found = re.fullmatch(rf"(.+?)(?:{pattern})", last)
        if found and found.group(1) in _known():
            return _known()[found.group(1)], weights
    return None


@cache
def _known() -> dict[str, str]:
    """Return last part of each name, in lower case -> the model; ambiguous ones left out."""
    meanings: dict[str, set[str]] = {}
    for one in catalog.models():
        for spoken in (one.name, *one.aliases):
            meanings.setdefault(spoken.rpartition("/")[2].casefold(), set()).add(one.name)
    return {part: min(names) for part, names in meanings.items() if len(names) == 1}
