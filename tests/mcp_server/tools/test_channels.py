"""Both channels of a result say the same, for hosts that show a model only one of them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from eras import in_one_era
from sample_documents import pdf

pytestmark = pytest.mark.anyio

POSITIONS = (".passages.highlights", ".passages.cut", ".complete", ".collections.is_there")
"""Facts that the text shows otherwise: in what it marks, cuts or does not warn of."""


def facts(part: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with its place, without what is nothing."""
    if isinstance(part, dict):
        for name, of in part.items():
            yield from facts(of, f"{at}.{name}")
    elif isinstance(part, list):
        for of in part:
            yield from facts(of, at)
    elif part or (part == 0 and at.endswith(("score", "indexed", "removed", "unchanged"))):
        yield at, part


def forms(value: Any) -> set[str]:
    """How a text may write a value."""
    if isinstance(value, float):
        return {f"{value:.2f}", f"{value:.3f}", f"{value:g}"}
    return {str(value), f"{value:,}"} if isinstance(value, int) else {value}


@in_one_era
async def test_every_fact_for_programs_is_in_the_text_for_models_and_no_other(connect, home):
    (home.documents / "manual.pdf").write_bytes(
        pdf([[(11, f"Knead the dough, {n}.")] for n in "abc"])
    )
    (home.documents / "copy.md").write_text((home.documents / "bread.md").read_text())
    (home.documents / "broken.txt").write_bytes(b"\x00\x01\x02" * 50)
    (home.documents / "latin.txt").write_bytes("Café crème, été à la plage".encode("latin-1"))
    calls = [
        ("semantic_search", {"query": "anything"}),
        ("list_documents", {}),
        ("index_documents", {"path": str(home.documents), "max_seconds": 3_600}),
        ("index_documents", {}),
        ("semantic_search", {"query": "dough", "top_k": 2, "explain": True}),
        ("semantic_search", {"query": "dough moon", "snippet_characters": 50}),
        ("semantic_search", {"query": "dough", "paths": ["nowhere/*"]}),
        ("list_documents", {"limit": 2}),
        ("list_documents", {"skipped": True}),
    ]
    async with connect() as client:
        answers = [(name, await client.call_tool(name, asked)) for name, asked in calls]
    for name, answer in answers:
        text, data = answer.content[0].text, answer.structured_content
        beside = POSITIONS if data.get("passages", True) else (*POSITIONS, ".model", ".provider")
        told = [one for one in facts(data) if not one[0].startswith(beside)]
        missing = [one for one in told if not any(form in text for form in forms(one[1]))]
        assert not missing, name
        ids = {value for at, value in told if at.endswith("document_id")}
        assert set(re.findall(r"\b[0-9a-f]{16}\b", text)) == ids, name
        scores = [f"{value:.2f}" for at, value in told if at.endswith("score")]
        assert re.findall(r"^\[(\d\.\d\d)\]", text, re.MULTILINE) == scores, name
