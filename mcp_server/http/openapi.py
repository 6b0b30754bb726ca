"""The route /openapi.json: what is served, as an OpenAPI 3.1 document made from the route table.

Rule: nothing is written here that the table, the bodies' own classes and the table of failures do
not say, so that the document cannot promise what is not served. Routes that are there with and
without /v1 are told of with it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from starlette.responses import Response

from mcp_server import concurrency
from mcp_server.http.call import Call
from mcp_server.http.endpoint import JSON, Endpoint, Endpoints
from mcp_server.http.failures import ErrorResult
from mcp_server.http.openai.bodies import RequestBody

Schema = dict[str, Any]

_TEMPLATE = "#/components/schemas/{model}"
_NOTHING: list[Any] = [None, False, 0, "", []]
"""What a refused field may hold: it asks for nothing."""

_KEYS: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this server."},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "For pages: any name, and a key as its password.",
    },
}

_WITH_BODY = (400, 413, 415)
_ALWAYS = (403, 421, 429, 431, 500, 503)
"""Whatever the route: 403 and 421 are for an Origin and a Host that are not this server's."""

_DESCRIPTION = (
    "Routes as OpenAI's clients call them, over models and an index on this machine. Routes under "
    "/v1 are there without it too. Whatever is no success holds an error of one form. Fields that "
    "are not named here are accepted and change nothing."
)

_AGAIN = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_HEADERS: dict[int, Schema] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: _AGAIN,
    503: _AGAIN,
}


def endpoints(others: Endpoints, version: str) -> Endpoints:
    """The route of the document.

    Args:
        others: The rest of the route table.
        version: Of this program.
    """

    @cache
    def content(*, is_open: bool) -> str:
        return json.dumps(document((*others, own), version, is_open=is_open))

    async def answer(call: Call[None]) -> Response:
        """Tells what is served: this document."""
        # Beside the loop: making it takes some 100 ms.
        told = partial(content, is_open=not call.caller.key_id)
        return Response(await concurrency.run_abandonable(told), media_type=JSON)

    own = Endpoint(
        name="openapi",
        method="GET",
        path="/openapi.json",
        scope="any",
        answer=answer,
        is_versioned=False,
    )
    return (own,)


def document(table: Endpoints, version: str, *, is_open: bool) -> Schema:
    """What a table serves.

    Args:
        table: The routes.
        version: Of this program.
        is_open: Whether no key is asked for.
    """
    schemas = _Schemas(table)
    paths: Schema = {}
    for endpoint in table:
        path = ("/v1" if endpoint.is_versioned else "") + _plain(endpoint.path)
        described = _operation(endpoint, schemas, is_open=is_open)
        paths.setdefault(path, {})[endpoint.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "npu-gateway", "version": version, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas.definitions,
            "responses": dict(_failure(status) for status in _statuses(table)),
            "securitySchemes": _KEYS,
        },
    }


class _Schemas:
    """JSON Schemas of all that a table takes and gives."""

    def __init__(self, table: Endpoints) -> None:
        asked: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = [
            (kind, mode, TypeAdapter[Any](kind)) for kind, mode in _kinds(table) if kind
        ]
        found, definitions = TypeAdapter.json_schemas(asked, ref_template=_TEMPLATE)
        self._found = {kind: schema for (kind, _), schema in found.items()}
        self.definitions: Schema = definitions.get("$defs", {})
        for one in table:
            if one.body and issubclass(one.body, RequestBody):
                self._tell_of_other_fields(one.body)

    def of(self, kind: Any) -> Schema:
        """The schema of a class, or a reference to it."""
        return self._found[kind]

    def parameters(self, query: type[BaseModel]) -> list[Schema]:
        """The fields of a class, each a parameter behind the question mark."""
        schema = self.definitions[query.__name__]
        return [
            {"name": name, "in": "query", "required": name in schema.get("required", ())}
            | {"schema": field}
            for name, field in schema["properties"].items()
        ]

    def _tell_of_other_fields(self, body: type[RequestBody]) -> None:
        properties = self.definitions[body.__name__]["properties"]
        for name in body.IGNORED:
            properties[name] = {"description": "Accepted; changes nothing."}
        for name, advice in body.REFUSED.items():
            properties[name] = {"description": f"Not supported: {advice}", "enum": _NOTHING}


def _kinds(table: Endpoints) -> Iterator[tuple[Any, JsonSchemaMode]]:
    yield ErrorResult, "serialization"
    for one in table:
        yield one.body, "validation"
        yield one.query, "validation"
        yield one.result, "serialization"
        yield one.chunk, "serialization"


def _operation(endpoint: Endpoint[Any], schemas: _Schemas, *, is_open: bool) -> Schema:
    described: Schema = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "responses": {"200": _success(endpoint, schemas)},
    }
    names = re.findall(r"{(\w+)", endpoint.path)
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]
    if endpoint.query:
        parameters += schemas.parameters(endpoint.query)
    if parameters:
        described["parameters"] = parameters
    if endpoint.body:
        content = {JSON: {"schema": schemas.of(endpoint.body)}}
        described["requestBody"] = {"required": True, "content": content}
    if endpoint.scope:
        described["security"] = _security(endpoint, is_open=is_open)
        described["x-scope"] = endpoint.scope
    for status in _failures(endpoint):
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    return described


def _security(endpoint: Endpoint[Any], *, is_open: bool) -> list[Schema]:
    """Ways to show a key; none where nobody is asked for one."""
    ways = [name for name in _KEYS if name != "password" or endpoint.is_page]
    return [*({name: list[str]()} for name in ways), *[Schema()] * is_open]


def _success(endpoint: Endpoint[Any], schemas: _Schemas) -> Schema:
    content: Schema = {endpoint.media_type: {}}
    if endpoint.result:
        content[endpoint.media_type] = {"schema": schemas.of(endpoint.result)}
    if endpoint.chunk:
        content["text/event-stream"] = {
            "schema": {"type": "string", "description": "Server-sent events, until [DONE]."},
            "x-event": schemas.of(endpoint.chunk),
        }
    request_id = {"description": "Names the request in the log.", "schema": {"type": "string"}}
    return {
        "description": endpoint.summary,
        "headers": {"x-request-id": request_id},
        "content": content,
    }


def _failures(endpoint: Endpoint[Any]) -> Sequence[int]:
    """Statuses an endpoint may refuse with."""
    statuses = {*_ALWAYS}
    if endpoint.scope:
        statuses.add(401)
    if endpoint.body:
        statuses |= {*_WITH_BODY}
    if endpoint.query or "{" in endpoint.path:
        statuses |= {400, 404}
    if endpoint.body and "model" in endpoint.body.model_fields:
        statuses.add(404)
    return sorted(statuses)


def _statuses(table: Endpoints) -> Sequence[int]:
    return sorted({status for one in table for status in _failures(one)})


def _failure(status: int) -> tuple[str, Schema]:
    """A status that may be refused with, by its name."""
    told: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {JSON: {"schema": {"$ref": _TEMPLATE.format(model=ErrorResult.__name__)}}},
    }
    if status in _HEADERS:
        told["headers"] = _HEADERS[status]
    return _name(status), told


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _plain(path: str) -> str:
    """A path as OpenAPI writes it, without Starlette's kinds of parameters."""
    return re.sub(r":\w+}", "}", path)
