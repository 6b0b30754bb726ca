"""Tasks by the official client: long calls go on, short ones and older clients notice nothing."""

from typing import Any

import anyio
import pytest
from following import acknowledged, begin, ended, following, said, until
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    SubscriptionFilter,
    SubscriptionsListenRequest,
    SubscriptionsListenRequestParams,
)

from mcp_server import arguments as words

pytestmark = pytest.mark.anyio

ASKED = {"prompt": "Count to a hundred.", "max_tokens": 24}
ENDLESS = {"prompt": "Write an endless story.", "regex": "[a-z ]{3900,}", "max_tokens": 2_000}
WRITING = " of at most 2000 tokens"
FOREVER = 1e9
TIME_OUT = "Time ran out"


async def test_a_task_ends_with_the_result_that_other_clients_wait_for(home, era):
    async with following(home, era, declares=False) as (client, _):
        waited = await client.call_tool("generate", ASKED)
    async with following(home, era) as (client, gateway):
        followed = await client.call_tool("generate", ASKED)
        assert not gateway.answers.working
    assert followed.content == waited.content
    assert not followed.is_error


async def test_a_task_tells_how_far_it_is_and_never_by_progress(home):
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(*words: Any) -> None:
        told.append(words)

    async with following(home) as (client, _):
        begun = await client.session.call_tool(
            "generate", ENDLESS, progress_callback=progress, allow_claimed=True
        )
        assert (begun.result_type, begun.status) == ("task", "working")
        assert begun.ttl_ms >= 3_600_000
        assert begun.poll_interval_ms == 500
        assert not {"result", "error"} & begun.model_fields_set
        seen = await said(client.session, begun.task_id, WRITING)
        assert (seen.status, seen.created_at) == ("working", begun.created_at)
        assert seen.ttl_ms >= begun.ttl_ms
        assert seen.last_updated_at >= begun.last_updated_at
        assert not [total for _, total, _ in told if total is not None]
        await acknowledged(client.session, "tasks/cancel", begun.task_id)


async def test_what_is_over_soon_is_answered_at_once(home):
    async with following(home, patience=FOREVER) as (client, gateway):
        short = await begin(client, "generate", {**ASKED, "max_tokens": 2})
        wrong = await begin(client, "generate", {**ASKED, "choices": ["a"], "regex": "b"})
        assert isinstance(short, CallToolResult)
        assert wrong.is_error
        assert not gateway.tasks._tasks


async def test_a_failure_is_a_result_of_the_task(home):
    async with following(home) as (client, _):
        begun = await begin(client, "index_documents", {"path": "/nowhere/that/is/allowed"})
        told = await ended(client.session, begun.task_id)
    assert told.status == "completed"
    assert told.result["isError"]
    assert "allowed" in told.result["content"][0]["text"]


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel", "tasks/update"])
async def test_the_methods_are_for_those_who_declare_the_extension(home, era, method):
    expected = METHOD_NOT_FOUND if era == "legacy" else MISSING_REQUIRED_CLIENT_CAPABILITY
    async with following(home, era, declares=False) as (client, _):
        with pytest.raises(MCPError) as refused:
            await acknowledged(client.session, method, "1")
    assert refused.value.code == expected
    if era == "auto":
        async with following(home) as (client, _):
            with pytest.raises(MCPError) as unknown:
                await acknowledged(client.session, method, "1")
        assert unknown.value.code == INVALID_PARAMS


async def test_to_listen_for_tasks_without_the_extension_is_refused(home):
    wanted = SubscriptionFilter.model_validate({"taskIds": ["1"]})
    asked = SubscriptionsListenRequest(
        params=SubscriptionsListenRequestParams(notifications=wanted)
    )
    async with following(home, declares=False) as (client, _):
        with pytest.raises(MCPError) as refused:
            await client.session.send_request(asked, CallToolResult)
    assert refused.value.code == MISSING_REQUIRED_CLIENT_CAPABILITY


async def test_a_cancelled_task_frees_its_place_for_the_next_call(home):
    async with following(home, slots=1) as (client, gateway):
        begun = await begin(client, "generate", ENDLESS)
        await said(client.session, begun.task_id, WRITING)
        assert await acknowledged(client.session, "tasks/update", begun.task_id) == {
            "result_type": "complete"
        }
        assert await acknowledged(client.session, "tasks/cancel", begun.task_id) == {
            "result_type": "complete"
        }
        told = await ended(client.session, begun.task_id)
        assert (told.status, told.result, told.error) == ("cancelled", None, None)
        assert not gateway.answers.working
        await acknowledged(client.session, "tasks/cancel", begun.task_id)
        assert not (await client.call_tool("generate", {**ASKED, "max_tokens": 2})).is_error


async def test_a_caller_who_leaves_before_it_is_a_task_cancels_the_call(home):
    writing = anyio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        if total is not None:
            writing.set()

    async with following(home, patience=FOREVER) as (client, gateway):
        async with anyio.create_task_group() as calls:
            calls.start_soon(client.call_tool, "generate", ENDLESS, None, progress)
            await writing.wait()
            calls.cancel_scope.cancel()
        await until(lambda: not gateway.answers.working)
        assert not gateway.tasks._tasks


async def test_the_end_of_the_server_ends_its_tasks(home):
    async with following(home) as (client, gateway):
        begun = await begin(client, "generate", ENDLESS)
        await said(client.session, begun.task_id, WRITING)
    assert not gateway.answers.working


async def test_a_task_indexes_to_the_end_unless_told_otherwise(home, monkeypatch):
    """Where somebody waits, a run stops after 45 s; that of a task after the longest time."""
    monkeypatch.setattr(words, "LONGEST_RUN", 0)
    asked = {"path": str(home.documents)}
    async with following(home) as (client, _):
        stopped = await client.call_tool("index_documents", asked)
        went_on = await client.call_tool("index_documents", {**asked, "max_seconds": 3_600})
    async with following(home, declares=False) as (client, _):
        waited = await client.call_tool("index_documents", asked)
    assert TIME_OUT in stopped.content[0].text
    assert TIME_OUT not in went_on.content[0].text
    assert TIME_OUT not in waited.content[0].text
