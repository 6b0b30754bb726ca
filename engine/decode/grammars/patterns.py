"""Patterns that mean the same in Python, in JSON Schema's dialect and in llguidance's.

Rule: what a translated pattern lets through, Python's `re` lets through too. Where the dialects
differ (`\\W` and characters that ASCII does not know, sets inside sets, possessive repeats, …) the
narrower meaning is taken or the pattern is refused; anchors stand at the ends of an alternative.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from engine.errors import InvalidInput

_LONGEST = 2_000
_MOST_REPEATS = 4_096

# Classes by their letter: what surely belongs to one in every dialect, and what may.
_SURE = {"d": "0-9", "w": "0-9A-Za-z_", "s": "\\t\\n\\r\\x{0C}\\x{20}"}
_MAYBE = {
    "d": "\\p{N}",
    "w": "\\p{L}\\p{M}\\p{N}\\p{Pc}",
    "s": "\\p{White_Space}\\x{1C}-\\x{1F}\\x{FEFF}",
}
_CONTROLS = {"t": 9, "n": 10, "r": 13, "f": 12}
_QUANTIFIER = re.compile(r"[*+?]|\{(\d+)(?:(,)(\d*))?\}")
_SAMPLES = (
    "".join(sorted(map(chr, range(32, 127)), key=lambda c: (not c.isalnum(), c))) + "\n\téж中"
)
_HEX = {"x": re.compile("[0-9a-fA-F]{2}"), "u": re.compile("[0-9a-fA-F]{4}")}


@dataclass(frozen=True, slots=True)
class Branch:
    """One alternative of a pattern, in llguidance's dialect."""

    body: str
    starts: bool
    """Whether it begins where the text begins."""
    ends: bool
    """Whether it ends where the text ends."""
    extends: bool
    """Whether a text that matches can always be made longer and still match."""
    sample: str
    """A short text that matches."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression as all dialects read it."""

    source: str
    branches: tuple[Branch, ...]

    @classmethod
    def read(cls, source: str) -> "Pattern":
        """Translates a pattern.

        Raises:
            InvalidInput: It is no regular expression, or uses what cannot be guaranteed.
        """
        if len(source) > _LONGEST:
            raise InvalidInput(f"A pattern has {len(source)} characters; at most {_LONGEST} do.")
        branches = tuple(_Reader(source).branches())
        try:
            re.compile(source)
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidInput(f"The pattern {_shown(source)} is not valid: {error}.") from error
        return cls(source, branches)

    @property
    def whole(self) -> str:
        """A regular expression for texts that match from beginning to end."""
        return "|".join(f"(?:{branch.body})" for branch in self.branches)

    @property
    def somewhere(self) -> str:
        """A regular expression for texts that match anywhere, as JSON Schema means it."""
        rest = "(?s:.*)"
        return "|".join(
            f"(?:{'' if branch.starts else rest}(?:{branch.body}){'' if branch.ends else rest})"
            for branch in self.branches
        )

    @property
    def samples(self) -> list[str]:
        """Short texts that match."""
        return [branch.sample for branch in self.branches]

    @property
    def extends(self) -> bool:
        """Whether a text that matches can always be made longer and still match."""
        return all(branch.extends or not branch.ends for branch in self.branches)


class _Reader:
    """Walks over one pattern."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def branches(self) -> Iterator[Branch]:
        while True:
            starts = self._took("^")
            body, sample, extends = self._alternative()
            ends = self._took("$")
            yield Branch(body, starts, ends, extends, sample)
            if self._at == len(self._source):
                return
            if not self._took("|"):
                self._refuse("an anchor or bracket in the middle")

    def _alternative(self) -> tuple[str, str, bool]:
        """Everything up to `|`, `)`, `$` or the end; a text; whether it ends in an open repeat."""
        body = sample = ""
        extends = False
        while self._at < len(self._source) and self._source[self._at] not in "|)$":
            is_group = self._source[self._at] == "("
            atom, text = self._group() if is_group else self._single()
            quantifier, least, is_open = self._quantifier()
            body += atom + quantifier
            sample += text * least
            extends = is_open and not is_group
        return body, sample, extends

    def _single(self) -> tuple[str, str]:
        """What stands for one character, and such a character."""
        start = self._at
        atom = self._atom()
        one = self._source[start : self._at]
        return atom, next((c for c in _SAMPLES if re.fullmatch(one, c)), "")

    def _atom(self) -> str:
        character = self._next()
        match character:
            case "[":
                return self._set()
            case "\\":
                return self._escape()
            case ".":
                return "."
            case "^" | "*" | "+" | "?" | "{":
                self._refuse(f"{character} where it has no fixed meaning")
            case _:
                return self._literal(ord(character))

    def _group(self) -> tuple[str, str]:
        self._at += 1
        if self._took("?") and not self._took(":"):
            self._refuse("(? for a look-around, name or flag")
        alternatives = [self._alternative()]
        while self._took("|"):
            alternatives.append(self._alternative())
        if not self._took(")"):
            self._refuse("a group that is not closed or holds an anchor")
        body = "|".join(body for body, _, _ in alternatives)
        return f"(?:{body})", min((sample for _, sample, _ in alternatives), key=len)

    def _quantifier(self) -> tuple[str, int, bool]:
        """A repeat, how often at least, and whether there is no most."""
        found = _QUANTIFIER.match(self._source, self._at)
        if not found:
            return "", 1, False
        self._at = found.end()
        least, comma, most = found.groups()
        if any(number and int(number) > _MOST_REPEATS for number in (least, most)):
            self._refuse(f"more than {_MOST_REPEATS} repeats")
        if self._took("+"):
            self._refuse("a possessive repeat")
        self._took("?")  # Lazy or greedy: the same texts match.
        times = int(least) if least else int(found[0] == "+")
        return found[0], times, found[0] in "*+" or bool(comma and not most)

    def _escape(self) -> str:
        character = self._next()
        if character in _SURE:
            return f"[{_SURE[character]}]"
        if character.lower() in _MAYBE:
            return f"[^{_MAYBE[character.lower()]}]"
        return self._literal(self._escaped(character))

    def _set(self) -> str:
        negated = self._took("^")
        parts = [self._member(negated)]
        while not self._took("]"):
            parts.append(self._member(negated))
        return f"[{'^' if negated else ''}{''.join(parts)}]"

    def _member(self, negated: bool) -> str:
        """A character, a range or a class inside a set."""
        if self._source.startswith("\\", self._at):
            letter = self._source[self._at + 1 : self._at + 2]
            if letter.lower() in _SURE and letter:
                self._at += 2
                # A class that is left out must be left out as it is widest.
                is_complement = letter.isupper()
                table = _MAYBE if negated != is_complement else _SURE
                return f"[{'^' if is_complement else ''}{table[letter.lower()]}]"
        first = self._set_character()
        if not self._source.startswith("-", self._at) or self._source[self._at + 1 :][:1] == "]":
            return self._literal(first)
        self._at += 1
        last = self._set_character()
        if last < first:
            self._refuse("a range that is the wrong way round")
        return f"{self._literal(first)}-{self._literal(last, in_range=True)}"

    def _set_character(self) -> int:
        character = self._next()
        if character == "\\":
            return self._escaped(self._next())
        if character in "[]" or self._source[self._at - 1 : self._at + 1] in ("&&", "||", "~~"):
            self._refuse(f"{character} in a set, not escaped")
        if character == "-" and "--" in self._source[self._at - 2 : self._at + 1]:
            self._refuse("-- in a set")
        return ord(character)

    def _escaped(self, character: str) -> int:
        """The code point of a character that is written with a backslash."""
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character in _HEX and (found := _HEX[character].match(self._source, self._at)):
            self._at = found.end()
            return int(found[0], 16)
        if character.isalnum() or not character.isascii():
            self._refuse(f"\\{character}")
        return ord(character)

    def _literal(self, code: int, in_range: bool = False) -> str:
        is_control = (code < 32 or code == 127) and code not in _CONTROLS.values()
        if (is_control and not in_range) or 0xD800 <= code < 0xE000:
            self._refuse("a control character or half of a UTF-16 pair")
        character = chr(code)
        return character if character.isascii() and character.isalnum() else f"\\x{{{code:X}}}"

    def _next(self) -> str:
        if self._at == len(self._source):
            self._refuse("an end where something must follow")
        self._at += 1
        return self._source[self._at - 1]

    def _took(self, character: str) -> bool:
        if self._source.startswith(character, self._at):
            self._at += 1
            return True
        return False

    def _refuse(self, what: str) -> NoReturn:
        raise InvalidInput(
            f"The pattern {_shown(self._source)} has {what}, which is not supported; "
            "write it without."
        )


def _shown(source: str) -> str:
    return f"/{source if len(source) <= 60 else source[:57] + '…'}/"
