"""Wrong names: who asks for a tool, resource or prompt that is not there is told what is.

A middleware of the SDK, which by itself says no more of a tool or resource than that its name is
unknown, takes a wrong prompt for a bug of the server, and completes what is not there.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

_LEAST_LIKE = 0.5
_SHOWN = 200
"""Characters of a wrong name."""


class WrongNames:
    """Asks the server each time what there is."""

    def __init__(self, server: MCPServer[Any]) -> None:
        self._server = server

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Lets a request be answered if what it names is there, or that cannot be known before."""
        params: Mapping[str, Any] = ctx.params or {}
        match ctx.method:
            case "prompts/get":
                await self._check(params)
            case "completion/complete":
                await self._check(params.get("ref"))
            case "resources/read":
                return await self._read(str(params.get("uri")), ctx, call_next)
            case "tools/call":
                return await self._called(str(params.get("name")), await call_next(ctx))
            case _:
                pass
        return await call_next(ctx)

    async def _check(self, wanted: object) -> None:
        """Raises `MCPError` for a prompt or template that is not there; the SDK refuses what names
        neither."""
        match wanted:
            case {"name": str(name)}:
                noun, known = "prompt", [one.name for one in await self._server.list_prompts()]
            case {"uri": str(name)}:
                noun, known = "resource template", await self._templates()
            case _:
                return
        if name not in known:
            raise MCPError(INVALID_PARAMS, _sentence(noun, name, known))

    async def _read(
        self, uri: str, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        try:
            return await call_next(ctx)
        except MCPError as error:
            if error.message != f"Unknown resource: {uri}":
                raise
            fixed = [str(one.uri) for one in await self._server.list_resources()]
            sentence = _sentence("resource", uri, fixed + await self._templates())
            raise MCPError(error.code, sentence, error.data) from error

    async def _called(self, name: str, answer: HandlerResult) -> HandlerResult:
        if not isinstance(answer, Mapping):
            return answer
        said = cast("Mapping[str, Any]", answer)
        if not said.get("isError") or _text(said) != f"Unknown tool: {name}":
            return answer
        sentence = _sentence("tool", name, [one.name for one in await self._server.list_tools()])
        return {**said, "content": [{"type": "text", "text": sentence}]}

    async def _templates(self) -> list[str]:
        return [one.uri_template for one in await self._server.list_resource_templates()]


def _text(answer: Mapping[str, Any]) -> str:
    return "".join(part.get("text", "") for part in answer["content"])


def _sentence(noun: str, name: str, known: Sequence[str]) -> str:
    """What to say of a name that is not there; of a very long one, only its beginning is read."""
    shown = name[:_SHOWN]
    if len(known) < 2:
        return f"There is no {noun} {shown}; there is {''.join(known) or 'none'}."
    parts = [one for one in known if shown and (shown in one or one in shown)]
    near = get_close_matches(shown, known, n=1, cutoff=_LEAST_LIKE) or parts[:1]
    meant = f"did you mean {near[0]}? There" if near else "there"
    return f"There is no {noun} {shown}; {meant} are {', '.join(known)}."
