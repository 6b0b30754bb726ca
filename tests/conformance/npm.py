"""Brings the packages of package.json once into a cache of this user's, and a Node they run on.

Run by itself, it brings them before anybody asks for them; with the names of a package and of its
program it prints how to start that, or nothing where there is no npm.
Knows nothing of what they do. Rule: nothing is kept beside the repository's files, and no lock file
is written; another package.json makes another folder.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
import platformdirs

MANIFEST = Path(__file__).with_name("package.json")
_SECONDS = 300


class Absent(Exception):
    """There is no npm here."""


@dataclass(frozen=True)
class Packages:
    """What is installed."""

    node: Path
    """Runs the packages' programs."""
    folder: Path
    """node_modules."""

    def program(self, package: str, name: str) -> list[str]:
        """A command that starts a program of a package."""
        manifest = json.loads((self.folder / package / "package.json").read_text("utf-8"))
        programs: str | dict[str, str] = manifest["bin"]
        file = programs if isinstance(programs, str) else programs[name]
        return [str(self.node), str(self.folder / package / file)]


def installed() -> Packages:
    """The packages, installed if they are not yet.

    Raises:
        Absent: npm is needed, and there is none.
        subprocess.CalledProcessError: npm could not install them.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Absent
    own = _node_that_will_do()
    place = _place(with_node=own is None)
    place.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(place.with_name(f".{place.name}.lock")):
        if not place.exists():
            _install(npm, place, with_node=own is None)
    folder = place / "node_modules"
    return Packages(own or _brought(folder), folder)


def _node_that_will_do() -> Path | None:
    """This machine's Node, if it is not older than the one that is pinned."""
    node = shutil.which("node")
    if node is None:
        return None
    told = subprocess.run([node, "--version"], capture_output=True, encoding="utf-8").stdout
    pinned = json.loads(MANIFEST.read_text("utf-8"))["devDependencies"]["node"]
    return Path(node) if _parts(told) >= _parts(pinned) else None


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _place(*, with_node: bool) -> Path:
    content = MANIFEST.read_bytes() + bytes([with_node])
    name = hashlib.sha256(content).hexdigest()[:12]
    return platformdirs.user_cache_path("npu-gateway-gate", appauthor=False) / name


def _install(npm: str, place: Path, *, with_node: bool) -> None:
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        shutil.copy(MANIFEST, made)
        subprocess.run(
            command if with_node else [*command, "--omit=dev"],
            cwd=made,
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
        made.rename(place)


def _brought(folder: Path) -> Path:
    return folder / "node" / "bin" / ("node.exe" if os.name == "nt" else "node")


if __name__ == "__main__":
    with suppress(Absent):
        brought = installed()
        if sys.argv[1:]:
            print(shlex.join(brought.program(*sys.argv[1:])))
