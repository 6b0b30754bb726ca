"""What a freed model took goes back to the system, and the next load finds as much again."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine import memory

needs_statm = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(),
    reason="needs POSIX with /proc, where a process sees what memory it holds",
)


_MANY_THREADS = """
import ctypes, sys, threading
from engine import memory
if sys.argv[1] == "shared":
    assert memory.share_heap()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
held, here = [], threading.Barrier(16)

def hold():
    here.wait()
    held.append(library.malloc(50_000))
    here.wait()

threads = [threading.Thread(target=hold) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
library.fdopen.restype = ctypes.c_void_p
file = library.fdopen(1, b"w")
library.malloc_info(0, ctypes.c_void_p(file))
library.fflush(ctypes.c_void_p(file))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs POSIX with glibc")
def test_threads_that_share_a_heap_have_one_between_them():
    def heaps(how: str) -> int:
        command = [sys.executable, "-c", _MANY_THREADS, how]
        return subprocess.run(command, capture_output=True, check=True).stdout.count(b"<heap nr=")

    assert heaps("apart") > 2
    assert heaps("shared") == 1


@needs_statm
def test_what_the_process_holds_grows_with_what_it_holds():
    memory.give_back()  # What earlier tests freed would be taken again, and nothing would grow.
    before = memory.resident_bytes()
    block = bytearray(b"x" * 50_000_000)
    during = memory.resident_bytes()
    del block
    memory.give_back()
    assert during - before >= 40_000_000
    assert memory.resident_bytes() <= during - 40_000_000


@needs_statm
def test_pages_go_back_as_soon_as_nobody_holds_them():
    block = memory.pages((50, 1_000_000), np.uint8)
    assert not block.any()
    block[:] = 1
    during = memory.resident_bytes()
    part = block[3:4]
    del block
    assert memory.resident_bytes() >= during - 10_000_000
    assert part.all()
    del part
    assert memory.resident_bytes() <= during - 40_000_000


def test_pages_that_there_are_not_are_a_memory_error():
    with pytest.raises(MemoryError, match="no memory for"):
        memory.pages((2**59,), np.float32)
    assert memory.pages((3, 0), np.float32).shape == (3, 0)


@needs_statm
def test_unloading_returns_what_loading_took_again_and_again(models_dir, tmp_path):
    child = Path(__file__).with_name("unloading_child.py")
    result = subprocess.run(
        [sys.executable, str(child), str(models_dir), str(tmp_path / "index.sqlite")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    turns = json.loads(result.stdout)
    for name, least in (("answer", 160_000_000), ("embed", 90_000_000)):
        first, *later = turns[name]
        assert first["freed"] == [{"answer": "language model", "embed": "embedding model"}[name]]
        assert first["taken"] >= least, "the model's weights are in memory while it is used"
        # The first turn also brings libraries in, which stay.
        assert first["kept"] <= 0.2 * first["taken"]
        for turn in later:
            assert turn["text"] == first["text"]
            assert turn["taken"] >= least
            assert turn["kept"] <= 0.2 * turn["taken"]
