"""Document, Chunk, Hit: nouns that documents, store and search share.

Values only: nothing here reads a file or a database.
"""

import hashlib
from dataclasses import dataclass


def document_id_of(path: str) -> str:
    """The opaque id of the document at an absolute path: 16 hex digits, the same on every run."""
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Document:
    """One indexed file, without its text."""

    document_id: str
    path: str
    """Absolute, with symbolic links resolved."""
    title: str
    content_sha256: str
    """Of the file's bytes as they were indexed."""
    size: int
    """Bytes."""
    mtime_ns: int
    line_count: int
    chunk_count: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of a document's text that is embedded and cited as one.

    The chunks of a document tile it: joined in order, their texts are the whole decoded file.
    """

    ordinal: int
    """0-based position in the document."""
    text: str
    """Exactly the file's bytes from `byte_start` to `byte_end`, decoded."""
    heading_path: tuple[str, ...]
    """Headings above the chunk, outermost first; empty where there are none."""
    line_start: int
    """1-based, inclusive."""
    line_end: int
    """1-based, inclusive."""
    byte_start: int
    byte_end: int
    """Exclusive."""
    token_count: int
    """As the embedder counts `embedded_text`, special tokens left out."""

    @property
    def embedded_text(self) -> str:
        """What the embedder is given: the heading path on a line of its own, then the text."""
        heading = " > ".join(self.heading_path)
        return f"{heading}\n{self.text}" if heading else self.text


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that answers a question, and how well."""

    document: Document
    chunk: Chunk
    score: float
    """Cosine similarity of question and chunk, -1 to 1."""
