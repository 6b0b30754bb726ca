"""Indexer: carries out the plan file by file; can stop and resume.

Knows no store and no model: both are handed in. Owns no thread; closing the generator stops.
Rule: a document is written in one transaction, so wherever it stops the index is sound, and the
next run does what is left. What is new comes first and what is gone leaves last, so that a text
that only moves keeps its vector.
"""

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from engine.corpus import SkippedFile, document_id_of
from engine.documents import collecting
from engine.documents.chunker import CountTokens, chunking
from engine.documents.collecting import Wishes, as_known, collection_for
from engine.documents.document_store import DocumentStore
from engine.documents.embedding import EmbedDocuments, embed_lacking
from engine.documents.finder import FoundFile, Skipped
from engine.documents.preparing import Cutting, NowNs, Prepared, is_young, preparing
from engine.documents.progress import IndexProgress, IndexReport, Pace
from engine.documents.reading import ReadingProcess
from engine.documents.surveying import Survey, survey
from engine.documents.token_estimate import ESTIMATED_MAX_TOKENS, estimated_tokens

# Removed in one transaction: some 0.1 s of work.
_REMOVED_PER_STEP = 100
# What opening, hashing and storing a file costs beside its bytes, in bytes.
_COST_OF_A_FILE = 8192


class Indexer:
    """Brings a store up to date with the disk."""

    def __init__(
        self,
        store: DocumentStore,
        embed_documents: EmbedDocuments | None = None,
        count_tokens: CountTokens = estimated_tokens,
        max_tokens: int = ESTIMATED_MAX_TOKENS,
        now_ns: NowNs = time.time_ns,
    ) -> None:
        """Takes what it works with.

        Args:
            store: Where documents go.
            embed_documents: Makes the vectors of the model that the store is in use for; None
                leaves texts without.
            count_tokens: How that model counts, special tokens left out.
            max_tokens: What it takes of one text, special tokens left out.
            now_ns: The clock that files are dated by; may jump.
        """
        self._store = store
        self._embed_documents = embed_documents
        self._cutting = Cutting(count_tokens, max_tokens)
        self._now_ns = now_ns

    def run(
        self, root: Path, wishes: Wishes | None = None, *, rebuild: bool = False
    ) -> Generator[IndexProgress]:
        """Indexes what is new or changed at a path, removes what is gone, and embeds.

        Yields before the first file that is read, at least once a file, and once at the end.

        Args:
            root: A folder or a file, as `finder.resolved` gives it. In a collection, that part of
                it is brought up to date; in none, it becomes one.
            wishes: What its collection is to be; with any, it becomes a collection of its own.
            rebuild: Read every file anew, changed or not.

        Raises:
            InvalidInput: There is nothing at `root`, or a wish cannot be; nothing was changed.
        """
        known = self._store.collections()
        root = as_known(root, known)
        collection = collection_for(root, known, wishes)
        collections = [one for one in known if one.root != collection.root]
        collections.append(collection)
        parts = collecting.parts(collections, str(root))
        self._require_chunking()
        seen = yield from survey(self._store, parts, asked=str(root), every=rebuild)
        self._store.put_collection(collection)
        yield from self._carry_out(seen)

    def run_all(self, *, rebuild: bool = False) -> Generator[IndexProgress]:
        """The same for every collection; one that cannot be looked into is reported and stays."""
        self._require_chunking()
        parts = collecting.parts(self._store.collections())
        seen = yield from survey(self._store, parts, every=rebuild)
        yield from self._carry_out(seen)

    def run_changed(self, paths: Iterable[str]) -> Generator[IndexProgress]:
        """The same for paths in collections that changed, are new or are gone; see `watcher`."""
        self._require_chunking()
        parts = collecting.parts_changed(self._store.collections(), paths)
        seen = yield from survey(self._store, parts)
        yield from self._carry_out(seen)

    def embed_lacking(self) -> Generator[IndexProgress]:
        """Embeds what lacks a vector of the model in use; looks at no file."""
        yield from self._embedding(IndexProgress(phase="embedding", report=IndexReport()))

    def _carry_out(self, seen: Survey) -> Generator[IndexProgress]:
        progress = IndexProgress(
            phase="reading",
            files_done=seen.plan.settled,
            files_total=seen.plan.total,
            report=seen.report(),
        )
        if seen.plan.settled < seen.plan.total:
            yield progress
        for phase in (self._reading, self._removing):
            progress = yield from phase(seen, progress)
        yield from self._embedding(progress)

    def _require_chunking(self) -> None:
        """Has documents cut anew that were cut by other rules, or for a model that takes others.

        Cuts by estimated lengths last until there is a model, and take no place of better ones.
        """
        number = chunking(self._cutting.max_tokens)
        if self._embed_documents is not None:
            self._store.require_chunking(number)
        elif not self._store.statistics().vectors:
            self._store.require_chunking(-number)

    def _reading(
        self, seen: Survey, progress: IndexProgress
    ) -> Generator[IndexProgress, None, IndexProgress]:
        pending = seen.plan.pending
        pace = Pace(sum(_cost(file) for file in pending))
        with ReadingProcess() as process:
            for file in pending:
                reading = self._read(file, seen, process)
                adds = yield from _ticking(reading, replace(progress, path=file.path))
                pace.add(_cost(file))
                progress = replace(
                    progress,
                    files_done=progress.files_done + 1,
                    path=file.path,
                    seconds_left=pace.seconds_left(),
                    report=progress.report + adds,
                )
                yield progress
        return progress

    def _read(
        self, file: FoundFile, seen: Survey, process: ReadingProcess
    ) -> Generator[None, None, IndexReport]:
        """Deals with one file; what that adds to the report."""
        known = seen.known.get(file.path)
        sha256 = known.content_sha256 if known else ""
        outcome = yield from preparing(file, sha256, self._cutting, process, self._now_ns)
        if isinstance(outcome, Skipped):
            return self._leave_out(file, outcome)
        if file.path in seen.noted:
            self._store.set_skipped(file.path, [])
        if isinstance(outcome, Prepared):
            return self._put(outcome)
        if known and known.stamp_ns != outcome.stamp_ns:
            stamps = {"stamp_ns": outcome.stamp_ns, "modified_ns": outcome.modified_ns}
            self._store.refresh(replace(known, **stamps))
        return IndexReport(unchanged=1)

    def _put(self, prepared: Prepared) -> IndexReport:
        document = prepared.document
        self._store.replace(document, prepared.chunks)
        guessed = (document.path,) if document.encoding_is_guessed else ()
        return IndexReport(indexed=1, chunks_added=document.chunk_count, guessed_encodings=guessed)

    def _leave_out(self, file: FoundFile, skipped: Skipped) -> IndexReport:
        """Notes why a file is left out, so that it is not read again while it stays as it is."""
        is_sure = not skipped.unseen and not is_young(file.stamp_ns, self._now_ns())
        size, stamp_ns = (file.size, file.stamp_ns) if is_sure else (-1, 0)
        note = SkippedFile(file.path, skipped.reason, size, stamp_ns)
        self._store.set_skipped(file.path, [note])
        gone = [] if skipped.unseen else [document_id_of(file.path)]
        removed = self._store.delete(gone)
        return IndexReport(skipped=(note,), failed=int(skipped.unseen), removed=removed)

    def _removing(
        self, seen: Survey, progress: IndexProgress
    ) -> Generator[IndexProgress, None, IndexProgress]:
        gone = seen.plan.gone
        for start in range(0, len(gone), _REMOVED_PER_STEP):
            step = gone[start : start + _REMOVED_PER_STEP]
            progress = replace(
                progress,
                files_done=progress.files_done + len(step),
                path="",
                report=progress.report + IndexReport(removed=self._store.delete(step)),
            )
            yield progress
        return progress

    def _embedding(self, progress: IndexProgress) -> Generator[IndexProgress]:
        """Embeds what lacks a vector, and ends the run."""
        progress = replace(progress, path="", seconds_left=None)
        lacking = self._lacking()
        if lacking and self._embed_documents is not None:
            progress = replace(progress, phase="embedding", texts_total=lacking)
            pace = Pace(lacking)
            for count in embed_lacking(self._store, self._embed_documents):
                pace.add(count)
                progress = _embedded(progress, count, pace)
                yield progress
            lacking = self._lacking()
        report = progress.report + IndexReport(lacking_texts=lacking)
        yield replace(progress, seconds_left=0.0, is_last=True, report=report)

    def _lacking(self) -> int:
        coverage = self._store.coverage()
        return coverage.texts - coverage.embedded


def _ticking(
    steps: Generator[None, None, IndexReport], progress: IndexProgress
) -> Generator[IndexProgress, None, IndexReport]:
    """Steps of one file as steps of the run."""
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            yield progress


def _embedded(progress: IndexProgress, count: int, pace: Pace) -> IndexProgress:
    done = progress.texts_done + count
    return replace(
        progress,
        texts_done=done,
        texts_total=max(done, progress.texts_total),
        seconds_left=pace.seconds_left(),
        report=progress.report + IndexReport(embedded_texts=count),
    )


def _cost(file: FoundFile) -> int:
    return file.size + _COST_OF_A_FILE
