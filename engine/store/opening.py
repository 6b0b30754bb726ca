"""Opens the store that an address names."""

from pathlib import Path
from typing import Literal

from engine.errors import StoreError
from engine.store.database import Database
from engine.store.interface import Store
from engine.store.sqlite import SqliteStore
from engine.store.sqlite_schema import prepare


def open_store(path: Path, *, vector_search: Literal["fastest", "numpy"] = "fastest") -> Store:
    """Opens the index in a file, creating file and folders where there are none.

    Until `Store.use` names a model, the store lists, reads and deletes only.

    Args:
        path: The SQLite file.
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
        return SqliteStore(database, reason)
    except BaseException:
        database.close()
        raise
