"""Both eras of the protocol, side by side: what a tool answers is the same in each."""

from typing import Any

import pytest
from eras import NEWEST, OLDER
from mcp import Client

pytestmark = pytest.mark.anyio

ASK = {"prompt": "Name a colour.", "max_tokens": 6}
SAMPLED = {"temperature": 1.0, "seed": 5}
REFUSED = [
    ("get_document", {"document_id": "0123456789abcdex"}),
    ("get_document", {"document_id": "chain.md"}),
    ("remove_documents", {"document_ids": ["chain.md"]}),
    ("index_documents", {"path": "relative"}),
    ("list_documents", {"cursor": "garbage"}),
    ("list_documents", {"collections": ["document"]}),
    ("semantic_search", {"query": "x", "kinds": ["markdwn"]}),
    ("semantic_search", {"query": "x", "topk": 3}),
    ("embed", {"texts": []}),
    ("search", {}),
]
LONG = "Oil the chain. " * 4_000


async def answers(client: Client, calls: list[tuple[str, dict[str, Any]]]) -> list[tuple]:
    results = [await client.call_tool(name, arguments) for name, arguments in calls]
    return [
        (each.content, each.structured_content, each.is_error, (each.meta or {}).get("model"))
        for each in results
    ]


async def test_what_tools_answer_is_the_same_in_both_eras(home):
    (home.documents / "chains.md").write_text(LONG)
    async with home.client(NEWEST) as client:
        await client.call_tool("index_documents", {"path": str(home.documents)})
        listed = await client.call_tool("list_documents", {"paths": ["*/chains.md"]})
    document_id = listed.structured_content["documents"][0]["document_id"]
    calls = [
        ("generate", ASK),
        ("generate", ASK | SAMPLED),
        ("generate", ASK | {"stop": [" "]}),
        ("generate", ASK | {"choices": ["red", "blue"]}),
        ("generate", ASK | {"json_schema": {"type": "nothing"}}),
        ("semantic_search", {"query": "kneading dough"}),
        ("list_documents", {}),
        ("get_document", {"document_id": document_id}),
        ("embed", {"texts": ["a", "b"], "encoding": "base64"}),
        *REFUSED,
    ]
    found = []
    for era in (NEWEST, OLDER):
        async with home.client(era) as client:
            found.append(await answers(client, calls))
    for (name, arguments), newest, older in zip(calls, *found, strict=True):
        assert newest == older, (name, arguments)
    refused = [is_error for _, _, is_error, _ in found[0]]
    assert refused == [False] * 4 + [True] + [False] * 4 + [True] * len(REFUSED)
    assert all(found[0][at][1] is None for at, is_error in enumerate(refused) if is_error)
