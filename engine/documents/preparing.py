"""Prepares one file for the index: reads it, compares its hash, cuts it.

Knows no store and no model.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from engine.corpus import Chunk, Document, document_id_of
from engine.documents import kinds
from engine.documents.chunker import CountTokens, cut
from engine.documents.contents import Contents, Unsettled, read_contents
from engine.documents.finder import FoundFile, Skipped
from engine.documents.readers.interface import Reading, Unreadable

NowNs = Callable[[], int]
"""Nanoseconds since 1970."""

# Some file systems keep times in steps of 2 s: a file that changed within the last step may change
# again and its time stay as it was.
_COARSEST_STEP_NS = 2_000_000_000

_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that is to be embedded and stored."""

    document: Document
    chunks: Sequence[Chunk]


@dataclass(frozen=True, slots=True)
class AsKnown:
    """A file whose content is as it was indexed."""

    stamp_ns: int
    """As it is now."""


def prepare(
    file: FoundFile,
    known_sha256: str,
    count_tokens: CountTokens,
    max_tokens: int,
    now_ns: NowNs,
) -> Prepared | AsKnown | Skipped:
    """Prepares a file.

    Args:
        file: The file.
        known_sha256: Of its content as it was indexed; empty if it is to be cut in any case.
        count_tokens: How the embedder counts.
        max_tokens: What it takes of one text.
        now_ns: The clock that files are dated by.
    """
    try:
        contents = _settled(read_contents(file.path), now_ns())
        sha256 = hashlib.sha256(contents.content).hexdigest()
        if sha256 == known_sha256:
            return AsKnown(contents.stamp_ns)
        reading = kinds.read(PurePath(file.path).name, contents.content)
    except OSError as error:
        return Skipped(file.path, f"it cannot be read ({error.strerror})", unseen=True)
    except Unreadable as error:
        return Skipped(file.path, str(error), unseen=isinstance(error, Unsettled))
    chunks = cut(reading, count_tokens, max_tokens)
    return Prepared(_document(file, contents, sha256, reading, len(chunks)), chunks)


def _settled(contents: Contents, now_ns: int) -> Contents:
    """With no stamp where it says nothing, so that the next run compares hashes."""
    young = contents.stamp_ns > now_ns - _COARSEST_STEP_NS
    return replace(contents, stamp_ns=0) if young else contents


def _document(
    file: FoundFile, contents: Contents, sha256: str, reading: Reading, chunk_count: int
) -> Document:
    return Document(
        document_id=document_id_of(file.path),
        path=file.path,
        title=reading.title[:_TITLE_CHARACTERS] or PurePath(file.path).name,
        content_sha256=sha256,
        size=len(contents.content),
        stamp_ns=contents.stamp_ns,
        line_count=len(reading.lines),
        chunk_count=chunk_count,
        encoding=reading.encoding,
    )
