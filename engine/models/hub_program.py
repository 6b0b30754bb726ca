"""The program that downloads one file from the model hub: `python -m engine.models.hub_program`.

Its own process, so that it can be killed between two bytes and serving never imports the hub's
library. Arguments: repository, revision, file in it, target. A target that is already there is
continued; the caller checks the hash. Exits 0, or 1 with one line on standard error, or 1 at once
where its parent is gone: two programs must never write one file.
"""

# Some of the hub's signatures name bare dictionaries; they end at this door.
# pyright: reportUnknownVariableType=false

import io
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

# Bytes written at a time: what a kill may lose, and how often a slow line shows progress.
_CHUNK = 1 << 20


class _OwnedFile(io.BufferedWriter):
    """A file that is written only as long as the parent lives."""

    def __init__(self, raw: io.FileIO, parent: int) -> None:
        super().__init__(raw)
        self._parent = parent

    def write(self, block: Any) -> int:
        _require(self._parent)
        return super().write(block)


def _require(parent: int) -> None:
    """Ends the program if that is gone. Windows gives no orphan another parent to tell by."""
    if sys.platform != "win32" and os.getppid() != parent:
        os._exit(1)  # At once: what is still buffered must not reach the file either.


def download(parent: int, repo: str, revision: str, file: str, target: Path) -> None:
    """Brings one file to `target`, from where an earlier try stopped.

    Args:
        parent: The id of our parent process, for which this is done.
        repo: Owner and name on the hub that HF_ENDPOINT names, else the public one.
        revision: A commit.
        file: Path in the repository, with forward slashes.
        target: Where its bytes go; what is there counts as their beginning.
    """
    url = hf_hub_url(repo, file, revision=revision)
    headers = build_hf_headers(library_name="npu-gateway")
    metadata = get_hf_file_metadata(url, headers=headers)
    if urlsplit(metadata.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)
    _require(parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _OwnedFile(io.FileIO(target, "ab"), parent) as out:
        if metadata.size is not None and out.tell() >= metadata.size:
            out.seek(0)
            out.truncate()
        http_get(
            metadata.location,
            out,
            resume_size=out.tell(),
            headers=headers,
            expected_size=metadata.size,
        )


def main(arguments: list[str]) -> None:
    """Reads the four arguments and downloads."""
    parent = os.getppid()
    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
    disable_progress_bars()
    repo, revision, file, target = arguments
    try:
        download(parent, repo, revision, file, Path(target))
    except (HfHubHTTPError, OSError) as error:
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))


if __name__ == "__main__":
    main(sys.argv[1:])
