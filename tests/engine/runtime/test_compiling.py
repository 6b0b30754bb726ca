"""The process that compiles: how it ends, and that it is gone."""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import NpuFailed
from engine.runtime.qnn.compiling import Request, compile_context
from engine.runtime.qnn.context_cache import CompileFacts
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.shapes import Bucket

REQUEST = Request(
    Path("models") / "tiny" / "model.onnx",
    "90 bytes",
    Bucket(2, 16),
    NpuOptions(simulator=True, provider_options={"vtcm_mb": "8"}, library=Path("plugin.so")),
    {"soc": "60"},
    timeout_seconds=60,
)
SENTENCE = "Compiling for runs of 2x16 tokens on the NPU"
START = "import sys; from pathlib import Path; folder = Path(sys.argv[1]); "
HANG = START + "import os, time; (folder / 'pid').write_text(str(os.getpid())); time.sleep(600)"


def compiled(
    work_folder: Path,
    code: str,
    *,
    timeout_seconds: float = 60,
    wanted: Callable[[], bool] = lambda: True,
) -> CompileFacts:
    return compile_context(
        dataclasses.replace(REQUEST, timeout_seconds=timeout_seconds),
        work_folder / "context",
        work_folder,
        wanted=wanted,
        program=[sys.executable, "-c", code],
    )


def failure(work_folder: Path, code: str, **limits) -> tuple[str, str]:
    with pytest.raises(NpuFailed) as caught:
        compiled(work_folder, code, **limits)
    return caught.value.code, str(caught.value)


def test_what_the_program_reports_is_returned(tmp_path: Path):
    report = '{"seconds": 1.5, "nodes": 20, "operators": 10}'
    code = START + f"(folder / 'result.json').write_text({report!r})"
    assert compiled(tmp_path, code) == CompileFacts(1.5, 20, 10)


def test_the_program_reads_the_request_that_was_made(tmp_path: Path):
    REQUEST.write(tmp_path, tmp_path / "context")
    assert Request.read(tmp_path) == (REQUEST, tmp_path / "context")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_native_crash_is_named_with_the_last_line_before_it(tmp_path: Path):
    code = "import faulthandler; print('compiling', flush=True); faulthandler._sigsegv()"
    assert failure(tmp_path, code) == (
        "compile-crashed",
        f"{SENTENCE} crashed (SIGSEGV); it last said: compiling",
    )


def test_a_failure_that_the_program_reports_is_raised_as_it_is(tmp_path: Path):
    report = '{"code": "no-device", "sentence": "There is none."}'
    code = START + f"(folder / 'failure.json').write_text({report!r}); sys.exit(1)"
    assert failure(tmp_path, code) == ("no-device", "There is none.")


def test_what_the_runtime_wrote_is_quoted_in_a_sentence_of_its_own(tmp_path: Path):
    written = "\x1b[0;31m2026-01-02 [E:onnxruntime:x, y.cc:1 z] no such backend.\x1b[m"
    report = '{"code": "ran-on-cpu", "sentence": "It would run on the CPU."}'
    code = f"{START}print({written!r}); (folder / 'failure.json').write_text({report!r}); exit(1)"
    said = "It would run on the CPU. It wrote: no such backend."
    assert failure(tmp_path, code) == ("ran-on-cpu", said)


def test_a_program_that_breaks_is_quoted(tmp_path: Path):
    code = "print('# LIBNATIVE: greeting'); raise SystemExit('no such module')"
    kind, sentence = failure(tmp_path, code)
    assert kind == "compile-failed"
    assert sentence.startswith(f"{SENTENCE} failed; it last said: ")


def test_a_program_that_says_nothing_still_makes_a_sentence(tmp_path: Path):
    assert failure(tmp_path, "raise SystemExit(3)") == (
        "compile-failed",
        f"{SENTENCE} failed; it said nothing.",
    )


def test_a_program_that_ends_well_without_a_result_has_failed(tmp_path: Path):
    kind, sentence = failure(tmp_path, "pass")
    assert kind == "compile-failed"
    assert "left no result" in sentence


def test_a_program_that_is_not_there_has_failed(tmp_path: Path):
    with pytest.raises(NpuFailed, match="could not be started") as caught:
        compile_context(
            REQUEST,
            tmp_path,
            tmp_path,
            wanted=lambda: True,
            program=["no-such-program"],
        )
    assert caught.value.code == "compile-failed"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.parametrize(
    ("timeout_seconds", "wanted", "code"),
    [(0.0, True, "compile-timed-out"), (60.0, False, "compile-stopped")],
)
def test_a_program_that_hangs_is_ended(
    timeout_seconds: float, wanted: bool, code: str, tmp_path: Path
):
    def once_it_runs() -> bool:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            os.sched_yield()
        return wanted

    found, _ = failure(tmp_path, HANG, timeout_seconds=timeout_seconds, wanted=once_it_runs)
    assert found == code
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_nothing_the_program_prints_reaches_our_own_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    failure(tmp_path, "import os; os.write(1, b'native'); os.write(2, b'noise'); os._exit(1)")
    assert capfd.readouterr() == ("", "")
