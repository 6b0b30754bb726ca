"""Joins the embedder and the store: a question in, hits out."""

from engine.corpus import Hit
from engine.embed.embedder import Embedder
from engine.store.interface import Store


def search(embedder: Embedder, store: Store, question: str, limit: int) -> list[Hit]:
    """The chunks nearest to a question, best first.

    Args:
        embedder: The model whose vectors the store holds.
        store: Opened for that model.
        question: Plain words; the model's query prefix is added here, not by callers.
        limit: How many hits at most, 1 or more.

    Raises:
        InvalidInput: The question is empty or no valid text.
        WrongEmbedder: The store holds another model's vectors.
    """
    vector = embedder.embed([question], "query").vectors[0]
    return store.search(vector, limit)
