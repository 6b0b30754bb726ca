"""SqliteStore: the store in one SQLite file.

Ranking, snippets and chunking stay out. The tables are other rooms'; what belongs together in one
transaction is here.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from engine.corpus import Chunk, Collection, Document, Filter, Hit, SkippedFile
from engine.errors import InvalidInput, StoreError
from engine.store import care, filtering
from engine.store.collections_tables import CollectionsTables
from engine.store.connection import View, WordTokenizer
from engine.store.database import Database
from engine.store.documents_tables import DocumentsTables
from engine.store.generation import count_change, generation
from engine.store.interface import (
    NO_FILTER,
    Candidate,
    Coverage,
    EmbeddingSpace,
    Extent,
    LackingText,
    StoreStatistics,
    Vectors,
)
from engine.store.lexical_search import LexicalSearch
from engine.store.lexical_table import TOKENIZER
from engine.store.nearest import NearestVectors
from engine.store.passages import hits
from engine.store.selecting import Selections
from engine.store.spaces import Spaces
from engine.store.vectors import decoded, similarity, unit
from engine.store.words import Word, words_of


class SqliteStore:
    """A `Store`. Made by `opening.open_store`, which has prepared the file."""

    def __init__(self, database: Database, slow_reason: str) -> None:
        """Takes over a prepared database.

        Args:
            database: Its tables are there.
            slow_reason: Why sqlite-vec is not used; empty if it is.
        """
        self._database = database
        self._space: EmbeddingSpace | None = None
        self._selections = Selections()
        self._nearest = NearestVectors(slow_reason)
        self._lexical = LexicalSearch()
        self._tokenizer = WordTokenizer(*TOKENIZER.split())

    def use(self, space: EmbeddingSpace) -> None:
        """Names the model whose vectors come from now on; see `Store.use`."""
        self._space = space

    def coverage(self) -> Coverage:
        """How much is embedded; see `Store.coverage`."""
        with self._database.read() as view:
            return Spaces(view).coverage(self._space_id(view))

    def lacking(self, limit: int, after: int = 0) -> list[LackingText]:
        """Texts without a vector; see `Store.lacking`."""
        with self._database.read() as view:
            behind, most = filtering.in_64_bits(after), filtering.rows_of(limit)
            return Spaces(view).lacking(self._space_id(view), behind, most)

    def add_vectors(self, text_ids: Sequence[int], vectors: Vectors) -> None:
        """Stores the vectors of texts; see `Store.add_vectors`."""
        space = self._space_in_use()
        rows = unit(vectors, len(text_ids), space.dimensions).astype("<f4")
        with self._database.write() as view:
            spaces = Spaces(view)
            space_id = spaces.number(space)
            spaces.add(
                space_id, [(one, row.tobytes()) for one, row in zip(text_ids, rows, strict=True)]
            )
            if spaces.coverage(space_id).is_complete:
                spaces.take_over(space_id)
            self._nearest.changed(view, space_id)
            count_change(view)

    def require_chunking(self, version: int) -> None:
        """Names the rules that documents are cut by; see `Store.require_chunking`."""
        with self._database.read() as view:
            if _meta(view, "chunking") == version:
                return
        with self._database.write() as view:
            view.rows("UPDATE documents SET content_sha256 = '', stamp_ns = 0")
            view.rows("DELETE FROM skipped_files")
            view.rows("INSERT OR REPLACE INTO meta VALUES ('chunking', ?)", [version])

    def replace(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Puts a document in the place of whatever had its path; see `Store.replace`."""
        if [chunk.ordinal for chunk in chunks] != list(range(document.chunk_count)):
            raise InvalidInput(f"The chunks of {document.path} are not complete and in order.")
        with self._database.write() as view:
            tables = DocumentsTables(view)
            before = tables.remove(tables.keys([document.document_id]))
            tables.add(document, chunks)
            self._forget_texts(view, tables.unused(before))
            count_change(view)

    def refresh(self, document: Document) -> None:
        """Updates the times of a document; see `Store.refresh`."""
        with self._database.write() as view:
            if DocumentsTables(view).set_times(document):
                count_change(view)

    def delete(self, document_ids: Iterable[str]) -> int:
        """Removes documents; returns how many there were; see `Store.delete`."""
        wanted = list(document_ids)
        with self._database.read() as view:
            if not DocumentsTables(view).keys(wanted):
                return 0
        with self._database.write() as view:
            return self._delete(view, wanted)

    def document(self, document_id: str) -> Document:
        """The document of an id; see `Store.document`."""
        with self._database.read() as view:
            return DocumentsTables(view).one(document_id)

    def documents(
        self, *, after: str = "", limit: int = 100, where: Filter = NO_FILTER
    ) -> list[Document]:
        """Documents in the order of their paths; see `Store.documents`."""
        with self._database.read() as view:
            return DocumentsTables(view).page(after, limit, where)

    def count(self, where: Filter = NO_FILTER) -> int:
        """How many documents match; see `Store.count`."""
        with self._database.read() as view:
            return DocumentsTables(view).count(where)

    def extent(self, where: Filter = NO_FILTER) -> Extent:
        """How much the documents that match are; see `Store.extent`."""
        with self._database.read() as view:
            return DocumentsTables(view).extent(where)

    def chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of a document in order; see `Store.chunks`."""
        with self._database.read() as view:
            return DocumentsTables(view).chunks(document_id)

    def set_skipped(self, under: str, files: Iterable[SkippedFile]) -> None:
        """Replaces what is known to be left out; see `Store.set_skipped`."""
        wanted = {one.path: one for one in files}
        with self._database.read() as view:
            known = CollectionsTables(view).skipped("", -1, under)
        if {one.path: one for one in known} != wanted:
            with self._database.write() as view:
                CollectionsTables(view).set_skipped(under, wanted.values())

    def skipped(self, *, after: str = "", limit: int = 100, under: str = "") -> list[SkippedFile]:
        """Files left out; see `Store.skipped`."""
        with self._database.read() as view:
            return CollectionsTables(view).skipped(after, filtering.rows_of(limit), under)

    def collections(self) -> list[Collection]:
        """In the order of their names; see `Store.collections`."""
        with self._database.read() as view:
            return CollectionsTables(view).all()

    def put_collection(self, collection: Collection) -> None:
        """Adds or changes a collection; see `Store.put_collection`."""
        if collection in self.collections():
            return
        with self._database.write() as view:
            CollectionsTables(view).put(collection)
            count_change(view)

    def drop_collection(self, name: str) -> int:
        """Removes a collection; see `Store.drop_collection`."""
        with self._database.write() as view:
            return self._delete(view, CollectionsTables(view).drop(name))

    def lexical(
        self, terms: Sequence[str], limit: int, where: Filter = NO_FILTER
    ) -> list[Candidate]:
        """Texts by BM25; see `Store.lexical`."""
        most = filtering.rows_of(limit)
        if not most or not terms:
            return []
        with self._database.read() as view:
            inside = self._selections.of(view, where)
            return [Candidate(*one) for one in self._lexical.search(view, terms, most, inside)]

    def nearest(self, vector: Vectors, limit: int, where: Filter = NO_FILTER) -> list[Candidate]:
        """Texts by cosine similarity; see `Store.nearest`."""
        query = unit(vector[None], 1, self._space_in_use().dimensions)[0]
        most = filtering.rows_of(limit)
        with self._database.read() as view:
            space_id = self._space_id(view)
            if not most or not space_id:
                return []
            selection = self._selections.of(view, where)
            inside = selection.texts if selection else None
            found = self._nearest.search(view, space_id, query, most, inside)
            return [Candidate(*one) for one in found]

    def similarities(self, vector: Vectors, text_ids: Sequence[int]) -> dict[int, float]:
        """Cosine similarities of texts; see `Store.similarities`."""
        query = unit(vector[None], 1, self._space_in_use().dimensions)[0]
        with self._database.read() as view:
            stored = Spaces(view).vectors(self._space_id(view), text_ids)
        scores = similarity(query, decoded([one for _, one in stored], len(query)))
        return {one: float(score) for (one, _), score in zip(stored, scores, strict=True)}

    def vectors(self, text_ids: Sequence[int]) -> dict[int, Vectors]:
        """The vectors of texts; see `Store.vectors`."""
        dimensions = self._space_in_use().dimensions
        with self._database.read() as view:
            stored = Spaces(view).vectors(self._space_id(view), text_ids)
        rows = decoded([one for _, one in stored], dimensions)
        return {one: row for (one, _), row in zip(stored, rows, strict=True)}

    def hits(self, candidates: Sequence[Candidate], where: Filter = NO_FILTER) -> list[Hit]:
        """The chunk of each text; see `Store.hits`."""
        with self._database.read() as view:
            return hits(view, candidates, where)

    def words(self, text: str) -> list[Word]:
        """The words of a text; see `Store.words`."""
        return list(words_of(text, self._tokenizer))

    def generation(self) -> int:
        """Rises with what can be found; see `Store.generation`."""
        with self._database.read() as view:
            return generation(view)

    def statistics(self) -> StoreStatistics:
        """What is stored, and how it is searched."""
        with self._database.read() as view:
            space_id = self._space_id(view)
            spaces = Spaces(view)
            search, reason = self._nearest.way(view, space_id)
            stored = sorted(spaces.all(), key=lambda one: one.space_id != space_id)
            vectors: dict[str, int] = {}
            for one in stored:  # Of two versions of a model, the one in use counts.
                vectors.setdefault(one.space.model_id, spaces.vector_count(one.space_id))
            return StoreStatistics(
                documents=_count(view, "documents"),
                chunks=_count(view, "chunks"),
                texts=_count(view, "texts"),
                skipped=CollectionsTables(view).skipped_count(),
                size_bytes=self._database.size_bytes(),
                vectors=vectors,
                vector_search=search,
                vector_search_reason=reason,
                generation=generation(view),
            )

    def verify(self) -> list[str]:
        """Examines everything; see `Store.verify`."""
        with self._database.read() as view:
            return list(care.problems(view))

    def compact(self) -> int:
        """Gives unused space back; see `Store.compact`."""
        before = self._database.size_bytes()
        with self._database.write() as view:
            self._drop_unused(view)
        self._database.maintain(*care.COMPACTING)
        return max(0, before - self._database.size_bytes())

    def backup(self, target: Path) -> None:
        """Copies the index into a new file; see `Store.backup`."""
        if target.exists():
            raise InvalidInput(f"{target} is there already; name a file that is not.")
        if not target.parent.is_dir():
            raise InvalidInput(f"The folder {target.parent} is not there; make it first.")
        self._database.copy_to(target)

    def clear(self) -> int:
        """Removes everything; returns how many documents there were; see `Store.clear`."""
        with self._database.write() as view:
            count = self._delete(view, None)
            view.run("DELETE FROM collections; DELETE FROM skipped_files")
            for space in Spaces(view).all():
                Spaces(view).drop(space.space_id)
            Spaces(view).forget_left()
            return count

    def interrupt(self) -> None:
        """Makes a call that waits or writes a document fail; see `Store.interrupt`."""
        self._database.interrupt()

    def close(self, timeout: float = -1) -> None:
        """Frees the store; may be called twice; see `Store.close`."""
        self._database.close(timeout)

    def _delete(self, view: View, document_ids: Sequence[str] | None) -> int:
        """Removes documents, or all of them."""
        tables = DocumentsTables(view)
        keys = tables.keys(document_ids)
        if keys:
            self._forget_texts(view, tables.unused(tables.remove(keys)))
            count_change(view)
        return len(keys)

    def _forget_texts(self, view: View, text_ids: Sequence[int]) -> None:
        """Removes texts with their vectors."""
        spaces = Spaces(view)
        spaces.forget(text_ids)
        self._nearest.changed(view, self._space_id(view))

    def _drop_unused(self, view: View) -> None:
        """What no search needs: vectors of models that are not in use, and what followed them."""
        space_id, spaces = self._space_id(view), Spaces(view)
        for other in spaces.all() if space_id else ():
            if other.space_id != space_id:
                spaces.drop(other.space_id)
        spaces.forget_left()
        self._nearest.remake(view, space_id)

    def _space_in_use(self) -> EmbeddingSpace:
        if self._space is None:
            raise StoreError(
                "No embedding model is in use, so the index can only be searched by words; "
                "install one with `npu-gateway pull`."
            )
        return self._space

    def _space_id(self, view: View) -> int:
        """The number of the space in use; 0 if there is none, or nothing in it."""
        return Spaces(view).find(self._space) if self._space else 0


def _count(view: View, table: str) -> int:
    return int(view.value("SELECT number FROM counts WHERE name = ?", [table]))


def _meta(view: View, key: str) -> Any:
    return view.value("SELECT value FROM meta WHERE key = ?", [key])
