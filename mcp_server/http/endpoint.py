"""Endpoint: one row of the route table, from which routes, documents and checks are made."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal

from pydantic import BaseModel
from starlette.responses import Response

from mcp_server.http.call import BodyT, Call
from mcp_server.keys import Scope

JSON = "application/json"

Method = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[BodyT]):
    """A route, and who may call it."""

    name: str
    """One word for logs and metrics; no other endpoint has it."""
    method: Method
    path: str
    """As in Starlette. OpenAI's routes are without the prefix /v1, which may be there or not."""
    scope: Scope | Literal["any"] | None
    """What a key must allow, any if any key will do; None lets everyone in."""
    answer: Callable[[Call[BodyT]], Awaitable[Response]]
    body: type[BodyT] | None = None
    """A pydantic class; None for a request without one."""
    result: type[BaseModel] | None = None
    """What a good answer holds; None where that is said nowhere."""
    media_type: str = JSON
    """Of a good answer."""
    chunk: Any = None
    """What each event of a stream holds, a pydantic class or a union of some; None: no streams."""
    reads: str = ""
    """The field of the body that a model reads, which its errors on empty or long texts are of."""
    query: type[BaseModel] | None = None
    """What may stand behind the question mark; None for nothing. Told here, checked by `answer`."""
    advice: str = ""
    """What to do instead, for whoever comes with a method that is not taken."""
    operation: str = ""
    """What a model does for it, in the words of OpenTelemetry's gen_ai.operation.name."""
    is_versioned: bool = True
    """Whether it is there under /v1 too."""
    is_page: bool = False
    """People open it in a browser, which asks them for the key as a password."""

    @property
    def summary(self) -> str:
        """The first sentence on what it does."""
        return (self.answer.__doc__ or "").strip().partition("\n")[0]


Endpoints = tuple[Endpoint[Any], ...]
