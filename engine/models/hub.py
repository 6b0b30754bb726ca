"""Brings a known model's files from the model hub, one child process a file, smallest first.

Knows nothing of the hub's protocol: `hub_program` does, in its own process. What one try has
downloaded stays in the scratch folder, and the next try goes on from there.
"""

import sys
from collections.abc import Generator
from pathlib import Path

from engine.errors import FetchFailed
from engine.models import checksum, child
from engine.models.catalog import HubSource, KnownFile, KnownModel
from engine.models.progress import FetchProgress


def fetch(
    known: KnownModel, source: HubSource, scratch: Path
) -> Generator[FetchProgress, None, Path]:
    """Downloads and checks every file of a known model.

    Args:
        known: The model; its files say what is right.
        source: Which repository to ask.
        scratch: A folder that is kept when this fails or is closed.

    Returns:
        The folder that holds exactly the known files, each checked.

    Raises:
        FetchFailed: A file could not be had, or is another one (then it is gone).
    """
    folder = scratch / "hub"
    for file in sorted(known.files, key=lambda file: file.size):
        yield from _fetch_file(known, source, file, folder)
    return folder


def _fetch_file(
    known: KnownModel, source: HubSource, file: KnownFile, folder: Path
) -> Generator[FetchProgress]:
    target = folder / file.path
    while True:
        # Its beginning may be another file's, or written by two processes; that is worth one more
        # try from the start.
        continued = target.exists()
        if not continued or target.stat().st_size != file.size:
            yield from _download(known, source, file, folder)
        found = yield from checksum.look_at(known.model_id, folder, file.path)
        if found == file:
            return
        target.unlink()
        if not continued:
            raise FetchFailed(checksum.difference(file, found))


def _download(
    known: KnownModel, source: HubSource, file: KnownFile, folder: Path
) -> Generator[FetchProgress]:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.path
    # -P: a module in the folder where we were started must not be taken for the hub's library.
    command = [sys.executable, "-P", "-m", "engine.models.hub_program"]
    command += [
        source.repo,
        source.revision,
        source.root + file.path,
        str(target),
    ]
    try:
        for _ in child.run(command, folder.with_name("log")):
            done = target.stat().st_size if target.exists() else 0
            yield FetchProgress(known.model_id, "download", file.path, done, file.size)
    except child.ChildFailed as error:
        raise FetchFailed(f"{file.path}: {str(error)[:500]}") from error
