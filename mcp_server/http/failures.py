"""Engine errors as OpenAI error bodies and status codes: one table.

Rule: a status that clients try again after (408, 409, 429, 5xx) is never given to what fails the
same way each time. The statuses, types and codes are those of OpenAI's API; of what it does not
have, those of notes on its clients.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from starlette.responses import Response

from engine.errors import (
    EngineError,
    InvalidInput,
    ModelNotFound,
    NotFound,
    Overloaded,
    PromptTooLong,
    StoreError,
    TextTooLong,
    Unavailable,
)

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


_REQUEST = "invalid_request_error"
_ENGINE = Kind(500, "server_error", "engine_error")

KINDS: dict[type[Exception], Kind] = {
    PromptTooLong: Kind(400, _REQUEST, "context_length_exceeded"),
    TextTooLong: Kind(400, _REQUEST, "context_length_exceeded"),
    InvalidInput: Kind(400, _REQUEST, "invalid_value"),
    ModelNotFound: Kind(404, _REQUEST, "model_not_found"),
    NotFound: Kind(404, _REQUEST, "not_found"),
    Overloaded: Kind(429, "server_overloaded", "queue_full"),
    Unavailable: Kind(503, "server_error", "model_unavailable"),
    StoreError: Kind(500, "server_error", "index_unusable"),
    EngineError: _ENGINE,
}
"""By the nearest class of an error."""


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


Retry = Literal["true", "false"]


def kind_of(error: Exception) -> Kind:
    """How an error is told; a bug as what it is, without a word on its cause."""
    if isinstance(error, Refused):
        return error.kind
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), _ENGINE)


def error_result(error: Exception) -> ErrorResult:
    """The body that tells of an error."""
    kind = kind_of(error)
    message = (
        str(error)
        if isinstance(error, EngineError)
        else ("An error in npu-gateway; its traceback is in the log of the server.")
    )
    param = error.param if isinstance(error, Refused) else None
    return ErrorResult(
        error=ErrorBody(message=message, type=kind.type, param=param, code=kind.code)
    )


def error_response(error: Exception) -> Response:
    """The whole answer that tells of an error."""
    kind = kind_of(error)
    headers: dict[str, str] = {}
    if kind.status in (429, 503):
        headers = {"retry-after": str(RETRY_SECONDS), "x-should-retry": "true"}
    elif kind.status in (413, 500):
        headers = {"x-should-retry": "false"}
    if isinstance(error, Refused):
        headers |= error.headers
    return Response(
        error_result(error).model_dump_json(),
        status_code=kind.status,
        headers=headers,
        media_type="application/json",
    )
