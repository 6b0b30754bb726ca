"""Store: add, replace, delete, list, search; what every store promises.

Knows nothing of SQL, files or models: vectors come in from whoever made them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.corpus import Chunk, Document, Hit

Vectors = NDArray[np.float32]

VectorSearch = Literal["sqlite-vec", "numpy"]


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Which vectors may be compared: those of one model with one fingerprint."""

    model_id: str
    fingerprint: str
    dimensions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """What a store holds and how it searches."""

    documents: int
    chunks: int
    size_bytes: int
    """On disk, its write-ahead log included."""
    embedder_id: str
    """The model whose vectors are stored; empty before the first one."""
    fingerprint: str
    dimensions: int
    """0 before the first vector."""
    vector_search: VectorSearch
    vector_search_reason: str
    """Why the slower way is taken; empty if it is not."""


class Store(Protocol):
    """Documents, their chunks and one unit vector a chunk.

    Every call is one transaction, may come from any thread, and raises `StoreError` with a sentence
    when the index cannot be read or written.
    """

    def use(self, space: EmbeddingSpace) -> None:
        """Names the model whose vectors come from now on; `search` and `replace` need it.

        Another model's vectors may be stored; those who need it are told by `WrongEmbedder`.
        """
        ...

    def require_chunking(self, version: int) -> None:
        """Names the rules that documents are cut by from now on.

        Documents cut by others stay, but lose hash and stamp, so that their files count as changed.
        """
        ...

    def check_embedder(self) -> None:
        """Raises `WrongEmbedder` if the vectors in use cannot be compared with the stored ones."""
        ...

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Puts a document with all its chunks in the place of whatever had its path.

        Args:
            document: Its `chunk_count` is the number of chunks.
            chunks: In order, ordinals from 0.
            vectors: float32[chunks, dimensions], finite and not zero; scaled to unit length here.

        Raises:
            WrongEmbedder: The stored vectors are another model's.
            InvalidInput: The vectors have another shape or hold what is no number.
        """
        ...

    def refresh(self, document: Document) -> None:
        """Updates the time of a document whose content is as it was."""
        ...

    def delete(self, document_ids: Iterable[str]) -> int:
        """Removes documents with their chunks and vectors; returns how many there were."""
        ...

    def document(self, document_id: str) -> Document:
        """The document of an id.

        Raises:
            DocumentNotFound: There is none; the message names up to three near ones.
        """
        ...

    def documents(self, *, after: str = "", limit: int = 100, under: str = "") -> list[Document]:
        """Documents in the order of their paths.

        Args:
            after: Only paths behind this one: the last path of the page before.
            limit: At most so many.
            under: Only this absolute path and what lies in it; empty for all.
        """
        ...

    def chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of a document in order.

        Raises:
            DocumentNotFound: There is no such document.
        """
        ...

    def search(self, vector: Vectors, limit: int) -> list[Hit]:
        """The chunks whose vectors are nearest: best first, the older chunk first among equals.

        Exact: the same as comparing with every vector in double precision.

        Args:
            vector: float32[dimensions], the question's.
            limit: At most so many hits.

        Raises:
            WrongEmbedder: The stored vectors are another model's.
            InvalidInput: The vector has another shape or holds what is no number.
        """
        ...

    def statistics(self) -> StoreStatistics:
        """What is stored, and how it is searched."""
        ...

    def clear(self) -> int:
        """Removes every document and forgets which model the vectors were from.

        Returns:
            How many documents there were.
        """
        ...

    def interrupt(self) -> None:
        """Makes a call of another thread that waits for another program fail at once.

        It raises `StoreError`. A call that works goes on, and later calls wait as ever.
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
