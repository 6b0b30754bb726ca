"""The route /completions: texts in, what follows them out, at once or as it comes.

Knows no conversation: a prompt is read as it is, without a chat template. Rule: a whole answer is
the fold of the stream's chunks.
"""

import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from engine.decode.decoder import Decoder, Piece
from engine.text.prompts import RawText
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import Refused
from mcp_server.http.openai.answers import AnswerBody, Asked, answering
from mcp_server.http.openai.logprobs import ShownTokens, ToldToken
from mcp_server.http.openai.sampling import ChoiceCount, SamplingFields, TokenLimit, listed
from mcp_server.http.openai.sending import StreamOptions, sent

_MOST_PROMPTS = 64
_USUAL_TOKENS = 16
"""Of an answer, as OpenAI has it."""


def _texts(value: Any) -> Any:
    """A list of texts; token ids are refused."""
    texts = listed(value)
    parts = cast("list[Any]", texts) if isinstance(texts, list) else []
    if any(isinstance(part, int | list) for part in parts):
        raise Refused("prompt takes texts; token ids are not read.", param="prompt")
    return cast("Any", texts)


_Texts = Annotated[list[str], Field(min_length=1, max_length=_MOST_PROMPTS)]


class CompletionsBody(SamplingFields):
    """A request for what follows texts."""

    IGNORED: ClassVar[tuple[str, ...]] = ("user",)
    REFUSED: ClassVar[Mapping[str, str]] = {
        "suffix": "the models here do not fill in text between two others; leave it out.",
        "response_format": "use /chat/completions.",
        "structured_outputs": "use response_format of /chat/completions.",
        "guided_json": "use response_format of /chat/completions.",
        "guided_regex": "use response_format of /chat/completions.",
        "guided_choice": "use response_format of /chat/completions.",
        "guided_grammar": "use response_format of /chat/completions.",
        "grammar": "use response_format of /chat/completions.",
    }

    model: str
    prompt: Annotated[_Texts, BeforeValidator(_texts, json_schema_input_type=str | _Texts)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: ChoiceCount | None = None
    best_of: ChoiceCount | None = None
    max_tokens: TokenLimit | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None


class TextLogprobs(BaseModel):
    """The tokens of a text, as lists of the same length."""

    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: list[dict[str, float]] = []
    """The most probable ones, and the chosen one."""
    text_offset: list[int] = []
    """Characters of the text before each."""


class TextChoice(BaseModel):
    """One answer, or a piece of it."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class CompletionResult(AnswerBody):
    """A whole answer, or a piece of a stream."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[TextChoice]


def endpoints() -> Endpoints:
    """The family's routes."""
    return (
        Endpoint(
            name="completions",
            method="POST",
            path="/completions",
            scope="infer",
            answer=_complete,
            operation="text_completion",
            reads="prompt",
            body=CompletionsBody,
            result=CompletionResult,
            chunk=CompletionResult,
        ),
    )


async def _complete(call: Call[CompletionsBody]) -> Response:
    """Writes what follows texts."""
    body, chunks = call.body, _chunks(call, _asked(call.body))
    return await sent(chunks, _folded, stream=body.stream, options=body.stream_options)


def _asked(body: CompletionsBody) -> Asked:
    choices = body.n or 1
    if body.best_of not in (None, choices):
        raise Refused("best_of must be what n is; leave it out.", param="best_of")
    if body.echo and body.logprobs is not None:
        raise Refused(
            "echo and logprobs do not go together: prompts have no probabilities here.",
            param="echo",
        )
    return Asked(
        model=body.model,
        prompts=[RawText(text) for text in body.prompt],
        params=partial(
            body.sampling, max_tokens=body.max_tokens or _USUAL_TOKENS, logprobs=body.logprobs
        ),
        choices=choices,
        has_logprobs=body.logprobs is not None,
    )


async def _chunks(
    call: Call[CompletionsBody], asked: Asked
) -> AsyncGenerator[list[CompletionResult]]:
    body = call.body
    async with answering(call, asked) as work:
        made = partial(
            CompletionResult,
            id=f"cmpl-{secrets.token_hex(12)}",
            created=call.created,
            model=asked.model,
            system_fingerprint=work.fingerprint,
        )
        before = [text if body.echo else "" for text in body.prompt for _ in range(asked.choices)]
        choices = [_Choice(i, work.decoder, asked, text) for i, text in enumerate(before)]
        async for pieces in work.coming:
            read = (choices[index].read(piece) for index, piece in pieces)
            yield [made(choices=[choice]) for parts in read for choice in parts]
        yield [made(choices=[], usage=work.usage())]


class _Choice:
    """One answer on its way into chunks."""

    def __init__(self, index: int, decoder: Decoder, asked: Asked, before: str) -> None:
        self._index = index
        self._before = before
        """Text of the prompt that is still to be shown."""
        self._tokens = ShownTokens(decoder.token_bytes) if asked.has_logprobs else None
        self._has_begun = False

    def read(self, piece: Piece) -> Iterator[TextChoice]:
        """What a piece adds; the first chunk comes with the first piece, text or not."""
        if self._tokens and piece.logprob and not piece.is_stop_token:
            self._tokens.add(piece.logprob)
        if piece.text or piece.finish_reason or not self._has_begun:
            self._has_begun = True
            text, self._before = self._before + piece.text, ""
            yield TextChoice(
                index=self._index,
                text=text,
                logprobs=self._logprobs(piece),
                finish_reason=piece.finish_reason,
            )

    def _logprobs(self, piece: Piece) -> TextLogprobs | None:
        if self._tokens is None:
            return None
        told = self._tokens.show(piece.text)
        if piece.finish_reason == "length":
            told += self._tokens.rest()
        return _logprobs(told)


def _logprobs(told: Sequence[ToldToken]) -> TextLogprobs:
    return TextLogprobs(
        tokens=[one.token.text for one in told],
        token_logprobs=[one.token.logprob for one in told],
        top_logprobs=[{t.text: t.logprob for t in (one.token, *one.top)} for one in told],
        text_offset=[one.characters_before for one in told],
    )


def _folded(chunks: Sequence[CompletionResult]) -> CompletionResult:
    """The answer whose chunks these are."""
    by_index: dict[int, list[TextChoice]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            by_index.setdefault(choice.index, []).append(choice)
    folded = [_folded_choice(by_index[index]) for index in sorted(by_index)]
    return chunks[-1].model_copy(update={"choices": folded})


def _folded_choice(parts: Sequence[TextChoice]) -> TextChoice:
    told = [part.logprobs for part in parts if part.logprobs is not None]
    return parts[-1].model_copy(
        update={
            "text": "".join(part.text for part in parts),
            "logprobs": _joined(told) if told else None,
        }
    )


def _joined(parts: Sequence[TextLogprobs]) -> TextLogprobs:
    return TextLogprobs(
        tokens=[one for part in parts for one in part.tokens],
        token_logprobs=[one for part in parts for one in part.token_logprobs],
        top_logprobs=[one for part in parts for one in part.top_logprobs],
        text_offset=[one for part in parts for one in part.text_offset],
    )
