"""DocumentStore: what indexing needs of a store, which is another room's; see `engine.store`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.corpus import Chunk, Collection, Document, Filter, SkippedFile

Vectors = NDArray[np.float32]


class Coverage(Protocol):
    """How many texts have a vector."""

    @property
    def embedded(self) -> int:
        """Those that have one."""
        ...

    @property
    def texts(self) -> int:
        """All."""
        ...


class Statistics(Protocol):
    """What a store holds."""

    @property
    def vectors(self) -> Mapping[str, int]:
        """Texts that have a vector, by model."""
        ...


class LackingText(Protocol):
    """A stored text without a vector."""

    @property
    def text_id(self) -> int:
        """What its vector is stored under."""
        ...

    @property
    def text(self) -> str:
        """What the embedder is given."""
        ...

    @property
    def token_count(self) -> int:
        """How long it is."""
        ...


class TextStore(Protocol):
    """What embedding needs of a store."""

    def coverage(self) -> Coverage:
        """How much is embedded by the model in use."""
        ...

    def lacking(self, limit: int, after: int = 0) -> Sequence[LackingText]:
        """Texts without a vector of the model in use, from behind one."""
        ...

    def add_vectors(self, text_ids: Sequence[int], vectors: Vectors) -> None:
        """Stores vectors; what is no longer stored is passed over."""
        ...


class DocumentStore(TextStore, Protocol):
    """What indexing needs of a store."""

    def require_chunking(self, version: int) -> None:
        """Makes documents that were cut by other rules count as changed."""
        ...

    def statistics(self) -> Statistics:
        """What is stored."""
        ...

    def replace(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Puts a document in the place of whatever had its path."""
        ...

    def refresh(self, document: Document) -> None:
        """Updates the times of a document whose content is as it was."""
        ...

    def delete(self, document_ids: Iterable[str]) -> int:
        """Removes documents."""
        ...

    def documents(self, *, after: str = "", limit: int = 100, where: Filter) -> list[Document]:
        """Documents in the order of their paths."""
        ...

    def set_skipped(self, under: str, files: Iterable[SkippedFile]) -> None:
        """Replaces what is known to be left out at or under a path."""
        ...

    def collections(self) -> list[Collection]:
        """All."""
        ...

    def put_collection(self, collection: Collection) -> None:
        """Adds a collection, or changes the one of its root."""
        ...

    def skipped(self, *, after: str = "", limit: int = 100, under: str = "") -> list[SkippedFile]:
        """Files left out, in the order of their paths."""
        ...
