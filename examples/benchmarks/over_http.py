"""What the HTTP routes cost over calling the engine in the same process.

    python examples/benchmarks/over_http.py [--models-dir DIR] [--calls 200] [--rounds 3]
        [--peer NAME=URL=MODEL]... [--json]

`npu-gateway serve --http` runs in a process of its own, with a small folder indexed; this process
opens the same models and the same index. Each text, question and answer is asked of both in turn,
so that both meet the same machine: of the server over one connection that is kept open. Before
each call is a short rest, for the threads of the one spin on for a moment in which they would slow
down the other. Shown are p50 and p95 in milliseconds, the same answers being asked of both, and
tokens a second of answers from the first token to the last.

A peer is another server of OpenAI's routes that is running already, each in a process of its own:

    llama-server -m SmolLM2-135M-Instruct.Q4_1.gguf -t 2 --port 8081
        --peer "llama.cpp=http://127.0.0.1:8081/v1=SmolLM2-135M-Instruct.Q4_1.gguf"
    infinity_emb v2 --model-id FOLDER --engine torch --device cpu --port 7997 --url-prefix /v1
        --peer "infinity=http://127.0.0.1:7997/v1=FOLDER"

It is asked for what it answers: vectors or text.
"""

import argparse
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from machine import Others, machine

from engine.decode.sampling import SamplingParams
from engine.engine import Engine
from engine.search.search import SearchRequest
from engine.text.chat import Message
from mcp_server.commands.engine_options import options
from mcp_server.settings import Settings

DOCUMENTS = Path(__file__).parents[2] / "mcp_server" / "sample_documents"
TEXT = "The moon pulls at the sea, which rises and falls twice a day."
TEXTS = [f"{TEXT} Note {number}." for number in range(64)]
QUESTION = "The radiators stay cold. What should I look at first?"
PROMPT = "Tell a long story about a ferry and its captain."
ANSWER_TOKENS = 200
REST_SECONDS = 0.02
STARTING_SECONDS = 120

Figures = dict[str, float]


class Route:
    """A server, reached over one connection that is kept open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._prefix = parts.path.rstrip("/")
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=600)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What a route answers, read as JSON; None where it does not answer so."""
        answer = self._begin("POST", path, body)
        content = answer.read()
        return json.loads(content) if answer.status == 200 else None

    def get(self, path: str) -> Any:
        """The same without a body."""
        answer = self._begin("GET", path, None)
        content = answer.read()
        return json.loads(content) if answer.status == 200 else None

    def stream(self, path: str, body: dict[str, Any]) -> Generator[dict[str, Any]]:
        """The events of a stream."""
        answer = self._begin("POST", path, body)
        for line in answer if answer.status == 200 else ():
            if line.startswith(b"data: {"):
                yield json.loads(line[len(b"data: ") :])

    def _begin(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> http.client.HTTPResponse:
        content = json.dumps(body).encode() if body is not None else None
        headers = {"content-type": "application/json"} if content else {}
        try:
            self._connection.request(method, self._prefix + path, content, headers)
            return self._connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):
            self._connection.close()  # It was kept no longer; the next request opens another.
            self._connection.request(method, self._prefix + path, content, headers)
            return self._connection.getresponse()


@dataclass(frozen=True)
class Contestant:
    """Whoever is asked, and how."""

    name: str
    calls: dict[str, Callable[[], object]]
    """By what is asked; the one call answers it."""
    write: Callable[[], Figures] | None
    """Writes a whole answer and times it."""


@contextmanager
def serving(settings: Settings) -> Generator[str]:
    """A server over these models and an index of some documents; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--data-dir", str(settings.data_dir), "--models-dir", str(settings.models_folder)]
    command = [sys.executable, "-m", "mcp_server"]
    subprocess.run([*command, "index", str(DOCUMENTS), *flags], check=True, capture_output=True)
    served = subprocess.Popen([*command, "serve", "--http", "--port", str(port), *flags])
    try:
        url = f"http://127.0.0.1:{port}/v1"
        _wait_for(url)
        yield url
    finally:
        served.terminate()
        served.wait()


def _wait_for(url: str) -> None:
    """Returns once the models are in memory."""
    for _ in range(int(STARTING_SECONDS / 0.5)):
        time.sleep(0.5)
        try:
            models = Route(url).get("/models")["data"]
        except OSError:
            continue
        if all(one["status"] == "ready" for one in models):
            return
    raise SystemExit(f"The server was not ready within {STARTING_SECONDS} s.")


def direct(engine: Engine) -> Contestant:
    """The engine in this process."""
    with engine.embedder.lease() as embedder, engine.decoder.lease() as decoder:
        request = SearchRequest(query=QUESTION)

        def write() -> Figures:
            began = time.perf_counter()
            answer = decoder.generate([Message("user", PROMPT)], _params())
            times = [time.perf_counter() for piece in answer if piece.token_id is not None]
            return _rates(began, times, len(times))

        calls = {
            "vector of a text": lambda: embedder.embed([TEXT], "document"),
            "vectors of 64 texts": lambda: embedder.embed(TEXTS, "document"),
            "the same as numbers": lambda: embedder.embed(TEXTS, "document"),
            "search": lambda: engine.library.search(request),
        }
        return Contestant("engine", calls, write)


def _params() -> SamplingParams:
    return SamplingParams(max_tokens=ANSWER_TOKENS, temperature=0)


def served(url: str, store: str, embedder: str, decoder: str) -> Contestant:
    """Our server."""
    route = Route(url)
    calls = _vectors(route, embedder) | {
        "search": lambda: route.post(f"/vector_stores/{store}/search", {"query": QUESTION})
    }
    return Contestant("route", calls, lambda: _write(route, decoder))


def peer(told: str) -> Contestant:
    """Another server, asked for what it answers."""
    name, url, model = told.split("=")
    route = Route(url)
    vectors = _vectors(route, model)
    makes_vectors = vectors["vector of a text"]() is not None
    return Contestant(
        name,
        vectors if makes_vectors else {},
        None if makes_vectors else lambda: _write(route, model),
    )


def _vectors(route: Route, model: str) -> dict[str, Callable[[], object]]:
    def ask(texts: list[str], encoding: str) -> Callable[[], object]:
        body = {"model": model, "input": texts, "encoding_format": encoding}
        return lambda: route.post("/embeddings", body)

    return {
        "vector of a text": ask([TEXT], "base64"),
        "vectors of 64 texts": ask(TEXTS, "base64"),
        "the same as numbers": ask(TEXTS, "float"),
    }


def _write(route: Route, model: str) -> Figures:
    body: dict[str, Any] = {"model": model, "max_tokens": ANSWER_TOKENS, "temperature": 0}
    body |= {"messages": [{"role": "user", "content": PROMPT}], "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    times: list[float] = []
    tokens = 0
    began = time.perf_counter()
    for event in route.stream("/chat/completions", body):
        times += [time.perf_counter() for one in event["choices"] if one["delta"].get("content")]
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    # A peer that tells no usage sends a token an event.
    return _rates(began, times, tokens or len(times))


def _rates(began: float, times: list[float], tokens: int) -> Figures:
    return {
        "first token ms": 1000 * (times[0] - began),
        "tokens/s": (tokens - 1) / (times[-1] - times[0]),
    }


def time_calls(contestants: list[Contestant], calls: int) -> dict[str, dict[str, Figures]]:
    """Each call of each contestant in turn, so often; p50 and p95 in milliseconds."""
    found: dict[str, dict[str, list[float]]] = {}
    for name in contestants[0].calls:
        who = [one for one in contestants if name in one.calls]
        seconds = {one.name: list[float]() for one in who}
        times = calls if "64" not in name and "same" not in name else max(5, calls // 10)
        for turn in range(times + 1):
            for one in who:
                time.sleep(REST_SECONDS)
                start = time.perf_counter()
                if one.calls[name]() is None:
                    raise SystemExit(f"{one.name} did not answer: {name}")
                if turn:
                    seconds[one.name].append(time.perf_counter() - start)
        found[name] = seconds
    return {
        name: {who: percentiles(one) for who, one in seconds.items()}
        for name, seconds in found.items()
    }


def time_answers(contestants: list[Contestant], rounds: int) -> dict[str, Figures]:
    """Medians of an answer of each in turn, the first round left out."""
    found: dict[str, list[Figures]] = {}
    for turn in range(rounds + 1):
        for one in contestants:
            if one.write is not None:
                time.sleep(REST_SECONDS)
                figures = one.write()
                if turn:
                    found.setdefault(one.name, []).append(figures)
    return {
        who: {name: statistics.median(one[name] for one in figures) for name in figures[0]}
        for who, figures in found.items()
    }


def percentiles(seconds: list[float]) -> Figures:
    """In milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50": 1000 * statistics.median(ordered),
        "p95": 1000 * ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
    }


def show(calls: dict[str, dict[str, Figures]], answers: dict[str, Figures]) -> None:
    """Prints the tables."""
    names = list(dict.fromkeys(who for figures in calls.values() for who in figures))
    print(f"{'ms, p50 / p95':<24}" + "".join(f"{name:>16}" for name in names))
    for call, figures in calls.items():
        cells = [f"{one['p50']:.2f} / {one['p95']:.2f}" for one in figures.values()]
        print(f"{call:<24}" + "".join(f"{cell:>16}" for cell in cells))
    print(f"\n{'an answer':<24}" + "".join(f"{name:>16}" for name in answers))
    for name in ("tokens/s", "first token ms"):
        print(f"{name:<24}" + "".join(f"{one[name]:>16.1f}" for one in answers.values()))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models-dir", type=Path, default=Settings().models_folder)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=URL=MODEL")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir:
        settings = Settings(data_dir=Path(data_dir), models_dir=arguments.models_dir)
        engine = Engine(options(settings))
        with serving(settings) as url:
            embedder, decoder = (one.model_id for one in engine.models())
            store = Route(url).get("/vector_stores")["data"][0]["id"]
            ours = [direct(engine), served(url, store, embedder, decoder)]
            contestants = ours + [peer(told) for told in arguments.peer]
            others = Others()
            calls = time_calls(contestants, arguments.calls)
            answers = time_answers(contestants, arguments.rounds)
        engine.close()
    if arguments.json:
        print(json.dumps({"machine": machine(), "calls_ms": calls, "answers": answers}))
        return
    print(f"{machine()}; others took {others.cores or 0:.1f} cores meanwhile\n")
    show(calls, answers)


if __name__ == "__main__":
    main()
