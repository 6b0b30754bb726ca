"""Store: documents, their passages and vectors; what every store promises.

Knows nothing of SQL, files or models, and does not rank: candidates go out with raw scores.
A text is what is embedded of a chunk: its heading path and its own words. Chunks with the same text
share it, so a text is stored, embedded and found once however many files hold it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.corpus import Chunk, Collection, Document, Filter, Hit, SkippedFile
from engine.store.words import Word

Vectors = NDArray[np.float32]

VectorSearch = Literal["sqlite-vec", "numpy", "packed bits"]

NO_FILTER = Filter()


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Which vectors may be compared: those of one model with one fingerprint."""

    model_id: str
    fingerprint: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class LackingText:
    """A stored text without a vector in the space in use."""

    text_id: int
    text: str
    """What the embedder is given."""
    token_count: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that may answer, and how well it does by one way of searching."""

    text_id: int
    score: float
    """Cosine similarity, or BM25 with the sign turned so that more is better."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the stored texts have a vector in the space in use."""

    embedded: int
    texts: int

    @property
    def is_complete(self) -> bool:
        """Whether every text can be found by meaning."""
        return self.embedded == self.texts


@dataclass(frozen=True, slots=True)
class Extent:
    """How much some documents are together."""

    documents: int
    size: int
    """Bytes of their files."""
    oldest_ns: int
    """When the one that has not changed for longest did, nanoseconds since 1970; 0 for none."""
    newest_ns: int
    """The same of the one that changed last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """What a store holds and how it searches."""

    documents: int
    chunks: int
    texts: int
    skipped: int
    """Files left out, each with its reason."""
    size_bytes: int
    """On disk, its write-ahead log included."""
    vectors: Mapping[str, int]
    """Texts that have a vector, by the model's id; the model in use first, if one is."""
    vector_search: VectorSearch
    vector_search_reason: str
    """Why the usual way is not taken; empty if it is."""
    generation: int
    """See `Store.generation`."""


class Store(Protocol):
    """Documents, their chunks and a unit vector a text and embedding space.

    Every call is one transaction, may come from any thread, and raises `StoreError` with a sentence
    when the index cannot be read or written. Reading waits for no writer.
    """

    # Embedding spaces.

    def use(self, space: EmbeddingSpace) -> None:
        """Names the model whose vectors come and are searched from now on.

        Vectors of other models stay, and are never compared with its own.
        """
        ...

    def coverage(self) -> Coverage:
        """How much is embedded in the space in use."""
        ...

    def lacking(self, limit: int, after: int = 0) -> list[LackingText]:
        """Texts without a vector in the space in use, those stored first at the beginning.

        Args:
            limit: At most so many.
            after: Only texts behind this one: the last of the call before.
        """
        ...

    def add_vectors(self, text_ids: Sequence[int], vectors: Vectors) -> None:
        """Stores the vectors of texts in the space in use; what is no longer stored is passed over.

        Once every text has one, the vectors of other spaces are dropped; where one of them was
        before and came back, two programs use a model each, and those of both stay until `compact`.

        Args:
            text_ids: From `lacking`.
            vectors: float32[texts, dimensions], finite and not zero; scaled to unit length here.

        Raises:
            InvalidInput: The vectors have another shape or hold what is no number.
        """
        ...

    # Documents.

    def require_chunking(self, version: int) -> None:
        """Names the rules that documents are read and cut by from now on.

        Documents cut by others stay, but lose hash and stamp, so that their files count as changed.
        """
        ...

    def replace(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Puts a document with all its chunks in the place of whatever had its path.

        Texts that are stored already keep their vectors; those that nothing holds any more go.

        Args:
            document: Its `chunk_count` is the number of chunks.
            chunks: In order, ordinals from 0.
        """
        ...

    def refresh(self, document: Document) -> None:
        """Updates stamp and modification time of a document whose content is as it was."""
        ...

    def delete(self, document_ids: Iterable[str]) -> int:
        """Removes documents with their chunks, texts and vectors; returns how many there were."""
        ...

    def document(self, document_id: str) -> Document:
        """The document of an id.

        Raises:
            DocumentNotFound: There is none; the message names up to three near ones.
        """
        ...

    def documents(
        self, *, after: str = "", limit: int = 100, where: Filter = NO_FILTER
    ) -> list[Document]:
        """Documents in the order of their paths.

        Args:
            after: Only paths behind this one: the last path of the page before.
            limit: At most so many.
            where: Only those that match.
        """
        ...

    def count(self, where: Filter = NO_FILTER) -> int:
        """How many documents match."""
        ...

    def extent(self, where: Filter = NO_FILTER) -> Extent:
        """How much the documents that match are together."""
        ...

    def chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of a document in order.

        Raises:
            DocumentNotFound: There is no such document.
        """
        ...

    def set_skipped(self, under: str, files: Iterable[SkippedFile]) -> None:
        """Replaces what is known to be left out at or under a path; writes only what differs."""
        ...

    def skipped(self, *, after: str = "", limit: int = 100, under: str = "") -> list[SkippedFile]:
        """Files left out, in the order of their paths."""
        ...

    # Collections.

    def collections(self) -> list[Collection]:
        """In the order of their names."""
        ...

    def put_collection(self, collection: Collection) -> None:
        """Adds a collection, or changes the one of its root.

        Raises:
            InvalidInput: Another root has that name.
        """
        ...

    def drop_collection(self, name: str) -> int:
        """Removes a collection and the documents that no other one covers; returns how many.

        Raises:
            CollectionNotFound: There is none; the message names near ones.
        """
        ...

    # Searching.

    def lexical(
        self, terms: Sequence[str], limit: int, where: Filter = NO_FILTER
    ) -> list[Candidate]:
        """Texts that hold one of some terms, by BM25, the older text first among equals.

        In a large index, very common terms count only where a rarer one was found.

        Args:
            terms: FTS5 phrases, quoted, as `engine.search.query` makes them.
            limit: At most so many.
            where: Only in documents that match.
        """
        ...

    def nearest(self, vector: Vectors, limit: int, where: Filter = NO_FILTER) -> list[Candidate]:
        """Texts by cosine similarity, best first, the older text first among equals.

        Exact as long as `statistics().vector_search` is not "packed bits".

        Args:
            vector: float32[dimensions], the question's.
            limit: At most so many.
            where: Only in documents that match.

        Raises:
            InvalidInput: The vector has another shape or holds what is no number.
        """
        ...

    def similarities(self, vector: Vectors, text_ids: Sequence[int]) -> dict[int, float]:
        """Cosine similarities of texts in double precision; without those that lack a vector."""
        ...

    def vectors(self, text_ids: Sequence[int]) -> dict[int, Vectors]:
        """float32[dimensions] a text, of unit length; without those that lack one."""
        ...

    def hits(self, candidates: Sequence[Candidate], where: Filter = NO_FILTER) -> list[Hit]:
        """The chunk of each text, in the same order: the oldest in a document that matches."""
        ...

    def words(self, text: str) -> list[Word]:
        """The words of a text as `lexical` knows them."""
        ...

    # Care.

    def generation(self) -> int:
        """A number that rises with every change of what can be found."""
        ...

    def statistics(self) -> StoreStatistics:
        """What is stored, and how it is searched."""
        ...

    def verify(self) -> list[str]:
        """Examines everything; a sentence for each thing that is wrong."""
        ...

    def compact(self) -> int:
        """Drops what nothing uses, overwrites it and gives its space back; returns the bytes."""
        ...

    def backup(self, target: Path) -> None:
        """Copies the index as it is now into a new file, while others read and write.

        Raises:
            InvalidInput: There is a file already, or its folder is not there.
        """
        ...

    def clear(self) -> int:
        """Removes every document, collection and vector; returns how many documents there were."""
        ...

    def interrupt(self) -> None:
        """Makes a call of another thread fail that waits for another program or is in `replace`.

        It raises `StoreError`, at once or within a part of a second. Other calls that work go on,
        and later calls wait as ever.
        """
        ...

    def close(self, timeout: float = -1) -> None:
        """Frees the store; may be called twice.

        Waiting calls give up, and later ones are refused.

        Args:
            timeout: Seconds to wait for a call of another thread; the store is left open if it is
                not done by then. Negative waits for as long as it takes.
        """
        ...
