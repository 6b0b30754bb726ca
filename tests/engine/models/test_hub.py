"""Files fetched with the real hub library from a hub on this machine."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_sources import FILES as ALL_FILES
from tiny_sources import REVISION, Site, finish
from tiny_sources import known_model as known_model_of

from engine.errors import FetchFailed
from engine.models import hub
from engine.models.catalog import HubSource, KnownModel

TINY = HubSource(repo="owner/tiny", revision=REVISION)
FILES = {name: ALL_FILES[name] for name in ("model.onnx", "config.json")}
"""Each costs a program and half a second."""

AddToHub = Callable[[dict[str, bytes]], None]
HALF = len(FILES["model.onnx"]) // 2


def known_model(source: HubSource, files: dict[str, bytes] = FILES) -> KnownModel:
    return known_model_of(source, files=files)


def test_every_file_is_fetched_at_the_pinned_revision(
    add_to_hub: AddToHub, site: Site, tmp_path: Path
):
    add_to_hub(FILES)
    folder = finish(hub.fetch(known_model(TINY), TINY, tmp_path))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert all(REVISION in path for _, path, _ in site.requests)


def test_files_may_lie_in_a_folder_of_the_repository(add_to_hub: AddToHub, tmp_path: Path):
    source = HubSource(repo="owner/tiny", revision=REVISION, root="cpu/int4/")
    add_to_hub({f"cpu/int4/{path}": content for path, content in FILES.items()})
    folder = finish(hub.fetch(known_model(source), source, tmp_path))
    assert (folder / "model.onnx").read_bytes() == FILES["model.onnx"]


def test_the_hub_learns_who_asks_and_nothing_more(add_to_hub: AddToHub, site: Site, tmp_path: Path):
    add_to_hub(FILES)
    finish(hub.fetch(known_model(TINY), TINY, tmp_path))
    agents = {headers["user-agent"] for _, _, headers in site.requests}
    assert len(agents) == 1
    names = [part.split("/")[0].strip() for part in agents.pop().split(";")]
    assert names == ["npu-gateway", "hf_hub", "python"]


def test_a_download_goes_on_where_the_last_try_stopped(
    add_to_hub: AddToHub, site: Site, tmp_path: Path
):
    add_to_hub(FILES)
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/model.onnx").write_bytes(FILES["model.onnx"][:HALF])
    folder = finish(hub.fetch(known_model(TINY), TINY, tmp_path))
    assert (folder / "model.onnx").read_bytes() == FILES["model.onnx"]
    (download,) = site.downloads("model.onnx")
    assert download["range"] == f"bytes={HALF}-"


def test_closing_kills_the_download_and_keeps_what_has_come(
    add_to_hub: AddToHub, site: Site, tmp_path: Path
):
    files = {**FILES, "model.onnx": random.Random(0).randbytes(5 << 20)}
    add_to_hub(files)
    site.stalls = True
    steps = hub.fetch(known_model(TINY, files=files), TINY, tmp_path)
    while next(steps).done_bytes < 2 << 20:
        pass
    steps.close()
    assert site.visitor_gone.wait(60)
    site.stalls = False
    finish(hub.fetch(known_model(TINY, files=files), TINY, tmp_path))
    assert site.downloads("model.onnx")[1]["range"] == f"bytes={2 << 20}-"


def test_what_is_already_there_is_not_asked_for_again(
    add_to_hub: AddToHub, site: Site, tmp_path: Path
):
    add_to_hub(FILES)
    finish(hub.fetch(known_model(TINY), TINY, tmp_path))
    asked = len(site.requests)
    assert {step.stage for step in hub.fetch(known_model(TINY), TINY, tmp_path)} == {"verify"}
    assert len(site.requests) == asked


def test_a_wrong_file_is_removed_and_both_hashes_are_named(add_to_hub: AddToHub, tmp_path: Path):
    add_to_hub({**FILES, "model.onnx": b"y" * len(FILES["model.onnx"])})
    known = known_model(TINY)
    with pytest.raises(FetchFailed, match=r"model\.onnx came with SHA-256 [0-9a-f]{64}") as caught:
        finish(hub.fetch(known, TINY, tmp_path))
    assert f"instead of {known.files[0].sha256}" in str(caught.value)
    assert not (tmp_path / "hub/model.onnx").exists()


@pytest.mark.parametrize("size", [HALF, len(FILES["model.onnx"]), 2 * len(FILES["model.onnx"])])
def test_a_beginning_that_is_another_files_is_dropped(
    size: int, add_to_hub: AddToHub, tmp_path: Path
):
    add_to_hub(FILES)
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/model.onnx").write_bytes(b"x" * size)
    folder = finish(hub.fetch(known_model(TINY), TINY, tmp_path))
    assert (folder / "model.onnx").read_bytes() == FILES["model.onnx"]


ORPHAN = """
import sys
from pathlib import Path
from engine.models import hub_program
repo, revision, file, target = sys.argv[1:]
hub_program.download(0, repo, revision, file, Path(target))
"""
"""As after its parent's end: the parent it has is not the one it had."""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX: orphans get another parent")
def test_a_program_whose_parent_is_gone_writes_nothing(
    add_to_hub: AddToHub, site: Site, tmp_path: Path
):
    add_to_hub(FILES)
    target = tmp_path / "model.onnx"
    command = [sys.executable, "-c", ORPHAN, "owner/tiny", REVISION, "model.onnx", str(target)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 1
    assert not target.exists()
    assert site.downloads("model.onnx") == []


def test_a_file_the_hub_does_not_have_is_named(add_to_hub: AddToHub, tmp_path: Path):
    add_to_hub({"config.json": FILES["config.json"]})
    with pytest.raises(FetchFailed, match=r"^model\.onnx: .*404"):
        finish(hub.fetch(known_model(TINY), TINY, tmp_path))


def test_a_hub_out_of_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FetchFailed, match=r"^(config\.json|model\.onnx): .*[Cc]onnect"):
        finish(hub.fetch(known_model(TINY), TINY, tmp_path))


def test_a_signed_address_that_the_hub_leads_to_is_not_shown(
    add_to_hub: AddToHub, site: Site, tmp_path: Path
):
    add_to_hub(FILES)
    signed = f"{site.address}/gone?Signature=sEcReT"
    path = f"/owner/tiny/resolve/{REVISION}/config.json"
    site.redirects[path] = signed
    with pytest.raises(FetchFailed, match=r"config\.json: .*404.*/gone") as caught:
        finish(hub.fetch(known_model(TINY), TINY, tmp_path))
    assert "sEcReT" not in str(caught.value)


def test_progress_names_the_file_and_its_size(add_to_hub: AddToHub, tmp_path: Path):
    add_to_hub(FILES)
    steps = list(hub.fetch(known_model(TINY), TINY, tmp_path))
    last = [step for step in steps if step.file == "model.onnx"][-1]
    assert (last.stage, last.done_bytes) == ("verify", len(FILES["model.onnx"]))
    assert {step.total_bytes for step in steps if step.file == "model.onnx"} == {last.done_bytes}
