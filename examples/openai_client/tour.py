"""A tour of every route with the official Python client, which checks each answer by its own types.

    pip install openai
    npu-gateway serve --http
    python examples/openai_client/tour.py [http://127.0.0.1:8642/v1 [KEY]]

Each step prints one line. A step that finds something else than OpenAI's reference says ends it.
"""

import sys
from collections.abc import Callable, Iterator

from openai import APIError, OpenAI

URL = "http://127.0.0.1:8642/v1"
WEATHER = {
    "name": "get_weather",
    "description": "The weather at a place.",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["place"],
        "additionalProperties": False,
    },
}
MOOD = {
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}
QUESTION = "What makes the sea rise twice a day?"


class Tour:
    """One walk through a server."""

    def __init__(self, client: OpenAI) -> None:
        self.client = client
        self.usual = OpenAI(base_url=client.base_url, api_key=client.api_key)
        """For what the client's own types do not know: base64, and pieces without an end."""
        models = client.models.list().data
        self.decoder, self.embedder = (
            next(one.id for one in models if getattr(one, "task", "") == task)
            for task in ("generate", "embed")
        )

    def steps(self) -> list[Callable[[], str]]:
        """What is done, in order; each tells what it found."""
        return [
            self.models,
            self.embeddings,
            self.chat,
            self.chat_stream,
            self.chat_of_a_form,
            self.chat_with_a_tool,
            self.completions,
            self.responses,
            self.responses_stream,
            self.responses_with_a_search,
            self.input_tokens,
            self.tokens,
            self.vector_stores,
            self.failures,
        ]

    def models(self) -> str:
        """The models, each alone too."""
        found = [self.client.models.retrieve(one.id) for one in self.client.models.list()]
        return ", ".join(one.id for one in found)

    def embeddings(self) -> str:
        """A vector as floats, and as the base64 that a client asks for by itself and decodes."""
        asked = {"model": self.embedder, "input": ["The tide is rising.", "Bread"]}
        plain = self.client.embeddings.create(**asked, encoding_format="float")
        packed = self.usual.embeddings.create(**asked)
        vector, expected = (one.data[0].embedding for one in (packed, plain))
        assert all(abs(a - b) < 1e-6 for a, b in zip(vector, expected, strict=True))
        assert [one.index for one in packed.data] == [0, 1]
        return f"{len(vector)} dimensions, {plain.usage.prompt_tokens} tokens"

    def chat(self) -> str:
        """Two answers at once, with the likeliest tokens."""
        told = self.client.chat.completions.create(
            model=self.decoder,
            messages=[
                {"role": "developer", "content": "Answer in a few words."},
                {"role": "user", "content": [{"type": "text", "text": "Name a colour."}]},
            ],
            n=2,
            max_completion_tokens=8,
            temperature=0,
            logprobs=True,
            top_logprobs=2,
        )
        first, second = told.choices
        assert first.message.content == second.message.content
        assert first.logprobs
        assert len(first.logprobs.content or []) == 8 or first.finish_reason == "stop"
        assert told.usage
        assert told.usage.total_tokens == told.usage.prompt_tokens + told.usage.completion_tokens
        return repr(first.message.content)

    def chat_stream(self) -> str:
        """The same text piece by piece as at once, and its usage in the end."""
        asked = {
            "model": self.decoder,
            "messages": [{"role": "user", "content": "Count to three."}],
            "max_completion_tokens": 8,
            "temperature": 0,
        }
        whole = self.client.chat.completions.create(**asked)
        chunks = list(
            self.client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage
        assert whole.usage
        assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
        return f"{len(chunks)} chunks"

    def chat_of_a_form(self) -> str:
        """An answer that obeys a schema."""
        told = self.client.chat.completions.create(
            model=self.decoder,
            messages=[{"role": "user", "content": "How are you?"}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "mood", "schema": MOOD, "strict": True},
            },
            max_completion_tokens=32,
            temperature=0,
        )
        text = told.choices[0].message.content or ""
        assert "".join(text.split()) in ('{"mood":"good"}', '{"mood":"bad"}'), text
        return text

    def chat_with_a_tool(self) -> str:
        """A call that the model has to make, and what it says of the result."""
        asked = {"role": "user", "content": "What is the weather in Rome?"}
        told = self.client.chat.completions.create(
            model=self.decoder,
            messages=[asked],
            tools=[{"type": "function", "function": WEATHER}],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
            max_completion_tokens=48,
            temperature=0,
        )
        call = (told.choices[0].message.tool_calls or [])[0]
        assert call.type == "function"
        assert call.function.name == "get_weather"
        result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}
        self.client.chat.completions.create(
            model=self.decoder,
            messages=[asked, told.choices[0].message.model_dump(exclude_none=True), result],
            max_completion_tokens=4,
        )
        return f"{call.function.name}({call.function.arguments})"

    def completions(self) -> str:
        """A text that is gone on with, at once and as it comes."""
        asked = {"model": self.decoder, "prompt": "Once upon", "max_tokens": 6, "temperature": 0}
        whole = self.client.completions.create(**asked)
        pieces = self.usual.completions.create(**asked, stream=True)
        text = "".join(one.choices[0].text for one in pieces)
        assert text == whole.choices[0].text
        return repr(text)

    def responses(self) -> str:
        """An answer in the newer form."""
        told = self.client.responses.create(
            model=self.decoder,
            instructions="Answer in a few words.",
            input="Name a colour.",
            max_output_tokens=16,
            temperature=0,
        )
        assert told.status in ("completed", "incomplete")
        assert told.usage
        return repr(told.output_text)

    def responses_stream(self) -> str:
        """Its events, whose pieces make the text of the last one."""
        with self.client.responses.stream(
            model=self.decoder, input="Count to three.", max_output_tokens=16, temperature=0
        ) as stream:
            events = list(stream)
        text = "".join(one.delta for one in events if one.type == "response.output_text.delta")
        assert events[0].type == "response.created"
        assert events[-1].type in ("response.completed", "response.incomplete")
        assert events[-1].response.output_text == text
        return f"{len(events)} events"

    def responses_with_a_search(self) -> str:
        """An answer from the indexed documents, and what was found."""
        stores = [one.id for one in self.client.vector_stores.list()]
        told = self.client.responses.create(
            model=self.decoder,
            input=QUESTION,
            tools=[{"type": "file_search", "vector_store_ids": stores[:1]}],
            include=["file_search_call.results"],
            max_output_tokens=16,
            temperature=0,
        )
        search = next(one for one in told.output if one.type == "file_search_call")
        assert search.results
        return ", ".join(str(one.filename) for one in search.results)

    def input_tokens(self) -> str:
        """How long a prompt is, before it is sent."""
        counted = self.client.responses.input_tokens.count(model=self.decoder, input=QUESTION)
        told = self.client.responses.create(
            model=self.decoder, input=QUESTION, max_output_tokens=16
        )
        assert told.usage
        assert counted.input_tokens == told.usage.input_tokens
        return f"{counted.input_tokens} tokens"

    def tokens(self) -> str:
        """A text as tokens and back: routes that the client has no methods for."""
        post = self.client.post
        asked = {"model": self.decoder, "content": "The tide"}
        told = post("/tokenize", cast_to=object, body=asked)
        assert isinstance(told, dict)
        back = post("/detokenize", cast_to=object, body={"tokens": told["tokens"]})
        assert isinstance(back, dict)
        assert "The tide" in back.values()
        return str(told["tokens"])

    def vector_stores(self) -> str:
        """The collections, their files and what is in one, and a search of them."""
        stores = self.client.vector_stores
        store = stores.retrieve(next(iter(stores.list())).id)
        files = list(stores.files.list(store.id))
        first = stores.files.retrieve(files[0].id, vector_store_id=store.id)
        assert list(stores.files.content(first.id, vector_store_id=store.id))
        found = stores.search(store.id, query=QUESTION, max_num_results=2).data
        assert found[0].score >= found[-1].score
        return f"{store.name}: {len(files)} files, best {found[0].filename}"

    def failures(self) -> str:
        """What is wrong with a request is told by its field, and asked for once."""
        found: list[str] = []
        for changes in ({"model": "none"}, {"n": 9}, {"temperature": -1}):
            asked = {"model": self.decoder, "messages": [{"role": "user", "content": "Hi"}]}
            try:
                self.client.chat.completions.create(**(asked | changes))
            except APIError as error:
                found.append(f"{error.param}: {error.code}")
        assert [one.partition(":")[0] for one in found] == ["model", "n", "temperature"], found
        return ", ".join(found)


def walk(url: str, key: str) -> Iterator[str]:
    """Does every step, and yields a line on each."""
    with OpenAI(base_url=url, api_key=key, _strict_response_validation=True) as client:
        tour = Tour(client)
        with tour.usual:
            for step in tour.steps():
                yield f"{step.__name__.replace('_', ' '):<24} {step()}"


if __name__ == "__main__":
    for line in walk(*(sys.argv[1:] + [URL, "none"][len(sys.argv) - 1 :])):
        print(line)
