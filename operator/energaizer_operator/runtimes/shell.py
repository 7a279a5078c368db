"""A shell script as simple commands: enough of POSIX and bash to find the server that it starts.

What depends on more than literals becomes NO_LITERAL. A call of a function stands for the commands
of its body. Here-documents are data for a command, so they are passed over.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from energaizer_operator.runtimes import functions
from energaizer_operator.runtimes.records import NO_LITERAL

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)([^{}$`\"'\\]*))?\}")
_NUMBERED = re.compile(r"[0-9]|\{[0-9]\}", re.ASCII)
_ARRAY = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\[[@*]\]\}")
_OPENING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_PRODUCT = re.compile(r"\$?\{?(\w+)\}? *([*+-]) *\$?\{?(\w+)\}?", re.ASCII)
"""Arithmetic of two terms, as in `$((LWS_GROUP_SIZE * 8))`."""
_FEW = re.compile(r"[0-9]{1,2}", re.ASCII)
_DEEPEST = 4
_DIGITS = 6
_INJECTED = re.compile(
    r"(LWS|RAY|KUBERAY|PET|NVIDIA|CUDA|KUBERNETES|POD|NODE|HOST|OMPI|SLURM|MASTER)"
    r"|(LOCAL_)?(RANK|WORLD_SIZE)$|JOB_COMPLETION_INDEX|PATH$|HOME$|.*_SERVICE_"
)
"""Variables that controllers, runtimes and images set though no manifest says so.

Of another that the manifest does not set, `${NAME:-fallback}` is the fallback.
"""
_BLANK, _ENDS = " \t\r", "\n;&|()"
_OPENS = frozenset({"if", "case", "for", "while", "until", "select"})
_CLOSES = frozenset({"fi", "esac", "done"})
_ASKS = frozenset({"[", "[[", "test"})
_SETS = frozenset({"read", "unset", "for", "select"})
_OPAQUE = frozenset({"function", "{", "source", ".", "eval"})
"""What may change any variable, or runs nobody knows how often."""
_LEADING = frozenset({"then", "do", "else", "{", "!", "if", "elif", "while", "until"})
_COUNTS_GPUS = re.compile(r"nvidia-smi (?:-L|--list-gpus) *\| *wc -l")
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
    """Whether nothing so far may have changed variables unseen, or runs nobody knows when."""
    inside: int = 0
    """Branches and loops that are open."""
    asked: bool = False
    """Whether the last command was a test."""
    doubt: bool = False
    """Whether the next command depends on the one before it."""
    here: list[str] = field(default_factory=list)
    """Words that end the here-documents that begin on the next line."""
    functions: Mapping[str, str] = field(default_factory=dict)
    arrays: dict[str, tuple[str, ...]] = field(default_factory=dict)
    opened: tuple[str, bool, list[str]] | None = None
    """Of the array that is being written: its name, whether it grows, the words before it."""
    depth: int = 0
    given: tuple[str, ...] = ()
    """The script's or function's name and parameters: `$0`, `$1` and on."""

    @property
    def certain(self) -> bool:
        """Return whether the next command runs for sure, so that its assignments count."""
        return self.sure and not self.doubt and self.inside == 0

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
        elif char in _ENDS and (self.opened is not None or not self.redirects(char)):
            self.separated(char)
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
        elif char == "$" and (elements := self.elements()) is not None:
            self.spread(" ".join(elements))
        elif char == "$":
            self.spread(self.variable())
        elif char == "`":
            self.substituted("`")
        else:
            self.add(char)

    def separated(self, char: str) -> None:
        """End a command, or a word of an array, or begin an array."""
        if self.opened is not None:
            self.in_array(char)
        elif char == "(" and (found := _OPENING.fullmatch(self.word or "")):
            self.opened = (found.group(1), bool(found.group(2)), self.words)
            self.words, self.word = [], None
        else:
            self.end_command()
            if char == "\n" and self.here:
                self.pass_over()
            chained = char in "|&" and self.text[self.at : self.at + 1] == char
            self.at += chained
            # After `||`, and after `[ ... ] &&`, the next command may not run; the one after does.
            self.doubt = chained and (self.doubt or self.asked or char == "|")

    def in_array(self, char: str) -> None:
        """Go on in an array at a blank line or at its end; a branch may have left it out."""
        self.end_word()
        if char not in "\n)" or self.opened is None:
            self.words.append(NO_LITERAL)
        elif char == ")":
            name, grows, before = self.opened
            elements = self.words if self.certain else [_doubtful(word) for word in self.words]
            kept = self.arrays.get(name, () if self.certain else (NO_LITERAL,)) if grows else ()
            self.arrays[name] = (*kept, *elements)
            self.opened, self.words = None, before

    def elements(self) -> tuple[str, ...] | None:
        """Return the words of the array whose expansion begins here; None if none does."""
        if self.text.startswith(("@", "*"), self.at):
            self.at += 1
            return self.given[1:]
        found = _ARRAY.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return self.arrays.get(found.group(1), (NO_LITERAL,))

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
                if (elements := self.elements()) is None:
                    self.add(self.variable())
                    continue
                for index, element in enumerate(elements):
                    if index:
                        self.end_word()
                    self.add(element)
                if not elements and not self.word:
                    self.word = None
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
        if numbered := _NUMBERED.match(self.text, self.at):
            self.at = numbered.end()
            stated = self.given[int(numbered.group().strip("{}")) :][:1]
            return stated[0] if stated else NO_LITERAL
        if following in ("(", "{"):
            return self.substitution(following)
        special = following != "" and following in "#?$!-"
        self.at += special
        return NO_LITERAL if special else "$"

    def substitution(self, opening: str) -> str:
        """Return the result of `$((...))`; add what stands for any other substitution."""
        end = self.text.find("))", self.at) if self.text.startswith("((", self.at) else -1
        if end < 0:
            self.substituted(")" if opening == "(" else "}")
            return ""
        term, self.at = self.text[self.at + 2 : end].strip(), end + 2
        return self.calculated(term)

    def calculated(self, term: str) -> str:
        """Return the result of an arithmetic expansion of at most two terms."""
        found = _PRODUCT.fullmatch(term)
        terms = (found.group(1), found.group(3)) if found else (term.strip("${}"),)
        known = [one if one.isdigit() else self.variables.get(one, "") for one in terms]
        if not all(one.isdigit() and len(one) <= _DIGITS for one in known):
            return NO_LITERAL
        if found is None:
            return known[0]
        first, second = int(known[0]), int(known[1])
        results = {"*": first * second, "+": first + second, "-": first - second}
        return str(results[found.group(2)])

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
        while words and words[0] in _LEADING:
            self.inside += words[0] in _OPENS
            self.sure = self.sure and words[0] not in _OPAQUE
            words = words[1:]
        first = words[0] if words else ""
        self.asked = first in _ASKS
        self.inside = max(0, self.inside + (first in _OPENS) - (first in _CLOSES))
        self.sure = self.sure and first not in _OPAQUE
        if first == "shift" or words[:2] == ["set", "--"]:
            self.shift(words)
        if first in _SETS:
            self.variables |= {name: NO_LITERAL for name in words[1:] if _NAME.fullmatch(name)}
        exported = bool(words) and words[0] in ("export", "readonly", "declare", "local")
        if exported:
            words = words[1:]
        own: dict[str, str] = {}
        while words and (found := _ASSIGNMENT.fullmatch(words[0])):
            own[found.group(1)] = found.group(2) if self.certain else NO_LITERAL
            words = words[1:]
        if exported or not words:
            self.variables |= own
        elif words[0] in self.functions:
            self.call(words, own)
        else:
            self.commands.append(Command(tuple(words), {**self.variables, **own}))

    def shift(self, words: Sequence[str]) -> None:
        """Change the parameters; none is known where nobody knows whether that happens."""
        rest, count = self.given[1:], words[1] if len(words) > 1 else "1"
        if not self.certain or (words[0] == "shift" and not _FEW.fullmatch(count)):
            rest = (NO_LITERAL,)
        elif words[0] == "shift":
            rest = rest[int(count) :]
        else:
            rest = tuple(words[2:])
        self.given = (*self.given[:1], *rest) if self.given else ("", *rest)

    def call(self, words: Sequence[str], own: Mapping[str, str]) -> None:
        """Read the body of a function where it is called; what it sets stays set, as in a shell."""
        if self.depth == _DEEPEST:
            return
        body, variables = self.functions[words[0]], {**self.variables, **own}
        inner = _Reader(body, variables, self.gpus, functions=self.functions, given=tuple(words))
        inner.arrays, inner.sure, inner.depth = dict(self.arrays), self.certain, self.depth + 1
        self.commands += inner.read()
        self.variables, self.arrays = inner.variables, inner.arrays


def _doubtful(word: str) -> str:
    """Return a word of which nobody knows whether it is there: its flag, without the value."""
    flag, equals, _ = word.partition("=")
    if not word.startswith("-"):
        return NO_LITERAL
    return f"{flag}={NO_LITERAL}" if equals else flag


def commands(
    script: str, variables: Mapping[str, str], gpus: int = 0, given: tuple[str, ...] = ()
) -> list[Command]:
    """Return the simple commands of a script, in order; none of a script that we do not read.

    NO_LITERAL among the names says that there are more variables than those.
    """
    parted = functions.taken_out(script)
    if parted is None:
        return []
    text, bodies = parted
    return _Reader(text, dict(variables), gpus, functions=bodies, given=given).read()
