"""The route /embeddings: texts in, unit vectors out.

Rule: numbers are the vectors' own to the last bit, so that both encodings give equal vectors; a
text is cut only where the caller asks for it, and then that is told.
"""

import base64
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from engine.embed.embedder import Embedder
from engine.embed.embeddings import Embeddings
from mcp_server import concurrency
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import Refused
from mcp_server.http.openai.bodies import RequestBody, reply
from mcp_server.http.openai.models import wrong_model

_MOST_TEXTS = 2_048

_AT_ONCE = 8
"""Texts that are counted and vectors that are written on the event loop: more take a thread."""

_SHORT = 20_000
"""Characters of texts that are counted on the event loop: within 2 ms."""


def _texts(value: Any) -> Any:
    """The input as it is, if there is a text in each of its places.

    Raises:
        Refused: It is not; `param` says where.
    """
    if not isinstance(value, list):
        _check_text(value, "input")
        return value
    texts = cast("list[Any]", value)
    if not 0 < len(texts) <= _MOST_TEXTS:
        raise Refused(f"input takes 1 to {_MOST_TEXTS:,} texts.", param="input")
    for index, text in enumerate(texts):
        _check_text(text, f"input.{index}")
    return texts


def _check_text(value: Any, param: str) -> None:
    if isinstance(value, int | list) and not isinstance(value, bool) and param != "input":
        raise Refused(
            "input takes texts, not the token ids of another model: send texts; of LangChain's "
            "OpenAIEmbeddings, set check_embedding_ctx_length=False.",
            param="input",
            code="invalid_type",
        )
    if not isinstance(value, str):
        raise Refused(f"{param} must be a text.", param=param, code="invalid_type")
    if not value.strip():
        raise Refused(f"{param} is empty; leave it out or give it some text.", param=param)


class EmbeddingsBody(RequestBody):
    """A request for vectors."""

    IGNORED: ClassVar[tuple[str, ...]] = ("user",)

    input: Annotated[
        str | Annotated[list[str], Field(min_length=1, max_length=_MOST_TEXTS)],
        BeforeValidator(_texts),
    ]
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    """None is float."""
    dimensions: int | None = None
    input_type: Literal["query", "document"] = "document"
    """What a text is: some models read what is searched with otherwise than what is searched; not
    OpenAI's."""
    truncate: bool = False
    """Whether texts that are too long are cut; not OpenAI's."""


class EmbeddingObject(BaseModel):
    """One vector."""

    object: str = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResult(BaseModel):
    """One vector a text, in the order of the texts."""

    object: str = "list"
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingsUsage
    truncated: list[int]
    """Indices of texts that were cut; not OpenAI's."""


def endpoints() -> Endpoints:
    """The family's routes."""
    return (
        Endpoint(
            name="embeddings",
            method="POST",
            path="/embeddings",
            scope="infer",
            answer=_embed,
            reads="input",
            body=EmbeddingsBody,
            operation="embeddings",
            result=EmbeddingsResult,
        ),
    )


async def _embed(call: Call[EmbeddingsBody]) -> Response:
    """Turns texts into unit vectors."""
    gateway, body = call.gateway, call.body
    texts = [body.input] if isinstance(body.input, str) else body.input
    async with gateway.model(gateway.engine.embedder, call.tell) as embedder:
        if body.model != embedder.spec.model_id:
            raise await wrong_model(gateway, body.model, "embed")
        _check_dimensions(body, embedder)
        call.visit.reserve(await _counted(texts, call, embedder))
        async with gateway.embeddings.slot(call.caller.key_id):
            found = await gateway.embedded(embedder, texts, body.input_type, truncate=body.truncate)
    call.visit.spent.prompt_tokens += found.prompt_tokens
    if len(texts) <= _AT_ONCE:
        return _reply(found, body.encoding_format)
    return await concurrency.run_abandonable(lambda: _reply(found, body.encoding_format))


def _check_dimensions(body: EmbeddingsBody, embedder: Embedder) -> None:
    if body.dimensions not in (None, embedder.dimensions):
        raise Refused(
            f"{embedder.spec.model_id} makes vectors of {embedder.dimensions} dimensions only; "
            "leave dimensions out.",
            param="dimensions",
        )


async def _counted(texts: Sequence[str], call: Call[EmbeddingsBody], embedder: Embedder) -> int:
    """The tokens that will be read, special ones included.

    Raises:
        Refused: A text is too long, and is not to be cut.
        Overloaded: Too many others have theirs counted.
    """
    body = call.body
    prefix = embedder.spec.query_prefix if body.input_type == "query" else ""
    whole = [prefix + text for text in texts] if prefix else texts
    if sum(map(len, whole)) <= _SHORT:
        counts = embedder.count_tokens(whole)
    else:
        counts = await call.gateway.tokenised(
            lambda: embedder.count_tokens(whole), call.caller.key_id
        )
    most = embedder.text_tokens
    for index, count in enumerate(counts):
        if count > most and not body.truncate:
            raise Refused(
                f"The text has {count:,} tokens and {embedder.spec.model_id} reads {most:,}: "
                "divide it, or send truncate: true to have it cut.",
                param="input" if isinstance(body.input, str) else f"input.{index}",
                code="context_length_exceeded",
            )
    framing = embedder.max_tokens - most
    return sum(min(count, most) + framing for count in counts)


def _reply(found: Embeddings, encoding: Literal["float", "base64"] | None) -> Response:
    vectors: list[Any] = (
        [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in found.vectors]
        if encoding == "base64"
        else found.vectors.tolist()
    )
    return reply(
        EmbeddingsResult(
            data=[EmbeddingObject(index=i, embedding=vector) for i, vector in enumerate(vectors)],
            model=found.model_id,
            usage=EmbeddingsUsage(
                prompt_tokens=found.prompt_tokens, total_tokens=found.prompt_tokens
            ),
            truncated=list(found.truncated),
        )
    )
