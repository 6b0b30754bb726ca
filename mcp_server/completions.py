"""Completions: what may stand in the templates doc://{document_id} and models://{model_id}.

A person types a part of a path or title, or the beginning of an id; ids come back, since those are
what the templates take.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from engine.corpus import Filter
from engine.errors import EngineError, InvalidInput
from mcp_server import concurrency
from mcp_server.lifespan import Gateway

_MOST = 100
"""Values in one answer: MCP allows no more."""

Complete = Callable[[str], Awaitable[Completion]]
"""What may stand in an argument's place, from what has been typed of it."""


def add_to(server: MCPServer[Any], gateway: Gateway) -> None:
    """Registers the completions."""
    table: Mapping[tuple[str, str], Complete] = {
        ("doc://{document_id}", "document_id"): lambda typed: _documents(gateway, typed),
        ("models://{model_id}", "model_id"): lambda typed: _models(gateway, typed),
    }

    @server.completion()
    async def complete(  # pyright: ignore[reportUnusedFunction]
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        name = ref.uri if isinstance(ref, ResourceTemplateReference) else ref.name
        found = table.get((name, argument.name))
        if found is None:
            return Completion(values=[], total=0, has_more=False)
        try:
            return await found(argument.value)
        except EngineError as error:
            code = INVALID_PARAMS if isinstance(error, InvalidInput) else INTERNAL_ERROR
            raise MCPError(code=code, message=str(error)) from error


async def _documents(gateway: Gateway, typed: str) -> Completion:
    """Ids of documents whose id begins so, or whose path or title holds it."""
    library, where = gateway.engine.library, Filter(named=typed)

    def look() -> tuple[list[str], int]:
        found = library.documents(where=where, limit=_MOST)
        ids = [one.document_id for one in found]
        return ids, library.count(where) if len(ids) == _MOST else len(ids)

    return _completion(*await gateway.read(look))


async def _models(gateway: Gateway, typed: str) -> Completion:
    """Ids of the models in use that hold it, those that begin so first."""
    wanted = typed.casefold()
    models = await concurrency.run_abandonable(gateway.engine.models)
    ids = {one.model_id for one in models if wanted in one.model_id.casefold()} - {""}
    ordered = sorted(ids, key=lambda one: (not one.casefold().startswith(wanted), one))
    return _completion(ordered, len(ordered))


def _completion(values: list[str], total: int) -> Completion:
    return Completion(values=values, total=total, has_more=total > len(values))
