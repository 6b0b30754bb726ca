"""Keys: who may call over HTTP, and for what.

A key is shown once, when it is made; the file keeps its SHA-256, which is enough: a key is 256
random bits, not a word somebody chose. Knows no wire and no event loop.

    <data dir>/keys.json         {"keys": [{id, name, sha256, scopes, created}]}; its owner's alone
    <data dir>/.keys.json.lock   held while it is changed, by one process at a time

Rule: nothing opens by accident. Where there is no file, no key was ever made and none is needed.
From the first one on a key is needed, also when all are revoked; a damaged or vanished file lets
nobody in.
"""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
import time
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from engine.errors import InvalidInput, NotFound, StoreError

Scope = Literal["infer", "search", "admin"]
"""Models, vectors and answers; the indexed documents; measures and changes of the index."""

USUAL_SCOPES: tuple[Scope, ...] = ("infer", "search")

_PREFIX = "loc_"
_LONGEST_NAME = 64
_LOCK_SECONDS = 10.0

# A virus scanner or a reader may hold a file for a moment on Windows; then replacing it is refused.
_REPLACE_TRIES = 5
_REPLACE_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What is kept of one key."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Annotated[str, Field(pattern=r"^key_[0-9a-f]{8}$")]
    """Names the key in logs and to `revoke`; no secret."""
    name: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    created: str
    """When, in UTC, as ISO 8601 writes it."""


_ENTRIES = TypeAdapter(dict[Literal["keys"], tuple[KeyEntry, ...]])

_State = tuple[int, int, int]
"""When the file was changed, its size and its inode: others once it is replaced."""


class Keys:
    """The keys in one file; what another process changes counts from the next call on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state: _State | None = None
        self._entries: tuple[KeyEntry, ...] = ()

    def any(self) -> bool:
        """Whether a key is needed: True once one was made, even if all are revoked.

        Raises:
            StoreError: The file is damaged, cannot be read or has vanished.
        """
        self._refresh()
        return self._state is not None

    def list(self) -> tuple[KeyEntry, ...]:
        """All keys, the oldest first.

        Raises:
            StoreError: The file is damaged, cannot be read or has vanished.
        """
        self._refresh()
        return self._entries

    def find(self, key: bytes | str) -> KeyEntry | None:
        """Whose key it is; None for nobody's. It takes as long for either.

        Raises:
            StoreError: The file is damaged, cannot be read or has vanished: nobody is let in.
        """
        given = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
        digest, found = _digest(given).encode(), None
        for entry in self.list():
            if hmac.compare_digest(digest, entry.sha256.encode()):
                found = entry
        return found

    def create(self, name: str, scopes: Collection[Scope] = USUAL_SCOPES) -> tuple[str, KeyEntry]:
        """Makes a key.

        Args:
            name: Says whose it is; 1 to 64 printable characters that no other key has.
            scopes: What it is for.

        Returns:
            The key itself, which nobody can find out again, and what is kept of it.

        Raises:
            InvalidInput: The name is taken or no name, or there is no scope.
            StoreError: The file cannot be read or written.
        """
        if not (name.isprintable() and name == name.strip() and 0 < len(name) <= _LONGEST_NAME):
            raise InvalidInput(f"A key's name has 1 to {_LONGEST_NAME} printable characters.")
        if not scopes:
            raise InvalidInput("A key needs at least one scope: infer, search or admin.")
        with self._changing() as entries:
            ids = {entry.id for entry in entries}
            if name in ids or any(entry.name == name for entry in entries):
                raise InvalidInput(
                    f"There is a key {name!r} already; revoke it first, or choose another name."
                )
            key = _PREFIX + secrets.token_urlsafe(32)
            created = datetime.now(UTC).isoformat(timespec="seconds")
            made = KeyEntry(_new_id(ids), name, _digest(key.encode()), frozenset(scopes), created)
            self._write([*entries, made])
        return key, made

    def revoke(self, id_or_name: str) -> KeyEntry:
        """Takes a key back; also a running server refuses it from now on.

        Raises:
            NotFound: There is no such key.
            StoreError: The file cannot be read or written.
        """
        with self._changing() as entries:
            for gone in entries:
                if id_or_name in (gone.id, gone.name):
                    self._write([entry for entry in entries if entry is not gone])
                    return gone
        raise NotFound(f"There is no key {id_or_name!r}; npu-gateway keys list shows all.")

    def _refresh(self) -> None:
        """Reads the file anew if it is another than before."""
        try:
            if self._state == _state(self._file.stat()):
                return
            with self._file.open("rb") as file:
                state = _state(os.fstat(file.fileno()))
                entries = _ENTRIES.validate_json(file.read(), strict=True)["keys"]
        except FileNotFoundError:
            if self._state is None:
                return
            raise _unusable(self._file, "has vanished") from None
        except OSError as error:
            raise _unusable(self._file, f"cannot be read ({error.strerror})") from error
        except (ValidationError, KeyError) as error:
            raise _unusable(self._file, "is damaged") from error
        self._entries = entries
        self._state = state

    @contextmanager
    def _changing(self) -> Generator[tuple[KeyEntry, ...]]:
        """All keys as they are, while no other process changes them."""
        lock = FileLock(self._file.with_name(f".{self._file.name}.lock"), is_singleton=False)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            raise StoreError(
                f"Another process has been changing {self._file} for {_LOCK_SECONDS:.0f} seconds; "
                "try again when it is done."
            ) from None
        except OSError as error:
            raise _unchanged(self._file, error) from error
        try:
            yield self.list()
        finally:
            lock.release()

    def _write(self, entries: Sequence[KeyEntry]) -> None:
        """Puts a whole new file in the place of the old one; it appears at once and complete."""
        shown = [asdict(entry) | {"scopes": sorted(entry.scopes)} for entry in entries]
        try:
            # Readable and writable by its owner alone from the first moment on.
            number, name = tempfile.mkstemp(dir=self._file.parent, prefix=f".{self._file.name}.")
            try:
                with open(number, "w", encoding="utf-8") as file:
                    json.dump({"keys": shown}, file, ensure_ascii=False, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                _replace(name, self._file)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            raise _unchanged(self._file, error) from error
        self._refresh()


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def _new_id(taken: Collection[str]) -> str:
    while (made := f"key_{secrets.token_hex(4)}") in taken:
        pass
    return made


def _state(found: os.stat_result) -> _State:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _replace(source: str, target: Path) -> None:
    for tries_left in reversed(range(_REPLACE_TRIES)):
        try:
            os.replace(source, target)
        except PermissionError:
            if not tries_left:
                raise
            time.sleep(_REPLACE_PAUSE)
        else:
            return


def _unusable(file: Path, problem: str) -> StoreError:
    return StoreError(
        f"The file of keys {file} {problem}: until that is mended nobody is let in over HTTP. Put "
        "a copy back, or remove it, create the keys anew and restart the server."
    )


def _unchanged(file: Path, error: OSError) -> StoreError:
    return StoreError(
        f"The file of keys {file} cannot be written ({error.strerror}), and no key has changed. "
        "Check the permissions of its folder and the space left on its disk."
    )
