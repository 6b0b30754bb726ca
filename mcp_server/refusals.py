"""Refusals: whatever fails, its caller reads a short sentence, however long what was sent is.

Knows no tool. Names that do not exist are quoted by the SDK, and by others, as they came.
"""

from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import ErrorData

from mcp_server.budgets import FAILURE_CHARACTERS, briefly


async def kept_short(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware that cuts what errors say, those of the protocol and those of tools."""
    try:
        result = await call_next(ctx)
    except MCPError as error:
        said = error.error.model_dump(exclude_unset=True)
        error.error = ErrorData.model_validate(_short(said))
        raise
    if isinstance(result, dict) and result.get("isError"):
        return {**result, "content": _short(result.get("content"))}
    return result


def _short(said: Any) -> Any:
    """What was said, each text in it cut."""
    if isinstance(said, str):
        return briefly(said, FAILURE_CHARACTERS)
    if isinstance(said, list):
        return [_short(one) for one in cast("list[Any]", said)]
    if isinstance(said, dict):
        return {name: _short(one) for name, one in cast("dict[str, Any]", said).items()}
    return said
