"""Brings a known model's files from the model hub, one child process a file, smallest first.

Knows nothing of the hub's protocol: `hub_program` does, in its own process. What one try has
downloaded stays in the scratch folder, and the next try goes on from there.
"""

import os
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
        target = folder / file.path
        if not checksum.is_right(target, file):
            was_there = target.exists()
            yield from _download(known, source, file, folder)
            yield FetchProgress(known.model_id, "verify", file.path, file.size, file.size)
            if was_there and not checksum.is_right(target, file):
                # Its beginning may have been another file's, or written by two processes.
                target.unlink()
                yield from _download(known, source, file, folder)
            checksum.require(target, file)
    return folder


def _download(
    known: KnownModel, source: HubSource, file: KnownFile, folder: Path
) -> Generator[FetchProgress]:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.path
    # -P: a module in the folder where we were started must not be taken for the hub's library.
    command = [sys.executable, "-P", "-m", "engine.models.hub_program"]
    command += [
        str(os.getpid()),
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
