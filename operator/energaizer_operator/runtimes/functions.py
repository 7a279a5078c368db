"""Functions of a shell script, taken out of it: a call then stands for the commands of its body."""

import re

_BEGIN = re.compile(
    r"^[ \t]*(?:function[ \t]+([A-Za-z_][\w-]*)[ \t]*(?:\(\))?|([A-Za-z_][\w-]*)[ \t]*\(\))"
    r"\s*\{(?=\s)",
    re.MULTILINE | re.ASCII,
)
_LEFT = re.compile(r"\bfunction \w|\(\) ?\{", re.ASCII)
_MOST = 64


def taken_out(script: str) -> tuple[str, dict[str, str]] | None:
    """Return a script without its functions, and their bodies; None if they cannot be told apart.

    A function that is defined twice may mean either, so that nothing is known of such a script.
    """
    found: dict[str, str] = {}
    while begin := _BEGIN.search(script):
        end = _closing(script, begin.end())
        name = begin.group(1) or begin.group(2)
        if end is None or name in found or len(found) == _MOST:
            return None
        found[name] = script[begin.end() : end]
        script = f"{script[: begin.start()]}\n{script[end + 1 :]}"
    texts = (script, *found.values())
    return None if any(_LEFT.search(text) for text in texts) else (script, found)


def _closing(script: str, at: int) -> int | None:
    """Return where the brace closes that was opened before `at`; quotes and comments are passed."""
    depth, quote = 1, ""
    while at < len(script):
        char = script[at]
        if char == "\\" and quote != "'":
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and script[at - 1].isspace():
            end = script.find("\n", at)
            at = len(script) if end < 0 else end
        elif char in "{}":
            depth += 1 if char == "{" else -1
            if depth == 0:
                return at
        at += 1
    return None
