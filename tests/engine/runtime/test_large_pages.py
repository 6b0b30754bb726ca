"""What is in memory moves into large pages, and what it holds stays."""

import sys
from pathlib import Path

import pytest

from engine.runtime import large_pages

SIZE = 64 * 2**20


def _large_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux with large pages")
def test_a_block_in_memory_moves_into_large_pages_and_keeps_its_content():
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.exists() or "[never]" in setting.read_text():
        pytest.skip("needs Linux with large pages")
    block = bytearray(b"0123456789abcdef" * (SIZE // 16))
    before = _large_bytes()
    large_pages.use()
    after = _large_bytes()
    assert bytes(block) == b"0123456789abcdef" * (SIZE // 16)
    if "[always]" not in setting.read_text():
        assert after - before > SIZE // 2
