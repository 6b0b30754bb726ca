"""The cache of contexts: files found whole or not at all, by any number of processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runtime.qnn.context_cache import CompileFacts, Context, ContextCache, Key

FACTS = CompileFacts(seconds=1.5, nodes=10, operators=7)
PLENTY = 1 << 30


def key_of(name: str) -> Key:
    return Key({"model": name, "bucket": "1x32"})


def put(cache: ContextCache, key: Key, content: bytes = b"binary" * 100) -> Context:
    with cache.draft(key, lambda: True) as draft:
        assert draft is not None
        (draft.folder / "model_ctx.onnx").write_bytes(b"node")
        (draft.folder / "model_ctx_qnn.bin").write_bytes(content)
        return draft.publish(FACTS)


@pytest.fixture
def cache(tmp_path: Path) -> ContextCache:
    return ContextCache(tmp_path / "contexts", PLENTY)


def test_what_was_published_is_found_with_its_facts(cache: ContextCache):
    published = put(cache, key_of("a"))
    found = ContextCache(cache.folder, PLENTY).find(key_of("a"))
    assert found == published
    assert found.facts == FACTS
    assert found.onnx_file.read_bytes() == b"node"


def test_a_key_that_differs_in_anything_finds_nothing(cache: ContextCache):
    put(cache, key_of("a"))
    assert cache.find(Key({"model": "a", "bucket": "1x64"})) is None
    assert cache.find(Key({"model": "a", "bucket": "1x32", "soc": "60"})) is None


def test_the_order_of_a_keys_fields_does_not_matter():
    assert key_of("a").digest == Key({"bucket": "1x32", "model": "a"}).digest


def truncate(folder: Path) -> None:
    os.truncate(folder / "model_ctx_qnn.bin", 10)


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model_ctx_qnn.bin").read_bytes())
    content[50] ^= 1
    (folder / "model_ctx_qnn.bin").write_bytes(content)


def spell_another_key(folder: Path) -> None:
    described = json.loads((folder / "context.json").read_text("utf-8"))
    described["key"]["model"] = "b"
    (folder / "context.json").write_text(json.dumps(described), "utf-8")


DAMAGES = {
    "truncated": truncate,
    "a bit flipped": flip_a_bit,
    "binary missing": lambda folder: (folder / "model_ctx_qnn.bin").unlink(),
    "facts missing": lambda folder: (folder / "context.json").unlink(),
    "facts cut": lambda folder: os.truncate(folder / "context.json", 40),
    "facts are a list": lambda folder: (folder / "context.json").write_text("[]", "utf-8"),
    "another key": spell_another_key,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_context_is_not_found_and_can_be_replaced(damage, cache: ContextCache):
    damage(put(cache, key_of("a")).folder)
    assert cache.find(key_of("a")) is None
    put(cache, key_of("a"), b"new")
    found = cache.find(key_of("a"))
    assert found is not None
    assert (found.folder / "model_ctx_qnn.bin").read_bytes() == b"new"


def age(folder: Path, seconds: int) -> None:
    file = folder / "context.json"
    os.utime(file, (file.stat().st_mtime - seconds,) * 2)


def at_a_start(folder: Path, limit_bytes: int, *made: str) -> ContextCache:
    """The cache of a process that makes some contexts of 10,000 bytes."""
    cache = ContextCache(folder, limit_bytes)
    for name in made:
        put(cache, key_of(name), b"x" * 10_000)
    return cache


def there(folder: Path, names: str) -> str:
    return "".join(name for name in names if (folder / key_of(name).digest).exists())


def test_the_ones_unused_for_longest_go_when_there_is_no_more_room(tmp_path: Path):
    at_a_start(tmp_path, PLENTY, "a", "b")
    for seconds, name in enumerate("ab", start=1):
        age(tmp_path / key_of(name).digest, 100 * seconds)
    assert ContextCache(tmp_path, PLENTY).find(key_of("b")) is not None  # Just used now.
    at_a_start(tmp_path, 25_000, "c")
    assert there(tmp_path, "abc") == "bc"


def test_damaged_ones_go_first(tmp_path: Path):
    at_a_start(tmp_path, PLENTY, "a", "b")
    (tmp_path / key_of("b").digest / "context.json").unlink()
    at_a_start(tmp_path, 25_000, "c")
    assert there(tmp_path, "abc") == "ac"


def test_what_others_keep_beside_the_contexts_stays(tmp_path: Path):
    others = tmp_path / "latencies.json"
    others.write_text("measured for minutes", "utf-8")
    for name in "ab":
        at_a_start(tmp_path, 15_000, name)
    assert others.read_text("utf-8") == "measured for minutes"
    assert [p for p in (tmp_path / ".staging").rglob("*") if p.is_file()] == []


def test_one_that_is_larger_than_all_room_stays_until_the_next_start(tmp_path: Path):
    at_a_start(tmp_path, 100, "a")
    assert there(tmp_path, "a") == "a"
    at_a_start(tmp_path, 100, "b")
    assert there(tmp_path, "ab") == "b"


def test_a_limit_too_small_for_one_model_is_told_once_and_compiles_nothing_twice(tmp_path: Path):
    told: list[str] = []
    made = 0
    for _ in range(3):
        cache = ContextCache(tmp_path, 35_000, told.append)
        for name in "abcde":
            if cache.find(key_of(name)) is None:
                made += 1
                put(cache, key_of(name), b"x" * 10_000)
    assert made == 5
    (sentence,) = told
    assert sentence.endswith("more than the 0 MB it may: raise --compiled-mb.")


def test_what_is_removed_is_no_longer_in_use(tmp_path: Path):
    cache = at_a_start(tmp_path, 15_000, "a")
    cache.remove(key_of("a"))
    at_a_start(tmp_path, PLENTY, "a")
    put(cache, key_of("b"), b"x" * 10_000)
    assert there(tmp_path, "ab") == "b"


def test_contexts_are_listed_from_the_last_used(cache: ContextCache):
    assert cache.contexts() == []
    for seconds, name in enumerate("abc"):
        age(put(cache, key_of(name)).folder, 10 * seconds)
    assert [context.fields["model"] for context in cache.contexts()] == ["a", "b", "c"]


def fail_at_a_draft(cache: ContextCache) -> None:
    with cache.draft(key_of("a"), lambda: True) as draft:
        assert draft is not None
        (draft.folder / "model_ctx.onnx").write_bytes(b"half")
        raise ZeroDivisionError


def test_a_draft_that_is_not_published_leaves_nothing(cache: ContextCache):
    with pytest.raises(ZeroDivisionError):
        fail_at_a_draft(cache)
    assert cache.find(key_of("a")) is None
    assert list(cache.folder.rglob("*.onnx")) == []


KILLED = """
import os, sys
from pathlib import Path
from engine.runtime.qnn.context_cache import ContextCache, Key

with ContextCache(Path(sys.argv[1]), 0).draft(Key({"model": sys.argv[2]}), lambda: True) as draft:
    (draft.folder / "model_ctx_qnn.bin").write_bytes(b"x" * 10_000)
    print(draft.folder, flush=True)
    os._exit(9)
"""


def killed_while_making(name: str, folder: Path) -> Path:
    """The draft of a process that made a context and is gone."""
    command = [sys.executable, "-c", KILLED, str(folder), name]
    return Path(subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip())


@pytest.mark.parametrize("later", "ab")
def test_what_a_killed_process_leaves_goes_when_the_next_context_is_made(
    later: str, cache: ContextCache
):
    left = killed_while_making("a", cache.folder)
    assert (left / "model_ctx_qnn.bin").exists()
    put(cache, key_of(later))
    assert list((cache.folder / ".staging").rglob("*.bin")) == []


def test_a_compiler_that_outlived_its_server_writes_into_no_other_draft(cache: ContextCache):
    left = killed_while_making("a", cache.folder)
    with cache.draft(Key({"model": "a"}), lambda: True) as draft:
        assert draft is not None
        assert draft.folder != left
        assert not left.exists()


def test_a_draft_that_somebody_works_on_stays_and_takes_room(tmp_path: Path):
    at_a_start(tmp_path, PLENTY, "a")
    cache = ContextCache(tmp_path, 25_000)
    with cache.draft(key_of("b"), lambda: True) as draft:
        assert draft is not None
        (draft.folder / "model_ctx_qnn.bin").write_bytes(b"x" * 10_000)
        put(cache, key_of("c"), b"x" * 10_000)
        assert (draft.folder / "model_ctx_qnn.bin").exists()
    assert [name for name in "ac" if (tmp_path / key_of(name).digest).exists()] == ["c"]


def test_who_waits_for_another_gives_up_when_it_is_no_longer_wanted(cache: ContextCache):
    with cache.draft(key_of("a"), lambda: True):
        with cache.draft(key_of("a"), lambda: False) as second:
            assert second is None
        with cache.draft(key_of("b"), lambda: False) as other:
            assert other is not None


def test_a_removed_context_is_gone(cache: ContextCache):
    put(cache, key_of("a"))
    cache.remove(key_of("a"))
    assert cache.find(key_of("a")) is None
    assert not (cache.folder / key_of("a").digest).exists()


HAMMER = """
import sys
from pathlib import Path
from engine.runtime.qnn.context_cache import CompileFacts, ContextCache, Key

for turn in range(30):
    cache = ContextCache(Path(sys.argv[1]), 30_000)
    key = Key({"model": str(turn % 4)})
    with cache.draft(key, lambda: True) as draft:
        if cache.find(key) is None:
            (draft.folder / "model_ctx.onnx").write_bytes(b"x" * 10_000)
            draft.publish(CompileFacts(1.0, 1, 1))
    found = cache.find(key)
    if found is not None:
        try:
            assert found.onnx_file.read_bytes() == b"x" * 10_000
        except FileNotFoundError:
            pass  # The other process took it away for room: whoever opens it makes it again.
"""


def test_two_processes_publish_find_and_prune_at_once(tmp_path: Path):
    command = [sys.executable, "-c", HAMMER, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        _, said = process.communicate()
        assert (process.returncode, said) == (0, b"")
    cache = ContextCache(tmp_path, 30_000)
    keys = [Key({"model": str(number)}) for number in range(4)]
    assert 1 <= sum(cache.find(key) is not None for key in keys) <= 3
    assert len(cache.contexts()) <= 3
