"""The cache holds one sequence, in place, and gives its memory back."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tiny_models import HEAD_SIZE, KV_HEADS, LAYERS, Form, write_decoder, write_encoder_like

from engine.decode.kv_cache import CacheLayout, KVCache, capacity_for
from engine.errors import ModelBroken
from engine.models.spec import DecoderSpec
from engine.runtime.session import Session


@pytest.fixture(scope="session")
def session(tiny_spec: DecoderSpec) -> Session:
    return Session.open(tiny_spec.onnx_file, threads=1)


def _run(session: Session, cache: KVCache, ids: list[int]) -> np.ndarray:
    """Logits after these ids, written behind what the cache holds."""
    logits = np.zeros((1, 1, session.outputs["logits"].shape[2]), np.float32)  # type: ignore[arg-type]
    cache.binding.bind_input("input_ids", np.array([ids]))
    cache.binding.bind_input("attention_mask", np.ones((1, cache.position + len(ids)), np.int64))
    cache.binding.bind_input("logits_rows", np.array([len(ids) - 1]))
    cache.binding.bind_output("logits", logits)
    cache.binding.run()
    cache.advance(len(ids))
    return logits[0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_layout_is_read_off_the_graph(tmp_path: Path, dtype: type) -> None:
    spec = write_decoder(tmp_path, Form(kv_dtype=dtype))
    layout = CacheLayout.of(Session.open(spec.onnx_file, threads=1))
    assert (layout.heads, layout.head_size, layout.dtype) == (KV_HEADS, HEAD_SIZE, dtype)
    assert ("past_key_values.1.value", "present.1.value") in layout.names
    assert len(layout.names) == 2 * LAYERS


def test_a_graph_without_a_cache_is_refused(tmp_path: Path) -> None:
    write_encoder_like(tmp_path / "model.onnx")
    session = Session.open(tmp_path / "model.onnx", threads=1)
    with pytest.raises(ModelBroken, match="no past_key_values"):
        CacheLayout.of(session)


def test_parts_equal_one_run(session: Session) -> None:
    layout = CacheLayout.of(session)
    ids = [70, 45, 209, 106, 171, 26, 83, 117, 121, 209, 172, 5]
    whole = _run(session, KVCache(session, layout, 64), ids)
    cache = KVCache(session, layout, 64)
    parts = [_run(session, cache, part) for part in (ids[:5], ids[5:9], ids[9:])]
    np.testing.assert_allclose(parts[-1], whole, atol=1e-5)
    assert cache.position == len(ids)


def test_a_shared_cache_computes_what_a_run_without_one_does(session: Session) -> None:
    layout = CacheLayout.of(session)
    ids = [70, 45, 209, 106, 171, 26, 83]
    feeds = {name: np.zeros((1, KV_HEADS, 0, HEAD_SIZE), np.float32) for name, _ in layout.names}
    feeds["input_ids"] = np.array([ids])
    feeds["attention_mask"] = np.ones((1, len(ids)), np.int64)
    feeds["logits_rows"] = np.arange(len(ids))
    (expected,) = session.run(feeds, ["logits"])
    cache = KVCache(session, layout, 64)
    steps = [_run(session, cache, [token_id]) for token_id in ids]
    np.testing.assert_allclose(np.array(steps), expected[0], atol=1e-5)


def test_a_cache_knows_its_room(session: Session) -> None:
    cache = KVCache(session, CacheLayout.of(session), 10)
    cache.advance(7)
    with pytest.raises(IndexError):
        cache.advance(4)
    cache.advance(3)


def test_closing_gives_the_memory_back(session: Session) -> None:
    layout = CacheLayout.of(session)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        cache = KVCache(session, layout, 20_000)
        held = tracemalloc.get_traced_memory()[0] - before
        cache.close()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    position_bytes = 2 * LAYERS * KV_HEADS * HEAD_SIZE * 4
    assert held >= 20_000 * position_bytes
    assert left < 100 * position_bytes
    with pytest.raises(ValueError, match="closed"):
        _ = cache.binding


@pytest.mark.parametrize(
    ("tokens", "context", "capacity"),
    [(1, 8192, 256), (256, 8192, 256), (257, 8192, 512), (8192, 8192, 8192), (300, 400, 400)],
)
def test_capacity_grows_with_need_up_to_the_context(
    tokens: int, context: int, capacity: int
) -> None:
    assert capacity_for(tokens, context) == capacity
