"""Starts the servers that are looked at, each with a home of its own and its own settings."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FIXTURES = Path(__file__).with_name("fixture_server.py")

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
_STARTING_SECONDS = 60
_ENDING_SECONDS = 15


@dataclass(frozen=True)
class Served:
    """A server that is running."""

    url: str
    said: list[str]
    """Its lines so far."""

    @property
    def bugs(self) -> int:
        """How often it told of a failure that nobody had thought of."""
        return sum("Traceback (most recent call last)" in line for line in self.said)


def product() -> list[str]:
    """The command that this Python's environment has."""
    found = shutil.which("npu-gateway", path=str(Path(sys.executable).parent))
    return [found] if found else [sys.executable, "-m", "mcp_server"]


def without_settings() -> None:
    """Settings of whoever runs the gate stay out of it, and of what it starts."""
    for name in [name for name in os.environ if name.startswith("NPU_GATEWAY_")]:
        del os.environ[name]
    os.environ["NPU_GATEWAY_CONFIG"] = os.devnull


@contextmanager
def fixtures(folder: Path) -> Generator[Served]:
    """A server, within the block, with all that the suite calls."""
    with _serving([sys.executable, str(FIXTURES), str(folder)]) as served:
        yield served


@contextmanager
def over_http(folder: Path) -> Generator[Served]:
    """The product, within the block, as users start it."""
    options = ["serve", "--http", "--port", "0", "--offline", "--data-dir", str(folder)]
    with _serving([*product(), *options]) as served:
        yield served


@contextmanager
def _serving(command: list[str]) -> Generator[Served]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    said: list[str] = []
    heard = threading.Event()

    def listen() -> None:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if _ADDRESS.search(line):
                heard.set()
        heard.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        heard.wait(_STARTING_SECONDS)
        found = _ADDRESS.search("".join(said))
        if found is None:
            raise RuntimeError(f"{' '.join(command)} says no address:\n{''.join(said)}")
        yield Served(f"{found[0]}/mcp", said)
    finally:
        process.terminate()
        try:
            process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
