"""Gives the texts that lack a vector theirs, in steps short enough to be stopped between.

Knows no store and no model: both are handed in.
Rule: each step is stored before the next, so that stopping loses at most one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from engine.documents.document_store import LackingText, TextStore, Vectors

EmbedDocuments = Callable[[Sequence[str]], Vectors]
"""float32[texts, dimensions] for a list of texts."""

# What is embedded in one step: small enough that stopping takes well under a second, large enough
# that the embedder's own batches fill.
_TEXTS_PER_STEP = 32
_TOKENS_PER_STEP = 4096

# Asked for at once and sorted by length, so that the texts of a step are about equally long.
_TEXTS_ASKED_FOR = 256


def embed_lacking(store: TextStore, embed_documents: EmbedDocuments) -> Iterator[int]:
    """Embeds every text that lacks a vector; yields how many each step embedded.

    Args:
        store: In use for the model that embeds.
        embed_documents: Makes the vectors.
    """
    last = 0
    while lacking := store.lacking(_TEXTS_ASKED_FOR, last):
        last = lacking[-1].text_id
        for step in _steps(sorted(lacking, key=lambda one: one.token_count)):
            vectors = embed_documents([one.text for one in step])
            store.add_vectors([one.text_id for one in step], vectors)
            yield len(step)


def _steps(texts: Iterable[LackingText]) -> Iterator[list[LackingText]]:
    step: list[LackingText] = []
    tokens = 0
    for text in texts:
        tokens += text.token_count
        if step and (len(step) == _TEXTS_PER_STEP or tokens > _TOKENS_PER_STEP):
            yield step
            step, tokens = [], text.token_count
        step.append(text)
    if step:
        yield step
