"""Size and SHA-256 of files: the one place that says a file is the right one.

Rule: a wrong file is removed before anybody hears of it. Gigabytes are read in steps, so that
whoever waits sees progress and can stop.
"""

import hashlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from engine.errors import FetchFailed
from engine.models.catalog import KnownFile
from engine.models.progress import FetchProgress

# Bytes read at a time, about a millisecond's worth of hashing.
_BLOCK = 1 << 20


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def look_at(model_id: str, folder: Path, path: str) -> Generator[FetchProgress, None, KnownFile]:
    """Reads a file in a model's folder once, saying how far it is; returns what it is."""
    digest, size = hashlib.sha256(), (folder / path).stat().st_size
    with (folder / path).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            yield FetchProgress(model_id, "verify", path, stream.tell(), size)
    return KnownFile(path, size, digest.hexdigest())


def difference(known: KnownFile, found: KnownFile) -> str:
    """What to say of a file that was removed because it is another one than the known."""
    return (
        f"{known.path} came with SHA-256 {found.sha256} ({found.size:,} bytes) instead of "
        f"{known.sha256} ({known.size:,} bytes), and was removed"
    )


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
    found = KnownFile(known.path, size, digest.hexdigest())
    if found != known:
        target.unlink()
        raise FetchFailed(difference(known, found))
