"""The routes /models: which models answer, loaded or not, and what each can do."""

import time

from pydantic import BaseModel
from starlette.responses import Response

from engine.engine import ModelStatus
from engine.errors import ModelNotFound
from engine.models.spec import Task
from engine.residency import State
from mcp_server import concurrency
from mcp_server.http.call import Call
from mcp_server.http.endpoint import Endpoint, Endpoints
from mcp_server.http.openai.bodies import reply
from mcp_server.lifespan import Gateway

_STARTED = int(time.time())
"""The time a model was made is not known; clients want a number that stays."""

_DOES: dict[Task, str] = {"embed": "makes vectors", "generate": "writes text"}
_GIVES: dict[Task, str] = {"embed": "embeddings", "generate": "text"}


class ModelMeta(BaseModel):
    """Facts where clients of llama.cpp's server look for them."""

    n_ctx: int
    """As `max_model_len`."""
    n_embd: int | None
    """As `dimensions`."""


class Architecture(BaseModel):
    """What goes in and what comes out."""

    input_modalities: list[str]
    output_modalities: list[str]


class ModelObject(BaseModel):
    """A model, as OpenAI tells of one, with what local servers add."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "npu-gateway"
    max_model_len: int
    """Tokens that the model takes of one text or conversation."""
    task: Task
    status: State
    """As in the tool status: waiting, loading, ready, idle, failed."""
    dimensions: int | None
    """Of an embedding model's vectors."""
    meta: ModelMeta
    architecture: Architecture


class ModelList(BaseModel):
    """All models that answer here."""

    object: str = "list"
    data: list[ModelObject]


def endpoints() -> Endpoints:
    """The family's routes."""
    return (
        Endpoint(
            name="models",
            method="GET",
            path="/models",
            scope="infer",
            answer=_list,
            result=ModelList,
        ),
        Endpoint(
            name="model",
            method="GET",
            path="/models/{model:path}",
            scope="infer",
            answer=_one,
            result=ModelObject,
        ),
    )


async def served(gateway: Gateway) -> list[ModelObject]:
    """The models that answer, one a task at most."""
    models = await concurrency.run_abandonable(gateway.engine.models)
    return [_object(one) for one in models if one.model_id]


async def wrong_model(gateway: Gateway, wanted: str, task: Task) -> ModelNotFound:
    """What to say of a model that does not do what a route does, and which one does."""
    models = await served(gateway)
    does = [one.id for one in models if one.task == task]
    for one in models:
        if one.id == wanted and does:
            return ModelNotFound(f"{wanted} {_DOES[one.task]}; {does[0]} {_DOES[task]}.")
    return ModelNotFound(no_such_model(wanted, does))


async def _list(call: Call[None]) -> Response:
    """Lists the models that answer, loaded or not."""
    return reply(ModelList(data=await served(call.gateway)))


async def _one(call: Call[None]) -> Response:
    """Tells of one model."""
    wanted = str(call.path["model"])
    models = await served(call.gateway)
    for one in models:
        if one.id == wanted:
            return reply(one)
    raise ModelNotFound(no_such_model(wanted, [one.id for one in models]))


def no_such_model(wanted: str, known: list[str]) -> str:
    """A sentence on a model that does not answer here, and which ones do."""
    return f"No model {wanted[:100]!r} answers here; use {' or '.join(known) or 'none yet'}."


def _object(status: ModelStatus) -> ModelObject:
    dimensions = status.dimensions or None
    return ModelObject(
        id=status.model_id,
        created=_STARTED,
        max_model_len=status.max_tokens,
        task=status.task,
        status=status.state,
        dimensions=dimensions,
        meta=ModelMeta(n_ctx=status.max_tokens, n_embd=dimensions),
        architecture=Architecture(
            input_modalities=["text"], output_modalities=[_GIVES[status.task]]
        ),
    )
