"""Brings CPython's source with its docs here: the source package of Debian 12, through apt.

Uses the mirror that apt is set up with, in folders of its own: the system's package lists are
neither read nor changed, and no rights are needed. What arrives is checked by apt against Debian's
signature.
"""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

PACKAGE = "python3.11"
MARKERS = ("Doc/library/functions.rst", "Objects/dictobject.c", "Lib/functools.py")

_APT = Path("/etc/apt")
_SECONDS = 600


class NotFetched(Exception):
    """The source cannot be brought here; the text says why and what to do."""


def fetched(cache: Path) -> Path:
    """The folder of the source below `cache`; fetched and unpacked at the first call.

    Raises:
        NotFetched: There is no apt, or it brings nothing.
    """
    cache = cache.resolve()
    target = cache / PACKAGE
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        partial = cache / f"{PACKAGE}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _unpack(_archive(cache), partial)
        partial.rename(target)
    return checked(target)


def checked(tree: Path) -> Path:
    """The folder in `tree` that is CPython's source: itself, or the only one in it.

    Raises:
        NotFetched: It is not.
    """
    inner = [tree, *(one for one in (tree.iterdir() if tree.is_dir() else ()) if one.is_dir())]
    for folder in inner:
        if all((folder / marker).is_file() for marker in MARKERS):
            return folder.resolve()
    raise NotFetched(f"{tree} is no source of CPython with its docs: it lacks one of {MARKERS}.")


def _archive(cache: Path) -> Path:
    if not shutil.which("apt-get"):
        raise NotFetched(
            "There is no apt-get here to fetch CPython's source with: unpack a source archive of "
            "CPython 3.11 and name its folder with --tree."
        )
    apt = cache / "apt"
    options = _options(apt)
    updated = _run([*options, "update"], apt)
    brought = _run([*options, "source", "--download-only", "--tar-only", PACKAGE], apt)
    archives = sorted(apt.glob(f"{PACKAGE}_*.orig.tar.*"))
    if not archives:
        raise NotFetched(
            f"apt-get brings no source of {PACKAGE}, as Debian 12 has it. It said:\n"
            f"{(updated + brought).strip()[-1000:]}\n"
            "Unpack a source archive of CPython 3.11 and name its folder with --tree."
        )
    return archives[-1]


def _options(apt: Path) -> list[str]:
    """How apt-get is called so that all it reads and writes but the sources is below `apt`."""
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    for file in (_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))):
        if file.suffix in (".list", ".sources") and file.is_file():
            text = file.read_text(encoding="utf-8")
            text = re.sub(r"(?m)^deb(-src)?(?=\s)", "deb-src", text)
            text = re.sub(r"(?m)^Types:.*$", "Types: deb-src", text)
            (apt / "sources" / file.name).write_text(text, encoding="utf-8")
    settings = {
        "Dir::Etc::SourceList": os.devnull,
        "Dir::Etc::SourceParts": apt / "sources",
        "Dir::State::Lists": apt / "lists",
        "Dir::Cache": apt / "cache",
    }
    return ["apt-get", *(f"-o{name}={value}" for name, value in settings.items())]


def _run(command: list[str], folder: Path) -> str:
    """What a command says, whether or not it succeeds."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"{' '.join(command[-2:])} took longer than {_SECONDS} s.\n"
    return done.stdout


def _unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")
