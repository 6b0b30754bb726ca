"""Collections as OpenAI's vector stores: ids, attributes, filters and what a search finds.

Knows no route; for whatever answers from documents. What stands in a document or its name comes
out without the signs by which text is hidden or turned around, each in its typed field.
Rule: an attribute that a document shows is one that filters take, and what no filter can express
is refused, never left out.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePath

from engine.corpus import Collection, Document, Filter
from engine.errors import CollectionNotFound
from engine.library import Library
from engine.search.ranking import Ranked
from engine.search.search import Matches, SearchRequest
from engine.store.near_names import unknown_collection
from mcp_server.http.openai.filters import Filters, narrowed
from mcp_server.lifespan import Gateway
from mcp_server.loading import Tell, untold
from mcp_server.plain import seen

Attributes = dict[str, str | float | bool]

MOST_RESULTS = 50
LONGEST_QUERY = 4_000
MOST_QUERIES = 16

_PREFIX, _ID_DIGITS = "vs_", 24
_DECIMALS = 4
_NS = 1_000_000_000

# OpenAI's limits: so many attributes, and so many characters of their names and values.
_MOST_ATTRIBUTES, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for in some collections."""

    queries: Sequence[str]
    """At least one; what is found for several is one list."""
    stores: Sequence[str]
    """Ids or names, at least one."""
    limit: int = 10
    threshold: float = 0.0
    """Passages of a lower score are left out."""
    filters: Filters | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A passage that was found."""

    file_id: str
    filename: str
    score: float
    """0 to 1; compares within one answer only."""
    attributes: Attributes
    text: str
    heading: str
    """Headings above it, outermost first; may be empty."""
    line_start: int
    line_end: int
    page: int
    """0 where the document has none."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found, best first."""

    passages: list[Finding]
    degraded: str
    """Why meaning was not fully searched, or empty."""


def store_id(name: str) -> str:
    """The id of a collection, the same wherever it has that name."""
    return _PREFIX + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]


def collection_of(library: Library, wanted: str) -> Collection:
    """The collection of an id, or of a plain name.

    Raises:
        CollectionNotFound: There is none; near names are told.
    """
    known = library.store().collections()
    by_name = {one.name: one for one in known}
    found = {store_id(one.name): one for one in known}.get(wanted) or by_name.get(wanted)
    if found is None:
        raise CollectionNotFound(unknown_collection(wanted, list(by_name)))
    return found


def where(library: Library, stores: Sequence[str], filters: Filters | None) -> Filter:
    """The documents of some collections that a filter lets through.

    Raises:
        CollectionNotFound: There is no collection of an id or name.
        InvalidInput: The filter is none, or asks for what cannot be looked for.
    """
    names = [collection_of(library, one).name for one in stores]
    return narrowed(library, names, filters)


def attributes(document: Document) -> Attributes:
    """What filters can ask of a document: what it says of itself, its kind, path and time."""
    room = _MOST_ATTRIBUTES - 3
    said: Attributes = {
        seen(key)[:_LONGEST_KEY]: seen(value)[:_LONGEST_VALUE]
        for key, value in list(document.metadata.items())[:room]
    }
    return said | {
        "kind": document.kind,
        "path": seen(document.path),
        "modified": document.modified_ns // _NS,
    }


def filename(document: Document) -> str:
    """The name of a document's file, without its folders."""
    return seen(PurePath(document.path).name)


async def search(
    gateway: Gateway, question: Question, tell: Tell = untold, caller: str = ""
) -> Findings:
    """The passages that answer one of some questions, best first, each once.

    Args:
        gateway: Whose index is searched.
        question: What is looked for, and where.
        tell: Told while the embedding model is being loaded; without one words have to do.
        caller: Who asks: those who wait are served in turn.

    Raises:
        EngineError: There is no such collection, a query is blank, or the index cannot be read.
    """
    library = gateway.engine.library
    within = await gateway.read(lambda: where(library, question.stores, question.filters), caller)
    found = [
        await gateway.searched(
            SearchRequest(query=query, limit=question.limit, where=within), tell, _scored, caller
        )
        for query in question.queries
    ]
    best = _best(one.passages for one in found)
    kept = [passage for passage in best if passage.score >= question.threshold]
    degraded = next((one.degraded for one in found if one.degraded), "")
    return Findings(kept[: question.limit], degraded)


def _scored(found: Matches) -> Findings:
    most = 2 if found.query.insists else 1
    return Findings([_finding(one, most) for one in found.ranked], found.degraded)


def _finding(ranked: Ranked, most: int) -> Finding:
    document, chunk = ranked.hit.document, ranked.hit.chunk
    return Finding(
        file_id=document.document_id,
        filename=filename(document),
        score=round(ranked.score / most, _DECIMALS),
        attributes=attributes(document),
        text=seen(chunk.text).strip(),
        heading=seen(chunk.heading),
        line_start=chunk.line_start,
        line_end=chunk.line_end,
        page=chunk.page_start,
    )


def _best(lists: Iterable[list[Finding]]) -> list[Finding]:
    """Some lists as one, each passage once with its best score."""
    best: dict[tuple[str, int, str], Finding] = {}
    for one in chain.from_iterable(lists):
        place = one.file_id, one.line_start, one.text
        if place not in best or best[place].score < one.score:
            best[place] = one
    return sorted(best.values(), key=lambda one: -one.score)
