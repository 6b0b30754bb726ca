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


def as_read(document: dict[str, Any]) -> dict[str, Any]:
    """A document with the same said in the words that schemathesis knows.

    Of a stream OpenAPI 3.1 cannot say what each event is: ours has x-event for it, schemathesis
    reads it from the schema itself. And it takes one value of a discriminator for each schema, so
    that those with more are left to what the schemas say of the field.

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
    _drop_shared_discriminators(document)
    return document


def _drop_shared_discriminators(part: Any) -> None:
    if isinstance(part, dict):
        schemas = list(part.get("discriminator", {}).get("mapping", {}).values())
        if len(set(schemas)) < len(schemas):
            del part["discriminator"]
    if isinstance(part, dict | list):
        for one in part.values() if isinstance(part, dict) else part:
            _drop_shared_discriminators(one)
