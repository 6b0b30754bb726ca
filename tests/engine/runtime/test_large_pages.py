"""What is in memory moves into large pages, and what it holds stays."""

import subprocess
import sys
from pathlib import Path

import pytest

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SIZE = 64 * 2**20

PROGRAM = f"""
from pathlib import Path
from engine.runtime import large_pages

def large_bytes():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")) * 1024

block = bytearray(b"0123456789abcdef" * ({SIZE} // 16))
before = large_bytes()
large_pages.use()
print(large_bytes() - before, bytes(block) == b"0123456789abcdef" * ({SIZE} // 16))
"""
"""In a process of its own: what other tests hold or have freed may be in large pages already."""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux with large pages")
def test_a_block_in_memory_moves_into_large_pages_and_keeps_its_content():
    if not SETTING.exists() or "[never]" in SETTING.read_text():
        pytest.skip("needs Linux with large pages")
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    moved, is_kept = said.stdout.split()
    assert is_kept == "True"
    if "[always]" not in SETTING.read_text():
        assert int(moved) > SIZE // 2
