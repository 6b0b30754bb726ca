"""Sending: the chunks of an answer as frames as they come, or folded into one when all are there.

Rule: a stream is the truth, and a whole answer the fold of its chunks.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from pydantic import BaseModel
from starlette.responses import Response

from engine.errors import EngineError
from mcp_server.concurrency import run_abandonable
from mcp_server.http.failures import error_result
from mcp_server.http.openai.answers import AnswerBody
from mcp_server.http.openai.bodies import reply
from mcp_server.http.streaming import DONE, EventStream, Frames, frame

ChunkT = TypeVar("ChunkT", bound=AnswerBody)


class StreamOptions(BaseModel):
    """How a stream is sent."""

    include_usage: bool | None = None


async def sent(
    chunks: AsyncGenerator[list[ChunkT]],
    folded: Callable[[Sequence[ChunkT]], AnswerBody],
    *,
    stream: bool | None,
    options: StreamOptions | None,
) -> Response:
    """The answer whose chunks these are, as it comes or whole."""
    if stream:
        return EventStream(_framed(chunks, options))
    async with aclosing(chunks):
        made = [chunk async for some in chunks for chunk in some]
    return await run_abandonable(lambda: reply(folded(made)))


async def _framed(
    chunks: AsyncGenerator[Sequence[AnswerBody]], options: StreamOptions | None
) -> Frames:
    """The frames of a stream; a failure after the first is a frame of its own, and the last."""
    with_usage = options is not None and options.include_usage is True
    left_out = None if with_usage else {"usage"}
    has_begun = False
    async with aclosing(chunks):
        try:
            async for some in chunks:
                told = [one for one in some if with_usage or one.usage is None]
                if told:
                    has_begun = True
                    frames = [f"data: {one.model_dump_json(exclude=left_out)}\n\n" for one in told]
                    yield "".join(frames).encode()
        except Exception as error:
            if not has_begun:
                raise
            yield frame(error_result(error))
            if not isinstance(error, EngineError):
                raise
            return
    yield DONE
