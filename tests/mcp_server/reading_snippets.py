"""Reads snippets as the hosts do, with the code of the examples."""

import importlib.util
from pathlib import Path

_FILE = Path(__file__).parents[2] / "examples" / "packages" / "reading.py"
_SPEC = importlib.util.spec_from_file_location("reading", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
_READING = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_READING)

entry, launched = _READING.entry, _READING.launched
