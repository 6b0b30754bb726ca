"""Batch: documents embedded together, as many as fill one step, or a single larger one.

Knows no store. Vectors of documents that were not stored before a run stopped stay with whoever
gave the dictionary, and are not made again.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.corpus import Chunk
from engine.documents.preparing import Prepared

Vectors = NDArray[np.float32]
EmbedDocuments = Callable[[Sequence[str]], Vectors]
"""float32[texts, dimensions] for a list of texts."""

# What is embedded in one step: small enough that stopping takes well under a second, large enough
# that the embedder's own batches fill.
_TEXTS_PER_STEP = 32
_TOKENS_PER_STEP = 4096


class Batch:
    """Documents that wait to be embedded."""

    def __init__(self, embed_documents: EmbedDocuments, unfinished: dict[str, Vectors]) -> None:
        """Begins an empty batch.

        Args:
            embed_documents: Makes the vectors.
            unfinished: Vectors that are there already, by `text_key`; new ones are added.
        """
        self._embed_documents = embed_documents
        self._unfinished = unfinished
        self._chunks: list[Chunk] = []
        self._vectors: dict[str, Vectors] = {}
        self.waiting: list[Prepared] = []

    def takes(self, document: Prepared) -> bool:
        """Whether the batch still is one step when a document is added."""
        together = [*self._chunks, *document.chunks]
        return not self.waiting or sum(1 for _ in _steps(together)) <= 1

    def add(self, document: Prepared) -> None:
        """Adds a document."""
        self.waiting.append(document)
        self._chunks += document.chunks

    def embed(self) -> Generator[tuple[float, int]]:
        """Embeds what has no vector yet, yielding the share that is done and how many texts."""
        chunks = {text_key(chunk): chunk for chunk in self._chunks}
        self._vectors = {key: self._unfinished[key] for key in chunks if key in self._unfinished}
        lacking = [chunk for key, chunk in chunks.items() if key not in self._vectors]
        for step in _steps(lacking):
            made = self._embed_documents([chunk.embedded_text for chunk in step])
            named = dict(zip(map(text_key, step), made, strict=True))
            self._vectors |= named
            self._unfinished |= named
            yield len(self._vectors) / len(chunks), len(step)

    def vectors(self, document: Prepared) -> Vectors:
        """float32[chunks, dimensions] of one of its documents, once it is embedded."""
        rows = [self._vectors[text_key(chunk)] for chunk in document.chunks]
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def forget(self, document: Prepared) -> None:
        """Drops what is kept for a run that goes on: the document is stored."""
        for chunk in document.chunks:
            self._unfinished.pop(text_key(chunk), None)


def text_key(chunk: Chunk) -> str:
    """What a chunk's vector is kept under: the SHA-256 of the text that is embedded."""
    return hashlib.sha256(chunk.embedded_text.encode("utf-8", "surrogatepass")).hexdigest()


def _steps(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    step: list[Chunk] = []
    tokens = 0
    for chunk in chunks:
        tokens += chunk.token_count
        if step and (len(step) == _TEXTS_PER_STEP or tokens > _TOKENS_PER_STEP):
            yield step
            step, tokens = [], chunk.token_count
        step.append(chunk)
    if step:
        yield step
