"""One indexer per index, whatever process it is in: a lock beside the file, and who holds it.

    .index.sqlite.indexing         locked by the operating system while an indexer is at work
    .index.sqlite.indexing.pid     its process

Rule: the lock dies with its process, so what a killed one leaves stops nobody.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import IndexerBusy, StoreError


@contextmanager
def one_indexer(index_file: Path, wait_seconds: float = 0.0) -> Generator[None]:
    """Around everything one indexer does.

    Args:
        index_file: The index; its folder is made if it is not there.
        wait_seconds: How long to wait for another indexer to be done.

    Raises:
        IndexerBusy: Another one is at work, of this process or another.
        StoreError: The lock's file cannot be written.
    """
    lock_file = index_file.with_name(f".{index_file.name}.indexing")
    # Steps of one generator may run in different threads: the lock belongs to all of them.
    lock = FileLock(lock_file, thread_local=False, is_singleton=False)
    pid_file = lock_file.with_name(lock_file.name + ".pid")
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_seconds)
    except Timeout:
        raise _busy(_pid(pid_file)) from None
    except OSError as error:
        raise StoreError(
            f"The lock {lock_file} beside the index cannot be taken ({error.strerror}). Check the "
            "permissions of its folder and the space left on its disk."
        ) from error
    try:
        with suppress(OSError):
            pid_file.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        with suppress(OSError):
            pid_file.unlink()
        lock.release()


def _busy(pid: int) -> IndexerBusy:
    where = "in this process" if pid == os.getpid() else f"in process {pid}" if pid else "elsewhere"
    return IndexerBusy(
        f"Indexing is already running {where}; wait until it is done, or stop it. "
        "What is indexed so far can be searched.",
    )


def _pid(pid_file: Path) -> int:
    with suppress(OSError, ValueError):
        return int(pid_file.read_text(encoding="ascii"))
    return 0
