"""Whether all that is installed has a wheel for each promised system: Windows on ARM64 first.

Asks the package index and installs nothing. Run by .ci/run; `python tests/windows_wheels.py`.
Rule: the versions in constraints.txt, wheels alone. With --newest it says instead of the newest
versions, which a person without constraints gets, which of them have no wheel yet.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[1]
EXTRAS = ("qnn", "plot", "code", "otel")

_PYTHONS = ("3.11", "3.12", "3.13", "3.14")

_WITHOUT = {
    ("aarch64-pc-windows-msvc", "3.11"): {
        "pyyaml": "its source installs without a compiler, as pure Python"
    },
}

_LACKING = re.compile(r"([A-Za-z0-9._-]+?)(?:==([\w.+]+))? has no (?:usable )?wheels")
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)

_ADVICE = (
    "pin a version in constraints.txt that has one, bound it in pyproject.toml by the marker "
    "platform_machine == 'ARM64' and sys_platform == 'win32', or do without the package there"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a closure is resolved for."""

    platform: str
    """As uv calls it."""
    python: str

    @property
    def without(self) -> dict[str, str]:
        """What has no wheel, and why that does no harm."""
        return _WITHOUT.get((self.platform, self.python), {})

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python}"


@dataclass(frozen=True, slots=True)
class Closure:
    """What came of it."""

    target: Target
    pins: dict[str, str]
    """Version by package; empty where there is none."""
    problem: str = ""
    """Which package lacks a wheel, and what to do; empty where all have one."""


TARGETS = (
    *(Target("aarch64-pc-windows-msvc", python) for python in _PYTHONS),
    Target("x86_64-pc-windows-msvc", "3.12"),
    Target("aarch64-apple-darwin", "3.12"),
)


def resolve(target: Target, project: Path = HERE / "pyproject.toml") -> Closure:
    """Resolves a project's whole closure, with the extras, on the versions in constraints.txt."""
    constraint = f"--constraint={HERE / 'constraints.txt'}"
    done = _compile([str(project), *_extras(project), constraint], target)
    if done.returncode:
        return Closure(target, {}, f"{said(done.stderr)}: {_ADVICE}")
    return Closure(target, dict(_PINNED.findall(done.stdout)))


def newest(target: Target, project: Path = HERE / "pyproject.toml") -> Closure:
    """The same for the newest versions, which installers take whether or not they have wheels."""
    done = _compile([str(project), *_extras(project)], target, only_wheels=False)
    if done.returncode:
        return Closure(target, {}, said(done.stderr))
    pins = dict(_PINNED.findall(done.stdout))
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "pinned.in"
        pinned.write_text(
            "".join(f"{name}=={version}\n" for name, version in pins.items()), "utf-8"
        )
        again = _compile([str(pinned), "--no-deps"], target)
    return Closure(target, pins, f"{said(again.stderr)}: {_ADVICE}" if again.returncode else "")


def said(words: str) -> str:
    """What uv says, in a line that begins with the package that lacks a wheel if it names one."""
    line = " ".join(words.replace("error:", "").replace("cause:", "").split())
    found = _LACKING.search(line)
    name = f"{found[1]} {found[2] or ''}".strip() if found else "no solution"
    return f"{name} ({line[:400]})"


def _extras(project: Path) -> list[str]:
    return [f"--extra={extra}" for extra in EXTRAS] if project.name == "pyproject.toml" else []


def _compile(
    arguments: list[str], target: Target, *, only_wheels: bool = True
) -> subprocess.CompletedProcess[str]:
    command = ["uv", "pip", "compile", *arguments, "--no-annotate", "--no-header", "--quiet"]
    command += [f"--python-platform={target.platform}", f"--python-version={target.python}"]
    if only_wheels:
        command += ["--only-binary=:all:", *(f"--no-binary={name}" for name in target.without)]
    environment = os.environ | {
        "MACOSX_DEPLOYMENT_TARGET": "14.0",  # With which ONNX Runtime's wheels begin.
        "UV_PYTHON_DOWNLOADS": "never",  # Any Python can resolve for another.
        "NO_COLOR": "1",
    }
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def closures(arguments: list[str] | None = None) -> Iterator[Closure]:
    """All of them, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--newest", action="store_true", help="without constraints.txt")
    look = newest if parser.parse_args(arguments).newest else resolve
    # Nearly all of it is waiting for the package index.
    with ThreadPoolExecutor(len(TARGETS)) as pool:
        yield from pool.map(look, TARGETS)


def main() -> int:
    """Prints a line for each; 1 if a wheel is lacking."""
    lacking = 0
    for closure in closures():
        but = "".join(f" but {name} ({why})" for name, why in closure.target.without.items())
        good = f"{len(closure.pins)} packages, all with wheels{but}"
        print(f"{closure.target}: {closure.problem or good}", flush=True)
        lacking += bool(closure.problem)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
