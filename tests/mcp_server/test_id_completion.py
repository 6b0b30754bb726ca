"""What a person is offered who types into doc:// or models://."""

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

pytestmark = pytest.mark.anyio

DOCUMENTS = ResourceTemplateReference(uri="doc://{document_id}")
MODELS = ResourceTemplateReference(uri="models://{model_id}")
PROMPT = PromptReference(name="answer_from_documents")


async def offered(client, typed: str, ref=DOCUMENTS, name: str = "document_id"):
    assert client.server_capabilities.completions is not None
    return (await client.complete(ref, {"name": name, "value": typed})).completion


async def test_documents_are_offered_by_the_beginning_of_their_id_and_by_path_and_title(
    connect, home
):
    (home.documents / "letter.md").write_text("# A letter to Émile\n\nThe boat is sold.\n")
    async with connect() as client:
        nothing = await offered(client, "")
        await client.call_tool("index_documents", {"path": str(home.documents)})
        listed = (await client.call_tool("list_documents", {})).structured_content["documents"]
        id_of = {one["path"].rpartition("/")[2]: one["document_id"] for one in listed}
        everything = await offered(client, "")
        tides = id_of["tides.md"]
        for typed, name in (
            (tides, "tides.md"),
            (tides[:9].upper(), "tides.md"),
            ("Tide", "tides.md"),
            ("cycl", "cycling.txt"),
            ("ÉMILE", "letter.md"),
        ):
            found = await offered(client, typed)
            assert (found.values, found.total, found.has_more) == ([id_of[name]], 1, False), typed
            assert (await client.read_resource(f"doc://{found.values[0]}")).contents[0].text
        assert (await offered(client, tides[1:])).values == []
    assert (nothing.values, nothing.total, nothing.has_more) == ([], 0, False)
    assert sorted(everything.values) == sorted(id_of.values())


async def test_at_most_a_hundred_are_offered_and_how_many_there_are_is_told(connect, home):
    (home.documents / "many").mkdir()
    for number in range(101):
        (home.documents / "many" / f"{number}.txt").write_text("The same words.\n")
    async with connect() as client:
        asked = {"path": str(home.documents), "max_seconds": 3_600}
        await client.call_tool("index_documents", asked)
        found = await offered(client, "MANY")
    assert (len(set(found.values)), found.total, found.has_more) == (100, 101, True)


async def test_models_in_use_are_offered(connect):
    async with connect() as client:
        every = await offered(client, "", MODELS, "model_id")
        one = await offered(client, "LM", MODELS, "model_id")
        none = await offered(client, "no-such", MODELS, "model_id")
        question = await offered(client, "why", PROMPT, "question")
    assert every.values == ["all-minilm-l6-v2", "smollm2-135m-instruct"]
    assert one.values == ["all-minilm-l6-v2", "smollm2-135m-instruct"]
    assert none.values == question.values == []


@pytest.mark.parametrize(
    ("ref", "near"),
    [
        (ResourceTemplateReference(uri="docs://{document_id}"), "you mean doc://{document_id}?"),
        (PromptReference(name="answer_from_document"), "there is answer_from_documents."),
    ],
)
async def test_what_is_not_there_is_refused_with_what_is(connect, ref, near):
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await offered(client, "x", ref)
    assert caught.value.error.code == -32602
    assert near in caught.value.error.message
