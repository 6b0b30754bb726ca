"""The tool generate: a prompt in, the language model's text out."""

from typing import Any

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, TextContent

from engine.decode.completion import completed
from engine.decode.decoder import Piece
from engine.decode.output_forms import Choices, JsonSchema, OutputForm, Regex
from engine.decode.sampling import SamplingParams
from engine.errors import InvalidInput
from engine.text.chat import Message, conversation
from mcp_server import arguments as words
from mcp_server import reports
from mcp_server.asking import Asker, asker
from mcp_server.budgets import LARGEST_CHARACTERS
from mcp_server.generation import Generation, generating
from mcp_server.lifespan import Gateway
from mcp_server.tools.making import GatewayTool, tool

_Asked = tuple[list[Message], SamplingParams, OutputForm | None]


def tools(gateway: Gateway) -> list[GatewayTool]:
    """The family's tools over a gateway."""

    async def generate(
        prompt: words.Prompt,
        context: Context[Any, Any],
        system: words.System = "",
        max_tokens: words.MaxTokens = 256,
        json_schema: words.JsonSchemaObject = None,
        regex: words.Pattern = None,
        choices: words.ChoiceTexts = None,
        temperature: words.Temperature = 0.0,
        top_k: words.SamplingTopK = 0,
        top_p: words.TopP = 1.0,
        min_p: words.MinP = 0.0,
        repetition_penalty: words.RepetitionPenalty = 1.0,
        presence_penalty: words.PresencePenalty = 0.0,
        frequency_penalty: words.FrequencyPenalty = 0.0,
        seed: words.Seed = -1,
        stop: words.Stop = [],  # noqa: B006 - pydantic copies it for each call.
    ) -> CallToolResult:
        """Writes an answer with the small language model on this machine: private, free, for
        short texts (summaries, extraction, classification). Returns only the text."""
        form = _form(json_schema, regex, choices)
        params = SamplingParams(
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            seed=None if seed < 0 else seed,
            stop=tuple(stop),
        )
        return await _answer(gateway, (conversation(prompt, system), params, form), context)

    return [tool(generate, title="Generate text", text_only=True)]


def _form(
    schema: dict[str, Any] | None, pattern: str | None, choices: list[str] | None
) -> OutputForm | None:
    """What the answer must look like; None if it is free.

    Raises:
        InvalidInput: More than one form is asked for, or one cannot be kept to.
    """
    given = {"json_schema": schema, "regex": pattern, "choices": choices}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise InvalidInput(f"An answer has one form: give only one of {' and '.join(names)}.")
    if schema is not None:
        return JsonSchema(schema)
    if pattern is not None:
        return Regex(pattern)
    return Choices(tuple(choices)) if choices is not None else None


async def _answer(gateway: Gateway, asked: _Asked, context: Context[Any, Any]) -> CallToolResult:
    by, most = asker(context), asked[1].max_tokens
    by.reserve(most)
    async with generating(
        gateway, lambda decoder: [decoder.generate(*asked)], context.report_progress, by.name
    ) as generation:
        found = completed(await _pieces(generation, most, context, by))
        return CallToolResult(
            content=[TextContent(type="text", text=found.text)],
            _meta=reports.completion(found, generation.decoder),
        )


async def _pieces(
    generation: Generation, most: int, context: Context[Any, Any], by: Asker
) -> list[Piece]:
    """The pieces of the one answer, each with a token told as progress and counted.

    Raises:
        InvalidInput: The answer is longer than a result may be.
    """
    pieces: list[Piece] = []
    tokens = characters = 0
    async for _, piece in generation.pieces:
        pieces.append(piece)
        characters += len(piece.text)
        if characters > LARGEST_CHARACTERS:
            raise InvalidInput(
                f"The answer has grown to more than {LARGEST_CHARACTERS:,} characters and was "
                "ended: lower max_tokens, or ask for less."
            )
        if piece.usage is not None:
            by.spend(prompt_tokens=piece.usage.prompt_tokens)
        if piece.token_id is not None:
            tokens += 1
            by.spend(completion_tokens=1)
            await context.report_progress(tokens, most, piece.text)
    return pieces
