"""The commands embed and generate: one model, asked once."""

import argparse
import sys

from engine.decode.completion import completed
from engine.decode.decoder import Piece
from engine.decode.output_forms import JsonSchema
from engine.decode.sampling import SamplingParams
from engine.text.chat import conversation
from mcp_server import reports
from mcp_server.commands.opening import (
    embedding_engine,
    engine,
    notes,
    print_json,
    results,
    said_of_flags,
)
from mcp_server.rendering import count
from mcp_server.settings import Settings

_SHOWN_COMPONENTS = 6


def embed(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints a unit vector a text: its beginning for people, all of it as JSON."""
    texts = sys.stdin.read().splitlines() if arguments.text == ["-"] else arguments.text
    with embedding_engine(settings) as opened, opened.embedder.lease() as embedder:
        found = embedder.embed(texts, arguments.kind, truncate=not arguments.no_truncate)
    result = reports.embeddings(found, "float")
    if arguments.json:
        print_json(result.model_dump())
        return 0
    for text, vector in zip(texts, found.vectors, strict=True):
        start = ", ".join(f"{x:+.4f}" for x in vector[:_SHOWN_COMPONENTS])
        results().print(f"[{start}, ...] {text}", markup=False)
    notes().print(
        f"{count(len(texts), 'vector')} of {result.dimensions} dimensions by {result.model} on "
        f"{result.provider}, {count(result.prompt_tokens, 'token')}",
        markup=False,
    )
    return 0


def generate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Prints the answer as it is written, or all of it as JSON."""
    with said_of_flags(max_tokens="--max-tokens", temperature="--temperature", seed="--seed"):
        params = SamplingParams(
            max_tokens=arguments.max_tokens, temperature=arguments.temperature, seed=arguments.seed
        )
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    messages = conversation(prompt, arguments.system)
    form = JsonSchema(arguments.json_schema) if arguments.json_schema is not None else None
    pieces: list[Piece] = []
    with engine(settings) as opened, opened.decoder.lease() as decoder:
        for piece in decoder.generate(messages, params, form):
            pieces.append(piece)
            if not arguments.json:
                sys.stdout.write(piece.text)
                sys.stdout.flush()
    answer = completed(pieces)
    facts = reports.completion(answer, decoder)
    if arguments.json:
        print_json({"text": answer.text, **facts})
        return 0
    sys.stdout.write("\n")
    notes().print(
        f"{facts['model']} on {facts['provider']}: "
        f"{count(answer.usage.completion_tokens, 'token')} after {answer.usage.prompt_tokens:,}, "
        f"finish_reason {answer.finish_reason}",
        markup=False,
    )
    return 0
