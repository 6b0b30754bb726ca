"""What is known of models before anything is fetched."""

import re

import pytest

from engine.errors import ModelNotFound
from engine.models import catalog
from engine.models.catalog import HubSource


def test_a_model_is_found_by_its_id_whatever_the_case():
    assert catalog.find("BGE-small-en-v1.5").model_id == "bge-small-en-v1.5"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("bge-small", "bge-small-en-v1.5"),
        ("phi3-mini", "phi-3-mini-4k-instruct"),
        ("minilm-l6", "all-minilm-l6-v2"),
    ],
)
def test_an_unknown_id_is_answered_with_near_ones(typed: str, offered: str):
    with pytest.raises(ModelNotFound, match=re.escape(offered)):
        catalog.find(typed)


def test_an_id_near_to_none_is_answered_with_all():
    with pytest.raises(ModelNotFound) as caught:
        catalog.find("../../etc/passwd")
    assert all(model.model_id in str(caught.value) for model in catalog.MODELS)


def test_there_is_one_default_for_each_task_and_both_come_from_a_package_index():
    assert sorted(model.task for model in catalog.defaults()) == ["embed", "generate"]
    sources = [source for model in catalog.defaults() for source in model.sources]
    assert not any(isinstance(source, HubSource) for source in sources)


def test_the_better_model_of_a_task_comes_first():
    assert [m.model_id for m in catalog.of_task("embed")] == [
        "bge-small-en-v1.5",
        "all-minilm-l6-v2",
        "all-minilm-l6-v2-int8",
        "all-minilm-l6-v2-a16w8",
    ]
    assert [m.model_id for m in catalog.of_task("generate")] == [
        "phi-3-mini-4k-instruct",
        "smollm2-135m-instruct",
    ]


def test_what_is_fetched_for_a_task_is_what_was_asked_for_or_its_default():
    assert catalog.to_fetch("embed", None).model_id == "all-minilm-l6-v2"
    assert catalog.to_fetch("embed", "bge-small-en-v1.5").model_id == "bge-small-en-v1.5"


def test_phi_3_has_its_whole_context_and_stops_where_another_role_would_speak():
    facts = catalog.find("phi-3-mini-4k-instruct").facts
    assert isinstance(facts, catalog.DecoderFacts)
    assert facts.max_tokens == 4096
    end, user, system = 32007, 32010, 32006
    assert {end, user, system} <= set(facts.stop_token_ids)


@pytest.mark.parametrize("model", catalog.MODELS, ids=lambda model: model.model_id)
def test_every_entry_is_pinned_and_safe_as_a_folder_name(model: catalog.KnownModel):
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]+", model.model_id)
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) for file in model.files)
    assert all(not file.path.startswith("/") and ".." not in file.path for file in model.files)
    for source in model.sources:
        pin = source.revision if isinstance(source, HubSource) else source.version
        assert re.fullmatch(r"[0-9a-f]{40}|\d+\.\d+\.\d+", pin)
        assert source.root == "" or source.root.endswith("/")
    paths = {file.path for file in model.files}
    assert model.weights != "onnx" or {model.onnx_file, "tokenizer.json"} <= paths
