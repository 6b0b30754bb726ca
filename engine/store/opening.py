"""Opens the store that an address names."""

from pathlib import Path
from typing import Literal

from engine.errors import StoreError
from engine.store.connection import Database
from engine.store.interface import EmbeddingSpace, Store
from engine.store.sqlite import SqliteStore
from engine.store.sqlite_schema import prepare


def open_store(
    path: Path,
    space: EmbeddingSpace | None = None,
    *,
    vector_search: Literal["fastest", "numpy"] = "fastest",
) -> Store:
    """Opens the index in a file, creating file and folders where there are none.

    Args:
        path: The SQLite file.
        space: The model whose vectors will be stored and searched. It may be named later with
            `Store.use`; until then the store lists, reads and deletes only. A store with another
            model's vectors opens all the same and says so when it is searched or written.
        vector_search: "numpy" leaves sqlite-vec alone even where it works.

    Raises:
        StoreError: The file is no index, is damaged, or cannot be opened or written.
        NewerSchema: It was written by a later version of the program.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder {path.parent} for the index cannot be made ({error.strerror}); "
            "choose another place for it."
        ) from error
    database = Database(path)
    try:
        prepare(database)
        reason = (
            "numpy was asked for." if vector_search == "numpy" else database.load_vector_search()
        )
        return SqliteStore(database, space, reason)
    except BaseException:
        database.close()
        raise
