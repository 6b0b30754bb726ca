"""Size and SHA-256 of files: the one place that says a file is the right one.

Rule: a wrong file is removed before anybody hears of it.
"""

import hashlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from engine.errors import FetchFailed
from engine.models.catalog import KnownFile


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_right(file: Path, known: KnownFile) -> bool:
    """Whether the file is there and is exactly the known one."""
    return file.is_file() and file.stat().st_size == known.size and sha256_of(file) == known.sha256


def require(file: Path, known: KnownFile) -> None:
    """Keeps the file if it is the known one, else removes it.

    Raises:
        FetchFailed: It is another one; names both hashes and sizes.
    """
    size, sha256 = file.stat().st_size, sha256_of(file)
    if (size, sha256) != (known.size, known.sha256):
        file.unlink()
        raise FetchFailed(_difference(known, size, sha256))


def copy(blocks: Generator[bytes], target: Path, known: KnownFile) -> None:
    """Writes blocks to a file, never more than one past the known size, and checks it.

    Raises:
        FetchFailed: It is another file; nothing is left of it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with closing(blocks), target.open("wb") as out:
        for block in blocks:
            digest.update(block)
            size += out.write(block)
            if size > known.size:
                break
    if (size, digest.hexdigest()) != (known.size, known.sha256):
        target.unlink()
        raise FetchFailed(_difference(known, size, digest.hexdigest()))


def _difference(known: KnownFile, size: int, sha256: str) -> str:
    return (
        f"{known.path} came with SHA-256 {sha256} ({size:,} bytes) instead of {known.sha256} "
        f"({known.size:,} bytes), and was removed"
    )
