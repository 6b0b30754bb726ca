"""The process that reads foreign documents: whatever becomes of it, its caller goes on."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sample_documents import docx, notebook, pdf

from engine.documents.contents import Unsettled, read_moment
from engine.documents.readers.interface import Heading, Reading, Unreadable
from engine.documents.reading import ReadingProcess

needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs signals")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

WORDS = [(12, "These are words"), (12, "of a page.")]
# Takes seconds to read, by the number of its tags.
SLOW = b"<b>" * 300_000


@pytest.fixture
def process() -> Iterator[ReadingProcess]:
    with ReadingProcess() as made:
        yield made


@pytest.fixture
def small(tmp_path) -> Path:
    path = tmp_path / "small.pdf"
    path.write_bytes(pdf([WORDS, WORDS], metadata={"Title": "Tides"}))
    return path


@pytest.fixture
def slow(tmp_path) -> Path:
    path = tmp_path / "slow.html"
    path.write_bytes(SLOW)
    return path


def _read(process: ReadingProcess, path: Path) -> Reading:
    steps = process.read(str(path), read_moment(str(path)))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_a_reading_comes_back_as_its_reader_gave_it(process, small, tmp_path):
    reading = _read(process, small)
    assert (reading.text, reading.encoding, reading.pages) == (
        "These are words\nof a page.\n\n" * 2,
        "",
        (0, 3),
    )
    assert dict(reading.metadata) == {"title": "Tides"}
    assert [(block.start, block.end) for block in reading.blocks] == [(0, 3), (3, 6)]
    page = tmp_path / "page.htm"
    page.write_text("<h2>Ä \ud83d\ude00</h2>".encode("utf-16", "surrogatepass").decode("utf-16"))
    assert _read(process, page).blocks[0].heading == Heading(2, "Ä \U0001f600")


def test_one_process_reads_many_documents(process, small, tmp_path):
    letter, book = tmp_path / "letter.docx", tmp_path / "book.ipynb"
    letter.write_bytes(docx([("", "Dear Bo")]))
    book.write_bytes(notebook({"cell_type": "markdown", "source": "cell"}))
    pids = set()
    for path in (small, letter, book, small):
        assert _read(process, path).text
        pids.add(process.pid)
    assert len(pids) == 1


def test_no_process_is_started_for_nothing():
    with ReadingProcess() as process:
        assert process.pid is None


def test_why_a_document_cannot_be_read_is_said(process, small, tmp_path):
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7 and no more")
    with pytest.raises(Unreadable, match="it is no PDF that can be read"):
        _read(process, broken)
    pid = process.pid
    assert _read(process, small).text
    assert process.pid == pid


def test_a_document_that_takes_too_long_is_given_up_and_the_next_one_read(small, slow):
    with ReadingProcess(seconds=0.5) as process:
        with pytest.raises(Unreadable, match=r"reading it took more than 0\.5 s"):
            _read(process, slow)
        assert process.pid is None
        assert _read(process, small).text


def test_a_caller_that_gives_up_gets_no_answer_to_what_it_asked_before(process, small, slow):
    steps = process.read(str(slow), read_moment(str(slow)))
    next(steps)
    steps.close()
    assert process.pid is None
    assert "These are words" in _read(process, small).text


@needs_posix
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_crash_is_a_reason_with_its_name_and_the_next_document_is_read(
    process, small, slow, name
):
    steps = process.read(str(slow), read_moment(str(slow)))
    next(steps)
    assert process.pid
    os.kill(process.pid, signal.Signals[name])
    with pytest.raises(Unreadable, match=f"reading it ended with {name}"):
        list(steps)
    assert _read(process, small).text


@needs_posix
def test_a_process_that_died_between_two_documents_is_replaced(process, small):
    _read(process, small)
    pid = process.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert _read(process, small).text
    assert process.pid != pid


def test_a_document_that_is_no_longer_what_it_was_is_not_read(process, small):
    moment = read_moment(str(small))
    with pytest.raises(Unsettled, match="it changed"):
        list(process.read(str(small), replace(moment, sha256="0" * 64)))
    small.unlink()
    with pytest.raises(Unsettled, match="cannot be read any more"):
        list(process.read(str(small), moment))


@needs_linux
def test_it_may_not_take_all_memory(process, small):
    import resource  # noqa: PLC0415 - there is none on Windows.

    _read(process, small)
    assert process.pid
    assert resource.prlimit(process.pid, resource.RLIMIT_AS) == (2 * 1024**3,) * 2


@needs_linux
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_whoever_started_it_is_killed(small, end):
    program = Path(__file__).with_name("reading_child.py")
    with subprocess.Popen([sys.executable, program, small], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        reader = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.send_signal(end)
            assert select.select([reader], [], [], 20)[0] == [reader]
        finally:
            os.close(reader)


@needs_linux
def test_closing_ends_it_and_closing_twice_does_no_harm(small):
    with ReadingProcess() as process:
        _read(process, small)
        assert process.pid
        reader = os.pidfd_open(process.pid)
        process.close()
        assert select.select([reader], [], [], 20)[0] == [reader]
        os.close(reader)
        process.close()
        assert process.pid is None
