"""Passages: what a search found, as a result that fits what its caller can take.

Blocks while the index is read. Rule: a result keeps to its tokens in the text and in the
structured channel each, as `tokens` counts them. Where it is too much, passages become shorter,
then fewer, and the cursor leads to the rest.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from engine.corpus import Collection
from engine.documents.collecting import around
from engine.errors import EmptyInput, InvalidInput
from engine.library import Library
from engine.search.fusion import Part
from engine.search.narrowing import Narrowing
from engine.search.ranking import Ranked
from engine.search.search import DEEPEST, Matches, Mode, SearchRequest
from engine.search.snippets import SHORTEST, Snippet
from mcp_server import cursors, rendering
from mcp_server.budgets import shown_path
from mcp_server.results import Explanation, Passage, SearchResult, Side
from mcp_server.tokens import estimated_tokens

_READABLE = 160
"""Characters of a passage below which rather fewer passages are shown."""

_GRAIN = 16
"""Characters that are not worth cutting all passages once more."""

_HEADING_CHARACTERS = 200
_DECIMALS = 4

Make = Callable[[int, int], SearchResult]
"""A result of so many passages of so many characters each at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller of a search asks for."""

    query: str
    top_k: int
    snippet_characters: int
    max_tokens: int = 0
    """Of the whole result in either channel; 0 is no limit."""
    narrowing: Narrowing = field(default_factory=Narrowing)
    mode: Mode = "hybrid"
    cursor: str = ""
    explain: bool = False

    def question(self) -> dict[str, Any]:
        """All that decides what is found, and in which order."""
        return {"query": self.query, "mode": self.mode, **asdict(self.narrowing)}

    def place(self) -> cursors.Place:
        """Where its page begins; raises `InvalidInput` for a cursor of another question."""
        return cursors.place(self.cursor, self.question())

    def request(self, library: Library) -> SearchRequest:
        """The same for a library, whose collections are known by name.

        Raises:
            CollectionNotFound: There is no collection of a name; near ones are named.
            InvalidInput: The query is blank, or a kind, a time or the cursor is none.
        """
        if not self.query.strip():
            raise EmptyInput("The query is empty; say what to look for.")
        return SearchRequest(
            query=self.query,
            limit=self.top_k,
            offset=self.place().offset,
            where=library.narrowed(self.narrowing),
            mode=self.mode,
        )


def result(library: Library, asked: Asked, found: Matches) -> SearchResult:
    """The passages that were found, as many and as long as fit.

    Raises:
        InvalidInput: The page before was found in another state, or not one passage fits.
    """
    place = asked.place()
    state = cursors.state(found.generation, found.model_id)
    cursors.check_unchanged(place, state)
    evidence = library.evidence(found.query)
    collections = library.store().collections()
    documents = library.index_statistics().documents
    matching = documents if found.ranked else library.count(library.narrowed(asked.narrowing))

    @cache
    def make(count: int, characters: int) -> SearchResult:
        shown = found.ranked[:count]
        end = place.offset + count
        has_more = (found.has_more or count < len(found.ranked)) and end < DEEPEST
        return SearchResult(
            passages=[
                _passage(one, evidence(one, characters), collections, asked, found) for one in shown
            ],
            notice=rendering.UNTRUSTED if shown else rendering.nothing_found(documents, matching),
            degraded=found.degraded,
            next_cursor=cursors.next_page(asked.question(), state, end) if has_more else "",
            documents=documents,
            model=found.model_id,
            provider=found.provider,
        )

    return _fitted(make, len(found.ranked), asked)


def structured(found: SearchResult) -> dict[str, Any]:
    """The structured channel of a result, without what is empty in its passages."""
    return found.model_dump(exclude_defaults=True)


def _passage(
    ranked: Ranked,
    snippet: Snippet,
    collections: Sequence[Collection],
    asked: Asked,
    found: Matches,
) -> Passage:
    document, chunk = ranked.hit.document, ranked.hit.chunk
    collection = around(document.path, collections)
    return Passage(
        document_id=document.document_id,
        path=shown_path(document.path),
        line_start=snippet.line_start,
        line_end=snippet.line_end,
        page=chunk.page_start,
        page_end=chunk.page_end if chunk.page_end != chunk.page_start else 0,
        heading=chunk.heading[:_HEADING_CHARACTERS],
        collection=collection.name if collection else "",
        score=round(ranked.score / (2 if found.query.insists else 1), 2),
        text=snippet.text,
        cut=len(snippet.text) < len(chunk.text.strip()),
        highlights=[[start, end] for start, end in snippet.highlights],
        copies=ranked.copies,
        explanation=_explanation(ranked) if asked.explain else None,
    )


def _explanation(ranked: Ranked) -> Explanation:
    fused = ranked.fused
    return Explanation(
        weight_of_meaning=fused.dense_share,
        words=_side(fused.lexical),
        meaning=_side(fused.dense),
        verbatim=round(ranked.verbatim, _DECIMALS),
    )


def _side(part: Part | None) -> Side | None:
    if part is None:
        return None
    return Side(
        rank=part.rank, raw=round(part.raw, _DECIMALS), share=round(part.normalised, _DECIMALS)
    )


def _fitted(make: Make, count: int, asked: Asked) -> SearchResult:
    """The longest passages that fit, or as many of the shortest as do.

    Raises:
        InvalidInput: Not one fits.
    """
    longest, least = asked.snippet_characters, min(_READABLE, asked.snippet_characters)

    def fits(one: SearchResult) -> bool:
        return not asked.max_tokens or _tokens(one) <= asked.max_tokens

    whole = make(count, longest)
    if not count or fits(whole):
        return whole
    if characters := _largest(least, longest, lambda number: fits(make(count, number)), _GRAIN):
        return make(count, characters)
    if fewer := _largest(1, count, lambda number: fits(make(number, least))):
        return make(fewer, least)
    if characters := _largest(SHORTEST, least, lambda number: fits(make(1, number))):
        return make(1, characters)
    needed = _tokens(make(1, SHORTEST))
    raise InvalidInput(f"One passage takes about {needed} tokens here: raise max_tokens to that.")


def _tokens(one: SearchResult) -> int:
    """Of the larger channel."""
    data = json.dumps(structured(one), ensure_ascii=False, separators=(",", ":"))
    return max(estimated_tokens(rendering.search(one)), estimated_tokens(data))


def _largest(least: int, most: int, fits: Callable[[int], bool], grain: int = 1) -> int:
    """The largest number that fits, by halving, to within a grain; 0 if the least does not."""
    if not fits(least):
        return 0
    while most - least >= grain:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least
