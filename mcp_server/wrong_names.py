"""Wrong names: who asks for a tool or resource that is not there is told what is.

A middleware of the SDK, which by itself says no more than that the name is unknown.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError

_LEAST_LIKE = 0.5
_SHOWN = 200
"""Characters of a wrong name."""


class WrongNames:
    """What is there comes from the server each time."""

    def __init__(self, server: MCPServer[Any]) -> None:
        self._server = server

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Lets a request be answered, and adds to an answer that knows no such name."""
        try:
            answer = await call_next(ctx)
        except MCPError as error:
            uri = str((ctx.params or {}).get("uri"))
            if ctx.method != "resources/read" or error.message != f"Unknown resource: {uri}":
                raise
            sentence = _sentence("resource", uri, await self._resources())
            raise MCPError(error.code, sentence, error.data) from error
        if ctx.method != "tools/call" or not isinstance(answer, Mapping):
            return answer
        said, name = cast("Mapping[str, Any]", answer), str((ctx.params or {}).get("name"))
        if not said.get("isError") or _text(said) != f"Unknown tool: {name}":
            return answer
        sentence = _sentence("tool", name, [one.name for one in await self._server.list_tools()])
        return {**said, "content": [{"type": "text", "text": sentence}]}

    async def _resources(self) -> list[str]:
        fixed = [str(one.uri) for one in await self._server.list_resources()]
        return fixed + [one.uri_template for one in await self._server.list_resource_templates()]


def _text(answer: Mapping[str, Any]) -> str:
    return "".join(part.get("text", "") for part in answer["content"])


def _sentence(noun: str, name: str, known: Sequence[str]) -> str:
    """What to say of a name that is not there."""
    parts = [one for one in known if name and (name in one or one in name)]
    near = get_close_matches(name, known, n=1, cutoff=_LEAST_LIKE) or parts[:1]
    meant = f"did you mean {near[0]}? There" if near else "there"
    are = "is" if len(known) == 1 else "are"
    return f"There is no {noun} {name[:_SHOWN]}; {meant} {are} {', '.join(known) or 'none'}."
