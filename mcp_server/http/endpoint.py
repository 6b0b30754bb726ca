"""Endpoint: one row of the route table, from which routes, documents and checks are made."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal

from pydantic import BaseModel
from starlette.responses import Response

from mcp_server.http.call import BodyT, Call, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[BodyT]):
    """A route, and who may call it."""

    name: str
    """One word for logs and metrics; no other endpoint has it."""
    method: Literal["GET", "POST"]
    path: str
    """As in Starlette. OpenAI's routes are without the prefix /v1, which may be there or not."""
    scope: Scope | None
    """What a key must allow; None lets everyone in."""
    answer: Callable[[Call[BodyT]], Awaitable[Response]]
    body: type[BodyT] | None = None
    """A pydantic class; None for a request without one."""
    result: type[BaseModel] | None = None
    """What a good answer holds; None where it is no JSON."""
    is_versioned: bool = True
    """Whether it is there under /v1 too."""

    @property
    def summary(self) -> str:
        """The first sentence on what it does."""
        return (self.answer.__doc__ or "").strip().partition("\n")[0]


Endpoints = tuple[Endpoint[Any], ...]
