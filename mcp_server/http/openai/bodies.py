"""What bodies of several families share.

Rule: a field is here or in its family only if it is honoured. Fields that may come and change
nothing are named in `IGNORED` of a body, those that would change what is asked for in `REFUSED`;
others are passed over, as OpenAI's clients expect of a server.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, model_validator
from starlette.responses import Response

from mcp_server.http.failures import Refused


class RequestBody(BaseModel):
    """What a caller sends."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    IGNORED: ClassVar[tuple[str, ...]] = ()
    """Known fields that are accepted and change nothing here."""
    REFUSED: ClassVar[Mapping[str, str]] = {}
    """Known fields that are refused unless they ask for nothing, with what to do instead. An empty
    object asks for what the field is named after."""

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, value: Any) -> Any:
        given = cast("dict[str, Any]", value)
        for name, advice in cls.REFUSED.items():
            asked = given.get(name)
            if asked or asked == {}:
                raise Refused(
                    f"{name} is not supported: {advice}", param=name, code="unsupported_parameter"
                )
        return value


def reply(result: BaseModel) -> Response:
    """A good answer."""
    return Response(result.model_dump_json(), media_type="application/json")
