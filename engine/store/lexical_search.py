"""Finds texts by their words: BM25 over SQLite's full-text search, within one transaction."""

import json
from collections.abc import Sequence

from engine.store.connection import View
from engine.store.filtering import DocumentKeys
from engine.store.lexical_table import WEIGHTS
from engine.store.vectors import Scored


def lexical(
    view: View, terms: Sequence[str], limit: int, keys: DocumentKeys | None
) -> list[Scored]:
    """Texts that hold one of the terms, best first, the older text first among equals.

    Args:
        view: The transaction.
        terms: FTS5 phrases, quoted.
        limit: At most so many.
        keys: The documents that may answer; None for all.
    """
    rows = view.rows(
        "WITH found AS MATERIALIZED (SELECT rowid AS chunk_id, "
        f"-bm25(chunks_fts, {WEIGHTS}) AS score FROM chunks_fts WHERE chunks_fts MATCH ?) "
        "SELECT text_id, max(score) AS best FROM found JOIN chunks USING (chunk_id) "
        "WHERE ? IS NULL OR document_key IN (SELECT value FROM json_each(?)) "
        "GROUP BY text_id ORDER BY best DESC, text_id LIMIT ?",
        [" OR ".join(terms), *[None if keys is None else json.dumps(keys.tolist())] * 2, limit],
    )
    return [(row[0], row[1]) for row in rows]
