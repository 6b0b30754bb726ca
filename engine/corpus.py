"""Collection, Document, Chunk, Filter, Hit: nouns that documents, store and search share.

Values only: nothing here reads a file or a database.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS = (
    "markdown",
    "text",
    "rst",
    "source",
    "html",
    "notebook",
    "pdf",
    "docx",
    "csv",
    "json-lines",
    "email",
)
"""Of documents: which reader takes one."""


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
    had to do, another of Python's encodings; empty where the text was extracted."""
    kind: str = "text"
    """Which reader took it, one of `KINDS`."""
    modified_ns: int = 0
    """Modification time, nanoseconds since 1970."""
    page_count: int = 0
    """0 where the kind has no pages."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the file says of itself, by lower-case names: author, date, subject, tags…"""

    @property
    def encoding_is_guessed(self) -> bool:
        """Whether the bytes are no valid Unicode, so that letters beyond ASCII may be wrong."""
        return self.encoding not in ("", "utf-8", "utf-16-le", "utf-16-be")

    @property
    def text_is_extracted(self) -> bool:
        """Whether the text was taken out of another format, so that lines are lines of the text and
        byte positions are those of the text in UTF-8."""
        return not self.encoding


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
    page_start: int = 0
    """1-based, inclusive; 0 where the document has no pages."""
    page_end: int = 0
    """1-based, inclusive."""

    @property
    def heading(self) -> str:
        """The heading path in one line."""
        return " > ".join(self.heading_path)

    @property
    def embedded_text(self) -> str:
        """What the embedder is given: the heading path on a line of its own, then the text."""
        return f"{self.heading}\n{self.text}" if self.heading_path else self.text


@dataclass(frozen=True, slots=True)
class Collection:
    """A folder or file that is kept indexed, under a name.

    What lies below its root belongs to it. Where one collection lies in another, a document belongs
    to both, and the inner one says what is included.
    """

    name: str
    root: str
    """Absolute, with symbolic links resolved."""
    include: tuple[str, ...] = ()
    """Patterns as in .gitignore, relative to the root; empty includes every known kind."""
    exclude: tuple[str, ...] = ()
    """Patterns as in .gitignore, relative to the root."""


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that was left out of the index, and why."""

    path: str
    """Fit to be shown: what is no Unicode in it is replaced."""
    reason: str
    size: int = -1
    """As it was then; -1 where it was not looked at, so that it is tried again."""
    stamp_ns: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents may answer: all of what is set must hold."""

    roots: tuple[str, ...] = ()
    """At or under one of these absolute paths."""
    path_globs: tuple[str, ...] = ()
    """One of these matches: * any characters, / among them, ? one, [abc] one of these, /**/ any
    folders or none. A pattern that is not absolute may begin behind any folder, and one that names
    a folder means what is in it."""
    kinds: tuple[str, ...] = ()
    modified_after_ns: int = 0
    modified_before_ns: int = 0
    """Exclusive; 0 is no limit."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Pairs of name and value; letter case does not count. A list matches by one of its parts."""
    named: str = ""
    """Its id begins so, or its path or title holds this; letter case does not count."""

    @property
    def is_empty(self) -> bool:
        """Whether every document may answer."""
        return self == Filter()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that answers a question, and how well."""

    document: Document
    chunk: Chunk
    score: float
    """The higher, the better; what it is made of is `engine.search`'s."""
    text_id: int = 0
    """Which of the stored texts it is; chunks with the same text share one."""
    copies: int = 0
    """Other chunks with the same text that might have stood here."""
