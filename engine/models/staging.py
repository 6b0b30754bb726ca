"""Where a model is made ready unseen: one lock, one scratch folder, one rename in or out.

    models/.locks/<id>.lock     held while a model is fetched or removed, by one process at a time
    models/.staging/<id>/       scratch; all but `download` is swept by whoever holds the lock
    models/<id>/                appears and disappears whole

Rule: what a killed process leaves is in `.staging`, where nobody looks for a model.
"""

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

_LOCKS, _STAGING, _DOWNLOAD = ".locks", ".staging", "download"

# A virus scanner may hold a new file for a moment on Windows; then a rename is refused.
_RENAME_TRIES = 5
_RENAME_PAUSE = 0.2


class Staging:
    """The lock and the scratch folder of one model."""

    def __init__(self, models_dir: Path, model_id: str) -> None:
        self._models_dir = models_dir
        self._folder = models_dir / _STAGING / model_id
        self._target = models_dir / model_id
        lock_file = models_dir / _LOCKS / f"{model_id}.lock"
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        # Steps of one generator may run in different threads: the lock belongs to all of them.
        self._lock = FileLock(lock_file, thread_local=False)

    @property
    def download(self) -> Path:
        """Kept from one try to the next, so that a long download goes on where it stopped."""
        return self._folder / _DOWNLOAD

    def acquire(self, seconds: float) -> bool:
        """Waits that long for the lock; True once it is ours."""
        try:
            self._lock.acquire(timeout=seconds)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Sweeps what is not worth keeping and lets the next process in."""
        self.sweep()
        self._lock.release()

    def new_folder(self, name: str) -> Path:
        """An empty scratch folder; what a dead process left is gone. Needs the lock."""
        self.sweep()
        folder = self._folder / name
        folder.mkdir(parents=True)
        return folder

    def publish(self, folder: Path) -> None:
        """Puts a finished folder in the model's place, in one rename, after it is on the disk."""
        _sync(folder)
        self.withdraw()
        _rename(folder, self._target)
        _sync_names(self._models_dir)
        shutil.rmtree(self._folder, ignore_errors=True)

    def withdraw(self) -> None:
        """Takes the model, if there is one, out of its place, then deletes it."""
        if self._target.exists():
            old = self._folder / "old"
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(old, ignore_errors=True)
            _rename(self._target, old)
            _sync_names(self._models_dir)
            shutil.rmtree(old, ignore_errors=True)

    def forget(self) -> None:
        """Deletes all scratch, partial downloads included."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def sweep(self) -> None:
        """Deletes all scratch but partial downloads. Needs the lock."""
        for left in self._folder.glob("*"):
            if left.name != _DOWNLOAD:
                shutil.rmtree(left, ignore_errors=True)


def scratch_folders(models_dir: Path) -> list[Path]:
    """Every scratch folder that there is, in use or left by a killed process, by its model's id."""
    return list((models_dir / _STAGING).glob("*"))


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; 0 where there is none, nor of a file that is just going."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _rename(source: Path, target: Path) -> None:
    for tries_left in reversed(range(_RENAME_TRIES)):
        try:
            source.rename(target)
        except PermissionError:
            if not tries_left:
                raise
            time.sleep(_RENAME_PAUSE)
        else:
            return


def _sync(folder: Path) -> None:
    """Makes sure that files and their names outlast a power cut before they are renamed."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            _sync_names(path)
        else:
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def _sync_names(folder: Path) -> None:
    if sys.platform == "win32":
        return  # Windows has no call for it; its file system keeps a journal of names.
    names = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(names)
    finally:
        os.close(names)
