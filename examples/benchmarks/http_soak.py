"""Whether a gateway that is served over HTTP holds: many connections, mixed work, many leaving.

    python examples/benchmarks/http_soak.py [--minutes 10] [--connections 64] [--models DIR]
        [--json]

A server of its own with two keys, and clients that ask for chat answers (streamed or not), vectors
and searches at random; one in five leaves before its answer is there. Shown are answers by kind and
status, latencies, the share of each key, what the server holds at the end (slots, calls in line,
threads, open files), and its memory: all of it, and all but the prompts that are kept on purpose
until their budget is full. How either grew is a straight line through the second half, in percent
an hour; for the second it begins no sooner than when the budget was full. Memory grows with the
calls rather than with time, so it is told after how many it stood where. A full line (429) is an
answer: that is what it is for.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import numpy as np
from machine import machine

from mcp_server.settings import Settings

KINDS = ("chat", "streamed chat", "embeddings", "search")
LEAVING = 0.2
"""The share of calls whose caller leaves early."""

SAMPLE_SECONDS = 2.0
FULL = 0.98
"""The share of the most that kept prompts ever took at which their budget counts as full."""

WORDS = [
    "sea",
    "moon",
    "tide",
    "bread",
    "dough",
    "chain",
    "oil",
    "wheel",
    "river",
    "night",
    "stone",
]
SETTLING_SECONDS = 5.0


@dataclass
class Tally:
    """What clients have seen."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_key: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def answered(self, kind: str, key: str, status: str, seconds: float) -> None:
        self.statuses[kind, status] += 1
        if status == "200":
            self.by_key[key] += 1
            self.seconds.setdefault(kind, []).append(seconds)


@dataclass
class Samples:
    """What the server holds, from time to time."""

    at: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    kept_mb: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def take(self, pid: int, calls: int, kept_bytes: float) -> None:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        self.at.append(time.monotonic())
        self.calls.append(calls)
        self.kept_mb.append(kept_bytes / 2**20)
        self.resident_mb.append(int(status["VmRSS"].split()[0]) / 1024)
        self.threads.append(int(status["Threads"]))
        self.files.append(len(os.listdir(f"/proc/{pid}/fd")))

    @property
    def half(self) -> int:
        """The sample with which the second half begins."""
        return len(self.at) // 2

    @property
    def full(self) -> int:
        """The first sample at which no more prompts could be kept."""
        return next(
            index for index, kept in enumerate(self.kept_mb) if kept >= FULL * max(self.kept_mb)
        )

    @property
    def rest_mb(self) -> list[float]:
        """Memory without the prompts that are kept."""
        return [
            resident - kept for resident, kept in zip(self.resident_mb, self.kept_mb, strict=True)
        ]

    def percent_an_hour(self, values: list[float], first: int) -> float:
        """Growth from a sample on, by a straight line through all that follow."""
        if len(values) - first < 3:
            return float("nan")
        slope, _ = np.polyfit(self.at[first:], values[first:], 1)
        return float(100 * slope * 3600 / np.mean(values[first:]))


def main() -> None:
    options = _options()
    with _served(options.models) as (url, pid, keys):
        tally, samples, left = anyio.run(_run, options, url, pid, keys)
    rows = _figures(tally, samples, left)
    if options.json:
        print(json.dumps({"machine": machine(), "figures": rows}, indent=2))
        return
    print(machine())
    for name, value in rows.items():
        print(f"{name:<44}{value}")


async def _run(
    options: argparse.Namespace, url: str, pid: int, keys: list[str]
) -> tuple[Tally, Samples, dict[str, Any]]:
    tally, samples = Tally(), Samples()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_sample, samples, tally, url, pid, keys[0])
        with anyio.move_on_after(60 * options.minutes):
            async with anyio.create_task_group() as clients:
                for number in range(options.connections):
                    key = keys[number % len(keys)]
                    clients.start_soon(_client, url, key, number, tally)
        tasks.cancel_scope.cancel()
    await anyio.sleep(SETTLING_SECONDS)
    async with _connected(url, keys[0]) as http:
        state = (await http.get("/status.json")).json()
    return tally, samples, state["status"]["answers"]


async def _client(url: str, key: str, number: int, tally: Tally) -> None:
    """One caller after the other over one connection."""
    chance = random.Random(number)
    async with _connected(url, key) as http:
        while True:
            kind = chance.choices(KINDS, (2, 2, 4, 4))[0]
            patience = chance.uniform(0.0, 1.0) if chance.random() < LEAVING else 120.0
            started = time.perf_counter()
            status = "left"
            with anyio.move_on_after(patience):
                status = await _asked(http, kind, chance)
            tally.answered(kind, key, status, time.perf_counter() - started)
            if status == "429":
                await anyio.sleep(chance.uniform(0.5, 1.5))


async def _asked(http: httpx2.AsyncClient, kind: str, chance: random.Random) -> str:
    words = " ".join(chance.choices(WORDS, k=12))
    try:
        if kind == "embeddings":
            body = {"model": "all-minilm-l6-v2", "input": [words] * chance.randint(1, 8)}
            return str((await http.post("/v1/embeddings", json=body)).status_code)
        if kind == "search":
            path = "/v1/vector_stores/documents/search"
            return str((await http.post(path, json={"query": words})).status_code)
        body = {
            "model": "smollm2-135m-instruct",
            "messages": [{"role": "user", "content": f"Write about {words}."}],
            "max_tokens": chance.randint(4, 48),
            "stream": kind == "streamed chat",
        }
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            content = b"".join([part async for part in answer.aiter_bytes()])
        if answer.status_code == 200 and kind == "streamed chat":
            return "200" if content.endswith(b"data: [DONE]\n\n") else "broken off"
        return str(answer.status_code)
    except httpx2.HTTPError as error:
        return type(error).__name__


async def _sample(samples: Samples, tally: Tally, url: str, pid: int, key: str) -> None:
    async with _connected(url, key) as http:
        while True:
            metrics = (await http.get("/metrics")).text
            kept = re.search(r"^npu_gateway_prefix_bytes (\S+)", metrics, re.M)
            samples.take(pid, tally.statuses.total(), float(kept[1]) if kept else 0.0)
            await anyio.sleep(SAMPLE_SECONDS)


@asynccontextmanager
async def _connected(url: str, key: str) -> AsyncGenerator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=180) as http:
        yield http


@contextmanager
def _served(models: Path) -> Generator[tuple[str, int, list[str]]]:
    """A server with an index, two keys and a port of its own."""
    command = [sys.executable, "-m", "mcp_server"]
    scratch = Path(tempfile.mkdtemp())
    flags = ["--data-dir", str(scratch / "data"), "--models-dir", str(models), "--offline"]
    documents = scratch / "documents"
    documents.mkdir()
    chance = random.Random(0)
    for number in range(200):
        text = "\n\n".join(" ".join(chance.choices(WORDS, k=60)) for _ in range(6))
        (documents / f"{number}.md").write_text(text)
    try:
        subprocess.run([*command, "index", str(documents), *flags], check=True, capture_output=True)
        made = [*command, "keys", "create", "--scope", "infer", "--scope", "search"]
        made += ["--scope", "admin", *flags]
        keys = [
            subprocess.run(
                [*made, name], check=True, capture_output=True, encoding="utf-8"
            ).stdout.strip()
            for name in ("one", "other")
        ]
        started = [*command, "serve", "--http", "--port", "0", *flags]
        log = scratch / "log"
        with (
            log.open("w") as errors,
            subprocess.Popen(started, stderr=errors) as server,
        ):
            try:
                url = _address(log)
                _wait_until_ready(url)
                yield url, server.pid, keys
            finally:
                server.terminate()
    finally:
        shutil.rmtree(scratch)


def _address(log: Path) -> str:
    """What the server says of where it listens."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := re.search(r"http://[\w.:]+", log.read_text()):
            return found[0].rstrip(".:")
        time.sleep(0.1)
    sys.exit(f"The server did not start:\n{log.read_text()}")


def _wait_until_ready(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.2)
    sys.exit("The server is not ready after 60 s.")


def _figures(tally: Tally, samples: Samples, answers: dict[str, Any]) -> dict[str, str]:
    rows = {
        f"{kind}: {status}": f"{number:,}"
        for (kind, status), number in sorted(tally.statuses.items())
    }
    for kind, seconds in tally.seconds.items():
        p50, p95 = np.percentile(seconds, [50, 95]) * 1000
        rows[f"{kind}: p50 / p95 ms"] = f"{p50:,.0f} / {p95:,.0f}"
    shares = sorted(tally.by_key.values())
    rows["answers of the two keys"] = " / ".join(f"{share:,}" for share in shares)
    rows |= _memory(samples)
    half = samples.half
    for name, values in (("threads", samples.threads), ("open files", samples.files)):
        rows[f"{name}, half / most after / last"] = (
            f"{values[half]} / {max(values[half:])} / {values[-1]}"
        )
    rows["answers in work and in line at the end"] = f"{answers['active']} / {answers['waiting']}"
    return rows


def _memory(samples: Samples) -> dict[str, str]:
    half, full = samples.half, samples.full
    rest, first = samples.rest_mb, max(half, full)
    rows: dict[str, str] = {}
    for name, values in (
        ("calls", samples.calls),
        ("memory, MB", samples.resident_mb),
        ("prompts kept, MB", samples.kept_mb),
        ("memory without them, MB", rest),
    ):
        eighths = (values[len(values) * number // 8] for number in range(8))
        rows[f"{name}, after each eighth"] = " ".join(
            f"{one:,.0f}" for one in [*eighths, values[-1]]
        )
    rows["prompts kept: full after s / calls"] = (
        f"{samples.at[full] - samples.at[0]:,.0f} / {samples.calls[full]:,}"
    )
    whole = samples.percent_an_hour(samples.resident_mb, half)
    rows["memory, second half, % an hour"] = f"{whole:+.2f}"
    rows["memory without them, % an hour"] = f"{samples.percent_an_hour(rest, first):+.2f}"
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=Settings().models_folder, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
