"""Indexes folders, each in a process of its own that can be killed: a line a step.

A line of input names a way, a folder and an index. The answer is the process's id, then its steps
and at last "end". Forked from this one, a process is there at once.
"""

import os
import resource
import sys
from pathlib import Path

from sample_corpus import indexer, open_index

from engine.documents.one_indexer import one_indexer
from engine.errors import EngineError

_NOBODY = 65534


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _limit(way: str) -> None:
    if way == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    if way == "read only" and not os.getuid():
        os.setuid(_NOBODY)


def _index(folder: Path, index: Path) -> None:
    try:
        with one_indexer(index):
            for step in indexer(open_index(index)).run(folder):
                _say(step.done)
    except EngineError as error:
        _say(f"{type(error).__name__}: {error}")


for line in sys.stdin:
    way, folder, index = line.rstrip("\n").split("\t")
    process = os.fork()
    if not process:
        _limit(way)
        _say(os.getpid())
        _index(Path(folder), Path(index))
        os._exit(0)
    os.waitpid(process, 0)
    _say("end")
