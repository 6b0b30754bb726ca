"""Collections and skipped files, within one transaction."""

import json
from collections.abc import Iterable

from engine.corpus import Collection, Filter, SkippedFile
from engine.errors import CollectionNotFound, InvalidInput
from engine.store import filtering
from engine.store.connection import View
from engine.store.near_names import unknown_collection


class CollectionsTables:
    """The tables collections and skipped_files."""

    def __init__(self, view: View) -> None:
        self._view = view

    def all(self) -> list[Collection]:
        """In the order of their names."""
        rows = self._view.rows("SELECT name, root, include, exclude FROM collections ORDER BY name")
        return [
            Collection(name, root, tuple(json.loads(include)), tuple(json.loads(exclude)))
            for name, root, include, exclude in rows
        ]

    def put(self, collection: Collection) -> None:
        """Adds one or changes the one of its root; raises `InvalidInput`."""
        taken = self._view.value(
            "SELECT root FROM collections WHERE name = ? AND root != ?",
            [collection.name, collection.root],
        )
        if taken is not None:
            raise InvalidInput(
                f'The name "{collection.name}" is that of {taken}; choose another one.'
            )
        self._view.rows("DELETE FROM collections WHERE root = ?", [collection.root])
        self._view.rows(
            "INSERT INTO collections VALUES (?, ?, ?, ?)",
            [
                collection.name,
                collection.root,
                json.dumps(collection.include),
                json.dumps(collection.exclude),
            ],
        )

    def drop(self, name: str) -> list[str]:
        """Removes one; returns the ids of the documents that no other one covers.

        Raises:
            CollectionNotFound: There is none of that name.
        """
        known = {one.name: one for one in self.all()}
        if name not in known:
            raise CollectionNotFound(unknown_collection(name, list(known)))
        self._view.rows("DELETE FROM collections WHERE name = ?", [name])
        others = tuple(one.root for one in known.values() if one.name != name)
        inside, bindings = filtering.under(known[name].root)
        covered, more = filtering.condition(Filter(roots=others)) if others else ("FALSE", [])
        rows = self._view.rows(
            f"SELECT document_id FROM documents WHERE ({inside}) AND NOT ({covered})",
            [*bindings, *more],
        )
        self._view.rows(
            f"DELETE FROM skipped_files WHERE ({inside}) AND NOT ({covered})", [*bindings, *more]
        )
        return [row[0] for row in rows]

    def skipped(self, after: str, limit: int, under: str) -> list[SkippedFile]:
        """Files left out, in the order of their paths."""
        inside, bindings = filtering.under(under) if under else ("TRUE", [])
        rows = self._view.rows(
            "SELECT path, reason, size, stamp_ns FROM skipped_files "
            f"WHERE path > ? AND ({inside}) ORDER BY path LIMIT ?",
            [after, *bindings, limit],
        )
        return [SkippedFile(*row) for row in rows]

    def skipped_count(self) -> int:
        """How many files are left out."""
        return int(self._view.value("SELECT count(*) FROM skipped_files"))

    def set_skipped(self, under: str, files: Iterable[SkippedFile]) -> None:
        """Replaces what is known at or under a path."""
        inside, bindings = filtering.under(under) if under else ("TRUE", [])
        self._view.rows(f"DELETE FROM skipped_files WHERE {inside}", bindings)
        self._view.run_many(
            "INSERT OR REPLACE INTO skipped_files VALUES (?, ?, ?, ?)",
            ([one.path, one.reason, one.size, one.stamp_ns] for one in files),
        )
