"""Real child processes: their lines, their end, their silence."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.models import child
from engine.models.child import ChildFailed


def test_every_line_is_yielded_once_and_nothing_reaches_our_own_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    script = "import sys; print('one'); print('two', file=sys.stderr); print('three')"
    command = [sys.executable, "-u", "-c", script]
    lines = [line for lines in child.run(command, tmp_path / "log") for line in lines]
    assert lines == ["one", "two", "three"]
    assert capfd.readouterr() == ("", "")


def test_a_line_without_an_end_is_yielded_when_the_child_ends(tmp_path: Path):
    command = [sys.executable, "-c", "print('no end', end='')"]
    assert [line for lines in child.run(command, tmp_path / "log") for line in lines] == ["no end"]


def test_a_failing_child_raises_with_what_it_said(tmp_path: Path):
    command = [sys.executable, "-c", "print('first'); raise SystemExit('went wrong')"]
    with pytest.raises(ChildFailed) as caught:
        list(child.run(command, tmp_path / "log"))
    assert sorted(caught.value.lines) == ["first", "went wrong"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "403 Forbidden for url 'https://cdn.example/a/b?Signature=sEcReT&Key-Pair-Id=K'",
            "403 Forbidden for url 'https://cdn.example/a/b'",
        ),
        ("with url: /a/b?X-Amz-Signature=sEcReT (Caused by", "with url: /a/b (Caused by"),
        ("at https://user:sEcR@eT@index.example/simple/", "at https://index.example/simple/"),
        ("at https://sEcReT@index.example/?token=sEcReT", "at https://index.example/"),
        ("cut off: https://cdn.example/a?Signature=sEcR", "cut off: https://cdn.example/a"),
        ("is a = b? yes, see https://example.com/a", "is a = b? yes, see https://example.com/a"),
    ],
)
def test_what_a_failing_child_said_is_shown_without_secrets(said: str, shown: str, tmp_path: Path):
    command = [sys.executable, "-c", "import sys; print(sys.argv[1]); sys.exit(1)", said]
    with pytest.raises(ChildFailed) as caught:
        list(child.run(command, tmp_path / "log"))
    assert (str(caught.value), caught.value.lines) == (shown, [shown])


def test_a_child_that_cannot_be_started_is_a_failed_child(tmp_path: Path):
    with pytest.raises(ChildFailed, match="no-such-program could not be started"):
        list(child.run(["no-such-program"], tmp_path / "log"))


def test_the_child_has_no_standard_input(tmp_path: Path):
    command = [sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"]
    assert [line for lines in child.run(command, tmp_path / "log") for line in lines] == ["''"]


WAITING = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.recv(1)
"""

STARTER = f"""
import sys
from pathlib import Path
from engine.models import child
for _ in child.run([sys.executable, "-c", {WAITING!r}, sys.argv[1]], Path(sys.argv[2])):
    pass
"""


def test_a_child_ends_with_whoever_started_it_though_that_is_killed(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        port = str(listening.getsockname()[1])
        command = [sys.executable, "-c", STARTER, port, str(tmp_path / "log")]
        with subprocess.Popen(command) as starter:
            connection, _ = listening.accept()
            starter.kill()
    with connection:
        connection.settimeout(60)
        assert connection.recv(1) == b"", "it is still there"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX: ends by signals")
def test_a_child_that_crashes_is_told_by_its_signal(tmp_path: Path):
    script = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(ChildFailed) as caught:
        list(child.run([sys.executable, "-c", script], tmp_path / "log"))
    assert caught.value.exit_code == -signal.SIGSEGV
