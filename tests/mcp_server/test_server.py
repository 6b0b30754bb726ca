"""The list a model chooses from, and what a client learns before the first call."""

import json
import re

import jsonschema
import pytest

from engine import __version__
from mcp_server.server import offered_tools
from mcp_server.values import TOOL_NAMES

pytestmark = pytest.mark.anyio

FORBIDDEN_IN_SCHEMAS = ("$ref", "$defs", "anyOf", "oneOf", "$schema")
"""Cursor and others refuse schemas with these."""


async def test_every_tool_is_listed_with_all_a_host_needs_to_judge_it(connect):
    async with connect() as client:
        tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == set(TOOL_NAMES)
    for tool in tools:
        assert re.fullmatch("[a-z_]{1,64}", tool.name)
        assert tool.title
        assert tool.description
        assert len(tool.description) <= 1024
        assert tool.annotations is not None
        assert tool.annotations.open_world_hint is False
        writer = tool.name in {"index_documents", "remove_documents"}
        assert tool.annotations.read_only_hint is not writer
        assert tool.annotations.idempotent_hint is True
        assert tool.annotations.destructive_hint is (tool.name == "remove_documents")


async def test_input_schemas_are_closed_flat_and_described(connect):
    async with connect() as client:
        tools = (await client.list_tools()).tools
    for tool in tools:
        schema = tool.input_schema
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False, tool.name
        assert not any(f'"{word}"' in json.dumps(schema) for word in FORBIDDEN_IN_SCHEMAS)
        for name, argument in schema["properties"].items():
            assert isinstance(argument["type"], str), (tool.name, name)
            assert argument["description"], (tool.name, name)
            assert argument.get("default", "") is not None, (tool.name, name)


async def test_what_a_model_reads_of_the_list_stays_small(connect):
    """Counts names, descriptions and input schemas, which hosts put before a model; not titles,
    annotations and output schemas, which they keep to themselves."""
    async with connect() as client:
        tools = (await client.list_tools()).tools
    facing = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
        for tool in tools
    ]
    assert len(json.dumps(facing, separators=(",", ":")).encode()) <= 6_000


async def test_output_schemas_say_nothing_twice(connect):
    async with connect() as client:
        tools = (await client.list_tools()).tools
    schemas = {tool.name: tool.output_schema for tool in tools if tool.output_schema}
    entry = schemas["list_documents"]["properties"]["documents"]["items"]
    assert "title" in entry["properties"], "a field may have that name"
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
        text = json.dumps(schema)
        assert not any(word in text for word in ('"title": "', '"$ref"', '"$defs"', '"default"'))
    assert len(json.dumps(schemas["status"])) <= 5_800
    whole = [tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]
    assert len(json.dumps(whole, separators=(",", ":")).encode()) <= 18_800


async def test_a_client_learns_version_and_instructions(connect, era):
    async with connect() as client:
        assert client.server_info.version == __version__
        assert client.server_info.name == "npu-gateway"
        assert client.instructions.startswith("Private tools that run on this machine")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("search", "did you mean semantic_search?"),
        ("get_documents", "did you mean get_document?"),
        ("mcp__npu-gateway__embed", "did you mean embed?"),
        ("qqq", "qqq; there are semantic_search, get_document, list_documents"),
    ],
)
async def test_a_tool_that_is_not_there_is_answered_with_those_that_are(connect, name, near):
    async with connect() as client:
        result = await client.call_tool(name, {})
    assert result.is_error
    assert near in result.content[0].text
    assert "index_documents" in result.content[0].text


async def test_an_unknown_argument_is_refused_by_name_with_the_near_one(connect):
    async with connect() as client:
        result = await client.call_tool("semantic_search", {"query": "x", "topk": 3})
    assert result.is_error
    assert result.structured_content is None
    assert result.content[0].text == (
        "semantic_search was not run: there is no argument topk; did you mean top_k."
    )


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("semantic_search", {"query": "x", "top_k": 0}, "top_k: input should be greater"),
        ("semantic_search", {"query": "x", "top_k": 51}, "top_k: input should be less"),
        ("semantic_search", {}, "the argument query is missing"),
        ("generate", {"prompt": "x", "max_tokens": 0}, "max_tokens: input should be greater"),
        ("generate", {"prompt": "x", "temperature": 9}, "temperature: input should be less"),
        ("embed", {"texts": []}, "texts: list should have at least 1 item"),
        ("embed", {"texts": "x"}, "texts: input should be a valid list"),
        ("list_documents", {"limit": 0}, "limit: input should be greater"),
    ],
)
async def test_a_bad_argument_is_one_sentence_and_never_reaches_a_model(
    connect, tool, arguments, words
):
    async with connect(embedder="/no/such/model", decoder="/no/such/model") as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content is None
    assert words in result.content[0].text
    assert "\n" not in result.content[0].text
    assert "pydantic" not in result.content[0].text


async def test_structured_results_are_what_their_schemas_say(connect, home):
    calls = {
        "index_documents": {"path": str(home.documents)},
        "semantic_search": {"query": "bread"},
        "list_documents": {},
        "embed": {"texts": ["x"]},
        "status": {},
        "remove_documents": {"document_ids": []},
    }
    async with connect() as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        for name, arguments in calls.items():
            if name == "remove_documents":
                listed = await client.call_tool("list_documents", {})
                first = listed.structured_content["documents"][0]
                arguments = {"document_ids": [first["document_id"]]}
            result = await client.call_tool(name, arguments)
            assert not result.is_error, name
            jsonschema.validate(result.structured_content, schemas[name])
    assert {name for name, schema in schemas.items() if schema} == set(calls)


async def test_read_only_hides_and_refuses_writers(connect):
    async with connect(read_only=True) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        refused = await client.call_tool("remove_documents", {"document_ids": ["x"]})
    assert names == set(TOOL_NAMES) - {"index_documents", "remove_documents"}
    assert refused.is_error


async def test_tools_limits_the_list(connect):
    async with connect(tools=("status", "embed")) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        refused = await client.call_tool("generate", {"prompt": "x"})
    assert names == {"status", "embed"}
    assert refused.is_error


async def test_the_list_may_be_kept_by_whoever_asks_for_it(home):
    async with home.client("auto") as client:
        listed = await client.list_tools()
        discovered = await client.session.discover()
        fixed = [
            await client.list_prompts(),
            await client.list_resources(),
            await client.list_resource_templates(),
        ]
        read = await client.read_resource("index://status")
    assert listed.ttl_ms == 300_000
    assert [one.ttl_ms for one in fixed] == [300_000] * 3
    assert {one.cache_scope for one in fixed} == {read.cache_scope} == {"private"}
    assert discovered.ttl_ms == 60_000
    assert read.ttl_ms == 0
    assert listed.cache_scope == discovered.cache_scope == "private", "a key decides what is there"


def test_the_order_of_the_tools_is_fixed(home):
    from mcp_server.lifespan import Gateway  # noqa: PLC0415

    names = [
        tool.name for tool in offered_tools(Gateway(home.engine(), home.settings), read_only=False)
    ]
    assert names == list(TOOL_NAMES)
