"""The tool generate: a prompt in, the language model's text out."""

from typing import Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent

from engine.decode.decoder import Piece
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
    decoder = await gateway.loaded(gateway.engine.decoder, context)
    texts: list[str] = []
    last: Piece | None = None
    tokens = 0
    steps = decoder.generate(messages, params)
    async with gateway.answers, concurrency.Queue().steps(steps) as pieces:
        async for piece in pieces:
            texts.append(piece.text)
            last = piece
            if piece.token_id is not None:
                tokens += 1
                await context.report_progress(tokens, params.max_tokens, piece.text)
    assert last is not None
    assert last.usage is not None
    return CallToolResult(
        content=[TextContent(type="text", text="".join(texts))],
        _meta={
            "finish_reason": last.finish_reason,
            "prompt_tokens": last.usage.prompt_tokens,
            "completion_tokens": last.usage.completion_tokens,
            "model": decoder.spec.model_id,
            "provider": decoder.provider,
        },
    )
