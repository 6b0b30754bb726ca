"""The tool status, for hosts that read no resources."""

from typing import Annotated

from mcp_types import CallToolResult, TextContent

from engine.errors import StoreError
from mcp_server import concurrency, rendering
from mcp_server.lifespan import Gateway
from mcp_server.results import IndexEntry, ModelEntry, ModelsInfo, StatusResult
from mcp_server.tools.failures import GatewayTool, tool


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def status() -> Annotated[CallToolResult, StatusResult]:
        """Tells which models answer, whether they are loaded, what is indexed, which folders may
        be indexed, and what to do about each problem."""
        result = await concurrency.run(gateway.index_queue, lambda: status_of(gateway))
        return CallToolResult(
            content=[TextContent(type="text", text=rendering.status(result))],
            structured_content=result.model_dump(),
        )

    return [tool(status, title="Status")]


def models_info(gateway: Gateway) -> ModelsInfo:
    """Models, providers and versions; never waits for a model to load."""
    engine = gateway.engine
    return ModelsInfo(
        models=[
            ModelEntry(
                task=place.task,
                state=place.state,
                model=place.model_id,
                why=place.why,
                provider=place.provider,
                dimensions=place.dimensions,
                max_tokens=place.max_tokens,
                license=place.license,
                source=place.source,
                warm=place.state == "ready",
            )
            for place in engine.models()
        ],
        execution_providers=list(engine.available_providers),
        onnxruntime=engine.runtime_version,
        version=engine.version,
    )


def status_of(gateway: Gateway) -> StatusResult:
    """`models_info` and the state of the index."""
    return StatusResult(
        **models_info(gateway).model_dump(),
        index=_index_entry(gateway),
        roots=[str(root) for root in gateway.settings.root],
        read_only=gateway.settings.read_only,
    )


def _index_entry(gateway: Gateway) -> IndexEntry:
    try:
        statistics = gateway.engine.index_statistics()
    except StoreError as error:
        return IndexEntry(
            documents=0,
            chunks=0,
            size_bytes=0,
            model="",
            dimensions=0,
            vector_search="",
            problem=str(error),
        )
    return IndexEntry(
        documents=statistics.documents,
        chunks=statistics.chunks,
        size_bytes=statistics.size_bytes,
        model=statistics.embedder_id,
        dimensions=statistics.dimensions,
        vector_search=statistics.vector_search,
        problem=gateway.engine.index_problem(),
    )
