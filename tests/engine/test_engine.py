"""The engine joins the rooms: models chosen, loaded, freed and kept within a limit."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.budget import estimate
from engine.decode.sampling import SamplingParams
from engine.engine import Engine, EngineOptions
from engine.errors import (
    ModelMissing,
    NoRoom,
    Overloaded,
    Unavailable,
)
from engine.models import catalog, folder
from engine.search.search import SearchRequest
from engine.text.chat import Message


@pytest.fixture
def options(tmp_path, models_dir) -> EngineOptions:
    return EngineOptions(models_dir=models_dir, index_file=tmp_path / "index.sqlite")


@pytest.fixture
def engine(options) -> Iterator[Engine]:
    opened = Engine(options)
    yield opened
    opened.close()


@pytest.fixture
def notes(tmp_path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "sea.md").write_text("# Tides\n\nThe moon pulls at the sea.\n\n## Neap\n\nWeak.\n")
    (folder / "tea.md").write_text("Let the leaves steep for three minutes.\n")
    return folder


def got(place):
    """The model of a place, after a use that was over at once."""
    with place.lease() as model:
        return model


def ask(engine: Engine, query: str):
    return engine.library.search(SearchRequest(query=query))


def test_models_are_told_without_being_loaded(engine):
    embedder, decoder = engine.models()
    assert (embedder.task, embedder.state, embedder.model_id) == (
        "embed",
        "waiting",
        "all-minilm-l6-v2",
    )
    assert (embedder.dimensions, embedder.max_tokens, embedder.provider) == (384, 256, "")
    assert (decoder.task, decoder.license, decoder.max_tokens) == ("generate", "Apache-2.0", 8192)
    assert engine.embedder.loaded() is None
    got(engine.embedder)
    assert engine.models()[0].state == "ready"
    assert engine.models()[0].provider == "cpu"


def test_without_models_each_use_names_the_command(tmp_path):
    engine = Engine(EngineOptions(models_dir=tmp_path, index_file=tmp_path / "index.sqlite"))
    with pytest.raises(ModelMissing, match="npu-gateway pull"):
        got(engine.embedder)
    with pytest.raises(ModelMissing, match="npu-gateway pull"):
        got(engine.decoder)
    assert [status.model_id for status in engine.models()] == ["", ""]
    assert "npu-gateway pull" in engine.models()[0].why
    engine.close()


def test_offline_wins_over_pull(tmp_path):
    engine = Engine(
        EngineOptions(
            models_dir=tmp_path, index_file=tmp_path / "index.sqlite", pull=True, offline=True
        )
    )
    with pytest.raises(ModelMissing):
        got(engine.embedder)
    assert list(tmp_path.iterdir()) == []


def test_pull_fetches_what_is_missing_at_first_use(tmp_path, models_dir):
    engine = Engine(
        EngineOptions(
            models_dir=tmp_path / "models", index_file=tmp_path / "index.sqlite", pull=True
        )
    )
    assert got(engine.embedder).embed(["hello"], "query").vectors.shape == (1, 384)
    assert engine.models()[0].model_id == "all-minilm-l6-v2"
    assert not (tmp_path / "models" / catalog.to_fetch("generate", None).model_id).exists()
    engine.close()


def test_a_model_that_was_freed_serves_the_next_use_and_status_says_so_meanwhile(engine, notes):
    list(engine.library.index(notes))
    got(engine.decoder)
    before = engine.models()
    assert engine.answering() is not None
    assert engine.free_idle(3600) == []
    assert engine.free_idle(0) == ["language model", "embedding model"]
    assert [status.state for status in engine.models()] == ["idle", "idle"]
    assert [status.why for status in engine.models()] == [status.why for status in before]
    assert engine.answering() is None
    assert engine.library.index_problem() == ""
    (first, *_) = ask(engine, "How long do I brew it?").ranked
    assert first.hit.document.path.endswith("tea.md")
    assert [status.state for status in engine.models()] == ["ready", "idle"]


def test_a_model_stays_while_a_folder_is_indexed(engine, notes):
    steps = engine.library.index(notes)
    next(steps)
    assert engine.free_idle(0) == []
    steps.close()
    assert engine.free_idle(0) == ["embedding model"]


def test_a_better_model_installed_meanwhile_does_not_take_the_place_of_a_freed_one(
    tmp_path, minilm_folder
):
    models_dir = tmp_path / "models"
    shutil.copytree(minilm_folder, models_dir / "all-minilm-l6-v2")
    engine = Engine(EngineOptions(models_dir=models_dir, index_file=tmp_path / "index.sqlite"))
    got(engine.embedder)
    shutil.copytree(minilm_folder, models_dir / "bge-small-en-v1.5")
    record = models_dir / "bge-small-en-v1.5" / "npu-gateway.json"
    record.write_text(record.read_text().replace("all-minilm-l6-v2", "bge-small-en-v1.5"))
    assert engine.free_idle(0) == ["embedding model"]
    assert got(engine.embedder).spec.model_id == "all-minilm-l6-v2"
    assert engine.free_idle(0)
    shutil.rmtree(models_dir / "all-minilm-l6-v2")
    assert got(engine.embedder).spec.model_id == "bge-small-en-v1.5"
    engine.close()


def test_models_are_told_though_the_folder_of_a_loaded_one_is_gone(tmp_path, minilm_folder):
    models_dir = tmp_path / "models"
    shutil.copytree(minilm_folder, models_dir / "all-minilm-l6-v2")
    engine = Engine(EngineOptions(models_dir=models_dir, index_file=tmp_path / "index.sqlite"))
    with engine.embedder.lease():
        before = engine.models()[0]
        shutil.rmtree(models_dir / "all-minilm-l6-v2")
        assert engine.models()[0] == before
    engine.close()


def test_models_that_do_not_fit_together_take_turns(options):
    engine = Engine(replace(options, memory_limit_bytes=450_000_000))
    assert not engine.fits_together()
    got(engine.embedder)
    decoder = got(engine.decoder)
    assert decoder.options.kv_limit_bytes < 100_000_000
    assert [status.state for status in engine.models()] == ["idle", "ready"]
    with engine.decoder.lease(), pytest.raises(Overloaded, match="language model in use"):
        got(engine.embedder)
    got(engine.embedder)
    assert [status.state for status in engine.models()] == ["ready", "idle"]
    engine.close()


def test_a_model_larger_than_the_limit_is_refused_by_name(options):
    engine = Engine(replace(options, memory_limit_bytes=200_000_000))
    got(engine.embedder)
    with pytest.raises(NoRoom, match=r"smollm2.*--memory-limit-mb"):
        got(engine.decoder)
    assert "--memory-limit-mb" in engine.models()[1].why
    assert engine.models()[0].state == "ready"
    engine.close()


@pytest.mark.parametrize("room", [0, 1_000_000, 8_000_000])
def test_a_limit_that_leaves_no_room_to_answer_is_refused_before_loading(
    options, smollm2_folder, room
):
    limit = estimate(folder.read(smollm2_folder)) + room
    engine = Engine(replace(options, memory_limit_bytes=limit))
    obstacle = engine.models()[1].obstacle
    with pytest.raises(
        NoRoom, match=r"takes about 2\d\d MB .* may take 2\d\d MB: raise"
    ) as refused:
        engine.decoder.lease()
    assert str(refused.value) == obstacle
    engine.close()


def test_under_the_least_limit_there_is_room_for_a_short_answer(options, smollm2_folder):
    limit = estimate(folder.read(smollm2_folder)) + 16_000_000
    engine = Engine(replace(options, memory_limit_bytes=limit))
    assert engine.models()[1].obstacle == ""
    with engine.decoder.lease() as decoder:
        params = SamplingParams(max_tokens=100, min_tokens=100)
        *_, last = decoder.generate([Message("user", "Tell a story.")], params)
    assert last.usage is not None
    assert last.usage.completion_tokens == 100
    engine.close()


def test_a_closed_engine_refuses_every_use(options):
    engine = Engine(options)
    got(engine.embedder)
    engine.close()
    for use in (engine.embedder.lease, engine.decoder.lease, engine.library.documents):
        with pytest.raises(Unavailable, match="shutting down"):
            use()
