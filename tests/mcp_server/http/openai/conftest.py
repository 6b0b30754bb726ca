"""The official client of OpenAI's API, pointed at the server that tests share; and its frames."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import OpenAI

_FRAME = re.compile(r"data: (.*)\n\n|: .*\n\n")

Frames = Callable[[str, dict[str, Any]], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def client(served) -> Iterator[OpenAI]:
    """As strict as it can be, without a second attempt."""
    with OpenAI(
        base_url=f"{served.url}/v1",
        api_key="none",
        max_retries=0,
        _strict_response_validation=True,
    ) as made:
        yield made


@pytest.fixture
def frames(served) -> Frames:
    """Posts a body as a stream; the objects of its frames, which are all whole."""

    def post(path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        answer = served.post(path, body | {"stream": True})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = answer.text
        assert _FRAME.sub("", text) == ""
        data = [frame for frame in _FRAME.findall(text) if frame]
        assert data.count("[DONE]") == 1
        assert data.pop() == "[DONE]"
        return [json.loads(one) for one in data]

    return post
