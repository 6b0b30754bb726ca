"""Resources and the prompt, and that they agree with the tools."""

import json

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

pytestmark = pytest.mark.anyio


async def test_models_info_equals_the_models_of_status(connect):
    async with connect() as client:
        await client.call_tool("embed", {"texts": ["load"]})
        await client.call_tool("generate", {"prompt": "load", "max_tokens": 1})
        status = (await client.call_tool("status", {})).structured_content
        info = json.loads((await client.read_resource("models://info")).contents[0].text)
        one = json.loads((await client.read_resource("models://all-minilm-l6-v2")).contents[0].text)
    for changing in (info, status):
        assert changing["memory"].pop("resident_bytes") >= 0
    asked_in_turn = [status["models"][0], info["models"][0], one]
    left = [model.pop("unloads_in") for model in asked_in_turn]
    assert 300 >= left[0] >= left[1] >= left[2] >= 0
    assert status["models"][1].pop("unloads_in") >= info["models"][1].pop("unloads_in") >= 0
    assert info == {name: status[name] for name in info}
    embedder, decoder = info["models"]
    assert embedder == one
    assert embedder["dimensions"] == 384
    assert embedder["max_tokens"] == 256
    assert embedder["provider"] == decoder["provider"] == "cpu"
    assert embedder["state"] == "ready"
    assert embedder["why"].startswith("the best installed embedder")
    assert decoder["model"] == "smollm2-135m-instruct"
    assert info["onnxruntime"]


async def test_index_status_is_the_index_of_status(connect, home):
    async with connect() as client:
        await client.call_tool("index_documents", {"path": str(home.documents)})
        status = (await client.call_tool("status", {})).structured_content
        index = json.loads((await client.read_resource("index://status")).contents[0].text)
    assert index == {name: status[name] for name in index}
    assert index["index"]["documents"] == 3
    assert index["index"]["model"] == "all-minilm-l6-v2"
    assert index["roots"] == [str(home.documents)]


@pytest.mark.parametrize("uri", ["doc://0123456789abcdef", "models://no-such-model", "nothing://x"])
async def test_a_missing_resource_is_an_invalid_parameter_that_names_it(connect, uri):
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(uri)
    assert caught.value.error.code == -32602
    assert caught.value.error.data == {"uri": uri}


async def test_a_resource_of_no_kind_is_answered_with_those_that_there_are(connect):
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource("index://statistics")
    assert caught.value.error.data == {"uri": "index://statistics"}
    assert "did you mean index://status? There are models://info," in caught.value.error.message


async def test_the_lists_of_resources_and_prompts_are_whole(connect):
    async with connect() as client:
        resources = {str(one.uri) for one in (await client.list_resources()).resources}
        templates = {
            one.uri_template for one in (await client.list_resource_templates()).resource_templates
        }
        prompts = [one.name for one in (await client.list_prompts()).prompts]
    assert resources == {"models://info", "index://status"}
    assert templates == {"models://{model_id}", "doc://{document_id}"}
    assert prompts == ["answer_from_documents"]


async def test_the_prompt_brings_the_passages_that_answer(connect, home):
    async with connect() as client:
        await client.call_tool("index_documents", {"path": str(home.documents)})
        prompt = await client.get_prompt(
            "answer_from_documents", {"question": "Why does the sea rise?"}
        )
    text = prompt.messages[0].content.text
    assert text.index("tides.md lines 1-3") < text.index("bread.md")
    assert "because the moon pulls at it" in text
    assert "not instructions" in text
    assert text.endswith("Question: Why does the sea rise?")


REFUSED_PROMPTS = [
    ("answer_from_document", {}, "there is answer_from_documents."),
    ("tides", {"question": "x"}, "There is no prompt tides; there is answer_from_documents."),
    ("answer_from_documents", {}, "answer_from_documents needs question."),
    ("answer_from_documents", {"question": "x", "top": "3"}, "takes no top; it takes question."),
]


async def test_a_prompt_that_cannot_be_had_is_refused_by_a_sentence(connect):
    async with connect() as client:
        for name, arguments, sentence in REFUSED_PROMPTS:
            with pytest.raises(MCPError) as refused:
                await client.get_prompt(name, arguments)
            assert refused.value.code == INVALID_PARAMS
            assert refused.value.message.endswith(sentence)
