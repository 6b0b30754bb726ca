"""The route /embeddings: texts in, unit vectors out."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from engine.embed.embeddings import Embeddings
from engine.errors import ModelNotFound
from mcp_server import reports
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.failures import Refused
from mcp_server.http.openai.bodies import RequestBody, reply
from mcp_server.http.openai.models import no_such_model

_MOST_TEXTS = 2_048


class EmbeddingsBody(RequestBody):
    """A request for vectors."""

    IGNORED: ClassVar[tuple[str, ...]] = ("user",)

    input: str | Annotated[list[str], Field(min_length=1, max_length=_MOST_TEXTS)]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


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


def endpoints() -> Endpoints:
    """The family's routes."""
    return (
        Endpoint(
            name="embeddings",
            method="POST",
            path="/embeddings",
            scope="infer",
            answer=_embed,
            body=EmbeddingsBody,
            result=EmbeddingsResult,
        ),
    )


async def _embed(call: Call[EmbeddingsBody]) -> Response:
    """Turns texts into unit vectors."""
    gateway, body = call.gateway, call.body
    texts = [body.input] if isinstance(body.input, str) else body.input
    async with gateway.model(gateway.engine.embedder, call.tell) as embedder:
        model_id = embedder.spec.model_id
        if body.model != model_id:
            raise ModelNotFound(no_such_model(body.model, [model_id]))
        if body.dimensions not in (None, embedder.dimensions):
            raise Refused(
                f"{model_id} makes vectors of {embedder.dimensions} dimensions; leave dimensions "
                "out.",
                param="dimensions",
            )
        async with gateway.embeddings.slot(call.caller.key_id):
            found = await gateway.embedded(embedder, texts, "document", truncate=False)
    call.visit.spent.prompt_tokens += found.prompt_tokens
    return reply(_result(found, body.encoding_format))


def _result(found: Embeddings, encoding: Literal["float", "base64"]) -> EmbeddingsResult:
    vectors = reports.embeddings(found, encoding).embeddings
    return EmbeddingsResult(
        data=[EmbeddingObject(index=i, embedding=vector) for i, vector in enumerate(vectors)],
        model=found.model_id,
        usage=EmbeddingsUsage(prompt_tokens=found.prompt_tokens, total_tokens=found.prompt_tokens),
    )
