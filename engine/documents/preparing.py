"""Prepares one file for the index: reads it, compares its hash, cuts it.

Knows no store and no model.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from engine.corpus import Chunk, Document, document_id_of
from engine.documents import kinds
from engine.documents.chunker import CountTokens, cut
from engine.documents.contents import Contents, read_contents
from engine.documents.finder import FoundFile, Skipped
from engine.documents.readers.interface import Reading, Unreadable
from engine.documents.readers.plain import read_text

_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that is to be embedded and stored."""

    document: Document
    chunks: Sequence[Chunk]


@dataclass(frozen=True, slots=True)
class AsKnown:
    """A file whose content is as it was indexed."""

    mtime_ns: int
    """Its time now."""


def prepare(
    file: FoundFile, known_sha256: str, count_tokens: CountTokens, max_tokens: int
) -> Prepared | AsKnown | Skipped:
    """Prepares a file.

    Args:
        file: The file.
        known_sha256: Of its content as it was indexed; empty if it is to be cut in any case.
        count_tokens: How the embedder counts.
        max_tokens: What it takes of one text.
    """
    try:
        contents = read_contents(file.path)
        sha256 = hashlib.sha256(contents.content).hexdigest()
        if sha256 == known_sha256:
            return AsKnown(contents.mtime_ns)
        reading = (kinds.reader_of(PurePath(file.path).name) or read_text)(contents.content)
    except OSError as error:
        return Skipped(file.path, f"it cannot be read ({error.strerror})", unseen=True)
    except Unreadable as error:
        return Skipped(file.path, str(error))
    chunks = cut(reading, count_tokens, max_tokens)
    return Prepared(_document(file, contents, sha256, reading, len(chunks)), chunks)


def _document(
    file: FoundFile, contents: Contents, sha256: str, reading: Reading, chunk_count: int
) -> Document:
    return Document(
        document_id=document_id_of(file.path),
        path=file.path,
        title=reading.title[:_TITLE_CHARACTERS] or PurePath(file.path).name,
        content_sha256=sha256,
        size=len(contents.content),
        mtime_ns=contents.mtime_ns,
        line_count=len(reading.lines),
        chunk_count=chunk_count,
        encoding=reading.encoding,
    )
