"""Real child processes: their lines, their end, their silence."""

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
