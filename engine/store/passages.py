"""From texts to the chunks that hold them, within one transaction."""

import json
from collections.abc import Sequence

from engine.corpus import Filter, Hit
from engine.store import filtering
from engine.store.connection import View
from engine.store.documents_tables import (
    CHUNK,
    DOCUMENT,
    DOCUMENT_COLUMNS,
    chunk_of,
    document_of,
)
from engine.store.interface import Candidate


def hits(view: View, candidates: Sequence[Candidate], where: Filter) -> list[Hit]:
    """The oldest chunk of each text in a document that matches; texts without one are left out."""
    condition, bindings = filtering.condition(where)
    rows = view.rows(
        f"SELECT text_id, min(chunk_id), count(*) - 1, {DOCUMENT}, {CHUNK} "
        "FROM (SELECT value FROM json_each(?)) JOIN chunks ON text_id = value "
        f"JOIN documents USING (document_key) WHERE {condition} GROUP BY text_id",
        [json.dumps([one.text_id for one in candidates]), *bindings],
    )
    found = {row[0]: row[3:] for row in rows}
    copies = {row[0]: row[2] for row in rows}
    return [
        Hit(
            document_of(found[one.text_id][:DOCUMENT_COLUMNS]),
            chunk_of(found[one.text_id][DOCUMENT_COLUMNS:]),
            one.score,
            one.text_id,
            copies[one.text_id],
        )
        for one in candidates
        if one.text_id in found
    ]
