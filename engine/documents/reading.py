"""Has documents of foreign formats read by a process of its own, which may crash or hang.

Knows no format. Nothing but paths goes to that process, and a text with its blocks comes back.
Rule: the caller waits no longer for a file than it is worth, and whatever becomes of the process,
the file is left out with a reason and the next one is read by a new process.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from multiprocessing.connection import Pipe
from typing import Any, Self

from engine.documents.contents import Moment, Unsettled
from engine.documents.readers.interface import Block, Heading, Reading, Unreadable, split_lines

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as PipeEnd
else:
    from multiprocessing.connection import Connection as PipeEnd

_PROGRAM = (sys.executable, "-P", "-m", "engine.documents.reading_program")

# For one file: 1,000 pages of PDF take 1.5 s, 1 MB of HTML 0.8 s. A large one takes longer.
_SECONDS = 5.0
_BYTES_PER_SECOND_MORE = 1024 * 1024

# These are seconds of the CPU, so that nothing is left out because others want it too; the clock
# ends what takes so many times as long. Windows has no such alarm, and goes by the clock alone.
_PATIENCE = 1 if sys.platform == "win32" else 4
_ALARM = "SIGPROF"

# For what is not the file's fault: starting the process, loading a library, a disk that wakes up.
_STARTING_SECONDS = 60.0

# How often a waiting caller hears that it waits, in seconds.
_TICK = 0.2
_ENDING_SECONDS = 2.0


class ReadingProcess:
    """Reads foreign documents one by one; a context manager.

    The process starts with the first of them, serves all that follow, and ends with `close`, or by
    itself when ours is gone.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        """Takes what a file of some MB may cost.

        Args:
            seconds: To read it; a second more for every MB.
        """
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: PipeEnd | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """Ends the process; may be called twice. The next file would start another."""
        if self._connection:
            self._connection.close()
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING_SECONDS)
            self._kill()

    def read(self, path: str, moment: Moment) -> Generator[None, None, Reading]:
        """Reads a document.

        Closing the generator gives the file up.

        Args:
            path: Of a file of a foreign kind.
            moment: What is read is what it was then.

        Yields:
            Several times a second, as long as it takes.

        Raises:
            Unsettled: It is no longer what it was.
            Unreadable: It cannot be read, takes too long or too much memory.
        """
        answered = False
        seconds = self._seconds + moment.size // _BYTES_PER_SECOND_MORE
        too_long = f"reading it took more than {seconds:g} s"
        try:
            connection = self._connected()
            request = {"path": path, "sha256": moment.sha256, "seconds": seconds}
            connection.send_bytes(json.dumps(request).encode())
            # Nothing but that it begins now.
            yield from self._received(connection, _STARTING_SECONDS)
            answer = yield from self._received(connection, _PATIENCE * seconds)
            answered = True
        except TimeoutError as error:
            raise Unreadable(too_long) from error
        except (EOFError, OSError) as error:
            end = self._end()
            reason = too_long if end == _ALARM else f"reading it ended with {end}"
            raise Unreadable(reason) from error
        finally:
            if not answered:
                self._kill()
        return _reading(answer)

    def _connected(self) -> PipeEnd:
        if self._process and self._process.poll() is not None:
            self._kill()
        if not self._connection:
            self._start()
        assert self._connection
        return self._connection

    def _start(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen[bytes](
                [*_PROGRAM, str(handle)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=False,
                **_inheriting(handle),
            )
        self._connection = ours

    def _received(self, connection: PipeEnd, seconds: float) -> Generator[None, None, bytes]:
        """The next message; ticks until it comes."""
        end = time.monotonic() + seconds
        while not connection.poll(min(_TICK, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                raise TimeoutError
            yield
        return connection.recv_bytes()

    def _kill(self) -> None:
        """Ends the process at once and lets go of it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._connection:
            self._connection.close()
            self._connection = None

    def _end(self) -> str:
        """How the process that broke off has ended."""
        if not self._process:
            return "no process"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_SECONDS)
        code = self._process.returncode
        if code is None or code >= 0:
            return f"exit code {code:#x}" if code else "no answer"
        return signal.Signals(-code).name


def _inheriting(handle: int) -> dict[str, Any]:
    """How a process is started that gets a handle of ours, and no window."""
    if sys.platform != "win32":
        return {"pass_fds": (handle,)}
    os.set_handle_inheritable(handle, True)
    return {
        "startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]}),
        "creationflags": subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS,
    }


def _reading(answer: bytes) -> Reading:
    fields = json.loads(answer)
    if reason := fields.get("changed"):
        raise Unsettled(reason)
    if reason := fields.get("unreadable"):
        raise Unreadable(reason)
    blocks = tuple(
        Block(start, end, Heading(*heading) if heading else None)
        for start, end, heading in fields["blocks"]
    )
    text = fields["text"]
    return Reading(
        text, "", 0, split_lines(text), blocks, tuple(fields["pages"]), fields["metadata"]
    )
