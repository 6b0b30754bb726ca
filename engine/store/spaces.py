"""Embedding spaces and the vectors in them, within one transaction.

Rule: vectors of two spaces are never compared. Those of a space that is not in use stay until the
one in use has all texts. A space that comes back shows that two programs with a model each use the
index: neither that one nor any other goes for it then, or each would embed everything again and
again.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from engine.store.connection import View
from engine.store.documents_tables import CHUNK, chunk_of
from engine.store.interface import Coverage, EmbeddingSpace, LackingText


@dataclass(frozen=True, slots=True)
class StoredSpace:
    """An embedding space with its number in the index."""

    space_id: int
    space: EmbeddingSpace


class Spaces:
    """The tables spaces and vectors."""

    def __init__(self, view: View) -> None:
        self._view = view

    def find(self, space: EmbeddingSpace) -> int:
        """The number of a space; 0 if no vector of it was ever stored."""
        sql = "SELECT space_id FROM spaces WHERE fingerprint = ?"
        return int(self._view.value(sql, [space.fingerprint]) or 0)

    def number(self, space: EmbeddingSpace) -> int:
        """The number of a space, which is added if it is new."""
        if not self.find(space):
            self._view.rows(
                "INSERT INTO spaces (model_id, fingerprint, dimensions) VALUES (?, ?, ?)",
                astuple(space),
            )
        return self.find(space)

    def all(self) -> list[StoredSpace]:
        """Every space with vectors, in the order they came."""
        rows = self._view.rows("SELECT space_id, model_id, fingerprint, dimensions FROM spaces")
        return [StoredSpace(row[0], EmbeddingSpace(*row[1:])) for row in rows]

    def vector_count(self, space_id: int) -> int:
        """How many texts have a vector in a space."""
        return self._count(f"vectors of {space_id}")

    def coverage(self, space_id: int) -> Coverage:
        """How many of all texts have one."""
        return Coverage(self.vector_count(space_id), self._count("texts"))

    def lacking(self, space_id: int, after: int, limit: int) -> list[LackingText]:
        """Texts without a vector, in the order of their numbers, from behind one."""
        rows = self._view.rows(
            f"SELECT t.text_id, {CHUNK} FROM texts AS t JOIN chunks AS c ON c.chunk_id = "
            "(SELECT min(chunk_id) FROM chunks WHERE text_id = t.text_id) "
            "WHERE t.text_id > ? AND NOT EXISTS (SELECT 1 FROM vectors AS v "
            "WHERE v.text_id = t.text_id AND v.space_id = ?) ORDER BY t.text_id LIMIT ?",
            [after, space_id, limit],
        )
        chunks = [(row[0], chunk_of(row[1:])) for row in rows]
        return [LackingText(one, chunk.embedded_text, chunk.token_count) for one, chunk in chunks]

    def add(self, space_id: int, pairs: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Stores pairs of text and encoded vector, for texts that are there and lack one.

        Returns:
            Pairs of vector number and encoded vector.
        """
        added: list[tuple[int, bytes]] = []
        for text_id, vector in pairs:
            found = self._view.rows(
                "INSERT INTO vectors (space_id, text_id, vector) SELECT ?, text_id, ? FROM texts "
                "WHERE text_id = ? ON CONFLICT DO NOTHING RETURNING vector_id",
                [space_id, vector, text_id],
            )
            added += [(row[0], vector) for row in found]
        return added

    def vectors(self, space_id: int, text_ids: Sequence[int]) -> list[tuple[int, bytes]]:
        """Pairs of text and encoded vector, of those texts that have one."""
        return self._view.rows(
            "SELECT text_id, vector FROM json_each(?) JOIN vectors ON text_id = value "
            "WHERE space_id = ?",
            [json.dumps(list(text_ids)), space_id],
        )

    def forget(self, text_ids: Sequence[int]) -> list[int]:
        """Removes texts with their vectors in all spaces; returns the numbers of these."""
        listed = json.dumps(list(text_ids))
        inside = "text_id IN (SELECT value FROM json_each(?))"
        vector_ids = self._view.rows(f"SELECT vector_id FROM vectors WHERE {inside}", [listed])
        self._view.rows(f"DELETE FROM vectors WHERE {inside}", [listed])
        self._view.rows(f"DELETE FROM texts WHERE {inside}", [listed])
        return [row[0] for row in vector_ids]

    def drop(self, space_id: int) -> None:
        """Removes a space with its vectors."""
        self._view.rows("DELETE FROM vectors WHERE space_id = ?", [space_id])
        self._view.rows("DELETE FROM spaces WHERE space_id = ?", [space_id])
        self._view.rows("DELETE FROM counts WHERE name = ?", [f"vectors of {space_id}"])

    def take_over(self, space_id: int) -> None:
        """Drops the other spaces for one that has all texts, if none of the two ever came back."""
        left = {row[0] for row in self._view.rows("SELECT key FROM meta WHERE key GLOB 'left *'")}
        known = {one.space_id: f"left {one.space.fingerprint}" for one in self.all()}
        if known[space_id] in left:
            return
        for other, key in known.items():
            if other != space_id and key not in left:
                self.drop(other)
                self._view.rows("INSERT INTO meta VALUES (?, 1)", [key])

    def forget_left(self) -> None:
        """Has no space come back."""
        self._view.rows("DELETE FROM meta WHERE key GLOB 'left *'")

    def _count(self, name: str) -> int:
        return int(self._view.value("SELECT number FROM counts WHERE name = ?", [name]) or 0)
