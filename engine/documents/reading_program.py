"""The program that reads foreign documents: `python -m engine.documents.reading_program HANDLE`.

Its own process, since what reads foreign formats crashes, hangs and eats memory on hostile files.
Its argument is its end of a pipe, on which `documents.reading` sends paths and gets texts. It ends
when that pipe does, or when a file takes so long that nobody can be waiting any more.
"""

import faulthandler
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

from engine.documents import kinds
from engine.documents.contents import Unsettled, read_contents
from engine.documents.readers.interface import Heading, Reader, Reading, Unreadable

if sys.platform == "win32":
    import msvcrt
    from multiprocessing.connection import PipeConnection as PipeEnd
else:
    import resource
    from multiprocessing.connection import Connection as PipeEnd

_READERS = "engine.documents.readers"

# No document needs it; a bomb does.
_MOST_MEMORY = 2 * 1024**3

# By the clock, for a second of the CPU. Whoever waits ends us before, if it is still there.
_PATIENCE = 20

# Queries come first. On Windows a child is started below normal priority.
_NICENESS = 5

_LONGEST_REASON = 200


def main() -> None:
    """Answers until the pipe is closed."""
    _limit()
    connection = PipeEnd(int(sys.argv[1]))
    with suppress(EOFError, OSError):
        while True:
            request = json.loads(connection.recv_bytes())
            _end_after(request["seconds"])
            answer = _answer(request["path"], request["sha256"], connection)
            _end_after(0)
            connection.send_bytes(json.dumps(answer).encode())


def _end_after(seconds: float) -> None:
    """Ends this process when it has had so many seconds of the CPU; 0 lets it live."""
    faulthandler.cancel_dump_traceback_later()
    if seconds:
        faulthandler.dump_traceback_later(_PATIENCE * seconds, exit=True)
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _answer(path: str, sha256: str, connection: PipeEnd) -> Mapping[str, object]:
    """Reads a document as it was when it had that hash; says before that it begins now."""
    kind = kinds.kind_of(path)
    try:
        try:
            reader, content = _loaded(kind), _unchanged(path, sha256, kind)
        finally:
            connection.send_bytes(b"")
        return _fields(reader(content))
    except Unsettled as error:
        return {"changed": _shown(error)}
    except Unreadable as error:
        return {"unreadable": _shown(error)}
    except MemoryError:
        return {"unreadable": f"reading it takes more than {_MOST_MEMORY // 1024**3} GB of memory"}
    except RecursionError:
        return {"unreadable": "it is nested too deeply"}
    except Exception as error:  # noqa: BLE001 - a damaged file can raise anything; it is told why.
        told = f"{type(error).__name__}: {_shown(error)}"
        return {"unreadable": f"it is no {kind.name} file that can be read ({told})"}


def _shown(error: Exception) -> str:
    """What an error says, which may quote what the file holds."""
    text = str(error)
    short = text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"
    return "".join(one if one.isprintable() else "�" for one in short)


def _loaded(kind: kinds.Kind) -> Reader:
    module, _, function = str(kind.reader).partition(":")
    return getattr(importlib.import_module(f"{_READERS}.{module}"), function)


def _unchanged(path: str, sha256: str, kind: kinds.Kind) -> bytes:
    try:
        contents = read_contents(path, kind.largest_bytes)
    except (OSError, Unreadable) as error:
        raise Unsettled(f"it cannot be read any more ({error})") from error
    if contents.moment.sha256 != sha256:
        raise Unsettled("it changed while it was read")
    return contents.content


def _fields(reading: Reading) -> Mapping[str, object]:
    return {
        "text": reading.text,
        "blocks": [(one.start, one.end, _heading(one.heading)) for one in reading.blocks],
        "pages": reading.pages,
        "metadata": dict(reading.metadata),
    }


def _heading(heading: Heading | None) -> tuple[int, str, bool] | None:
    return (heading.level, heading.text, heading.divides) if heading else None


def _limit() -> None:
    """Takes what may be taken of memory, and leaves nothing behind where it crashes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
    else:
        os.nice(_NICENESS)
        # Where there is no such limit, the machine's is the only one.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))


if __name__ == "__main__":
    main()
