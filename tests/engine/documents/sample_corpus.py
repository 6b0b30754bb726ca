"""A folder of 200 documents of many kinds, and a cheap embedder: for tests and their children."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from engine.corpus import Chunk, Document
from engine.documents.indexer import Indexer
from engine.store.interface import EmbeddingSpace, Store
from engine.store.opening import open_store

MAX_TOKENS = 120
SPACE = EmbeddingSpace("bag-of-words", "fingerprint-1", 64)

_TOKEN = re.compile(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+|[^\w\s]")
_WORDS = ["river", "stone", "lantern", "harbour", "violin", "glacier", "orchard", "compass"]
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe")
_JAPANESE = ["静かな港", "古い灯台", "春の川", "石の橋", "果樹園の朝"]


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Words, single CJK characters and single signs, as WordPiece has them."""
    return [len(_TOKEN.findall(text)) for text in texts]


def embed(texts: Sequence[str]) -> np.ndarray:
    """Hashed bags of words as unit vectors; refuses what a real embedder refuses."""
    vectors = np.zeros((len(texts), SPACE.dimensions))
    for row, text in enumerate(texts):
        if not text.strip():
            raise AssertionError("a blank text was to be embedded")
        for token in _TOKEN.findall(text.lower()):
            vectors[row, zlib.crc32(token.encode()) % SPACE.dimensions] += 1
        vectors[row, 0] += 1e-3
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def open_index(path: Path, **options) -> Store:
    store = open_store(path, **options)
    store.use(SPACE)
    return store


def indexer(store: Store) -> Indexer:
    return Indexer(store, embed, count_tokens, MAX_TOKENS)


def check_citations(content: bytes, document: Document, chunks: Sequence[Chunk]) -> None:
    """Checks what is cited of a document against the bytes of its file."""
    line_feed = "\n".encode(document.encoding)
    mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
    at, line = len(mark), 1
    for chunk in chunks:
        cited = content[chunk.byte_start : chunk.byte_end]
        assert chunk.byte_start == at
        assert cited.decode(document.encoding) == chunk.text
        feeds = _count(cited, line_feed)
        assert chunk.line_start == line
        assert chunk.line_end == line + feeds - cited.endswith(line_feed)
        at, line = chunk.byte_end, line + feeds
    assert at == len(content)
    assert document.line_count == line - content.endswith(line_feed)


def _count(content: bytes, line_feed: bytes) -> int:
    """Line feeds among bytes, at the places where one may stand."""
    width = len(line_feed)
    return sum(content[at : at + width] == line_feed for at in range(0, len(content), width))


def write_corpus(folder: Path, seed: int = 0, count: int = 200) -> None:
    """Writes files into folders three deep, the same for the same seed."""
    random = Random(seed)
    for number in range(count):
        kind, suffix = _KINDS[number % len(_KINDS)]
        file = folder / f"part{number % 7}" / f"{'日本' if number % 11 == 0 else 'd'}{number % 3}"
        file.mkdir(parents=True, exist_ok=True)
        text = kind(random, number)
        (file / f"{number:03}{suffix}").write_bytes(_encoded(text, number))


def _encoded(text: str, number: int) -> bytes:
    if number % 4 == 1:
        text = text.replace("\n", "\r\n")
    if number % 19 == 6:
        return b"\xff\xfe" + text.encode("utf-16-le")
    return (b"\xef\xbb\xbf" if number % 7 == 2 else b"") + text.encode()


def _sentence(random: Random) -> str:
    return " ".join(random.choices(_WORDS, k=random.randint(4, 14))).capitalize() + "."


def _paragraph(random: Random) -> str:
    return "\n".join(_sentence(random) for _ in range(random.randint(1, 6)))


def _markdown(random: Random, number: int) -> str:
    parts = [f"# Document {number}", _paragraph(random)]
    for section in range(random.randint(1, 4)):
        parts += [f"## Section {section}", _paragraph(random), _paragraph(random)]
        parts += ["```python\n# no heading\n\nprint('x')\n```", "| a | b |\n|---|---|\n| 1 | 2 |"]
    return "\n\n".join(parts) + "\n"


def _japanese(random: Random, number: int) -> str:
    lines = ["。".join(random.choices(_JAPANESE, k=8)) + "。" for _ in range(random.randint(1, 9))]
    return f"# 記録 {number}\n\n" + "\n\n".join(lines)


def _text(random: Random, number: int) -> str:
    return f"Note {number}\n\n" + "\n\n".join(_paragraph(random) for _ in range(5))


def _code(random: Random, number: int) -> str:
    functions = [
        f"def {random.choice(_WORDS)}_{n}(value):\n    # {_sentence(random)}\n\n    return value"
        for n in range(random.randint(1, 9))
    ]
    return f'"""Module {number}."""\n\n\n' + "\n\n\n".join(functions) + "\n"


_KINDS = [(_markdown, ".md"), (_japanese, ".md"), (_text, ".txt"), (_code, ".py"), (_text, ".rst")]
