"""The tool generate: a prompt in, the language model's text out."""

from dataclasses import asdict
from typing import Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent

from engine.decode.decoder import Answer, Piece
from engine.decode.sampling import SamplingParams
from engine.text.chat import Message, conversation
from mcp_server import arguments as words
from mcp_server import concurrency
from mcp_server.lifespan import Gateway
from mcp_server.tools.making import GatewayTool, tool


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def generate(
        prompt: words.Prompt,
        context: Context[Any, Any],
        system: words.System = "",
        max_tokens: words.MaxTokens = 256,
        temperature: words.Temperature = 0.0,
        top_k: words.SamplingTopK = 0,
        top_p: words.TopP = 1.0,
        min_p: words.MinP = 0.0,
        seed: words.Seed = -1,
        stop: words.Stop = [],  # noqa: B006 - pydantic copies it for each call.
    ) -> CallToolResult:
        """Writes an answer with the small language model on this machine: private, free, for
        short texts (summaries, rewriting, extraction). Returns only the text."""
        params = SamplingParams(
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=None if seed < 0 else seed,
            stop=tuple(stop),
        )
        return await _answer(gateway, conversation(prompt, system), params, context)

    return [tool(generate, title="Generate text", text_only=True)]


async def _answer(
    gateway: Gateway, messages: list[Message], params: SamplingParams, context: Context[Any, Any]
) -> CallToolResult:
    async with gateway.answers.slot(), gateway.model(gateway.engine.decoder, context) as decoder:
        pieces = await _pieces(decoder.generate(messages, params), params.max_tokens, context)
        last = pieces[-1]
        assert last.usage is not None
        return CallToolResult(
            content=[TextContent(type="text", text="".join(piece.text for piece in pieces))],
            _meta={
                "finish_reason": last.finish_reason,
                **asdict(last.usage),
                "model": decoder.spec.model_id,
                "provider": decoder.provider,
            },
        )


async def _pieces(answer: Answer, most: int, context: Context[Any, Any]) -> list[Piece]:
    """The pieces of an answer, each with a token told as progress; ends at once if cancelled."""
    pieces: list[Piece] = []
    tokens = 0
    async with concurrency.Queue(answer.interrupt).steps(answer) as coming:
        async for piece in coming:
            pieces.append(piece)
            if piece.token_id is not None:
                tokens += 1
                await context.report_progress(tokens, most, piece.text)
    return pieces
