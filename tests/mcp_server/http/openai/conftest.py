"""The official client of OpenAI's API, pointed at the server that tests share."""

from collections.abc import Iterator

import pytest
from openai import OpenAI


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
