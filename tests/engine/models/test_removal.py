"""Installed models, removed whole or refused with a reason."""

from pathlib import Path

import pytest
from tiny_sources import install

from engine.errors import ModelMissing, ModelNotFound, Unavailable
from engine.models import installed, removal, staging
from engine.models.staging import Staging

MINILM = "all-minilm-l6-v2"


def test_a_removed_model_is_gone_and_its_bytes_are_counted(models_folder: Path):
    place = install(models_folder, MINILM)
    size = sum(file.stat().st_size for file in place.iterdir())
    assert removal.remove("All-MiniLM-L6-v2", models_folder) == size
    assert installed.list_installed(models_folder) == []
    assert [path for path in models_folder.rglob("*") if path.is_file()] in (
        [],
        [models_folder / ".locks" / f"{MINILM}.lock"],
    )


def test_a_broken_model_can_be_removed(models_folder: Path):
    (install(models_folder, MINILM) / "model.onnx").unlink()
    assert removal.remove(MINILM, models_folder) > 0
    assert installed.list_installed(models_folder) == []


def test_what_an_unfinished_download_left_is_removed(models_folder: Path):
    partial = Staging(models_folder, MINILM).download / "hub/model.onnx"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(1000))
    assert removal.remove(MINILM, models_folder) == 1000
    assert not partial.exists()


def test_a_model_that_is_not_installed_cannot_be_removed(models_folder: Path):
    with pytest.raises(ModelMissing, match="is not installed; nothing was removed"):
        removal.remove(MINILM, models_folder)


@pytest.mark.parametrize("model_id", ["minilm", "../models/all-minilm-l6-v2", "", ".", ".staging"])
def test_only_a_models_id_names_what_is_removed(model_id: str, models_folder: Path):
    install(models_folder, MINILM)
    with pytest.raises(ModelNotFound):
        removal.remove(model_id, models_folder)
    assert len(installed.list_installed(models_folder)) == 1


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Folders that the system does not let go of, as Windows does not of one with open files."""
    folders: set[Path] = set()
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self in folders:
            raise PermissionError(13, "Access is denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    monkeypatch.setattr(staging, "_RENAME_PAUSE", 0)
    return folders


def test_a_model_whose_files_are_open_stays_whole(models_folder: Path, held: set[Path]):
    place = install(models_folder, MINILM)
    held.add(place)
    with pytest.raises(Unavailable, match="is in use; stop the npu-gateway that serves it"):
        removal.remove(MINILM, models_folder)
    [model] = installed.list_installed(models_folder)
    assert (model.model_id, model.broken) == (MINILM, "")
    held.clear()
    assert removal.remove(MINILM, models_folder) > 0


def test_a_model_that_is_being_fetched_is_left_alone(models_folder: Path):
    install(models_folder, MINILM)
    staging = Staging(models_folder, MINILM)
    assert staging.acquire(0)
    try:
        with pytest.raises(Unavailable, match="being fetched or removed by another"):
            removal.remove(MINILM, models_folder)
    finally:
        staging.release()
    assert removal.remove(MINILM, models_folder) > 0
