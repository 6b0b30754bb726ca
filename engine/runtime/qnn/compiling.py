"""Compiles one graph in a process of its own, so that a crash or a hang costs that graph alone.

Knows the process, its time and how it ended; `runtime.compile_program` knows what is done in it.
Rule: every end but success is an NpuFailed with a sentence, and the process is gone by then.
"""

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import NpuFailed
from engine.models import child
from engine.runtime.qnn.context_cache import CompileFacts
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.shapes import Bucket

RULES = 2
"""Version of what `models.static_graph` writes and `runtime.compile_program` does; part of keys."""

PROGRAM: Sequence[str] = (sys.executable, "-P", "-m", "engine.runtime.compile_program")
"""The command that is given a request, with nothing of the working directory to be imported; tests
have others."""

REQUEST_FILE, RESULT_FILE, FAILURE_FILE = "request.json", "result.json", "failure.json"

_LOG_FILE = "log.txt"
_SAID_CHARACTERS = 300

# What onnxruntime 1.32 writes to standard error, with colours.
_NATIVE_ERROR = re.compile(r"\[E:onnxruntime:[^\]]*\] ([^\x1b]+)")


def stamp(file: Path) -> str:
    """What tells a file from one that takes its place: size and time; empty if it is not there."""
    try:
        found = file.stat()
    except OSError:
        return ""
    return f"{found.st_size} bytes, {found.st_mtime_ns} ns"


@dataclass(frozen=True, slots=True)
class Request:
    """What to compile, and for what."""

    onnx_file: Path
    """An encoder, as it is served on the CPU."""
    onnx_stamp: str
    """Its `stamp` when it was chosen; the program refuses to compile another file."""
    bucket: Bucket
    options: NpuOptions
    """With which the program finds the device again."""
    device: Mapping[str, str]
    """The device's key parts; the program refuses to compile for another."""
    timeout_seconds: float
    """After so long the process is killed; it also ends itself, should nobody be there to do it."""

    def write(self, work_folder: Path, folder: Path) -> None:
        """Writes it for the program, which is to put the context into `folder`."""
        options = asdict(self.options) | {"library": _text(self.options.library)}
        fields = {
            "onnx_file": str(self.onnx_file),
            "onnx_stamp": self.onnx_stamp,
            "bucket": asdict(self.bucket),
            "options": options | {"provider_options": dict(self.options.provider_options)},
            "device": dict(self.device),
            "timeout_seconds": self.timeout_seconds,
            "folder": str(folder),
        }
        (work_folder / REQUEST_FILE).write_text(json.dumps(fields), encoding="utf-8")

    @classmethod
    def read(cls, work_folder: Path) -> tuple["Request", Path]:
        """What was written: the request, and the folder for the context."""
        fields = json.loads((work_folder / REQUEST_FILE).read_text(encoding="utf-8"))
        options = dict(fields["options"])
        library = options.pop("library")
        request = cls(
            Path(fields["onnx_file"]),
            fields["onnx_stamp"],
            Bucket(**fields["bucket"]),
            NpuOptions(**options, library=Path(library) if library else None),
            fields["device"],
            fields["timeout_seconds"],
        )
        return request, Path(fields["folder"])


def compile_context(
    request: Request,
    folder: Path,
    work_folder: Path,
    *,
    wanted: Callable[[], bool],
    program: Sequence[str] = PROGRAM,
) -> CompileFacts:
    """Compiles into `folder` and proves that what was made loads and runs.

    Args:
        request: What to compile.
        folder: Empty; takes the context's files.
        work_folder: Empty; takes the request, the log and what the program reports.
        wanted: Asked several times a second; the process is killed once it says no.
        program: What is run, with `work_folder` as its one argument.

    Raises:
        NpuFailed: "compile-timed-out", "compile-stopped" (no longer wanted), "compile-crashed" (by
            a signal), "compile-failed"; or what the program itself raised.
        OSError: `work_folder` cannot be written.
    """
    request.write(work_folder, folder)
    began = time.monotonic()
    command = [*program, str(work_folder)]
    what = f"Compiling for runs of {request.bucket} tokens on the NPU"
    try:
        for _ in child.run(command, work_folder / _LOG_FILE):
            if not wanted():
                raise NpuFailed("compile-stopped", f"{what} was stopped.")
            if time.monotonic() - began > request.timeout_seconds:
                limit = f"{request.timeout_seconds:g} s"
                raise NpuFailed("compile-timed-out", f"{what} took over {limit} and was ended.")
    except child.ChildFailed as error:
        raise _failure(error, what, work_folder) from error
    try:
        return CompileFacts(**_report(work_folder / RESULT_FILE))
    except (OSError, ValueError, TypeError) as error:
        raise NpuFailed("compile-failed", f"{what} left no result ({error}).") from error


def _failure(error: child.ChildFailed, what: str, work_folder: Path) -> NpuFailed:
    if crash := _crash(error.exit_code):
        return NpuFailed("compile-crashed", f"{what} crashed ({crash}){_said(error.lines)}")
    try:
        reported = _report(work_folder / FAILURE_FILE)
        sentence = f"{reported['sentence']}{_wrote(error.lines)}"
        return NpuFailed(str(reported["code"]), sentence)
    except (OSError, ValueError, KeyError):
        return NpuFailed("compile-failed", f"{what} failed{_said(error.lines)}")


def _crash(exit_code: int | None) -> str:
    """How the system ended a process; empty if it ended itself."""
    if exit_code is None:
        return ""
    if exit_code < 0:
        try:
            return signal.Signals(-exit_code).name
        except ValueError:
            return f"signal {-exit_code}"
    # Windows gives the exception's code, the highest bits of which mean an error.
    code = exit_code & 0xFFFFFFFF
    return f"0x{code:08X}" if code >= 0xC0000000 else ""


def _said(lines: list[str]) -> str:
    """The end of a sentence: the last line that is not the native library's greeting."""
    said = [line for line in lines if not line.startswith("# ")]
    return f"; it last said: {said[-1][:_SAID_CHARACTERS]}" if said else "; it said nothing."


def _wrote(lines: list[str]) -> str:
    """One more sentence: the first error of the runtime in the log, which goes with the process."""
    errors = [match[1] for line in lines if (match := _NATIVE_ERROR.search(line))]
    return f" It wrote: {errors[0][:_SAID_CHARACTERS].rstrip(' .')}." if errors else ""


def _report(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _text(path: Path | None) -> str:
    return "" if path is None else str(path)
