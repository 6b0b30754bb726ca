"""Joins the embedder and the store: a question in, hits out."""

from dataclasses import dataclass

from engine.corpus import Hit
from engine.embed.embedder import Embedder
from engine.embed.embeddings import Embeddings
from engine.store.interface import Store


@dataclass(frozen=True, slots=True)
class Matches:
    """What was found for a question."""

    hits: list[Hit]
    """Best first."""
    model_id: str
    provider: str
    """The execution provider that embedded the question."""


def search(embedder: Embedder, store: Store, question: str, limit: int) -> Matches:
    """The chunks nearest to a question.

    Args:
        embedder: The model whose vectors the store holds.
        store: Opened for that model.
        question: Plain words; the model's query prefix is added here, not by callers.
        limit: How many hits at most, 1 or more.

    Raises:
        InvalidInput: The question is empty or no valid text.
        WrongEmbedder: The store holds another model's vectors.
    """
    return nearest(store, embedder.embed([question], "query"), limit)


def nearest(store: Store, question: Embeddings, limit: int) -> Matches:
    """The same for a question that is embedded already, as the only text.

    Raises:
        WrongEmbedder: The store holds another model's vectors.
    """
    hits = store.search(question.vectors[0], limit)
    return Matches(hits, question.model_id, question.provider)
