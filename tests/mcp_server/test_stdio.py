"""The process a host starts: handshakes, noise, bad lines, cancelling, and every way to end."""

import contextlib
import itertools
import json
import os
import signal
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest
from eras import NEWEST, OLDER, in_one_era
from mcp import Client, StdioServerParameters
from raw import META_OF_ERA, TIMEOUT, raw_server, started

from engine import __version__

SLOW_SERVER = Path(__file__).with_name("slow_server.py")
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


@pytest.fixture
def flags(tmp_path, models_dir):
    documents = tmp_path / "documents"
    documents.mkdir()
    return [
        *("--data-dir", str(tmp_path / "data"), "--models-dir", str(models_dir)),
        *("--root", str(documents)),
    ]


def parameters(flags):
    return StdioServerParameters(command=sys.executable, args=["-m", "mcp_server", "serve", *flags])


def call(server, request_id, tool, arguments, **meta):
    server.send(
        "tools/call",
        {"name": tool, "arguments": arguments, **({"_meta": meta} if meta else {})},
        id=request_id,
    )


HANDSHAKES = {
    "2024-11-05": "2024-11-05",
    "2025-03-26": "2025-03-26",
    "2025-06-18": "2025-06-18",
    "2025-11-25": "2025-11-25",
    "2026-07-28": "2025-11-25",
    "1999-01-01": "2025-11-25",
}
"""What is answered to each version that is asked for."""


def test_each_handshake_version_is_answered_in_kind_and_little_before_it(flags):
    with raw_server(*flags) as server:
        assert server.ask(1, "tools/list")["error"]["code"] == -32602
        assert server.ask(2, "no/such/method")["error"]["code"] == -32601
        assert server.ask(3, "ping")["result"] == {}
        results = {asked: server.initialize(asked)["result"] for asked in HANDSHAKES}
    assert {asked: each["protocolVersion"] for asked, each in results.items()} == HANDSHAKES
    for result in results.values():
        assert result["serverInfo"]["version"] == __version__
        assert 0 < len(result["instructions"].encode()) <= 2048


@pytest.mark.anyio
async def test_discovery_answers_over_stdio(flags, era):
    with anyio.fail_after(60):
        async with Client(parameters(flags), mode=era) as client:
            assert client.server_info.version == __version__
            assert client.instructions
            assert len((await client.list_tools()).tools) == 8


def until_status_says(server, word):
    """The load begins beside the conversation: it may have yet to."""
    end = time.monotonic() + TIMEOUT
    for number in itertools.count(100):
        said = server.ask(number, "tools/call", {"name": "status"})["result"]["content"][0]["text"]
        if word in said:
            return
        assert time.monotonic() < end, said


def test_a_slow_load_delays_no_handshake_is_told_and_happens_once(tmp_path, models_dir, era):
    gate = tmp_path / "gate"
    command = [sys.executable, str(SLOW_SERVER), str(tmp_path), str(models_dir), str(gate)]
    with started(command, era=era) as server:
        server.hello()  # The load waits for its gate, and is not waited for.
        assert len(server.ask(1, "tools/list")["result"]["tools"]) == 8
        until_status_says(server, "loading")
        call(server, 3, "semantic_search", {"query": "x"}, progressToken="three")
        call(server, 4, "embed", {"texts": ["x"]})
        server.told(b"notifications/progress")
        assert server.ask(5, "tools/list")["result"]
        gate.touch()
        assert not server.answer(3)["result"].get("isError")
        assert not server.ask(6, "tools/call", {"name": "status"})["result"].get("isError")
        server.close_stdin()
        assert server.ended() == 0
        assert server.errors.count("load number") == 1
        for noise in ("from a library", "on file descriptor 1", "from a child", "onnxruntime"):
            assert noise in server.errors
        progress = [json.loads(line) for line in server.lines if b"progress" in line]
        assert progress[0]["params"]["progressToken"] == "three"
        assert "embedding model" in progress[0]["params"]["message"]
        for line in server.lines:
            assert json.loads(line)["jsonrpc"] == "2.0"


@contextlib.contextmanager
def watched_address():
    """An address on this machine, and the list of who connected to it."""
    callers: list[object] = []

    class Caller(socketserver.BaseRequestHandler):
        def handle(self):
            callers.append(self.client_address)

    with socketserver.TCPServer(("127.0.0.1", 0), Caller) as watch:
        thread = threading.Thread(target=watch.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{watch.server_address[1]}", callers
        watch.shutdown()
        thread.join()


@in_one_era
def test_without_models_it_starts_says_what_to_run_and_calls_nobody(tmp_path, era):
    with watched_address() as (address, callers):
        names = ("PIP_INDEX_URL", "UV_INDEX_URL", "HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY")
        nowhere = dict.fromkeys([*names, *map(str.lower, names[3:]), "ALL_PROXY"], address)
        with raw_server("--data-dir", str(tmp_path), env=nowhere, era=era) as server:
            server.hello()
            answers = [
                server.ask(number, "tools/call", {"name": name, "arguments": arguments})["result"]
                for number, (name, arguments) in enumerate(
                    [("status", {}), ("embed", {"texts": ["x"]}), ("generate", {"prompt": "x"})], 1
                )
            ]
        assert callers == []
    assert all("npu-gateway pull" in answer["content"][0]["text"] for answer in answers)
    assert [bool(answer.get("isError")) for answer in answers] == [False, True, True]
    assert "structuredContent" not in answers[1]


@in_one_era
def test_with_pull_a_failed_fetch_is_told_by_status_and_by_the_tool(tmp_path, era):
    with watched_address() as (address, callers):
        nowhere = {"PIP_INDEX_URL": address, "PIP_RETRIES": "0", "PIP_TIMEOUT": "2"}
        cut_off = {"PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
        flags = ["--pull", "--data-dir", str(tmp_path)]
        with raw_server(*flags, env=nowhere | cut_off, era=era) as server:
            server.hello()
            embed = {"name": "embed", "arguments": {"texts": ["x"]}}
            failed = server.ask(1, "tools/call", embed)["result"]
            status = server.ask(2, "tools/call", {"name": "status", "arguments": {}})["result"]
        assert callers
    assert failed["isError"]
    for answer in (failed, status):
        assert "all-minilm-l6-v2 could not be fetched" in answer["content"][0]["text"]


@in_one_era
def test_a_model_installed_meanwhile_is_used_without_a_restart(tmp_path, models_dir, era):
    with raw_server("--data-dir", str(tmp_path), era=era) as server:
        server.hello()
        before = server.ask(1, "tools/call", {"name": "embed", "arguments": {"texts": ["x"]}})
        (tmp_path / "models").symlink_to(models_dir)
        after = server.ask(2, "tools/call", {"name": "embed", "arguments": {"texts": ["x"]}})
    assert before["result"]["isError"]
    assert not after["result"].get("isError")


def test_numpy_and_the_runtime_are_imported_before_the_transport_opens(flags):
    code = (
        "import sys\n"
        "from mcp_server.launcher import streams\n"
        "def opened(*a, **k):\n"
        "    print(sorted({'numpy', 'onnxruntime'} & set(sys.modules)), file=sys.stderr)\n"
        "    sys.stderr.flush(); import os; os._exit(0)\n"
        "streams.opened = opened\n"
        "from mcp_server.__main__ import main\n"
        f"main(['serve', *{flags!r}])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "['numpy', 'onnxruntime']" in result.stderr


BAD_LINES = {
    b"{": -32700,
    b"\x00\xff": -32700,
    b"[" * 100_000: -32700,
    b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]': -32600,
    b"null": -32600,
    b'{"jsonrpc":"2.0"}': -32600,
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}': -32600,
    b'{"method":"ping","params":{"a":"' + b"x" * 5_000_000 + b'"},"id":901}': -32600,
    b'{"id":902,"method":7}': -32600,
    b'{"jsonrpc":"2.0","id":903,"method":"ping","params":[]}': -32602,
    b"": None,
    b'{"jsonrpc":"2.0","method":"notifications/unheard/of","params":{"a":1}}': None,
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"any"}}': None,
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}': None,
    b'{"jsonrpc":"2.0","id":77,"result":{}}': None,
}
"""What is answered to each; None for nothing."""


def test_a_bad_line_is_answered_and_stops_nothing(flags, era):
    with raw_server(*flags, era=era) as server:
        for line in BAD_LINES:  # First before the era is known.
            server.send_bytes(line)
        server.hello()
        for number, line in enumerate(BAD_LINES, 7):
            server.send_bytes(line)
            assert server.ask(number, "tools/list")["result"]["tools"], line[:80]
        for _ in range(2):
            server.send("tools/list", id=50)  # The same id twice at once.
        unknown = server.ask(51, "no/such/method")["error"]
        assert server.answer(50)["result"]
        server.close_stdin()
        assert server.ended() == 0
        assert "Traceback" not in server.errors
    answers = [json.loads(line) for line in server.lines]
    assert unknown["code"] == -32601
    refused = [each["error"]["code"] for each in answers if "error" in each]
    expected = [code for code in BAD_LINES.values() if code] * 2
    assert sorted(refused) == sorted([*expected, unknown["code"]])
    named = [each["id"] for each in answers if "error" in each and each["id"] is not None]
    assert sorted(named) == sorted([901, 902, 903] * 2 + [51])


@in_one_era
def test_the_end_of_stdin_ends_an_idle_server(flags, era):
    with raw_server(*flags, era=era) as server:
        server.hello()
        server.close_stdin()
        assert server.ended() == 0


def test_the_end_of_stdin_ends_it_before_any_handshake(flags):
    with raw_server(*flags) as server:
        server.close_stdin()
        assert server.ended() == 0


@in_one_era
def test_the_end_of_stdin_ends_a_server_that_loads(tmp_path, models_dir, era):
    command = [sys.executable, str(SLOW_SERVER), str(tmp_path), str(models_dir), "/nowhere/gate"]
    with started(command, era=era) as server:
        server.hello()
        call(server, 1, "embed", {"texts": ["x"]})
        server.close_stdin()
        assert server.ended() == 0


def begin_long_answer(server):
    call(
        server,
        8,
        "generate",
        {"prompt": "Write an endless story.", "regex": "[a-z ]{3900,}", "max_tokens": 2000},
        progressToken="p",
    )
    server.told(b'"progress":1')


@in_one_era
def test_the_end_of_stdin_ends_a_server_that_generates(flags, era):
    with raw_server(*flags, era=era) as server:
        server.hello()
        begin_long_answer(server)
        server.close_stdin()
        assert server.ended() == 0


def begin_long_indexing(server, flags):
    documents = Path(flags[-1])
    for number in range(500):
        (documents / f"{number}.md").write_text(f"# Number {number}\n\n" + "Some words. " * 90)
    call(server, 8, "index_documents", {"path": str(documents)}, progressToken="p")
    server.told(b"notifications/progress", b"total")


def assert_index_is_sound(flags):
    with contextlib.closing(sqlite3.connect(Path(flags[1]) / "index.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert 0 < database.execute("SELECT count(*) FROM documents").fetchone()[0] < 500


@in_one_era
def test_the_end_of_stdin_ends_a_server_that_indexes_and_the_index_is_sound(flags, era):
    with raw_server(*flags, era=era) as server:
        server.hello()
        begin_long_indexing(server, flags)
        server.close_stdin()
        assert server.ended() == 0
    assert_index_is_sound(flags)


@in_one_era
def test_the_end_of_stdin_ends_a_server_that_waits_for_another_program(flags, era):
    with raw_server(*flags, era=era) as server:
        server.hello()
        assert server.ask(1, "tools/call", {"name": "list_documents"})["result"]
        with contextlib.closing(sqlite3.connect(Path(flags[1]) / "index.sqlite")) as other:
            other.execute("BEGIN IMMEDIATE")
            (Path(flags[-1]) / "note.md").write_text("A note.\n")
            call(server, 2, "index_documents", {"path": flags[-1]}, progressToken="p")
            server.told(b'"progressToken":"p"')
            time.sleep(0.5)  # It waits for the lock now.
            server.close_stdin()
            assert server.ended() == 0


@in_one_era
@posix
@pytest.mark.parametrize("begin", ["idle", "generate", "index"])
def test_a_termination_signal_ends_it_at_once_and_the_index_is_sound(flags, begin, era):
    with raw_server(*flags, era=era) as server:
        server.hello()
        if begin == "generate":
            begin_long_answer(server)
        elif begin == "index":
            begin_long_indexing(server, flags)
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0
    if begin == "index":
        assert_index_is_sound(flags)


@in_one_era
@posix
@pytest.mark.parametrize("patience", [1, 3600])
def test_a_termination_signal_ends_it_though_closing_hangs(tmp_path, patience, era):
    """After some patience, or by a second signal."""
    code = (
        "import threading\n"
        "from mcp_server import ending\n"
        f"ending._CLOSING_SECONDS = {patience}\n"
        "from engine.engine import Engine\n"
        "Engine.close = lambda *_: threading.Event().wait()\n"
        "from mcp_server.__main__ import main\n"
        f"main(['serve', '--data-dir', {str(tmp_path)!r}])\n"
    )
    with started([sys.executable, "-c", code], era=era) as server:
        server.hello()
        server.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + TIMEOUT
        while patience > 1 and server.process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.1)  # Two that come at once are one.
            server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs POSIX with /proc")
def test_it_ends_when_its_host_is_gone_though_the_pipe_stays_open_and_uvx_waits(flags, tmp_path):
    """The pipe's other end is held by the test, so that only the host's end can be noticed."""
    launcher = tmp_path / "uvx"
    launcher.symlink_to(sys.executable)
    launching = f"import subprocess, sys; subprocess.call([{sys.executable!r}, *sys.argv[1:]])"
    launch = [str(launcher), "-c", launching]
    serving = (
        "import sys\n"
        "from mcp_server import stdio\n"
        "from mcp_server.__main__ import main\n"
        "stdio._PARENT_CHECK_SECONDS = 0.1\n"
        f"main(['serve', *{flags!r}])\n"
    )
    reading, writing = os.pipe()
    answered = tmp_path / "answered"
    code = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([*{launch!r}, '-c', {serving!r}],"
        f" stdin={reading}, stdout=open({str(answered)!r}, 'wb'), pass_fds=())\n"
        "print(p.pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[reading],
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    hello = {"jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": {}}
    os.write(writing, json.dumps(hello).encode() + b"\n")
    while not answered.exists() or not answered.read_bytes():
        assert parent.poll() is None
        time.sleep(0.05)  # The server notes its parent before it answers.
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    try:
        while Path(f"/proc/{pid}").exists() or _alive(pid):
            assert time.monotonic() < deadline, "still there after a minute"
            time.sleep(0.1)
    finally:
        os.close(reading)
        os.close(writing)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_cancelled_answer_ends_without_a_reply_and_the_next_call_works(flags, era):
    with raw_server(*flags, era=era) as server:
        server.hello()
        begin_long_answer(server)
        server.send("notifications/cancelled", {"requestId": 8})
        call(server, 10, "generate", {"prompt": "Say hello.", "max_tokens": 2})
        assert not server.answer(10)["result"].get("isError")
        for number in itertools.count(100):
            status = server.ask(number, "tools/call", {"name": "status"})["result"]
            if not status["structuredContent"]["answers"]["active"]:
                break
        assert not any(b'"progress":2000' in line for line in server.lines), "written to its end"
        assert not any(json.loads(line).get("id") == 8 for line in server.lines)


def test_the_rest_answers_while_an_answer_is_written(flags, era):
    asked = [("tools/call", {"name": "status"}), ("tools/list", {})]
    asked += [("ping", {})] if era == OLDER else []
    with raw_server(*flags, era=era) as server:
        server.hello()
        begin_long_answer(server)
        for number, (method, params) in enumerate(asked * 4, 20):
            assert "result" in server.ask(number, method, params)
        was_waited_for = any(json.loads(line).get("id") == 8 for line in server.lines)
        assert not was_waited_for, "the long answer"


@in_one_era
def test_no_progress_is_sent_to_whoever_did_not_ask_for_it(flags, era):
    (Path(flags[-1]) / "note.md").write_text("A note.\n")
    with raw_server(*flags, era=era) as server:
        server.hello()
        call(server, 1, "index_documents", {"path": flags[-1]})
        call(server, 2, "generate", {"prompt": "Say hello.", "max_tokens": 3})
        assert not server.answer(1)["result"].get("isError")
        assert not server.answer(2)["result"].get("isError")
        assert not any(b"notifications/progress" in line for line in server.lines)


def test_processes_list_the_same_tools_in_the_same_order_in_both_eras(flags):
    lists: dict[str, list[str]] = {NEWEST: [], OLDER: []}
    for era in (NEWEST, OLDER, NEWEST):
        with raw_server(*flags, era=era) as server:
            server.hello()
            lists[era].append(json.dumps(server.ask(1, "tools/list")["result"]["tools"]))
    assert lists[NEWEST][0] == lists[NEWEST][1]
    assert json.loads(lists[NEWEST][0]) == json.loads(lists[OLDER][0])


@in_one_era
def test_a_bug_is_hidden_from_the_model_and_logged_once(tmp_path, models_dir, era):
    code = (
        "import sys\n"
        "from engine.library import Library\n"
        "def broken(*_):\n"
        "    raise RuntimeError('secret /home/someone/private')\n"
        "Library.found = broken\n"
        "from mcp_server.__main__ import main\n"
        f"main(['serve', '--data-dir', {str(tmp_path)!r}, '--models-dir', {str(models_dir)!r}])\n"
    )
    with started([sys.executable, "-c", code], era=era) as server:
        server.hello()
        call(server, 1, "semantic_search", {"query": "x"})
        result = server.answer(1)["result"]
        server.close_stdin()
        server.ended()
        assert result["isError"]
        assert "secret" not in json.dumps(result)
        assert server.errors.count("Traceback (most recent call last)") >= 1
        assert server.errors.count("RuntimeError: secret") == 1


def test_a_file_of_requests_is_answered_and_all_noise_stays_off_stdout(flags, tmp_path):
    """Noise of whoever starts Python, of an import, of another thread and at exit."""
    (tmp_path / "sitecustomize.py").write_text("print('noise before all')\n")
    code = (
        "import atexit, os, subprocess, sys\n"
        "print('noise before')\n"
        "from mcp_server.launcher import start\n"
        "from mcp_server.__main__ import main\n"
        "from engine.engine import Engine\n"
        "def close(*_):\n"
        "    print('noise at the end')\n"
        "    os.write(1, b'noise of C\\n')\n"
        "    print('noise unbuffered', file=sys.__stdout__, flush=True)\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"noise of a child\")'])\n"
        "Engine.close = close\n"
        "atexit.register(print, 'noise at exit')\n"
        f"main(['serve', *{flags!r}])\n"
    )
    hello = {"capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}
    asked = [("initialize", hello | {"protocolVersion": "2025-11-25"}), ("tools/list", {})]
    requests = tmp_path / "requests"
    with requests.open("w") as file:
        for number, (method, params) in enumerate(asked):
            request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            file.write(json.dumps(request) + "\n")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "PYTHONUNBUFFERED": "",
    }
    with requests.open("rb") as file:
        result = subprocess.run(
            [sys.executable, "-X", "dev", "-c", code],
            stdin=file,
            capture_output=True,
            env=environment,
            timeout=60,
        )
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [0, 1]
    assert all("result" in answer for answer in answers)
    assert result.returncode == 0
    for noise in ("before all", "before", "at the end", "of C", "unbuffered", "of a child"):
        assert f"noise {noise}" in result.stderr.decode()
    assert b"Traceback" not in result.stderr


@in_one_era
def test_a_host_that_reads_nothing_delays_no_end(flags, era):
    command = [sys.executable, "-m", "mcp_server", "serve", *flags]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(50):  # More answers than a pipe holds.
            request = {"jsonrpc": "2.0", "id": number, "method": "server/discover"}
            meta = {"_meta": META_OF_ERA[era]}
            process.stdin.write(json.dumps(request | {"params": meta}).encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.read(1) == b"{"
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0
        assert b"Traceback" not in process.stderr.read()
