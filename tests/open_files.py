"""Finds what Windows would refuse: removing, renaming or replacing a file that is still open.

A pytest plugin for Linux: PYTHONPATH=tests pytest -p open_files tests/engine/models
It asks, whenever our code removes or renames something, whether this process has it open or mapped
into memory, and fails the test that does so. What child processes do is not seen.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

_EVENTS = {"os.remove": 1, "os.rmdir": 1, "os.rename": 2}
"""Audit events, and how many of their arguments are paths."""

_OURS = tuple(f"{os.sep}{name}{os.sep}" for name in ("engine", "mcp_server"))

_found: list[str] = []
_is_asking = False


def pytest_configure() -> None:
    """Listens from now on; an audit hook cannot be taken away."""
    sys.addaudithook(_hook)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fails a test in which something open was removed."""
    _found.clear()
    yield
    if _found:
        pytest.fail("\n".join(dict.fromkeys(_found)), pytrace=False)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    global _is_asking
    if event not in _EVENTS or _is_asking:
        return
    _is_asking = True
    try:
        lines = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_stack()
            if any(name in frame.filename for name in _OURS) and "tests" not in frame.filename
        ]
        for path in arguments[: _EVENTS[event]] if lines else ():
            place = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
            held = [one for one in _open() if one == place or one.startswith(place + os.sep)]
            _found.extend(f"{event} of {place}, open: {one}; by {lines[-1]}" for one in held)
    finally:
        _is_asking = False


def _open() -> set[str]:
    """Every file that this process has open or mapped."""
    names: set[str] = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            names.add(os.readlink(link))
        except OSError:
            continue
    for line in Path("/proc/self/maps").read_text().splitlines():
        names.update(line.split(maxsplit=5)[5:])
    return names
