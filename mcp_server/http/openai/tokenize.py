"""The routes /tokenize and /detokenize, as llama.cpp's server and vLLM's have them.

Rule: a text never becomes a language model's control tokens, whatever it spells; those that stand
between messages are the chat template's.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BaseModel, Field, model_validator
from starlette.responses import Response

from engine.decode.decoder import Decoder
from engine.embed.embedder import Embedder
from engine.errors import ModelNotFound
from engine.models.spec import ModelSpec, Task
from engine.text.prompts import RawText
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import Refused
from mcp_server.http.openai.bodies import RequestBody, reply
from mcp_server.http.openai.conversation import ChatMessages, chat_turns, prompt_of
from mcp_server.http.openai.models import no_such_model, served
from mcp_server.lifespan import Gateway

BodyT = TypeVar("BodyT", "TokenizeBody", "DetokenizeBody")

_Id = Annotated[int, Field(ge=0, lt=2**31)]


class TokenizeBody(RequestBody):
    """A text or a conversation: one of `content`, `prompt` and `messages`."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "parse_special": "a text is never read as control tokens here, send messages.",
        "with_pieces": "send single ids to /detokenize.",
        "return_token_strs": "send single ids to /detokenize.",
        "tools": "count prompts with tools at /responses/input_tokens.",
    }

    model: str | None = None
    """The language model unless another one is named."""
    content: str | None = None
    """A text by itself, as llama.cpp names it."""
    prompt: str | None = None
    """A text with the tokens that the model expects around it, as vLLM names it."""
    messages: ChatMessages | None = None
    """A conversation, with which the language model is asked for an answer."""
    add_special: bool = False
    """Of content: whether the tokens around it are given too."""
    add_special_tokens: bool = True
    """The same of prompt."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [one for one in (self.content, self.prompt, self.messages) if one is not None]
        if len(given) != 1:
            raise Refused(
                "Give one of content, prompt and messages.",
                param="content",
                code="invalid_value" if given else "missing_required_parameter",
            )
        return self

    @property
    def text(self) -> tuple[str, bool]:
        """The text, and whether the tokens around it are wanted."""
        if self.content is not None:
            return self.content, self.add_special
        return self.prompt or "", self.add_special_tokens


class TokenizeResult(BaseModel):
    """The tokens of a text or conversation."""

    tokens: list[int]
    count: int
    max_model_len: int
    """How many the model takes at most, with its answer."""
    model: str


class DetokenizeBody(RequestBody):
    """Tokens of a model."""

    tokens: list[_Id]
    model: str | None = None
    """The language model unless another one is named."""


class DetokenizeResult(BaseModel):
    """The text of some tokens."""

    content: str
    """As llama.cpp names it."""
    prompt: str
    """The same, as vLLM names it."""
    model: str


def endpoints() -> Endpoints:
    """The family's routes."""
    return (
        Endpoint(
            name="tokenize",
            method="POST",
            path="/tokenize",
            scope="infer",
            answer=_tokenize,
            body=TokenizeBody,
            result=TokenizeResult,
        ),
        Endpoint(
            name="detokenize",
            method="POST",
            path="/detokenize",
            scope="infer",
            answer=_detokenize,
            body=DetokenizeBody,
            result=DetokenizeResult,
        ),
    )


async def _tokenize(call: Call[TokenizeBody]) -> Response:
    """Gives the tokens of a text or conversation."""
    body = call.body
    return await _with_model(
        call,
        lambda embedder: _told(_embedder_ids(embedder, body), embedder.spec),
        lambda decoder: _told(_decoder_ids(decoder, body), decoder.spec),
    )


async def _detokenize(call: Call[DetokenizeBody]) -> Response:
    """Gives the text of tokens, control tokens as they are spelled."""

    def told(model: Embedder | Decoder) -> Response:
        text = model.detokenize(call.body.tokens)
        return reply(DetokenizeResult(content=text, prompt=text, model=model.spec.model_id))

    return await _with_model(call, told, told)


async def _with_model(
    call: Call[BodyT],
    of_embedder: Callable[[Embedder], Response],
    of_decoder: Callable[[Decoder], Response],
) -> Response:
    """What is made of the model that a body names, once that is in memory."""
    gateway, wanted, caller = call.gateway, call.body.model, call.caller.key_id
    if await _task(gateway, wanted) == "embed":
        async with gateway.model(gateway.engine.embedder, call.tell) as embedder:
            return await gateway.tokenised(lambda: of_embedder(embedder), caller)
    async with gateway.model(gateway.engine.decoder, call.tell) as decoder:
        return await gateway.tokenised(lambda: of_decoder(decoder), caller)


async def _task(gateway: Gateway, wanted: str | None) -> Task:
    """What a model is for; that of the language model where none is named."""
    if wanted is None:
        return "generate"
    known: dict[str, Task] = {one.id: one.task for one in await served(gateway)}
    if wanted not in known:
        raise ModelNotFound(no_such_model(wanted, list(known)))
    return known[wanted]


def _embedder_ids(embedder: Embedder, body: TokenizeBody) -> list[int]:
    if body.messages is not None:
        raise Refused(f"{embedder.spec.model_id} reads texts only.", param="messages")
    text, has_frame = body.text
    return embedder.tokenize(text, special_tokens=has_frame)


def _decoder_ids(decoder: Decoder, body: TokenizeBody) -> list[int]:
    if body.messages is not None:
        return decoder.prompt_ids(prompt_of(chat_turns(body.messages), None))
    text, has_frame = body.text
    return decoder.prompt_ids(RawText(text)) if text and has_frame else decoder.tokenize(text)


def _told(tokens: list[int], spec: ModelSpec) -> Response:
    return reply(
        TokenizeResult(
            tokens=tokens, count=len(tokens), max_model_len=spec.max_tokens, model=spec.model_id
        )
    )
