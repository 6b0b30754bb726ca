"""Engine errors as OpenAI error bodies and status codes: one table.

Rules: what may succeed a moment later has a status that clients try again after (429, 503) and says
when; what fails the same way each time has one that they do not, or tells them not to. An error of
the machine names no path: its own words go to the log. The statuses, types and codes are those of
OpenAI's API; of what it does not have, those that its clients make the best of.
"""

import logging
import math
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.responses import Response

from engine.errors import (
    EmptyInput,
    EngineError,
    FetchFailed,
    InvalidInput,
    ModelBroken,
    ModelMissing,
    ModelNotFound,
    NotFound,
    NpuFailed,
    Overloaded,
    PromptTooLong,
    StoreError,
    TextTooLong,
    Unavailable,
)
from mcp_server.http.rates import RateLimited
from mcp_server.lifespan import StillLoading, Stopping

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2
"""After which what was refused for the moment may be asked for again, where nobody knows better."""


class ErrorBody(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResult(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorBody


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of failure is told."""

    status: int
    type: str
    code: str
    told: str = ""
    """What the caller is told instead of the error's own words, which are for the log."""
    is_lasting: bool = False
    """It fails the same way each time, though its status does not say so."""


_REQUEST = "invalid_request_error"
_SERVER = "server_error"
_ENGINE = Kind(
    500,
    _SERVER,
    "engine_error",
    "An error in npu-gateway; its traceback is in the log of the server.",
    is_lasting=True,
)
_MODEL = Kind(
    503,
    _SERVER,
    "model_unusable",
    "The model cannot be used; the log of the server says why, and npu-gateway doctor what to do.",
    is_lasting=True,
)
_INDEX = Kind(
    500,
    _SERVER,
    "index_unusable",
    "The index cannot be used; the log of the server says why, and npu-gateway doctor what to do.",
    is_lasting=True,
)

KINDS: dict[type[Exception], Kind] = {
    PromptTooLong: Kind(400, _REQUEST, "context_length_exceeded"),
    TextTooLong: Kind(400, _REQUEST, "context_length_exceeded"),
    InvalidInput: Kind(400, _REQUEST, "invalid_value"),
    ModelNotFound: Kind(404, _REQUEST, "model_not_found"),
    ModelMissing: Kind(404, _REQUEST, "model_not_found"),
    NotFound: Kind(404, _REQUEST, "not_found"),
    RateLimited: Kind(429, "rate_limit_error", "rate_limit_exceeded"),
    Overloaded: Kind(429, "server_overloaded", "queue_full"),
    Stopping: Kind(503, _SERVER, "shutting_down"),
    StillLoading: Kind(503, _SERVER, "model_loading"),
    Unavailable: Kind(503, _SERVER, "model_unavailable"),
    ModelBroken: _MODEL,
    FetchFailed: _MODEL,
    NpuFailed: _MODEL,
    StoreError: _INDEX,
    EngineError: _ENGINE,
}
"""By the nearest class of an error."""


_PARAMS = {"model_not_found": "model"}
"""The part of the body that errors of a code are about."""

_OF_WHAT_IS_READ = (PromptTooLong, TextTooLong, EmptyInput)
"""Found by the engine, which knows no body."""


class Refused(EngineError):
    """What only the wire knows to be wrong with a request."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str = "invalid_value",
        kind: Kind | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """A refusal.

        Args:
            message: What to do, for whoever sent the request.
            param: The part of the body that is wrong.
            code: For programs; `kind` has one of its own.
            kind: Status and type; None is a request that cannot be served as it is.
            headers: To be sent with it.
        """
        super().__init__(message)
        self.param = param
        self.kind = kind or Kind(400, _REQUEST, code)
        self.headers = headers or {}


def kind_of(error: Exception) -> Kind:
    """How an error is told."""
    if isinstance(error, Refused):
        return error.kind
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), _ENGINE)


def error_result(error: Exception, reads: str = "") -> ErrorResult:
    """The body that tells of an error; a bug is told without a word on its cause.

    Args:
        error: What went wrong.
        reads: The field of the request that a model reads.
    """
    kind = kind_of(error)
    return ErrorResult(
        error=ErrorBody(
            message=kind.told or str(error),
            type=kind.type,
            param=_param(error, kind, reads),
            code=kind.code,
        )
    )


def _param(error: Exception, kind: Kind, reads: str) -> str | None:
    if isinstance(error, Refused):
        return error.param
    if isinstance(error, _OF_WHAT_IS_READ):
        return reads or None
    return _PARAMS.get(kind.code)


def error_response(error: Exception, reads: str = "") -> Response:
    """The whole answer that tells of an error, as `error_result` does; what it does not tell of one
    raised on purpose is logged."""
    kind = kind_of(error)
    if kind.told and isinstance(error, EngineError):
        logger.warning("%s: %s", kind.code, error)
    return Response(
        error_result(error, reads).model_dump_json(),
        status_code=kind.status,
        headers=_advice(error, kind),
        media_type="application/json",
    )


def _advice(error: Exception, kind: Kind) -> dict[str, str]:
    """When to ask again, and other headers of an error."""
    if isinstance(error, Refused) and error.headers:
        return error.headers
    if kind.is_lasting or kind.status == 413:
        return {"x-should-retry": "false"}
    if kind.status not in (429, 503):
        return {}
    seconds = error.retry_after if isinstance(error, Overloaded) else RETRY_SECONDS
    return {
        "retry-after": str(math.ceil(seconds)),
        "retry-after-ms": str(math.ceil(seconds * 1000)),
        "x-should-retry": "true",
    }
