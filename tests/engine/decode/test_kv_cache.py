"""The cache holds rows in place, moves them without loss, keeps its limit, and frees its memory."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_models import HEAD_SIZE, KV_HEADS, LAYERS, Form, write_decoder, write_encoder_like

from engine.decode.forward import Forward
from engine.decode.kv_cache import CacheLayout, KVCache
from engine.errors import ModelBroken
from engine.models.spec import DecoderSpec
from engine.runtime.session import Session

TOKEN_BYTES = 2 * LAYERS * KV_HEADS * HEAD_SIZE * 4
IDS = [70, 45, 209, 106, 171, 26, 83, 117, 121, 209, 172, 5]
MUCH = 2**30


@pytest.fixture(scope="session")
def session(tiny_spec: DecoderSpec) -> Session:
    return Session.open(tiny_spec.onnx_file, threads=1)


@pytest.fixture
def forward(session: Session) -> Forward:
    return Forward(session, 512, MUCH)


def _cache(session: Session, limit_bytes: int = MUCH, context: int = 20_000) -> KVCache:
    return KVCache(session, CacheLayout.of(session), context, limit_bytes)


def _alone(session: Session, ids: Sequence[int], *more: int) -> np.ndarray:
    """Logits after these ids and then, one a run, some more."""
    forward = Forward(session, 512, MUCH)
    row = forward.cache.open_row(1)
    logits = forward.extend(row, ids)
    for token_id in more:
        logits = forward.extend(row, [token_id])
    return logits[0].copy()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_layout_is_read_off_the_graph(tmp_path: Path, dtype: type) -> None:
    spec = write_decoder(tmp_path, Form(kv_dtype=dtype))
    layout = CacheLayout.of(Session.open(spec.onnx_file, threads=1))
    assert (layout.heads, layout.head_size, layout.dtype) == (KV_HEADS, HEAD_SIZE, dtype)
    assert ("past_key_values.1.value", "present.1.value") in layout.names
    assert len(layout.names) == 2 * LAYERS
    assert layout.token_bytes == TOKEN_BYTES * np.dtype(dtype).itemsize // 4


def test_a_graph_without_a_cache_is_refused(tmp_path: Path) -> None:
    write_encoder_like(tmp_path / "model.onnx")
    session = Session.open(tmp_path / "model.onnx", threads=1)
    with pytest.raises(ModelBroken, match="no past_key_values"):
        CacheLayout.of(session)


def test_a_shared_cache_computes_what_a_run_without_one_does(session: Session) -> None:
    layout = CacheLayout.of(session)
    feeds = {name: np.zeros((1, KV_HEADS, 0, HEAD_SIZE), np.float32) for name, _ in layout.names}
    feeds["input_ids"] = np.array([IDS])
    feeds["attention_mask"] = np.ones((1, len(IDS)), np.int64)
    feeds["logits_rows"] = np.arange(len(IDS))
    (expected,) = session.run(feeds, ["logits"])
    forward = Forward(session, 512, MUCH)
    row = forward.cache.open_row(1)
    steps = [forward.extend(row, [token_id])[0].copy() for token_id in IDS]
    np.testing.assert_allclose(np.array(steps), expected[0], atol=1e-5)


@pytest.mark.parametrize("cuts", [(5, 9), (2, 4, 6, 8, 10), (10,)])
def test_runs_of_two_tokens_or_more_give_the_same_bits_however_they_are_cut(
    session: Session, forward: Forward, cuts: tuple[int, ...]
) -> None:
    row = forward.cache.open_row(1)
    edges = [0, *cuts, len(IDS)]
    for start, end in pairwise(edges):
        logits = forward.extend(row, IDS[start:end])
    np.testing.assert_array_equal(logits[0], _alone(session, IDS))
    assert row.position == len(IDS)


def test_logits_of_several_tokens_are_those_of_each(session: Session, forward: Forward) -> None:
    row = forward.cache.open_row(1)
    logits = forward.extend(row, IDS, wanted=3)
    assert logits.shape[0] == 3
    for index in range(3):
        end = len(IDS) - 2 + index
        np.testing.assert_array_equal(logits[index], _alone(session, IDS[:end]))


def test_a_row_that_is_rewound_forgets_only_what_comes_after(
    session: Session, forward: Forward
) -> None:
    row = forward.cache.open_row(1)
    forward.extend(row, IDS)
    row.position = 6
    logits = forward.extend(row, [7, 8, 9])
    np.testing.assert_array_equal(logits[0], _alone(session, [*IDS[:6], 7, 8, 9]))


def test_rows_of_a_batch_compute_what_each_does_alone(session: Session, forward: Forward) -> None:
    prompts = [IDS[:9], IDS[2:], IDS[:4], [5, 6]]
    rows = []
    for prompt in prompts:
        rows.append(row := forward.cache.open_row(len(prompt)))
        forward.extend(row, prompt)
    for chosen in ([0, 1, 2, 3], [3, 1], [2]):
        positions = [row.position for row in rows]
        logits = forward.step([rows[i] for i in chosen], [10 + i for i in chosen])
        for index, i in enumerate(chosen):
            np.testing.assert_array_equal(logits[index], _alone(session, prompts[i], 10 + i))
            rows[i].position -= 1
        assert [row.position for row in rows] == positions


def test_a_row_keeps_its_content_when_others_come_and_go_and_the_cache_grows(
    session: Session, forward: Forward
) -> None:
    cache = forward.cache
    first, kept = cache.open_row(4), cache.open_row(4)
    forward.extend(kept, IDS[:8])
    third = cache.open_row(300)
    cache.close_row(first)
    cache.close_row(third)
    assert [row.index for row in cache.rows] == [0]
    logits = forward.extend(kept, IDS[8:])
    np.testing.assert_array_equal(logits[0], _alone(session, IDS))


def test_what_is_read_from_a_row_can_be_written_into_another(
    session: Session, forward: Forward
) -> None:
    source = forward.cache.open_row(1)
    forward.extend(source, IDS)
    arrays = forward.cache.read(source, 10)
    assert sum(array.nbytes for array in arrays) == 10 * TOKEN_BYTES
    target = forward.cache.open_row(1)
    forward.cache.write(target, arrays, 7)
    logits = forward.extend(target, IDS[7:])
    np.testing.assert_array_equal(logits[0], _alone(session, IDS))


@pytest.mark.parametrize(
    ("needs", "capacity"),
    [([1], 256), ([256], 256), ([257], 512), ([513, 769], 1280), ([300, 512, 513], 768)],
)
def test_capacity_grows_in_steps_with_need(
    session: Session, needs: list[int], capacity: int
) -> None:
    cache = _cache(session)
    cache.open_row(needs[0])
    for need in needs[1:]:
        cache.reserve(need)
    assert cache.capacity == capacity
    assert cache.bytes == capacity * TOKEN_BYTES


def test_capacity_stays_within_context_and_limit(session: Session) -> None:
    cache = _cache(session, context=300)
    cache.open_row(290)
    assert cache.capacity == 300
    with pytest.raises(IndexError):
        cache.reserve(301)
    cache = _cache(session, limit_bytes=1000 * TOKEN_BYTES)
    assert cache.longest == 1000
    assert cache.fits(3, 333)
    assert not cache.fits(3, 334)
    cache.open_row(700)
    assert not cache.fits(2, 501)
    cache.reserve(1000)
    assert cache.bytes == 1000 * TOKEN_BYTES
    with pytest.raises(IndexError):
        cache.open_row(600)


def test_the_last_row_gives_the_memory_back(session: Session) -> None:
    cache = _cache(session)
    rows = [cache.open_row(100), cache.open_row(100)]
    assert cache.bytes == 2 * 256 * TOKEN_BYTES
    for row in rows:
        cache.close_row(row)
    assert (cache.bytes, cache.capacity) == (0, 0)
