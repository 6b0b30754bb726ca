"""A keyword index of the kind the store keeps, and the stems it has."""

from collections.abc import Callable, Sequence

import apsw
import pytest

from engine.corpus import Chunk, Document, Hit
from engine.search.query import read_query
from engine.store.lexical_text import lexical_text

TOKENIZER = ["unicode61", "remove_diacritics", "2"]


@pytest.fixture(scope="session")
def stem() -> Callable[[str], str]:
    tokenize = apsw.Connection(":memory:").fts5_tokenizer("porter", TOKENIZER)

    def stems(word: str) -> str:
        found = tokenize(
            word.encode(),
            apsw.FTS5_TOKENIZE_DOCUMENT,
            None,
            include_offsets=False,
            include_colocated=False,
        )
        return " ".join(found)

    return stems


class KeywordIndex:
    """Texts, found by the question as it is typed."""

    def __init__(self) -> None:
        self._connection = apsw.Connection(":memory:")
        self._connection.execute(
            "CREATE VIRTUAL TABLE texts USING fts5(text, content='', "
            f"tokenize='porter {' '.join(TOKENIZER)}')"
        )

    def add(self, texts: Sequence[str]) -> None:
        rows = list(enumerate(map(lexical_text, texts), 1))
        self._connection.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", rows)

    def find(self, question: str) -> list[int]:
        """Places of the texts found, the best first."""
        query = read_query(question)
        return [] if query.is_empty else self.match(" OR ".join(query.terms))

    def match(self, match: str) -> list[int]:
        rows = self._connection.execute(
            "SELECT rowid - 1 FROM texts WHERE texts MATCH ? ORDER BY bm25(texts), rowid", (match,)
        )
        return [row[0] for row in rows]


@pytest.fixture
def index() -> KeywordIndex:
    return KeywordIndex()


def hit(text_id: int, text: str, heading: str = "", path: str = "/notes/a.md") -> Hit:
    """A passage as the store gives it."""
    document = Document("0" * 16, path, "a", "0" * 64, 1, 1, 1, 1)
    chunk = Chunk(0, text, (heading,) if heading else (), 1, 1, 0, len(text), 1)
    return Hit(document, chunk, 0.0, text_id)


@pytest.fixture(name="hit")
def hit_maker() -> Callable[..., Hit]:
    return hit
