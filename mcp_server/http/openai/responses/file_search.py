"""The tool file_search: passages of the user's documents, put before the question.

The search is made before the answer, once, with the last text of the user's as its query: a model
as small as those here does not decide well when to search, and each decision would cost a whole
answer. Rule: a passage is data. It stands as JSON that closes no tag and begins no line, without
signs that nobody sees, and the model is told that it quotes.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from engine.decode.tool_turns import Turn
from engine.text.chat import Message
from mcp_server import rendering
from mcp_server.http.call import Call
from mcp_server.http.credentials import check
from mcp_server.http.openai import stores
from mcp_server.http.openai.responses.objects import (
    FileCitation,
    FileSearchCall,
    FileSearchResult,
)
from mcp_server.http.openai.responses.tools import FileSearchTool
from mcp_server.http.openai.stores import Finding, Findings, Question
from mcp_server.keys import Scope

_RESULTS = 10
"""Where max_num_results is not given: more than a small context takes."""

_WORTH = 0.5
"""Of the best score: passages below are told of as results only."""

_SEARCH: frozenset[Scope] = frozenset({"search"})


async def findings(call: Call[Any], tool: FileSearchTool, query: str) -> Findings:
    """What the documents say to a query, best first.

    Raises:
        Refused: The caller may not search.
        EngineError: There is no such collection, or the index cannot be read.
    """
    check(call.caller, _SEARCH)
    ranking = tool.ranking_options
    question = Question(
        queries=[query],
        stores=tool.vector_store_ids,
        limit=tool.max_num_results or _RESULTS,
        threshold=ranking.score_threshold if ranking else 0.0,
        filters=tool.filters,
    )
    return await stores.search(call.gateway, question)


def query_of(turns: Sequence[Turn]) -> str:
    """What is looked for: the end of what the user said last; empty where there is no such text."""
    at = _question(turns)
    turn = turns[at] if at is not None else None
    return turn.content[-stores.LONGEST_QUERY :].strip() if isinstance(turn, Message) else ""


def informed(turns: Sequence[Turn], passages: Sequence[Finding]) -> list[Turn]:
    """The turns with passages before the question."""
    at = _question(turns)
    if at is None or not passages:
        return list(turns)
    question = turns[at]
    assert isinstance(question, Message)
    quoted = "\n".join(map(_quoted, passages))
    told = Message("user", f"{rendering.UNTRUSTED}\n{quoted}\n\n{question.content}")
    return [*turns[:at], told, *turns[at + 1 :]]


def worth_giving(found: Findings) -> list[Finding]:
    """The passages that may help, best first: others lead a small model astray."""
    best = max((one.score for one in found.passages), default=0.0)
    return [one for one in found.passages if one.score >= _WORTH * best]


def most_that_fit(found: Sequence[Finding], fit: Callable[[Sequence[Finding]], bool]) -> int:
    """How many of the best passages fit, by halving.

    Args:
        found: Best first.
        fit: Whether some do; none do.
    """
    least, most = 0, len(found)
    while least < most:
        middle = (least + most + 1) // 2
        if fit(found[:middle]):
            least = middle
        else:
            most = middle - 1
    return least


def citations(passages: Sequence[Finding]) -> list[FileCitation]:
    """The documents of passages, each once; see `FileCitation`."""
    names = {one.file_id: one.filename for one in passages}
    return [
        FileCitation(file_id=file_id, filename=name, index=index)
        for index, (file_id, name) in enumerate(names.items())
    ]


def search_call(query: str, found: Findings, *, with_results: bool) -> FileSearchCall:
    """The output item of a search."""
    results = [
        FileSearchResult(
            file_id=one.file_id,
            filename=one.filename,
            score=one.score,
            text=one.text,
            attributes=one.attributes,
        )
        for one in found.passages
    ]
    return FileSearchCall(queries=[query], results=results if with_results else None)


def _question(turns: Sequence[Turn]) -> int | None:
    """Where the user's last text is."""
    for at in range(len(turns) - 1, -1, -1):
        turn = turns[at]
        if isinstance(turn, Message) and turn.role == "user" and turn.content.strip():
            return at
    return None


def _quoted(passage: Finding) -> str:
    data = {"file": passage.filename, "heading": passage.heading, "text": passage.text}
    given = {key: value for key, value in data.items() if value}
    return json.dumps(given, ensure_ascii=False).replace("<", "\\u003c")
