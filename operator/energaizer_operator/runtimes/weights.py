"""llama.cpp and Ollama: the name of a GGUF repository, file or tag says model and quantisation."""

import re
from collections.abc import Mapping
from dataclasses import replace

from energaizer_operator.runtimes.arguments import understand
from energaizer_operator.runtimes.models import hidden, tagged_name, vendor_name
from energaizer_operator.runtimes.records import Call, Input, Reading

_TYPES = {"q4_0": "INT4", "q8_0": "INT8", "f16": "FP16", "bf16": "BF16", "f32": "FP32"}
_FILE = re.compile(r"(.+?)[-.]((?:i?q\d\w*)|b?f16|f32)(?:-\d+-of-\d+)?\.gguf", re.IGNORECASE)
_ADDRESS = re.compile(
    r"https://(?:huggingface|hf)\.co/([\w.-]+/[\w.-]+?)-gguf/[^?]*?[-.]((?:i?q\d\w*)|b?f16|f32)"
    r"\.gguf(?:\?.*)?",
    re.IGNORECASE | re.ASCII,
)
_LONGEST = 512
_WHY = "the kind of quantisation does not tell the bits of a weight"


def gguf(call: Call, known: Mapping[str, str]) -> Reading:
    """Return what a call of llama.cpp states; `-hf REPOSITORY:KIND`, `-m FILE`."""
    kinds: list[str] = []

    def plain(word: str) -> str:
        flag, equals, text = word.partition("=") if word.startswith("-") else ("", "", word)
        if found := _ADDRESS.fullmatch(text[:_LONGEST]):
            kinds.append(found.group(2).casefold())
            return f"{flag}{equals}{vendor_name(found.group(1), known)}"
        last = text.rpartition("/")[2]
        if found := _FILE.fullmatch(last[:253]):
            kinds.append(found.group(2).casefold())
            return f"{flag}{equals}/{found.group(1)}"
        repository, _, kind = text.partition(":")
        if "/" in repository and repository.casefold().endswith("-gguf"):
            kinds.append(kind.casefold())
            return f"{flag}{equals}{vendor_name(repository[: -len('-gguf')], known)}"
        return word

    environment = {
        name: plain(text) if name in call.runtime.variables else text
        for name, text in call.environment.items()
    }
    words = tuple(plain(word) for word in call.words)
    reading = understand(replace(call, words=words, environment=environment), known)
    if Input.MODEL not in reading.values:
        return reading
    if kinds and (meaning := _TYPES.get(kinds[-1])) is not None:
        return replace(reading, values={**reading.values, Input.WEIGHTS: meaning})
    return replace(reading, unknown={**reading.unknown, Input.WEIGHTS: _WHY})


def ollama(call: Call, known: Mapping[str, str]) -> Reading:
    """Return what `ollama pull NAME:SIZE` states; its weights are mixed formats of GGUF."""
    values: dict[str, str] = {Input.TASK: "Inference"}
    unknown: dict[str, str] = {Input.WEIGHTS: _WHY}
    wanted = next((word for word in call.words if not word.startswith("-")), "")
    name = None if hidden(wanted) else tagged_name(wanted, known)
    if name is None:
        unknown[Input.MODEL] = f'"{wanted[:63]}" names no model for sure'
    else:
        values[Input.MODEL] = name
    return Reading(values, unknown)
