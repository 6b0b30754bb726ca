"""Indexer: carries out the plan file by file; can stop and resume.

Knows no store and no model: both are handed in. Owns no thread; closing the generator stops.
Rule: a document is written in one transaction, so wherever it stops the index is sound, and the
next run does what is left.
"""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.corpus import Chunk, Document, document_id_of
from engine.documents import changes, kinds
from engine.documents.chunker import CountTokens, cut
from engine.documents.contents import Contents, read_contents
from engine.documents.finder import FoundFile, Skipped, find
from engine.documents.readers.interface import Reading, Unreadable
from engine.documents.readers.plain import read_text

Vectors = NDArray[np.float32]
EmbedDocuments = Callable[[Sequence[str]], Vectors]
"""float32[texts, dimensions] for a list of texts."""

# Texts a step: small enough that stopping takes well under a second, large enough for batches.
_TEXTS_PER_STEP = 16
_DOCUMENTS_PER_PAGE = 1000
_TITLE_CHARACTERS = 200


class DocumentStore(Protocol):
    """What indexing needs of a store; see `engine.store.interface`."""

    def check_embedder(self) -> None:
        """Raises `WrongEmbedder` if stored vectors are another model's."""
        ...

    def replace(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Puts a document in the place of whatever had its path."""
        ...

    def refresh(self, document: Document) -> None:
        """Updates size and time of a document whose content is as it was."""
        ...

    def delete(self, document_ids: Sequence[str]) -> int:
        """Removes documents."""
        ...

    def documents(self, *, after: str = "", limit: int = 100, under: str = "") -> list[Document]:
        """Documents at or under a path in the order of their paths."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What a run has done so far."""

    indexed: int = 0
    """Files that were new or changed."""
    unchanged: int = 0
    removed: int = 0
    """Documents whose files are gone or no longer to be indexed."""
    skipped: tuple[Skipped, ...] = ()
    guessed_encodings: tuple[str, ...] = ()
    """Paths of files that are no valid Unicode and were read as Western European text."""
    chunks_added: int = 0
    embedded_texts: int = 0


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far a run is."""

    done: float
    """Files dealt with; a large one counts in parts. Rises with every step, at last to `total`."""
    total: int
    path: str
    """The file of this step; empty for what needed no reading."""
    report: IndexReport


@dataclass(slots=True)
class _Tally:
    """The report while it grows."""

    report: IndexReport = field(default_factory=IndexReport)

    def add(self, **counts: int) -> None:
        sums = {name: getattr(self.report, name) + count for name, count in counts.items()}
        self.report = replace(self.report, **sums)

    def skip(self, *skipped: Skipped) -> None:
        self.report = replace(self.report, skipped=self.report.skipped + skipped)

    def guess(self, path: str) -> None:
        guessed = (*self.report.guessed_encodings, path)
        self.report = replace(self.report, guessed_encodings=guessed)


class Indexer:
    """Brings a store up to date with a folder or a file."""

    def __init__(
        self,
        store: DocumentStore,
        embed_documents: EmbedDocuments,
        count_tokens: CountTokens,
        max_tokens: int,
    ) -> None:
        """Takes what it works with.

        Args:
            store: Where documents go.
            embed_documents: Makes the vectors the store is in use for.
            count_tokens: How that model counts, special tokens left out.
            max_tokens: What it takes of one text, special tokens left out.
        """
        self._store = store
        self._embed_documents = embed_documents
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens

    def run(self, root: Path) -> Generator[IndexProgress]:
        """Indexes what is new or changed under `root` and removes what is gone from there.

        Yields once for all that needs no reading, then at least once a file.

        Raises:
            InvalidInput: There is nothing at `root`; nothing was removed.
            WrongEmbedder: The store holds another model's vectors.
        """
        self._store.check_embedder()
        found = list(find(root))
        known = {document.path: document for document in self._known(root)}
        plan = changes.plan(found, known.values())
        tally = _Tally()
        tally.add(unchanged=plan.unchanged, removed=self._store.delete(plan.gone))
        tally.skip(*plan.skipped)
        done = plan.total - len(plan.pending)
        yield IndexProgress(done, plan.total, "", tally.report)
        for file in plan.pending:
            for part in self._index(file, known.get(file.path), tally):
                yield IndexProgress(done + part, plan.total, file.path, tally.report)
            done += 1
            yield IndexProgress(done, plan.total, file.path, tally.report)

    def _known(self, root: Path) -> Iterator[Document]:
        under, after = os.path.realpath(root), ""
        while page := self._store.documents(after=after, limit=_DOCUMENTS_PER_PAGE, under=under):
            yield from page
            after = page[-1].path

    def _index(self, file: FoundFile, known: Document | None, tally: _Tally) -> Iterator[float]:
        """Deals with one file; yields the parts of it that are done before the whole is."""
        try:
            contents = read_contents(file.path)
            sha256 = hashlib.sha256(contents.content).hexdigest()
            if known and known.content_sha256 == sha256:
                self._store.refresh(replace(known, mtime_ns=contents.mtime_ns))
                tally.add(unchanged=1)
                return
            reading = (kinds.reader_of(PurePath(file.path).name) or read_text)(contents.content)
        except OSError as error:
            tally.skip(Skipped(file.path, f"it cannot be read ({error.strerror})", unseen=True))
            return
        except Unreadable as error:
            tally.skip(Skipped(file.path, str(error)))
            tally.add(removed=self._store.delete([known.document_id]) if known else 0)
            return
        chunks = cut(reading, self._count_tokens, self._max_tokens)
        document = _document(file, contents, sha256, reading, len(chunks))
        vectors = yield from self._embedded(chunks, tally)
        self._store.replace(document, chunks, vectors)
        tally.add(indexed=1, chunks_added=len(chunks))
        if document.encoding_is_guessed:
            tally.guess(file.path)

    def _embedded(self, chunks: Sequence[Chunk], tally: _Tally) -> Generator[float, None, Vectors]:
        vectors: list[Vectors] = []
        for start in range(0, len(chunks), _TEXTS_PER_STEP):
            if start:
                yield start / len(chunks)
            texts = [chunk.embedded_text for chunk in chunks[start : start + _TEXTS_PER_STEP]]
            vectors.append(self._embed_documents(texts))
            tally.add(embedded_texts=len(texts))
        return np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32)


def _document(
    file: FoundFile, contents: Contents, sha256: str, reading: Reading, chunk_count: int
) -> Document:
    return Document(
        document_id=document_id_of(file.path),
        path=file.path,
        title=reading.title[:_TITLE_CHARACTERS] or PurePath(file.path).name,
        content_sha256=sha256,
        size=len(contents.content),
        mtime_ns=contents.mtime_ns,
        line_count=len(reading.lines),
        chunk_count=chunk_count,
        encoding=reading.encoding,
    )
