"""Library: the user's documents, kept indexed, searched, read and cared for.

Joins the embedder, the index and the search; knows nothing of how a model is chosen or loaded.
Blocking, and safe to call from several threads; one run of indexing at a time.
"""

import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from engine.corpus import Chunk, Collection, Document, Filter, SkippedFile
from engine.documents.collecting import Wishes
from engine.documents.embedding import EmbedDocuments
from engine.documents.freshness import keep_fresh
from engine.documents.indexer import Indexer
from engine.documents.one_indexer import one_indexer
from engine.documents.progress import IndexProgress
from engine.documents.readers.interface import split_lines
from engine.documents.watcher import WatchOptions
from engine.embed.embedder import Embedder
from engine.embed.embeddings import Embeddings
from engine.errors import ModelMissing, StoreError, Unavailable
from engine.models.spec import EmbedderSpec
from engine.residency import Resident
from engine.search.narrowing import Narrowing, narrowed
from engine.search.query import Query
from engine.search.ranking import Ranked
from engine.search.search import Matches, SearchRequest, evidence, lacking, search
from engine.search.snippets import Snippet
from engine.store import opening
from engine.store.interface import (
    NO_FILTER,
    Coverage,
    EmbeddingSpace,
    Extent,
    Store,
    StoreStatistics,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatus:
    """A collection, and how it is with it."""

    collection: Collection
    documents: int
    is_there: bool
    """Whether there is anything at its root now."""


@dataclass(frozen=True, slots=True)
class StoredText:
    """A document and its text."""

    document: Document
    chunks: tuple[Chunk, ...]

    def lines(self) -> tuple[str, ...]:
        """The lines of the text, with their ends."""
        return split_lines("".join(chunk.text for chunk in self.chunks))


class Library:
    """The documents in one index."""

    def __init__(
        self,
        index_file: Path,
        embedder: Resident[Embedder],
        spec_in_use: Callable[[], EmbedderSpec | None],
        *,
        leaves_core_free: bool = False,
    ) -> None:
        """Opens nothing yet.

        Args:
            index_file: The index; made at first use.
            embedder: Makes the vectors; loaded when one is needed.
            spec_in_use: The embedder that is in memory, or was.
            leaves_core_free: Whether indexing may not use all cores, for others ask questions.
        """
        self._index_file = index_file
        self._embedder = embedder
        self._spec_in_use = spec_in_use
        self._leaves_core_free = leaves_core_free
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._opened: Store | None = None
        self._openings = 0
        self._why_not_opened: StoreError | None = None

    def search(self, request: SearchRequest) -> Matches:
        """The passages that answer a question, best first.

        Without an embedding model it answers by words, and says why.

        Raises:
            EngineError: A blank query, or an index that cannot be read.
        """
        if request.mode == "keyword":
            return self.found(request, None)
        try:
            lease = self._embedder.lease()
        except Unavailable as error:
            return self.found(request, None, str(error))
        with lease as embedder:
            return self.found(request, embedder.embed([request.query], "query"))

    def found(
        self, request: SearchRequest, question: Embeddings | None, why_not: str = ""
    ) -> Matches:
        """The same for a query that this engine's embedder has embedded, or could not.

        Args:
            request: What is asked.
            question: The query as the only text; None searches by words.
            why_not: Why there is none though one was wanted.
        """
        return search(self._store_in_use(), request, question, why_not)

    def evidence(self, query: Query) -> Callable[[Ranked, int], Snippet]:
        """Cuts the part of a passage that shows why it was found; see `engine.search.search`."""
        return evidence(self.store(), query)

    def narrowed(self, wanted: Narrowing) -> Filter:
        """The documents that may answer, from what a caller says of them.

        Raises:
            CollectionNotFound: There is no collection of a name.
            InvalidInput: A kind is none, or a time is none.
        """
        return narrowed(wanted, self.store().collections())

    def index(
        self, root: Path, wishes: Wishes | None = None, *, rebuild: bool = False
    ) -> Generator[IndexProgress]:
        """Brings the index of a folder or file up to date, step by step.

        Without an embedding model its documents are found by their words only, and the report says
        how many texts lack a vector.

        Args:
            root: The folder or file, as `finder.resolved` gives it: it is not resolved again, so
                that nobody puts a link in the place of what was checked. One that lies in no
                collection becomes a new one.
            wishes: What its collection is to be; None leaves it as it is.
            rebuild: Read every file anew.

        Raises:
            EngineError: No such folder, or another run of indexing is at work; then nothing was
                changed.
        """
        with self._indexer() as indexer:
            yield from indexer.run(root, wishes, rebuild=rebuild)

    def index_all(self, *, rebuild: bool = False) -> Generator[IndexProgress]:
        """The same for every collection; one whose folder is not there is left as it is."""
        with self._indexer() as indexer:
            yield from indexer.run_all(rebuild=rebuild)

    def index_changed(self, paths: Iterable[str]) -> Generator[IndexProgress]:
        """The same for paths in collections that changed, are new or are gone."""
        with self._indexer() as indexer:
            yield from indexer.run_changed(paths)

    def embed_lacking(self) -> Generator[IndexProgress]:
        """Embeds what has no vector of the model in use, as after a change of the model.

        Another run of indexing may be at work meanwhile: what it embeds is passed over, and so is
        what it removes.
        """
        with self._unlocked_indexer() as indexer:
            yield from indexer.embed_lacking()

    def watch(self, options: WatchOptions | None = None) -> Generator[IndexProgress | None]:
        """Keeps all collections up to date until it is closed.

        Yields the steps of each run, the first of everything, and None several times a second while
        nothing changes. What changes while another program indexes is dealt with once that is done.
        """
        return keep_fresh(lambda: self.store().collections(), self.index_changed, options)

    def collections(self, *, after: str = "", limit: int | None = None) -> list[CollectionStatus]:
        """What is kept indexed, in the order of names.

        Args:
            after: Only names behind this one.
            limit: At most so many; None is all.
        """
        store = self.store()
        behind = [one for one in store.collections() if one.name > after]
        return [
            CollectionStatus(
                collection=one,
                documents=store.count(Filter(roots=(one.root,))),
                is_there=os.path.exists(one.root),
            )
            for one in behind[:limit]
        ]

    def drop_collection(self, name: str) -> int:
        """Keeps a collection no longer, and removes the documents that no other one covers.

        Returns:
            How many documents those were.

        Raises:
            CollectionNotFound: There is none of that name.
            IndexerBusy: A run of indexing is at work, which might add documents of it.
        """
        with one_indexer(self._index_file):
            return self.store().drop_collection(name)

    def documents(
        self, *, after: str = "", limit: int = 100, where: Filter = NO_FILTER
    ) -> list[Document]:
        """Indexed documents in the order of their paths, those behind the path `after`."""
        return self.store().documents(after=after, limit=limit, where=where)

    def count(self, where: Filter = NO_FILTER) -> int:
        """How many documents match."""
        return self.store().count(where)

    def extent(self, where: Filter = NO_FILTER) -> Extent:
        """How much the documents that match are together."""
        return self.store().extent(where)

    def skipped_files(
        self, *, after: str = "", limit: int = 100, under: str = ""
    ) -> list[SkippedFile]:
        """Files that were left out, with reasons, in the order of their paths."""
        return self.store().skipped(after=after, limit=limit, under=under)

    def read_document(self, document_id: str) -> StoredText:
        """A document as it was when it was indexed.

        Raises:
            DocumentNotFound: No document has that id.
        """
        store = self.store()
        return StoredText(store.document(document_id), tuple(store.chunks(document_id)))

    def remove_documents(self, document_ids: Sequence[str]) -> int:
        """Removes documents from the index; all of them or, where one is unknown, none.

        Raises:
            DocumentNotFound: No document has one of the ids.
        """
        store = self.store()
        for document_id in document_ids:
            store.document(document_id)
        return store.delete(document_ids)

    def index_statistics(self) -> StoreStatistics:
        """How much is indexed, and by which models.

        Raises:
            StoreError: The index cannot be opened.
        """
        return self._store_in_use().statistics()

    def coverage(self) -> Coverage:
        """How much can be found by the meaning that the embedder in use gives it."""
        return self._store_in_use().coverage()

    def lacks_vectors(self) -> bool:
        """Whether the embedder in use has something left to embed."""
        return self._spec_in_use() is not None and not self.coverage().is_complete

    def index_problem(self) -> str:
        """Why the index cannot be searched as it should be, or empty."""
        try:
            store = self._store_in_use()
            return lacking(store) if self._spec_in_use() else ""
        except StoreError as error:
            return str(error)

    def store(self) -> Store:
        """The index, opened at first use.

        Raises:
            StoreError: It cannot be opened; whoever waited for one attempt makes no other.
        """
        before = self._openings
        with self._lock:
            if self._closing.is_set():
                raise Unavailable("The server is shutting down; call again once it is back.")
            if self._opened is None:
                if self._why_not_opened and self._openings != before:
                    raise StoreError(str(self._why_not_opened)) from self._why_not_opened
                self._opened = self._open()
            return self._opened

    def interrupt(self) -> None:
        """Makes a call give up that waits for another program to leave the index, or that writes a
        document, which may take seconds."""
        store = self._opened
        if store is not None:
            store.interrupt()

    def close(self, timeout: float = -1) -> None:
        """Closes the index; with a timeout in seconds, only if it is not in use till then."""
        self._closing.set()
        if self._opened is not None:
            self._opened.close(timeout)

    def _store_in_use(self) -> Store:
        """The index, for the vectors of the embedder that is in memory, or was."""
        store = self.store()
        if (spec := self._spec_in_use()) is not None:
            store.use(EmbeddingSpace(spec.model_id, spec.fingerprint, spec.dimensions))
        return store

    def _open(self) -> Store:
        self._why_not_opened = None
        try:
            return opening.open_store(self._index_file)
        except StoreError as error:
            self._why_not_opened = error
            raise
        finally:
            self._openings += 1

    @contextmanager
    def _indexer(self) -> Generator[Indexer]:
        with one_indexer(self._index_file), self._unlocked_indexer() as indexer:
            yield indexer

    @contextmanager
    def _unlocked_indexer(self) -> Generator[Indexer]:
        with ExitStack() as held:
            try:
                embedder = held.enter_context(self._embedder.lease())
            except ModelMissing:
                yield Indexer(self._store_in_use())
                return
            way = embedder.in_background() if self._leaves_core_free else _at_once(embedder)
            yield Indexer(
                self._store_in_use(),
                held.enter_context(way),
                embedder.count_tokens,
                embedder.text_tokens,
            )


def _at_once(embedder: Embedder) -> AbstractContextManager[EmbedDocuments]:
    """A way to embed documents on all cores."""
    return nullcontext(lambda texts: embedder.embed(texts, "document").vectors)
