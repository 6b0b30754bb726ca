"""The tool embed: texts in, unit vectors out."""

import base64
from typing import Annotated, Any

import numpy as np
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent

from engine.embed.embedder import Embeddings
from engine.errors import InvalidInput
from mcp_server import arguments as words
from mcp_server import concurrency
from mcp_server.lifespan import Gateway
from mcp_server.rendering import count
from mcp_server.results import EmbedResult
from mcp_server.tools.failures import GatewayTool, tool

_DECIMALS = 6
"""Of a float in the result: within 5e-7 of the vector, at half the characters of all digits."""

_FLOAT_CHARACTERS = _DECIMALS + 5
"""Of one number in JSON at most: sign, digit, point, decimals, comma and space."""


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def embed(
        texts: words.Texts,
        context: Context[Any, Any],
        kind: words.Kind = "document",
        encoding: words.Encoding = "float",
    ) -> Annotated[CallToolResult, EmbedResult]:
        """Turns texts into unit vectors on this machine, for programs that compare texts by dot
        product. To find passages use semantic_search instead: vectors are long."""
        embedder = await gateway.loaded(gateway.engine.embedder, context)
        _check_size(len(texts), embedder.dimensions, encoding)
        steps = embedder.embed_steps(texts, kind)
        async with concurrency.closing(gateway.index_queue, steps) as batches:
            taken = [batch async for batch in batches]
        return _result(embedder.gathered(taken), encoding)

    return [tool(embed, title="Embed texts")]


def _check_size(texts: int, dimensions: int, encoding: str) -> None:
    """Refuses what would not fit into one result, before any work is done."""
    one = dimensions * _FLOAT_CHARACTERS if encoding == "float" else dimensions * 16 // 3 + 8
    fits = (words.RESULT_CHARACTERS - 1_000) // one
    if texts > fits:
        less = "send fewer a call, or encoding=base64" if encoding == "float" else "send fewer"
        raise InvalidInput(
            f"{texts} vectors do not fit into one result as {encoding}, {fits} do: {less}; "
            "for whole files use index_documents or, from a shell, npu-gateway embed --json."
        )


def _result(embeddings: Embeddings, encoding: str) -> CallToolResult:
    vectors = embeddings.vectors
    listed = (
        [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
        if encoding == "base64"
        else [[round(float(x), _DECIMALS) for x in row] for row in vectors.astype(np.float64)]
    )
    result = EmbedResult(
        embeddings=listed,
        dimensions=vectors.shape[1],
        prompt_tokens=embeddings.prompt_tokens,
        truncated=list(embeddings.truncated),
        model=embeddings.model_id,
        provider=embeddings.provider,
    )
    cut = f" Cut to the model's limit: texts {list(embeddings.truncated)}." * bool(result.truncated)
    text = (
        f"{count(len(listed), 'unit vector')} of {result.dimensions} dimensions by {result.model} "
        f"on {result.provider}, {count(result.prompt_tokens, 'token')}, "
        f"in structuredContent.embeddings.{cut}"
    )
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=result.model_dump()
    )
