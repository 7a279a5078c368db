"""A shell script as simple commands: enough of POSIX to find the server that it starts.

What depends on more than literals becomes NO_LITERAL. Functions are not read: a script that needs
them is answered by nothing at all. Here-documents are data for a command, so they are passed over.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from energaizer_operator.runtimes.records import NO_LITERAL

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)([^{}$`\"'\\]*))?\}")
_INJECTED = re.compile(
    r"(LWS|RAY|KUBERAY|PET|NVIDIA|CUDA|KUBERNETES|POD|NODE|HOST|OMPI|SLURM|MASTER)"
    r"|(LOCAL_)?(RANK|WORLD_SIZE)$|JOB_COMPLETION_INDEX|PATH$|HOME$|.*_SERVICE_"
)
"""Variables that controllers, runtimes and images set though no manifest says so.

Of another that the manifest does not set, `${NAME:-fallback}` is the fallback.
"""
_BLANK, _ENDS = " \t\r", "\n;&|()"
_BRANCHES = frozenset(
    {"if", "case", "for", "while", "until", "select", "function", "{", "set", "unset", "read"}
    | {"source", ".", "eval", "shift"}
)
_LEADING = frozenset({"then", "do", "else", "{", "!", "if", "elif", "while", "until"})
_COUNTS_GPUS = re.compile(r"nvidia-smi (?:-L|--list-gpus) *\| *wc -l")
_REFUSED = ("function ", "() {", "(){")
_HERE = re.compile(r"<-?[ \t]*(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1")


@dataclass(frozen=True)
class Command:
    """One simple command with the environment in which it runs."""

    words: tuple[str, ...]
    variables: Mapping[str, str]


@dataclass
class _Reader:
    """Reads one script, character by character."""

    text: str
    variables: dict[str, str]
    gpus: int = 0
    """That the script sees; 0: unknown."""
    at: int = 0
    commands: list[Command] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    word: str | None = None
    sure: bool = True
    """Whether every command so far runs, so that its assignments count."""
    here: list[str] = field(default_factory=list)
    """Words that end the here-documents that begin on the next line."""

    def read(self) -> list[Command]:
        while self.at < len(self.text):
            self.step(self.text[self.at])
        self.end_command()
        return self.commands

    def step(self, char: str) -> None:
        self.at += 1
        if char in _BLANK:
            self.end_word()
        elif char == "#" and self.word is None:
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
        elif char == "<" and (found := _HERE.match(self.text, self.at)):
            self.here.append(found.group(2))
            self.at = found.end()
        elif char in _ENDS and not self.redirects(char):
            self.end_command()
            if char == "\n" and self.here:
                self.pass_over()
            if char in "|&" and self.text[self.at : self.at + 1] == char:
                self.sure = self.sure and char == "&"
                self.at += 1
        elif char == "\\":
            following = self.text[self.at : self.at + 1]
            self.at += 1
            self.add("" if following == "\n" else following, starts=following != "\n")
        elif char == "'":
            end = self.text.find("'", self.at)
            end = len(self.text) if end < 0 else end
            self.add(self.text[self.at : end])
            self.at = end + 1
        elif char == '"':
            self.quoted()
        elif char == "$":
            self.spread(self.variable())
        elif char == "`":
            self.substituted("`")
        else:
            self.add(char)

    def pass_over(self) -> None:
        """Skip the here-documents that begin here; one without an end takes the rest."""
        for end in self.here:
            found = re.compile(rf"^\t*{end}$", re.MULTILINE).search(self.text, self.at)
            self.at = len(self.text) if found is None else found.end()
        self.here = []

    def redirects(self, char: str) -> bool:
        """Return whether an ampersand belongs to a redirection such as `2>&1` or `&>`."""
        return char == "&" and (
            (self.word or "").endswith((">", "<")) or self.text[self.at : self.at + 1] == ">"
        )

    def quoted(self) -> None:
        self.add("")
        while self.at < len(self.text) and self.text[self.at] != '"':
            char = self.text[self.at]
            self.at += 1
            if char == "\\" and self.text[self.at : self.at + 1] in ('"', "\\", "$", "`", "\n"):
                self.add(self.text[self.at].replace("\n", ""))
                self.at += 1
            elif char == "$":
                self.add(self.variable())
            elif char == "`":
                self.substituted("`")
            else:
                self.add(char)
        self.at += 1

    def variable(self) -> str:
        """Return the value of the variable that begins here."""
        if braced := _BRACED.match(self.text, self.at):
            self.at = braced.end()
            value = self.variables.get(braced.group(1))
            if value is None or (braced.group(2) == ":-" and value == ""):
                absent = braced.group(3)
                injected = NO_LITERAL in self.variables or _INJECTED.match(braced.group(1))
                return NO_LITERAL if absent is None or (value is None and injected) else absent
            return value
        if name := _NAME.match(self.text, self.at):
            self.at = name.end()
            return self.variables.get(name.group(), NO_LITERAL)
        following = self.text[self.at : self.at + 1]
        if following in ("(", "{"):
            self.substituted(")" if following == "(" else "}")
            return ""
        if following and following in "@*#?$!-0123456789":
            self.at += 1
            return NO_LITERAL
        return "$"

    def substituted(self, closing: str) -> None:
        """Skip a substitution, whose result nobody knows, unless it counts the GPUs."""
        begin, depth, opening = self.at, 0, {")": "(", "}": "{"}.get(closing)
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            depth += char == opening
            if char == closing:
                depth -= 1
                if depth <= 0:
                    break
        counts = self.gpus and _COUNTS_GPUS.fullmatch(self.text[begin : self.at - 1].strip("( "))
        self.add(str(self.gpus) if counts else NO_LITERAL)

    def spread(self, value: str) -> None:
        """Add the value of an unquoted variable, which splits at blanks."""
        for index, part in enumerate(re.split(r"[ \t\n]+", value)):
            if index:
                self.end_word()
            if part:
                self.add(part)

    def add(self, text: str, *, starts: bool = True) -> None:
        if starts or self.word is not None:
            self.word = (self.word or "") + text

    def end_word(self) -> None:
        if self.word is not None:
            self.words.append(self.word)
        self.word = None

    def end_command(self) -> None:
        self.end_word()
        words, self.words = self.words, []
        if words and words[0] in _BRANCHES:
            self.sure = self.sure and words[0] == "set"
        while words and words[0] in _LEADING:
            words = words[1:]
        exported = bool(words) and words[0] in ("export", "readonly", "declare", "local")
        if exported:
            words = words[1:]
        own: dict[str, str] = {}
        while words and (found := _ASSIGNMENT.fullmatch(words[0])):
            own[found.group(1)] = found.group(2) if self.sure else NO_LITERAL
            words = words[1:]
        if exported or not words:
            self.variables |= own
        else:
            self.commands.append(Command(tuple(words), {**self.variables, **own}))


def commands(script: str, variables: Mapping[str, str], gpus: int = 0) -> list[Command]:
    """Return the simple commands of a script, in order; none of a script that we do not read.

    NO_LITERAL among the names says that there are more variables than those.
    """
    if any(mark in script for mark in _REFUSED):
        return []
    return _Reader(script, dict(variables), gpus).read()
