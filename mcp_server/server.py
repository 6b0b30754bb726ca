"""Builds the MCP server from an engine: which tools, resources and prompts it offers, and how."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.mcpserver import MCPServer

from engine.engine import Engine
from mcp_server import background, changes, completions, instructions, prompts, refusals, resources
from mcp_server.lifespan import Background, Gateway
from mcp_server.settings import Settings
from mcp_server.tasks.extension import TasksExtension, check_listeners
from mcp_server.tools import documents, embed, generate, indexing, search, status
from mcp_server.tools.making import GatewayTool
from mcp_server.wrong_names import WrongNames

Lifespan = Callable[[MCPServer[Gateway]], AbstractAsyncContextManager[Gateway]]

_LISTS: tuple[CacheableMethod, ...] = (
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
)
_MAY_BE_KEPT: dict[CacheableMethod, CacheHint] = {
    **dict.fromkeys(_LISTS, CacheHint(ttl_ms=300_000, scope="private")),
    "server/discover": CacheHint(ttl_ms=60_000, scope="private"),
}
"""For how long, and by whoever asked alone: what is offered depends on the key that asks. Lists
change only with the version, but what is indexed is told with the discovery."""


def build(engine: Engine, settings: Settings) -> MCPServer[Gateway]:
    """The server, not yet on any transport; its caller closes the engine."""
    gateway = Gateway(engine, settings)

    @asynccontextmanager
    async def live(_: MCPServer[Gateway]) -> AsyncGenerator[Gateway]:
        async with running(gateway):
            yield gateway

    return _built(gateway, live, offered_tools(gateway, read_only=settings.read_only))


def build_over(gateway: Gateway, *, read_only: bool) -> MCPServer[Gateway]:
    """A server over a gateway that somebody else keeps `running`.

    Args:
        gateway: Of the server.
        read_only: Offer no tool that changes the index.
    """

    @asynccontextmanager
    async def shared(_: MCPServer[Gateway]) -> AsyncGenerator[Gateway]:
        yield gateway

    return _built(gateway, shared, offered_tools(gateway, read_only=read_only))


def running(gateway: Gateway, *more: Background) -> AbstractAsyncContextManager[Gateway]:
    """A gateway with all it does beside the conversation, and `more`, within the block."""
    return gateway.running(changes.tell, *background.work(gateway.settings), *more)


def _built(
    gateway: Gateway, lifespan: Lifespan, tools: Sequence[GatewayTool]
) -> MCPServer[Gateway]:
    names = frozenset(tool.name for tool in tools)
    server: MCPServer[Gateway] = MCPServer(
        "npu-gateway",
        title="npu-gateway",
        description="Private generate, embed and semantic_search on this machine.",
        instructions=instructions.text(instructions.NOT_KNOWN, names),
        version=gateway.engine.version,
        tools=list(tools),
        extensions=[TasksExtension(gateway.tasks)],
        lifespan=lifespan,
        cache_hints=_MAY_BE_KEPT,
        subscriptions=gateway.subscribers,
        middleware=[
            instructions.Instructions(gateway, names),
            check_listeners,
            refusals.kept_short,
        ],
    )
    resources.add_to(server, gateway)
    prompts.add_to(server, gateway)
    completions.add_to(server, gateway)
    server.middleware.append(WrongNames(server))
    return server


def offered_tools(gateway: Gateway, *, read_only: bool) -> list[GatewayTool]:
    """The tools that a client may see, in a fixed order."""
    settings = gateway.settings
    tools = [*search.tools(gateway), *documents.tools(gateway)]
    if not read_only:
        tools += indexing.tools(gateway)
    tools += [*embed.tools(gateway), *generate.tools(gateway), *status.tools(gateway)]
    return [tool for tool in tools if not settings.tools or tool.name in settings.tools]
