"""TokenBytes: the exact bytes that each token of a vocabulary stands for.

Knows the two ways in which vocabularies of language models write bytes: byte-level ones (GPT-2's),
where each of 256 characters is a byte, and SentencePiece's, where "▁" is a space and `<0x0A>` one
byte. Rule: the bytes of a text's tokens joined are the text in UTF-8, behind the space that some
tokenizers put before a text.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from engine.text.tokenizer import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")

# Bytes that GPT-2's alphabet writes as the character of that number; the others, in their order, as
# those from 256 on.
_SHOWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


def _byte_of_character() -> dict[str, int]:
    others = [byte for byte in range(256) if byte not in _SHOWN]
    return {chr(byte): byte for byte in _SHOWN} | {
        chr(256 + index): byte for index, byte in enumerate(others)
    }


_BYTE_OF = _byte_of_character()


class TokenBytes:
    """The bytes of one tokenizer's tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        decoders = list(_flat(json.loads(tokenizer.json_text)["decoder"]))
        kinds = {decoder["type"] for decoder in decoders}
        self._is_byte_level = "ByteLevel" in kinds
        self._has_bytes = "ByteFallback" in kinds
        self._replaced = dict(filter(None, map(_replacement, decoders)))

    def of(self, token_id: int) -> bytes:
        """What a token stands for; of a control token, its text.

        Raises:
            InvalidInput: The vocabulary has no such token.
        """
        text = self._tokenizer.token_text(token_id)
        if token_id in self._tokenizer.added_ids:
            return text.encode()
        if self._is_byte_level and all(char in _BYTE_OF for char in text):
            return bytes(_BYTE_OF[char] for char in text)
        if self._has_bytes and (byte := _BYTE.fullmatch(text)):
            return bytes.fromhex(byte[1])
        for written, meant in self._replaced.items():
            text = text.replace(written, meant)
        return text.encode()


def _flat(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The decoders that one is made of, as tokenizer.json describes them."""
    match decoder:
        case None:
            pass
        case {"type": "Sequence", "decoders": [*parts]}:
            for part in parts:
                yield from _flat(part)
        case _:
            yield decoder


def _replacement(decoder: dict[str, Any]) -> tuple[str, str] | None:
    """A text that a decoder puts another one for."""
    match decoder:
        case {"type": "Replace", "pattern": {"String": str(written)}, "content": str(meant)}:
            return written, meant
        case {"type": "Metaspace", "replacement": str(written)}:
            return written, " "
        case _:
            return None
