"""The tool generate through the official client, on the real default decoder."""

import json
import re

import anyio
import jsonschema
import pytest
from eras import in_one_era

pytestmark = pytest.mark.anyio

PROMPT = "List three colours of the rainbow."


async def test_the_answer_is_exactly_the_text_and_how_it_ended_is_visible(connect):
    async with connect() as client:
        result = await client.call_tool("generate", {"prompt": "What is the capital of Germany?"})
    assert [part.type for part in result.content] == ["text"]
    assert result.structured_content is None
    assert "Berlin" in result.content[0].text
    assert result.meta["finish_reason"] == "stop"
    assert result.meta["model"] == "smollm2-135m-instruct"
    assert result.meta["provider"] == "cpu"
    assert result.meta["prompt_tokens"] > 10
    assert result.meta["completion_tokens"] > 3


async def test_max_tokens_is_kept_and_seen_as_length(connect):
    async with connect() as client:
        result = await client.call_tool("generate", {"prompt": PROMPT, "max_tokens": 3})
    assert result.meta["finish_reason"] == "length"
    assert result.meta["completion_tokens"] == 3


@in_one_era
async def test_temperature_zero_and_a_seed_repeat_themselves(connect):
    sampled = {"prompt": PROMPT, "max_tokens": 12, "temperature": 1.0, "seed": 7}
    async with connect() as client:
        greedy = [
            (await client.call_tool("generate", {"prompt": PROMPT, "max_tokens": 12})).content
            for _ in range(2)
        ]
        seeded = [(await client.call_tool("generate", sampled)).content for _ in range(2)]
    assert greedy[0] == greedy[1]
    assert seeded[0] == seeded[1]


@in_one_era
async def test_a_stop_text_ends_the_answer_and_is_not_shown(connect):
    async with connect() as client:
        whole = await client.call_tool("generate", {"prompt": PROMPT, "max_tokens": 16})
        word = whole.content[0].text.split()[2]
        result = await client.call_tool(
            "generate", {"prompt": PROMPT, "max_tokens": 16, "stop": [word]}
        )
    assert word not in result.content[0].text
    assert whole.content[0].text.startswith(result.content[0].text)
    assert result.meta["finish_reason"] == "stop"


async def test_the_answer_streams_as_progress(connect):
    seen: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total, message))

    async with connect() as client:
        result = await client.call_tool(
            "generate", {"prompt": PROMPT, "max_tokens": 8}, progress_callback=progress
        )
    told = [(done, total, message) for done, total, message in seen if done >= 1]
    assert [(done, total) for done, total, _ in told] == [(n, 8) for n in range(1, 9)]
    assert "".join(message or "" for _, _, message in told) == result.content[0].text


async def test_a_system_text_stands_above_the_prompt(connect):
    async with connect() as client:
        plain = await client.call_tool("generate", {"prompt": PROMPT, "max_tokens": 1})
        ruled = await client.call_tool(
            "generate", {"prompt": PROMPT, "max_tokens": 1, "system": "Answer in one word."}
        )
    assert ruled.meta["prompt_tokens"] != plain.meta["prompt_tokens"]


async def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(connect):
    async with connect() as client:
        result = await client.call_tool("generate", {"prompt": "word " * 9_000})
    assert result.is_error
    assert "8192" in result.content[0].text.replace(",", "")


async def test_a_cancelled_answer_stops_within_a_token_and_the_next_call_works(connect, home):
    started = anyio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        if done >= 1:
            started.set()

    long = {"prompt": "Write an endless story.", "regex": "[a-z ]{3900,}", "max_tokens": 2000}
    async with connect(slots=1, queue=0) as client:
        async with anyio.create_task_group() as tasks:

            async def long_answer() -> None:
                await client.call_tool("generate", long, progress_callback=progress)

            tasks.start_soon(long_answer)
            with anyio.fail_after(60):
                await started.wait()
            assert (await client.call_tool("generate", long)).is_error, "its place is taken"
            tasks.cancel_scope.cancel()
        with anyio.fail_after(60):
            answers = {"active": 1}
            while answers["active"] or answers["kv_bytes"]:
                status = (await client.call_tool("status", {})).structured_content
                answers = status["answers"]
        after = await client.call_tool("generate", {"prompt": PROMPT, "max_tokens": 4})
    assert after.meta["completion_tokens"] == 4


async def test_calls_beyond_the_slots_wait_and_beyond_the_queue_are_refused(connect):
    tell = {"prompt": "Write an endless story.", "regex": "[a-z ]{3900,}", "max_tokens": 2000}
    async with connect(slots=2, queue=1) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(client.call_tool, "generate", tell)
            with anyio.fail_after(60):
                answers = {"active": 0}
                while (answers["active"], answers.get("waiting")) != (2, 1):
                    status = (await client.call_tool("status", {})).structured_content
                    answers = status["answers"]
            refused = await client.call_tool("generate", {"prompt": PROMPT})
            tasks.cancel_scope.cancel()
        assert refused.is_error
        assert "2 calls in work and 1 more call waiting" in refused.content[0].text
        assert "call again" in refused.content[0].text
        with anyio.fail_after(60):
            after = await client.call_tool("generate", {"prompt": PROMPT, "max_tokens": 4})
        assert after.meta["completion_tokens"] == 4
        with anyio.fail_after(60):  # Whoever was cancelled leaves after a running step.
            while answers["active"] or answers["waiting"] or answers["kv_bytes"]:
                status = (await client.call_tool("status", {})).structured_content
                answers = status["answers"]


@in_one_era
async def test_answers_written_together_are_those_written_alone(connect):
    prompts = [PROMPT, "What is the capital of Germany?", "Name a fruit.", "Say hello."] * 2
    together: dict[int, str] = {}
    async with connect(slots=4) as client:

        async def answer(number: int, into: dict[int, str]) -> None:
            result = await client.call_tool(
                "generate", {"prompt": prompts[number], "max_tokens": 12}
            )
            into[number] = result.content[0].text

        async with anyio.create_task_group() as tasks:
            for number in range(len(prompts)):
                tasks.start_soon(answer, number, together)
        alone: dict[int, str] = {}
        for number in range(4):
            await answer(number, alone)
    for number, text in together.items():
        assert text == alone[number % 4]


@in_one_era
async def test_a_prompt_that_begins_like_an_earlier_one_is_read_from_where_it_differs(connect):
    long = "The house stands on a hill above the sea. " * 20
    async with connect() as client:
        first = await client.call_tool(
            "generate", {"system": long, "prompt": "What is seen?", "max_tokens": 4}
        )
        again = await client.call_tool(
            "generate", {"system": long, "prompt": "Where is it?", "max_tokens": 4}
        )
    assert again.meta["cached_tokens"] > 150
    assert again.meta["cached_tokens"] < again.meta["prompt_tokens"]
    assert first.meta["prompt_tokens"] > 150


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "likes": {"type": "array", "items": {"enum": ["tea", "bread", "the sea"]}, "maxItems": 2},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}


@in_one_era
@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_an_answer_of_a_schema_is_exactly_its_json(connect, temperature):
    ask = {"prompt": "Describe Anna, who is 41 and bakes.", "json_schema": PERSON, "seed": 3}
    async with connect() as client:
        result = await client.call_tool("generate", {**ask, "temperature": temperature})
    text = result.content[0].text
    jsonschema.validate(json.loads(text), PERSON)
    assert text == text.strip()
    assert result.meta["finish_reason"] == "stop"


@in_one_era
async def test_the_empty_schema_allows_any_json_and_nothing_else(connect):
    async with connect() as client:
        ask = {"prompt": "Say hello.", "json_schema": {}, "max_tokens": 60}
        result = await client.call_tool("generate", ask)
    json.loads(result.content[0].text)


@in_one_era
async def test_an_answer_of_a_pattern_matches_it(connect):
    pattern = r"[A-Z][a-z]{2,9}, \d{4}-\d{2}-\d{2}"
    async with connect() as client:
        result = await client.call_tool(
            "generate", {"prompt": "When did Anna arrive?", "regex": pattern}
        )
    assert re.fullmatch(pattern, result.content[0].text)


@in_one_era
async def test_an_answer_of_choices_is_one_of_them(connect):
    choices = ["positive", "negative", "neither"]
    async with connect() as client:
        result = await client.call_tool(
            "generate", {"prompt": "Is this praise or not: 'The best tea!'", "choices": choices}
        )
    assert result.content[0].text in choices


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"regex": "a", "choices": ["a"]}, "only one of regex and choices"),
        ({"json_schema": {"type": "nothing"}}, "not valid at $.type"),
        ({"choices": ["a"], "stop": ["x"]}, "stop"),
        ({"json_schema": PERSON, "max_tokens": 3}, "tokens"),
        ({"regex": "(a"}, "(a"),
        ({"choices": [""]}, "choice"),
        ({"choices": []}, "1 to 10000 choices"),
        ({"regex": ""}, "pattern must be a string that is not empty"),
        ({"json_schema": {}, "choices": ["a"]}, "only one of json_schema and choices"),
    ],
)
async def test_a_form_that_cannot_be_kept_is_refused_before_a_token(connect, arguments, words):
    seen: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append(done)

    async with connect() as client:
        result = await client.call_tool(
            "generate", {"prompt": "Hi", **arguments}, progress_callback=progress
        )
    assert result.is_error
    assert words in result.content[0].text
    assert "\n" not in result.content[0].text
    assert not any(done >= 1 for done in seen)


@in_one_era
async def test_penalties_keep_an_answer_from_repeating_itself(connect):
    ask = {"prompt": "Say la la la la la la la la.", "max_tokens": 12}
    async with connect() as client:
        plain = await client.call_tool("generate", ask)
        texts = [
            (await client.call_tool("generate", {**ask, **penalty})).content[0].text
            for penalty in (
                {"repetition_penalty": 1.5},
                {"presence_penalty": 2.0},
                {"frequency_penalty": 2.0},
            )
        ]
    assert all(text != plain.content[0].text for text in texts)


async def test_while_one_answer_is_written_the_rest_of_the_server_answers(connect):
    started = anyio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        if done >= 1:
            started.set()

    ended: list[str] = []
    long = {"prompt": "Write an endless story.", "regex": "[a-z ]{3900,}", "max_tokens": 2000}
    async with connect() as client, anyio.create_task_group() as tasks:

        async def long_answer() -> None:
            await client.call_tool("generate", long, progress_callback=progress)
            ended.append("long")

        tasks.start_soon(long_answer)
        with anyio.fail_after(60):
            await started.wait()
        short = await client.call_tool("generate", {"prompt": PROMPT, "max_tokens": 4})
        assert short.meta["completion_tokens"] == 4
        status = await client.call_tool("status", {})
        assert status.structured_content["answers"]["active"] == 1
        assert (await client.list_tools()).tools
        assert ended == [], "the answer was over before the others were asked"
        tasks.cancel_scope.cancel()
