"""The process that serves over HTTP: where it listens, and every way in which it ends."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from mcp_server.__main__ import main

TIMEOUT = 60
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

LONG = {
    "model": "smollm2-135m-instruct",
    "messages": [{"role": "user", "content": "Count from one to a thousand, in words."}],
    "max_tokens": 4000,
    "logit_bias": {"2": -100},
    "stream": True,
}


class Process:
    """A server process, which has said where it listens."""

    def __init__(self, *flags: str) -> None:
        command = [sys.executable, "-m", "mcp_server", "serve", "--http", *flags]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert self.process.stderr is not None
        self.greeting = self.process.stderr.readline()

    @contextmanager
    def client(self, socket: str | None = None) -> Iterator[httpx2.Client]:
        """Calls where it listens, or at a Unix socket."""
        url = "http://localhost" if socket else self.greeting.split()[3]
        transport = httpx2.HTTPTransport(uds=socket)
        with httpx2.Client(base_url=url, timeout=TIMEOUT, transport=transport) as http:
            yield http

    def ended(self) -> int:
        """Its status; it wrote nothing on stdout, and no traceback."""
        out, err = self.process.communicate(timeout=TIMEOUT)
        assert out == ""
        assert "Traceback" not in err
        return self.process.returncode


@contextmanager
def process(*flags: str) -> Iterator[Process]:
    running = Process(*flags)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


@pytest.fixture
def flags(tmp_path, models_dir) -> list[str]:
    return ["--data-dir", str(tmp_path / "data"), "--models-dir", str(models_dir)]


@contextmanager
def begun(http: httpx2.Client) -> Iterator[Iterator[str]]:
    """The chunks of a long answer, from its first text on."""
    with http.stream("POST", "/v1/chat/completions", json=LONG) as answer:
        lines = answer.iter_lines()
        coming = (line.removeprefix("data: ") for line in lines if line.startswith("data: "))
        while not json.loads(next(coming))["choices"][0]["delta"].get("content"):
            pass
        yield coming


def until_ready(http: httpx2.Client) -> None:
    while http.get("/readyz").status_code != 200:
        pass


@posix
def test_while_it_drains_answers_go_on_new_work_is_refused_and_a_second_signal_ends_it(
    flags, tmp_path
):
    place = tmp_path / "gateway.sock"
    with process(*flags, "--uds", str(place), "--drain-seconds", "600") as running:
        assert "without a key" in running.greeting
        at = str(place)
        with running.client(at) as http, running.client(at) as other, begun(http) as coming:
            until_ready(other)
            running.process.send_signal(signal.SIGTERM)
            while (told := other.get("/readyz")).status_code == 200:
                pass
            assert told.json()["error"]["code"] == "shutting_down"
            refused = other.get("/v1/models")
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert other.get("/livez").status_code == 200
            for _ in range(5):
                assert json.loads(next(coming))["choices"]
            running.process.send_signal(signal.SIGTERM)
            assert running.ended() == 0
            assert not place.exists()


@posix
@pytest.mark.usefixtures("as_in_a_terminal")
def test_at_a_signal_a_stream_at_a_unix_socket_ends_with_its_last_frame(flags, tmp_path):
    place = tmp_path / "gateway.sock"
    with process(*flags, "--uds", str(place), "--drain-seconds", "0") as running:
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        with running.client(str(place)) as http, begun(http) as coming:
            running.process.send_signal(signal.SIGINT)
            last = list(coming)[-1]
        assert json.loads(last)["error"]["code"] == "shutting_down"
        assert running.ended() == 0
        assert not place.exists()


LISTEN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "subscriptions/listen",
    "params": {
        "notifications": {"toolsListChanged": True},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}


@posix
def test_it_does_not_wait_for_mcp_clients_who_only_listen(flags):
    head = {"accept": "application/json, text/event-stream"}
    modern = {"mcp-protocol-version": "2026-07-28", "mcp-method": "subscriptions/listen"}
    with (
        process(*flags, "--port", "0", "--drain-seconds", "600") as running,
        running.client() as http,
        http.stream("GET", "/mcp", headers=head) as of_old,
        http.stream("POST", "/mcp", headers=head | modern, json=LISTEN) as of_new,
    ):
        assert (of_old.status_code, of_new.status_code) == (200, 200)
        running.process.send_signal(signal.SIGTERM)
        assert running.ended() == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_where_others_could_call_it_does_not_start_without_a_key(flags, host, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--http", "--host", host, *flags])
    assert ended.value.code == 2
    assert "npu-gateway keys create" in capsys.readouterr().err
