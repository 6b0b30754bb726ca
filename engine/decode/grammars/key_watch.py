"""Which tokens would name a member of a JSON object a second time.

A grammar cannot remember names that it does not know beforehand; this follows the text and does.
Rule: names are compared as they are spelled, so the text must spell each name in one way only.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence

_MEMBER_INSIDE = re.compile(rb',\s*"(?:[^"\\]|\\.)*"', re.DOTALL)
_BEFORE_NAME = (b'"', b' "')


class TokenTexts:
    """The tokens of a vocabulary by their bytes."""

    def __init__(self, texts: Sequence[tuple[bytes, int]]) -> None:
        """Sorts tokens.

        Args:
            texts: Bytes and id of each token that is text.
        """
        self._sorted = sorted(texts)
        self._keys = [text for text, _ in self._sorted]
        self.with_member = [token for text, token in texts if _MEMBER_INSIDE.search(text)]
        """Tokens that hold a whole name after a comma; there are always others to spell it."""

    def beginning_with(self, prefix: bytes) -> list[int]:
        """Ids of the tokens that begin so."""
        start = bisect_left(self._keys, prefix)
        end = bisect_left(self._keys, prefix + b"\xff" * 4, start)
        return [token for _, token in self._sorted[start:end]]


class KeyWatch:
    """Follows one JSON text, byte by byte."""

    def __init__(self, opening: bytes = b"") -> None:
        """Starts before the text.

        Args:
            opening: What stands before each JSON text, where other text may surround it.
        """
        self._opening = opening
        self._tail = b""
        self._open: list[set[bytes] | None] = []
        """Lists and objects around this point, with the names that each object has so far."""
        self._name_next = False
        self._string: bytearray | None = None
        self._is_name = False
        self._escaped = False
        self._inside = not opening

    def repeats(self, rest: bytes) -> bool:
        """Whether this rest would complete a name which is there already."""
        names = self._open[-1] if self._open else None
        if not names or self._string is None or not self._is_name:
            return False
        return bytes(self._string) + rest.partition(b'"')[0] in names

    def copy(self) -> "KeyWatch":
        """Another that goes on from here."""
        other = KeyWatch(self._opening)
        other._tail, other._inside = self._tail, self._inside
        other._open = [None if names is None else set(names) for names in self._open]
        other._name_next, other._is_name = self._name_next, self._is_name
        other._string = None if self._string is None else bytearray(self._string)
        other._escaped = self._escaped
        return other

    def feed(self, text: bytes) -> None:
        """Follows the text further."""
        for byte in text:
            if not self._inside:
                self._outside(byte)
            elif self._string is None:
                self._between(byte)
            else:
                self._in_string(byte, self._string)

    def forbidden(self, tokens: TokenTexts) -> list[int]:
        """Ids of tokens that would complete a name which is there already."""
        names = self._open[-1] if self._open else None
        if not names or (self._string is not None and not self._is_name):
            return tokens.with_member if self._inside else []
        if self._string is None:
            befores = _BEFORE_NAME if self._name_next else ()
            rests = [before + name for name in names for before in befores]
        else:
            begun = bytes(self._string)
            rests = [name[len(begun) :] for name in names if name.startswith(begun)]
        found = [token for rest in rests for token in tokens.beginning_with(rest + b'"')]
        return found + tokens.with_member

    def _outside(self, byte: int) -> None:
        self._tail = (self._tail + bytes([byte]))[-len(self._opening) :]
        if self._tail == self._opening:
            self._inside, self._tail = True, b""

    def _in_string(self, byte: int, string: bytearray) -> None:
        if byte == ord('"') and not self._escaped:
            names = self._open[-1] if self._open else None
            if self._is_name and names is not None:
                names.add(bytes(string))
            self._string = None
        else:
            self._escaped = byte == ord("\\") and not self._escaped
            string.append(byte)

    def _between(self, byte: int) -> None:
        match chr(byte):
            case '"':
                self._string, self._is_name, self._escaped = bytearray(), self._name_next, False
                self._name_next = False
            case "{":
                self._open.append(set())
                self._name_next = True
            case "[":
                self._open.append(None)
            case "," if self._open:
                self._name_next = self._open[-1] is not None
            case "}" | "]":
                self._open.pop()
                self._name_next = False
                self._inside = bool(self._open) or not self._opening
            case _:
                pass
