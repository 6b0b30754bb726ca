"""The prompt answer_from_documents: a question with the passages that may answer it.

Of mcp 2.3: to ask for a prompt with other arguments is a bug of the server; the protocol wants it
refused.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, Prompt
from pydantic import Field

from engine.errors import EngineError, InvalidInput
from mcp_server import passages, rendering
from mcp_server.asking import asker
from mcp_server.budgets import PROMPT_TOKENS, QUESTION_CHARACTERS
from mcp_server.lifespan import Gateway
from mcp_server.passages import Asked
from mcp_server.plain import in_a_line

_PASSAGES = 6
_CHARACTERS = 3_000


def add_to(server: MCPServer[Any], gateway: Gateway) -> None:
    """Registers the prompt, and refuses what asks for none."""

    async def refusing(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "prompts/get":
            _check(ctx.params or {}, await server.list_prompts())
        return await call_next(ctx)

    server.middleware.append(refusing)

    @server.prompt(title="Answer from my documents")
    async def answer_from_documents(  # pyright: ignore[reportUnusedFunction]
        question: Annotated[str, Field(description="What to answer.")],
        context: Context[Any, Any],
    ) -> str:
        """Finds passages in the indexed documents and asks for an answer that cites them."""
        if len(question) > QUESTION_CHARACTERS:
            most = f"{QUESTION_CHARACTERS:,} characters at most"
            raise MCPError(code=INVALID_PARAMS, message=f"A question has {most}: shorten it.")
        asked = Asked(
            query=question,
            top_k=_PASSAGES,
            snippet_characters=_CHARACTERS,
            max_tokens=PROMPT_TOKENS,
        )
        library, caller = gateway.engine.library, asker(context).name
        try:
            request = await gateway.read(lambda: asked.request(library), caller)
            found = await gateway.searched(
                request,
                context.report_progress,
                lambda matches: passages.result(library, asked, matches),
                caller,
            )
        except EngineError as error:
            code = INVALID_PARAMS if isinstance(error, InvalidInput) else INTERNAL_ERROR
            raise MCPError(code=code, message=str(error)) from error
        if not found.passages:
            return f"{question}\n\n({rendering.search(found)})"
        quoted = [
            f"[{number}] {in_a_line(one.path)} lines {one.line_start}-{one.line_end}\n{one.text}"
            for number, one in enumerate(found.passages, 1)
        ]
        return "\n\n".join(
            [
                "Answer the question from the passages below, citing them as [1], [2] with path "
                "and lines. If they do not hold the answer, say so.",
                rendering.UNTRUSTED,
                *quoted,
                f"Question: {question}",
            ]
        )


def _check(params: Mapping[str, Any], prompts: Sequence[Prompt]) -> None:
    """Raises `MCPError` if a prompt takes other arguments."""
    name, arguments = params.get("name"), cast("object", params.get("arguments") or {})
    known = {one.name: one.arguments or [] for one in prompts}
    if not isinstance(name, str) or name not in known or not isinstance(arguments, dict):
        return  # Others refuse it.
    given = cast("dict[str, Any]", arguments)
    taken = {one.name for one in known[name]}
    if missing := [one.name for one in known[name] if one.required and one.name not in given]:
        raise _refusal(f"{name} needs {' and '.join(missing)}.")
    if strange := sorted(set(given) - taken):
        takes = " and ".join(sorted(taken)) or "none"
        raise _refusal(f"{name} takes no {strange[0][:200]}; it takes {takes}.")


def _refusal(sentence: str) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=sentence)
