"""Words and variables of one runtime -> what they state, by the table of the runtime."""

import re
from collections.abc import Iterable, Iterator, Mapping

from energaizer_operator.runtimes.models import hidden, model_name
from energaizer_operator.runtimes.records import CEILINGS, NO_LITERAL, Call, Input, Reading, Runtime

_DIGITS = 8
_SHORTEST = 8  # characters of an abbreviated flag that is still read
_FLAG = r"-{1,2}[a-z][\w-]*(?:[ =][^\s{}\[\]\"'-][^\s{}\[\]\"']*)?"
_TOGETHER = re.compile(rf"\s*{_FLAG}(?:\s+{_FLAG})*\s*", re.ASCII)
_UNSAID = ("", "auto", "none", "null")
_NUMBERS = (
    *(Input.TENSOR, Input.PIPELINE, Input.DATA, Input.EXPERT, Input.CONTEXT),
    *(Input.BATCH, Input.MICRO, Input.STRETCH, Input.STEPS),
)


def understand(call: Call, known: Mapping[str, str]) -> Reading:
    """Return what a call of a runtime states."""
    runtime = call.runtime
    stated = _stated(call)
    values: dict[str, str] = {Input.TASK: runtime.task}
    unknown: dict[str, str] = {}
    ceilings = {
        str(entry): int(stated[entry]) for entry in CEILINGS if _counts(stated.get(entry, ""))
    }
    for entry, text in stated.items():
        if entry not in CEILINGS:
            take(runtime, entry, text, known, values, unknown)
    # A word that we cannot see may be any flag; a file of settings may hold any.
    if any(_veiled(word) for word in _loose(call)):
        _hide(values, unknown, "comes from a variable whose value is not in the manifest")
    if any(canonical(word, runtime) in runtime.opaque for word in call.words):
        _hide(values, unknown, "may stand in a file of settings that the arguments name")
    if runtime.spreads and call.gpus > 1:
        _hide(values, unknown, f"is chosen by {runtime.name} itself", (Input.TENSOR,))
    if runtime.amend is not None:
        runtime.amend(call, values, unknown)
    return Reading(values, unknown, ceilings)


def names_model(call: Call) -> bool:
    """Return whether a call says anything about its model."""
    return Input.MODEL in _stated(call)


def _stated(call: Call) -> dict[Input, str]:
    """Return the text of each input that environment, flags and first word state."""
    runtime = call.runtime
    stated: dict[Input, str] = {}
    for name, entry in runtime.variables.items():
        if name in call.environment:
            stated[entry] = call.environment[name]
    stated |= dict(_flags(call))
    first = bool(call.words) and not call.words[0].startswith("-")
    if runtime.positional and (first or Input.MODEL not in stated):
        model = positional(call)
        stated |= {} if model is None else {Input.MODEL: model}
    return stated


def split(words: Iterable[str]) -> tuple[str, ...]:
    """Return words with those parted that hold a flag and its value in one: `--model a/b`."""
    found: list[str] = []
    for word in words:
        found += word.split() if _TOGETHER.fullmatch(word) else [word]
    return tuple(found)


def canonical(word: str, runtime: Runtime) -> str:
    """Return the flag of a word as the table writes it."""
    flag = word.partition("=")[0]
    if not runtime.abbreviates or not flag.startswith("--"):
        return flag
    flag = flag.replace("_", "-")
    if flag in runtime.flags or flag in runtime.switches or len(flag) < _SHORTEST:
        return flag
    return next((full for full in runtime.flags if full.startswith(flag)), flag)


def positional(call: Call) -> str | None:
    """Return the first word that is no flag, if nothing before it may take it as a value."""
    rest = iter(call.words)
    for word in rest:
        if not word.startswith("-"):
            return word
        flag = canonical(word, call.runtime)
        if "=" in word or flag in call.runtime.switches:
            continue
        if flag not in call.runtime.flags:
            return None
        next(rest, None)
    return None


def _flags(call: Call) -> Iterator[tuple[Input, str]]:
    """Yield what the flags state, in order: the last one counts."""
    for index, word in enumerate(call.words):
        if not word.startswith("-"):
            continue
        entry = call.runtime.flags.get(canonical(word, call.runtime))
        if entry is not None and "=" in word:
            yield entry, word.partition("=")[2]
        elif entry is not None:
            following = call.words[index + 1 : index + 2]
            yield entry, following[0] if following else NO_LITERAL


def _loose(call: Call) -> Iterator[str]:
    """Yield the words that are no value of a flag before them."""
    for before, word in zip(("", *call.words), call.words, strict=False):
        if not before.startswith("-") or "=" in before:
            yield word


def _veiled(word: str) -> bool:
    """Return whether a word does not even say which flag it is."""
    flag = word.partition("=")[0]
    return any(mark in flag for mark in (NO_LITERAL, "$(", "{{"))


def take(
    runtime: Runtime,
    entry: Input,
    text: str,
    known: Mapping[str, str],
    values: dict[str, str],
    unknown: dict[str, str],
) -> None:
    """Note what one text of a runtime states of an input, or why it does not tell."""
    text = text.strip().strip("\"'")
    shown = text.replace(NO_LITERAL, "?")[:63]
    if NO_LITERAL in text:
        unknown[entry] = "comes from a variable whose value is not in the manifest"
    elif entry is Input.MODEL and text:
        name, revision = model_name(text, known)
        if name is None:
            unknown[entry] = f'"{shown}" names no model for sure'
        else:
            values[entry] = name
        if revision is not None:
            values[Input.REVISION] = revision
    elif entry in runtime.values and text.casefold() not in _UNSAID:
        meaning = runtime.values[entry].get(text.casefold())
        if meaning is None:
            unknown[entry] = f'"{shown}" of {runtime.name} does not tell it'
        elif meaning:
            values[entry] = meaning
    elif entry in _NUMBERS and not _counts(text):
        unknown[entry] = f'"{shown}" is no number'
    elif text and entry not in runtime.values:
        if hidden(text):
            unknown[entry] = f'"{shown}" is a placeholder'
        else:
            values[entry] = str(int(text)) if entry in _NUMBERS else text


def _counts(text: str) -> bool:
    """Return whether a text is a number of things, of a bearable size."""
    return text.isascii() and text.isdigit() and int(text[:_DIGITS]) > 0 and len(text) < _DIGITS


def _hide(
    values: Mapping[str, str],
    unknown: dict[str, str],
    why: str,
    entries: tuple[Input, ...] = (Input.MODEL, Input.TENSOR),
) -> None:
    for entry in entries:
        if entry not in values:
            unknown.setdefault(entry, why)
