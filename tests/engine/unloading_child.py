"""Loads, uses and frees the real models twice, and prints what memory the process held meanwhile.

Usage: unloading_child.py MODELS_DIR INDEX_FILE
"""

import json
import sys
from pathlib import Path

from engine import memory
from engine.decode.sampling import SamplingParams
from engine.engine import Engine, EngineOptions
from engine.text.chat import Message

models_dir, index_file = map(Path, sys.argv[1:3])
engine = Engine(EngineOptions(models_dir=models_dir, index_file=index_file))


def answer() -> str:
    with engine.decoder.lease() as decoder:
        params = SamplingParams(max_tokens=8)
        pieces = decoder.generate([Message("user", "What is the capital of France?")], params)
        return "".join(piece.text for piece in pieces)


def embed() -> str:
    with engine.embedder.lease() as embedder:
        return str(embedder.embed(["The moon pulls at the sea."], "query").vectors[0, :4])


def turn(use) -> dict[str, object]:
    """One model loaded, used and freed."""
    memory.give_back()
    before = memory.resident_bytes()
    text = use()
    during = memory.resident_bytes()
    freed = engine.free_idle(0)
    after = memory.resident_bytes()
    return {"text": text, "freed": freed, "taken": during - before, "kept": after - before}


print(json.dumps({use.__name__: [turn(use) for _ in range(3)] for use in (answer, embed)}))
