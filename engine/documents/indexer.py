"""Indexer: carries out the plan file by file; can stop and resume.

Knows no store and no model: both are handed in. Owns no thread; closing the generator stops.
Rule: a document is written in one transaction, so wherever it stops the index is sound, and the
next run does what is left.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

from engine.corpus import Chunk, Document
from engine.documents import changes
from engine.documents.batch import Batch, EmbedDocuments, Vectors
from engine.documents.chunker import CHUNKING, CountTokens
from engine.documents.finder import FoundFile, Skipped, find
from engine.documents.preparing import AsKnown, NowNs, Prepared, prepare
from engine.errors import WrongEmbedder

# Of vectors kept between runs, those of a file that the last run was stopped in.
_UNFINISHED_BYTES = 64 * 1024 * 1024
_DOCUMENTS_PER_PAGE = 1000


class DocumentStore(Protocol):
    """What indexing needs of a store; see `engine.store.interface`."""

    def require_chunking(self, version: int) -> None:
        """Makes documents that were cut by other rules count as changed."""
        ...

    def check_embedder(self) -> None:
        """Raises `WrongEmbedder` if stored vectors are another model's."""
        ...

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Puts a document in the place of whatever had its path."""
        ...

    def refresh(self, document: Document) -> None:
        """Updates the time of a document whose content is as it was."""
        ...

    def delete(self, document_ids: Sequence[str]) -> int:
        """Removes documents."""
        ...

    def documents(self, *, after: str = "", limit: int = 100, under: str = "") -> list[Document]:
        """Documents at or under a path in the order of their paths."""
        ...

    def clear(self) -> int:
        """Removes every document, whatever model its vectors are from."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What a run has done so far, or what one step adds to that."""

    indexed: int = 0
    """Files that were new or changed."""
    unchanged: int = 0
    removed: int = 0
    """Documents whose files are gone or no longer to be indexed."""
    cleared: int = 0
    """Documents of other folders that a rebuild removed."""
    skipped: tuple[Skipped, ...] = ()
    guessed_encodings: tuple[str, ...] = ()
    """Paths of files that are no valid Unicode and were read as Western European text."""
    chunks_added: int = 0
    embedded_texts: int = 0

    def __add__(self, other: "IndexReport") -> "IndexReport":
        names = [one.name for one in fields(self)]
        return IndexReport(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far a run is."""

    done: float
    """Files dealt with; a large one counts in parts. Rises with every step, at last to `total`."""
    total: int
    path: str
    """The file of this step; empty for what needed no reading."""
    report: IndexReport


@dataclass(frozen=True, slots=True)
class _Step:
    path: str
    adds: IndexReport
    part: float = 0.0
    """How much of the file is done; 0 if it is dealt with."""


class Indexer:
    """Brings a store up to date with a folder or a file."""

    def __init__(
        self,
        store: DocumentStore,
        embed_documents: EmbedDocuments,
        count_tokens: CountTokens,
        max_tokens: int,
        unfinished: dict[str, Vectors] | None = None,
        now_ns: NowNs = time.time_ns,
    ) -> None:
        """Takes what it works with.

        Args:
            store: Where documents go.
            embed_documents: Makes the vectors the store is in use for.
            count_tokens: How that model counts, special tokens left out.
            max_tokens: What it takes of one text, special tokens left out.
            unfinished: Vectors of texts that a stopped run embedded and did not store, by the
                SHA-256 of the text. Given to the next indexer for the same model, it goes on
                there. Holds some 64 MB at most between runs, and nothing after a complete one.
            now_ns: The clock that files are dated by.
        """
        self._store = store
        self._embed_documents = embed_documents
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens
        self._now_ns = now_ns
        self._unfinished: dict[str, Vectors] = {} if unfinished is None else unfinished

    def run(self, root: Path, *, rebuild: bool = False) -> Generator[IndexProgress]:
        """Indexes what is new or changed under `root` and removes what is gone from there.

        Yields once for all that needs no reading, then at least once a file.

        Args:
            root: A folder or a file, as `finder.resolved` gives it.
            rebuild: Empty the whole store first, once the root was walked.

        Raises:
            InvalidInput: There is nothing at `root`; nothing was removed.
            WrongEmbedder: The store holds another model's vectors, and is not to be rebuilt.
        """
        self._check_embedder(rebuild)
        found = list(find(root))
        self._store.require_chunking(CHUNKING)
        known = {document.path: document for document in self._known(root)}
        plan = changes.plan(found, known.values(), every=rebuild)
        report = IndexReport(unchanged=plan.unchanged, skipped=plan.skipped)
        if rebuild:
            report += IndexReport(removed=len(plan.gone), cleared=self._store.clear() - len(known))
            known = {}
        else:
            report += IndexReport(removed=self._store.delete(plan.gone))
        done = plan.total - len(plan.pending)
        yield IndexProgress(done, plan.total, "", report)
        try:
            for step in self._steps(plan.pending, known):
                report += step.adds
                done += not step.part
                yield IndexProgress(done + step.part, plan.total, step.path, report)
            self._unfinished.clear()
        finally:
            self._forget_some()

    def _check_embedder(self, rebuild: bool) -> None:
        try:
            self._store.check_embedder()
        except WrongEmbedder:
            if not rebuild:
                raise

    def _known(self, root: Path) -> Iterator[Document]:
        under, after = str(root), ""
        while page := self._store.documents(after=after, limit=_DOCUMENTS_PER_PAGE, under=under):
            yield from page
            after = page[-1].path

    def _steps(
        self, pending: Iterable[FoundFile], known: Mapping[str, Document]
    ) -> Iterator[_Step]:
        batch = self._batch()
        for file in pending:
            before = known.get(file.path)
            outcome = self._prepare(file, before.content_sha256 if before else "")
            if not isinstance(outcome, Prepared):
                yield _Step(file.path, self._settled(outcome, before))
                continue
            if not batch.takes(outcome):
                yield from self._flush(batch)
                batch = self._batch()
            batch.add(outcome)
        yield from self._flush(batch)

    def _prepare(self, file: FoundFile, sha256: str) -> Prepared | AsKnown | Skipped:
        return prepare(file, sha256, self._count_tokens, self._max_tokens, self._now_ns)

    def _batch(self) -> Batch:
        return Batch(self._embed_documents, self._unfinished)

    def _settled(self, outcome: AsKnown | Skipped, known: Document | None) -> IndexReport:
        """Does what is to be done for a file that is not embedded."""
        if isinstance(outcome, Skipped):
            gone = [known.document_id] if known and not outcome.unseen else []
            return IndexReport(skipped=(outcome,), removed=self._store.delete(gone))
        if known and known.stamp_ns != outcome.stamp_ns:
            self._store.refresh(replace(known, stamp_ns=outcome.stamp_ns))
        return IndexReport(unchanged=1)

    def _flush(self, batch: Batch) -> Iterator[_Step]:
        """Embeds a batch and stores its documents one by one."""
        adds = IndexReport()
        for part, texts in batch.embed():
            adds += IndexReport(embedded_texts=texts)
            if part < 1:
                yield _Step(batch.waiting[-1].document.path, adds, part)
                adds = IndexReport()
        for prepared in batch.waiting:
            document = prepared.document
            self._store.replace(document, prepared.chunks, batch.vectors(prepared))
            batch.forget(prepared)
            guessed = (document.path,) if document.encoding_is_guessed else ()
            adds += IndexReport(
                indexed=1, chunks_added=document.chunk_count, guessed_encodings=guessed
            )
            yield _Step(document.path, adds)
            adds = IndexReport()

    def _forget_some(self) -> None:
        """Keeps the newest unfinished vectors, as many as may be kept."""
        kept = 0
        for key, vector in reversed(list(self._unfinished.items())):
            kept += vector.nbytes
            if kept > _UNFINISHED_BYTES:
                del self._unfinished[key]
