"""The prompt answer_from_documents: a question with the passages that may answer it."""

from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from pydantic import Field

from engine.errors import EngineError, InvalidInput
from mcp_server import rendering, reports
from mcp_server.lifespan import Gateway

_PASSAGES = 6
_CHARACTERS = 3_000


def add_to(server: MCPServer[Any], gateway: Gateway) -> None:
    """Registers the prompt."""

    @server.prompt(title="Answer from my documents")
    async def answer_from_documents(  # pyright: ignore[reportUnusedFunction]
        question: Annotated[str, Field(description="What to answer.")],
        context: Context[Any, Any],
    ) -> str:
        """Finds passages in the indexed documents and asks for an answer that cites them."""
        try:
            found = await gateway.searched(
                question, context, lambda query: gateway.engine.nearest(query, _PASSAGES)
            )
        except EngineError as error:
            code = INVALID_PARAMS if isinstance(error, InvalidInput) else INTERNAL_ERROR
            raise MCPError(code=code, message=str(error)) from error
        if not found.hits:
            return f"{question}\n\n(Nothing is indexed yet. {rendering.HOW_TO_INDEX}.)"
        passages = [
            f"[{number}] {hit.document.path} lines {hit.chunk.line_start}-{hit.chunk.line_end}\n"
            f"{reports.snippet(hit.chunk.text, _CHARACTERS)[0]}"
            for number, hit in enumerate(found.hits, 1)
        ]
        return "\n\n".join(
            [
                "Answer the question from the passages below, citing them as [1], [2] with path "
                "and lines. If they do not hold the answer, say so.",
                rendering.UNTRUSTED,
                *passages,
                f"Question: {question}",
            ]
        )
