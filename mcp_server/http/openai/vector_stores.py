"""The routes /vector_stores: collections, their documents, and a search in one of them.

They only read: folders become collections, and documents of them, by indexing.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.responses import Response

from engine.corpus import Collection, Document, Filter
from engine.errors import DocumentNotFound
from engine.library import Library
from engine.paths import is_under
from mcp_server.http import parsing
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import Refused
from mcp_server.http.openai import stores
from mcp_server.http.openai.bodies import reply
from mcp_server.http.openai.store_bodies import (
    ContentPart,
    FileContentPage,
    FileCounts,
    FilesQuery,
    SearchBody,
    SearchPage,
    SearchRanking,
    SearchResult,
    StoresQuery,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileList,
    VectorStoreList,
)
from mcp_server.http.openai.stores import Question
from mcp_server.plain import seen

T = TypeVar("T")

_NS = 1_000_000_000
_RESULTS = 10
_ONLY_READ = (
    "What is searched is changed by indexing, not here: run `npu-gateway index DIR` or call the "
    "MCP tools index_documents and remove_documents."
)


def endpoints() -> Endpoints:
    """The family's routes."""
    store, file = "/vector_stores/{store}", "/vector_stores/{store}/files/{file}"
    return (
        _reading("vector_stores", "/vector_stores", _list, VectorStoreList, StoresQuery),
        _reading("vector_store", store, _one, VectorStore),
        _reading("vector_store_files", f"{store}/files", _files, VectorStoreFileList, FilesQuery),
        _reading("vector_store_file", file, _file, VectorStoreFile),
        _reading("vector_store_file_content", f"{file}/content", _content, FileContentPage),
        Endpoint(
            name="vector_store_search",
            method="POST",
            path=f"{store}/search",
            scope="search",
            answer=_search,
            reads="query",
            body=SearchBody,
            result=SearchPage,
        ),
    )


def _reading(
    name: str,
    path: str,
    answer: Callable[[Call[None]], Any],
    result: type[BaseModel],
    query: type[BaseModel] | None = None,
) -> Endpoint[None]:
    return Endpoint(
        name=name,
        method="GET",
        path=path,
        scope="search",
        answer=answer,
        result=result,
        query=query,
        advice=_ONLY_READ,
    )


async def _list(call: Call[None]) -> Response:
    """Lists the collections, in the order of their names."""
    wanted = parsing.asked(call.query, StoresQuery)

    def page(library: Library) -> VectorStoreList:
        known = list(library.store().collections())
        if wanted.order == "desc":
            known.reverse()
        if wanted.after:
            known = known[known.index(stores.collection_of(library, wanted.after)) + 1 :]
        if wanted.before:
            known = known[: known.index(stores.collection_of(library, wanted.before))]
        shown = known[-wanted.limit :] if wanted.before else known[: wanted.limit]
        data = [_store(call, library, one) for one in shown]
        return VectorStoreList(data=data, has_more=len(known) > wanted.limit, **_ends(data))

    return reply(await _read(call, page))


async def _one(call: Call[None]) -> Response:
    """Tells of one collection."""
    return reply(
        await _read(call, lambda library: _store(call, library, _collection(call, library)))
    )


async def _files(call: Call[None]) -> Response:
    """Lists the documents of a collection, in the order of their paths."""
    wanted = parsing.asked(call.query, FilesQuery)

    def page(library: Library) -> VectorStoreFileList:
        collection = _collection(call, library)
        path = _document(library, collection, wanted.after).path if wanted.after else ""
        within = Filter(roots=(collection.root,))
        limit = wanted.limit + 1 if wanted.filter == "completed" else 0
        found = library.documents(after=path, limit=limit, where=within)
        data = [_listed(collection, one) for one in found[: wanted.limit]]
        return VectorStoreFileList(data=data, has_more=len(found) > len(data), **_ends(data))

    return reply(await _read(call, page))


async def _file(call: Call[None]) -> Response:
    """Tells of one document of a collection."""

    def file(library: Library) -> VectorStoreFile:
        collection = _collection(call, library)
        return _listed(collection, _document(library, collection, call.path["file"]))

    return reply(await _read(call, file))


async def _content(call: Call[None]) -> Response:
    """Gives the text of a document as it was indexed."""

    def content(library: Library) -> Response:
        document = _document(library, _collection(call, library), call.path["file"])
        text = "".join(chunk.text for chunk in library.read_document(document.document_id).chunks)
        return reply(FileContentPage(data=[ContentPart(text=seen(text))]))

    return await _read(call, content)


async def _search(call: Call[SearchBody]) -> Response:
    """Finds the passages of a collection that answer a question."""
    body = call.body
    queries = [body.query] if isinstance(body.query, str) else body.query
    if not all(query.strip() for query in queries):
        raise Refused("A query is blank; say what to look for.", param="query")
    ranking = body.ranking_options or SearchRanking()
    question = Question(
        queries=queries,
        stores=[call.path["store"]],
        limit=body.max_num_results or _RESULTS,
        threshold=ranking.score_threshold or 0.0,
        filters=body.filters,
    )
    found = await stores.search(call.gateway, question, call.tell, call.caller.key_id)
    return reply(
        SearchPage(
            search_query=queries,
            data=[_result(one) for one in found.passages],
            degraded=found.degraded or None,
        )
    )


async def _read(call: Call[None], find: Callable[[Library], T]) -> T:
    library = call.gateway.engine.library
    return await call.gateway.read(lambda: find(library), call.caller.key_id)


def _collection(call: Call[None], library: Library) -> Collection:
    return stores.collection_of(library, call.path["store"])


def _document(library: Library, collection: Collection, document_id: str) -> Document:
    """A document of a collection.

    Raises:
        DocumentNotFound: There is none of that id, or it is in another one.
    """
    document = library.store().document(document_id)
    if not is_under(document.path, collection.root):
        raise DocumentNotFound(f'No document "{document_id[:200]}" is in "{collection.name}".')
    return document


def _store(call: Call[None], library: Library, collection: Collection) -> VectorStore:
    extent = library.extent(Filter(roots=(collection.root,)))
    is_new = not extent.documents and bool(call.gateway.indexing)
    return VectorStore(
        id=stores.store_id(collection.name),
        created_at=extent.oldest_ns // _NS,
        name=seen(collection.name),
        usage_bytes=extent.size,
        file_counts=FileCounts(completed=extent.documents, total=extent.documents),
        status="in_progress" if is_new else "completed",
        last_active_at=extent.newest_ns // _NS or None,
        metadata={"root": seen(collection.root)},
    )


def _listed(collection: Collection, document: Document) -> VectorStoreFile:
    return VectorStoreFile(
        id=document.document_id,
        created_at=document.modified_ns // _NS,
        vector_store_id=stores.store_id(collection.name),
        usage_bytes=document.size,
        attributes=stores.attributes(document),
        filename=stores.filename(document),
    )


def _result(found: stores.Finding) -> SearchResult:
    return SearchResult(
        file_id=found.file_id,
        filename=found.filename,
        score=found.score,
        attributes=found.attributes,
        content=[ContentPart(text=found.text)],
        heading=found.heading,
        line_start=found.line_start,
        line_end=found.line_end,
        page=found.page or None,
    )


def _ends(data: Sequence[VectorStore | VectorStoreFile]) -> dict[str, Any]:
    return {
        "first_id": data[0].id if data else None,
        "last_id": data[-1].id if data else None,
    }
