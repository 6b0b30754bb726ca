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
    stamp_ns: int
    """When the file last changed, by the later of its times; 0 where it was read too soon after for
    a later change to show in its times."""
    line_count: int
    """A line ends at a line feed, alone or after a carriage return; a lone one ends none."""
    chunk_count: int
    """0 for a document without words."""
    encoding: str = "utf-8"
    """How the bytes after a byte order mark decode: utf-8, utf-16-le, utf-16-be, or, where a guess
    had to do, cp1252 or latin-1."""

    @property
    def encoding_is_guessed(self) -> bool:
        """Whether the bytes are no valid Unicode, so that letters beyond ASCII may be wrong."""
        return self.encoding in ("cp1252", "latin-1")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of a document's text that is embedded and cited as one.

    The chunks of a document tile it: joined in order, their texts are the whole decoded file,
    without a byte order mark. Only a document without words has none.
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
    def heading(self) -> str:
        """The heading path in one line."""
        return " > ".join(self.heading_path)

    @property
    def embedded_text(self) -> str:
        """What the embedder is given: the heading path on a line of its own, then the text."""
        return f"{self.heading}\n{self.text}" if self.heading_path else self.text


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that answers a question, and how well."""

    document: Document
    chunk: Chunk
    score: float
    """Cosine similarity of question and chunk, -1 to 1."""
