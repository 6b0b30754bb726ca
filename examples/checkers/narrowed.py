"""Our OpenAPI document as a fuzzer reads it, and narrowed: bodies name models and ask for little.

Rule: nothing is loosened, so that whatever is found is found in what the document itself promises.
"""

from typing import Any

_LIMITS = {
    "ChatBody": "max_completion_tokens",
    "CompletionsBody": "max_tokens",
    "ResponsesBody": "max_output_tokens",
}
"""The field that bounds an answer, by the body that has it."""

_MOST_TOKENS, _MOST_CHOICES = 2, 2


def narrowed(document: dict[str, Any], decoder: str, embedder: str) -> dict[str, Any]:
    """A document whose bodies name a model and take few tokens.

    Args:
        document: As it is served; changed.
        decoder: The language model.
        embedder: The embedding model.
    """
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith("Body") and "model" in schema.get("properties", {}):
            model = embedder if name.startswith("Embeddings") else decoder
            schema["properties"]["model"] = {"type": "string", "enum": [model]}
    for name, field in _LIMITS.items():
        schema = schemas[name]
        if "n" in schema["properties"]:
            schema["properties"]["n"] = {"type": "integer", "minimum": 1, "maximum": _MOST_CHOICES}
        schema["properties"][field] = {"type": "integer", "enum": [_MOST_TOKENS]}
        schema.setdefault("required", []).append(field)
    return document


def of_events(document: dict[str, Any]) -> dict[str, Any]:
    """A document that says of each event of a stream what it is, where ours says it of the stream.

    OpenAPI 3.1 has no word for it: ours is x-event, schemathesis reads it from the schema itself.

    Args:
        document: As it is served; changed.
    """
    for methods in document["paths"].values():
        for operation in methods.values():
            stream = operation["responses"]["200"]["content"].get("text/event-stream")
            if stream:
                told = {"contentMediaType": "application/json", "contentSchema": stream["x-event"]}
                data = {"type": "string", "anyOf": [{"const": "[DONE]"}, told]}
                stream["schema"] = {"type": "object", "properties": {"data": data}}
                stream["schema"]["required"] = ["data"]
    return document
