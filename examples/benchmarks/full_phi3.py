"""A full-size Phi-3 of random 4-bit weights, for decode.py: 2.7 GB in the published layout.

Written by the tests' own writer, once: a folder that has it is taken as it is.
"""

import importlib
import sys
from pathlib import Path

from contest import Task

_TESTS = Path(__file__).parents[2] / "tests"

# With the answer and the template's tokens it fills 1,024 positions.
_PROMPT_TOKENS = 880


def task(folder: Path, threads: int) -> Task:
    """The task with that model, which is written if it is not there."""
    sys.path.append(str(_TESTS))
    writer = importlib.import_module("phi3_model")
    onnx_file = folder / writer.PUBLISHED.filename
    if not (folder / "tokenizer.json").is_file():
        print(f"writing a full-size Phi-3 to {folder}", file=sys.stderr)
        writer.write_phi3(folder, writer.FULL)
    return Task(
        folder=str(folder),
        onnx_file=str(onnx_file),
        threads=threads,
        prompt_tokens=_PROMPT_TOKENS,
    )
