"""How soon a freshly started server answers: handshake, tools, first vector, first token.

    python examples/benchmarks/cold_start.py [--models-dir DIR] [--rounds 7] [--json]

Each round starts `npu-gateway serve` as a host does, over pipes, its index empty, and times from
the start of the process to each answer; medians over the rounds are shown. The calls are sent one
after the other as soon as the one before is answered, so "first vector" includes what is left of
loading the embedding model. "End" is from the end of stdin to the end of the process. The parts of
the start are shown by: python -X importtime -m mcp_server serve < /dev/null

Servers run on compiled files, as an installed one does: compiling this program anew took 0.12 s of
each start where PYTHONDONTWRITEBYTECODE is set. Tried and not kept: telling pydantic to
build MCP's models when they are first used (`defer_build`) made importing `mcp` 0.05 s shorter,
but by a switch that all of pydantic's users in the process share (Linux x86-64, 2 cores).
"""

import argparse
import compileall
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

from mcp_server.settings import Settings

CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("tools/list", "tools/list", {}),
    ("first vector", "tools/call", {"name": "embed", "arguments": {"texts": ["one text"]}}),
    (
        "first token",
        "tools/call",
        {"name": "generate", "arguments": {"prompt": "Say hello.", "max_tokens": 1}},
    ),
]

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "0"},
}


class Server:
    """A server process, and the time since its start."""

    def __init__(self, data_dir: str, models_dir: Path) -> None:
        flags = ["--data-dir", data_dir, "--models-dir", str(models_dir)]
        self.start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mcp_server", "serve", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, request_id: int, method: str, params: dict[str, Any]) -> float:
        """Seconds since the start when the answer is there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer.get("id") == request_id:
                if "error" in answer or answer["result"].get("isError"):
                    raise SystemExit(f"{method} failed: {answer}")
                return time.perf_counter() - self.start
        raise SystemExit(f"the server ended before it answered {method}")

    def end(self) -> float:
        """Seconds from the end of stdin to the end of the process."""
        assert self.process.stdin is not None
        start = time.perf_counter()
        self.process.stdin.close()
        self.process.wait()
        return time.perf_counter() - start


def measure(models_dir: Path) -> dict[str, float]:
    """One start, in seconds."""
    with tempfile.TemporaryDirectory() as data_dir:
        server = Server(data_dir, models_dir)
        figures = {"handshake": server.ask(0, "initialize", HELLO)}
        for number, (name, method, params) in enumerate(CALLS, 1):
            figures[name] = server.ask(number, method, params)
        figures["end"] = server.end()
    return figures


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models-dir", type=Path, default=Settings().models_folder)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for package in ("engine", "mcp_server"):
        compileall.compile_dir(Path(__file__).parents[2] / package, quiet=1)
    measure(arguments.models_dir)  # Files into the system's cache, once.
    rounds = [measure(arguments.models_dir) for _ in range(arguments.rounds)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    if arguments.json:
        print(json.dumps({"machine": machine(), "rounds": len(rounds), "seconds": medians}))
        return
    print(f"{machine()}; medians of {len(rounds)} starts\n")
    for name, seconds in medians.items():
        print(f"{name:<14} {seconds:6.2f} s")


if __name__ == "__main__":
    main()
