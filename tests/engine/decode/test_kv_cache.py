"""The cache holds rows in place, moves them without loss, keeps its limit, and frees its memory."""

import errno
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_models import HEAD_SIZE, KV_HEADS, LAYERS, Form, write_decoder, write_encoder_like

from engine import memory
from engine.decode.forward import Forward
from engine.decode.growing_cache import GrowingCache
from engine.decode.kv_cache import CacheLayout, KVCache
from engine.decode.shared_cache import SharedCache
from engine.errors import ModelBroken
from engine.models import surgery
from engine.models.spec import DecoderSpec
from engine.models.surgery import KvType, Surgery
from engine.runtime.session import Interrupted, Session, Stop

TOKEN_BYTES = 2 * LAYERS * KV_HEADS * HEAD_SIZE * 4
_RESET = Path("/proc/self/clear_refs")
needs_peak = pytest.mark.skipif(
    not os.access(_RESET, os.W_OK),
    reason="needs POSIX with /proc, where a process sees the most memory it held",
)
IDS = [70, 45, 209, 106, 171, 26, 83, 117, 121, 209, 172, 5]
MUCH = 2**30


@dataclass(frozen=True)
class Served:
    """A graph in one of the published forms."""

    session: Session
    shares_buffer: bool

    def forward(self) -> Forward:
        return Forward(self.session, 512, MUCH, shares_buffer=self.shares_buffer)

    def cache(self, limit_bytes: int = MUCH, context: int = 20_000) -> KVCache:
        kind = SharedCache if self.shares_buffer else GrowingCache
        return kind(self.session, CacheLayout.of(self.session), context, limit_bytes)

    def alone(self, ids: Sequence[int], *more: int) -> np.ndarray:
        """Logits after these ids and then, one a run, some more."""
        forward = self.forward()
        row = forward.cache.open_row(1)
        logits = forward.extend(row, ids)
        for token_id in more:
            logits = forward.extend(row, [token_id])
        return logits[0].copy()


def _opened(spec: DecoderSpec, kv_dtype: KvType | None = None) -> Served:
    prepared = surgery.prepare(spec, Surgery(kv_dtype=kv_dtype))
    session = Session.open(spec.onnx_file, threads=1, graph=prepared.content)
    return Served(session, prepared.shares_buffer)


@pytest.fixture(scope="session", params=["shared", "narrow", "growing"])
def served(request: pytest.FixtureRequest) -> Served:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def shared(tiny_spec: DecoderSpec) -> Served:
    return _opened(tiny_spec)


@pytest.fixture(scope="session")
def narrow(tiny_spec: DecoderSpec) -> Served:
    return _opened(tiny_spec, "float16")


@pytest.fixture(scope="session")
def growing(growing_spec: DecoderSpec) -> Served:
    return _opened(growing_spec)


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


def test_token_by_token_is_what_a_run_without_a_cache_computes(served: Served) -> None:
    tensors = served.session.inputs
    feeds = {
        name: np.zeros((1, tensor.shape[1], 0, tensor.shape[3]), tensor.dtype)
        for name, tensor in tensors.items()
        if name.startswith("past")
    }
    feeds["input_ids"] = np.array([IDS])
    feeds["attention_mask"] = np.ones((1, len(IDS)), np.int64)
    feeds["logits_rows"] = np.arange(len(IDS))
    if "position_ids" in tensors:
        feeds["position_ids"] = np.arange(len(IDS))[None]
    (expected,) = served.session.run(feeds, ["logits"])
    forward = served.forward()
    row = forward.cache.open_row(1)
    steps = [forward.extend(row, [token_id])[0].copy() for token_id in IDS]
    np.testing.assert_allclose(np.array(steps), expected[0], atol=1e-5)


@pytest.mark.parametrize("cuts", [(5, 9), (2, 4, 6, 8, 10), (10,)])
def test_runs_of_two_tokens_or_more_compute_the_same_however_they_are_cut(
    served: Served, cuts: tuple[int, ...]
) -> None:
    forward = served.forward()
    row = forward.cache.open_row(1)
    edges = [0, *cuts, len(IDS)]
    for start, end in pairwise(edges):
        logits = forward.extend(row, IDS[start:end])
    np.testing.assert_array_equal(logits[0], served.alone(IDS))
    assert row.position == len(IDS)


def test_logits_of_several_tokens_are_those_of_each(served: Served) -> None:
    forward = served.forward()
    row = forward.cache.open_row(1)
    logits = forward.extend(row, IDS, wanted=3)
    assert logits.shape[0] == 3
    for index in range(3):
        end = len(IDS) - 2 + index
        np.testing.assert_array_equal(logits[index], served.alone(IDS[:end]))


def test_a_row_that_is_rewound_forgets_only_what_comes_after(served: Served) -> None:
    forward = served.forward()
    row = forward.cache.open_row(1)
    forward.extend(row, IDS)
    row.position = 6
    logits = forward.extend(row, [7, 8, 9])
    np.testing.assert_array_equal(logits[0], served.alone([*IDS[:6], 7, 8, 9]))


def test_a_row_is_as_before_when_a_run_is_interrupted(served: Served) -> None:
    forward = served.forward()
    row = forward.cache.open_row(1)
    forward.extend(row, IDS[:5])
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        forward.extend(row, [1, 2, 3], stop=stop)
    assert row.position == 5
    logits = forward.extend(row, IDS[5:])
    np.testing.assert_array_equal(logits[0], served.alone(IDS))


def test_rows_that_grow_together_compute_what_each_does_alone(served: Served) -> None:
    forward = served.forward()
    prompts = [IDS[:9], IDS[2:], IDS[:4], [5, 6]]
    rows = []
    for prompt in prompts:
        rows.append(row := forward.cache.open_row(len(prompt)))
        forward.extend(row, prompt)
    for chosen in ([0, 1, 2, 3], [3, 1], [2]):
        positions = [row.position for row in rows]
        logits = forward.step([rows[i] for i in chosen], [10 + i for i in chosen])
        for index, i in enumerate(chosen):
            np.testing.assert_array_equal(logits[index], served.alone(prompts[i], 10 + i))
            rows[i].position -= 1
        assert [row.position for row in rows] == positions


def test_a_row_keeps_its_content_when_others_come_and_go_and_the_cache_grows(
    served: Served,
) -> None:
    forward = served.forward()
    cache = forward.cache
    first, kept = cache.open_row(4), cache.open_row(4)
    forward.extend(kept, IDS[:8])
    third = cache.open_row(300)
    cache.close_row(first)
    cache.close_row(third)
    assert list(cache.rows) == [kept]
    logits = forward.extend(kept, IDS[8:])
    np.testing.assert_array_equal(logits[0], served.alone(IDS))


def test_what_is_read_from_a_row_can_be_written_into_another(served: Served) -> None:
    forward = served.forward()
    source = forward.cache.open_row(1)
    forward.extend(source, IDS)
    arrays = forward.cache.read(source, 10)
    assert sum(array.nbytes for array in arrays) == 10 * forward.layout.token_bytes
    held = [array.copy() for array in arrays]
    source.position = 3
    forward.extend(source, [1, 2, 3, 4, 5])
    target = forward.cache.open_row(1)
    forward.cache.write(target, arrays, 7)
    logits = forward.extend(target, IDS[7:])
    np.testing.assert_array_equal(logits[0], served.alone(IDS))
    for array, before in zip(arrays, held, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("needs", "capacity"),
    [([1], 256), ([256], 256), ([257], 512), ([513, 769], 1280), ([300, 512, 513], 768)],
)
def test_capacity_of_shared_buffers_grows_in_steps_with_need(
    shared: Served, needs: list[int], capacity: int
) -> None:
    cache = shared.cache()
    row = cache.open_row(needs[0])
    for need in needs[1:]:
        cache.binding([row], need)
    assert cache.bytes == capacity * TOKEN_BYTES


def test_a_growing_row_takes_what_its_tokens_do_and_as_much_while_it_runs(growing: Served) -> None:
    cache = growing.cache()
    token_bytes = cache.layout.token_bytes
    rows = [cache.open_row(500), cache.open_row(500)]
    assert cache.bytes == 0
    for row, count in zip(rows, (40, 7), strict=True):
        cache.binding([row], count)
        cache.keep(row, count)
    assert cache.bytes == 47 * token_bytes
    cache.binding([rows[0]], 5)
    assert cache.bytes == (47 + 45) * token_bytes
    cache.keep(rows[0], 5)
    assert cache.bytes == 52 * token_bytes


def _limits(cache: KVCache, spare: int) -> None:
    """A limit of 1,200 rows of a token: what may be opened and what not."""
    assert cache.longest == 1200 // (1 + spare)
    assert cache.fits(3, 1200 // (3 + spare))
    assert not cache.fits(3, 1200 // (3 + spare) + 1)
    row = cache.open_row(1200 // (2 + spare))
    other = cache.open_row(1200 // (2 + spare))
    for refused in (
        lambda: cache.open_row(1200 // (3 + spare) + 1),
        lambda: cache.binding([row], 1200 // (2 + spare) + 1),
    ):
        with pytest.raises(IndexError):
            refused()
    assert list(cache.rows) == [row, other]


def test_a_limit_holds_what_it_says(shared: Served, growing: Served) -> None:
    for served, spare in ((shared, 0), (growing, 1)):
        token_bytes = CacheLayout.of(served.session).token_bytes
        _limits(served.cache(1200 * token_bytes), spare)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_row_that_joins_does_not_exceed_the_limit(served: Served, count: int) -> None:
    """However much room the rows before it were given ahead of their need."""
    limit = 1000 * CacheLayout.of(served.session).token_bytes
    cache = served.cache(limit)
    for _ in range(count):
        row = cache.open_row(150)
        cache.binding([row], 150)
        assert cache.bytes <= limit
        cache.keep(row, 150)


def test_no_row_is_longer_than_the_context(served: Served) -> None:
    cache = served.cache(context=300)
    assert (cache.longest, cache.fits(1, 300), cache.fits(1, 301)) == (300, True, False)
    row = cache.open_row(290)
    cache.binding([row], 300)
    with pytest.raises(IndexError):
        cache.binding([row], 301)


def test_a_row_opened_beyond_the_limit_leaves_nothing_behind(served: Served) -> None:
    cache = served.cache(context=300)
    with pytest.raises(IndexError):
        cache.open_row(301)
    assert (list(cache.rows), cache.bytes) == ([], 0)


def test_the_last_row_gives_the_memory_back(served: Served) -> None:
    cache = served.cache()
    rows = [cache.open_row(100), cache.open_row(100)]
    for row in rows:
        cache.binding([row], 100)
        cache.keep(row, 100)
    room = 256 if served.shares_buffer else 100
    assert cache.bytes == 2 * room * cache.layout.token_bytes
    cache.binding([rows[0]], 1)
    for row in rows:
        cache.close_row(row)
    assert (cache.bytes, list(cache.rows)) == (0, [])


def _held_bytes(arrays: Sequence[np.ndarray]) -> int:
    """What stays in memory as long as arrays do."""
    whole = {id(base): base.nbytes for base in map(_whole, arrays)}
    return sum(whole.values())


def _whole(array: np.ndarray) -> np.ndarray:
    return _whole(array.base) if isinstance(array.base, np.ndarray) else array


def test_what_is_read_keeps_no_more_in_memory_than_its_tokens(served: Served) -> None:
    forward = served.forward()
    row = forward.cache.open_row(1)
    forward.extend(row, IDS)
    token_bytes = forward.layout.token_bytes
    for arrays in (forward.cache.read(row, 5), forward.cache.close_row(row, 4)):
        assert _held_bytes(arrays) == arrays[0].shape[1] * token_bytes


def test_a_closing_row_hands_over_what_can_be_written_into_another(served: Served) -> None:
    """Both the last row and one with neighbours, which stay as they are."""
    forward = served.forward()
    rows = [forward.cache.open_row(1) for _ in range(2)]
    for row in rows:
        forward.extend(row, IDS[:9])
    for row in rows:
        arrays = forward.cache.close_row(row, 7)
        target = forward.cache.open_row(1)
        forward.cache.write(target, arrays, 7)
        logits = forward.extend(target, IDS[7:])
        np.testing.assert_array_equal(logits[0], served.alone(IDS))
        forward.cache.close_row(target)
    assert (forward.cache.bytes, list(forward.cache.rows)) == (0, [])


@needs_peak
def test_handing_the_last_row_over_takes_one_tensor_more_and_no_second_cache(
    shared: Served,
) -> None:
    tokens = 60_000_000 // TOKEN_BYTES
    cache = shared.cache(context=tokens)
    row = cache.open_row(tokens)
    shape = KV_HEADS, tokens, HEAD_SIZE
    cache.write(row, [np.ones(shape, np.float32)] * len(cache.layout.names), tokens)
    tensor_bytes = cache.bytes / len(cache.layout.names)
    _RESET.write_text("5")
    before = memory.resident_bytes()
    kept = cache.close_row(row, tokens)
    assert sum(array.nbytes for array in kept) == cache.layout.token_bytes * tokens
    assert _peak_bytes() - before < 1.3 * tensor_bytes


def _peak_bytes() -> int:
    """The most physical memory that the process held since that was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def test_a_row_is_freed_even_if_it_cannot_be_handed_over(served: Served) -> None:
    cache = served.cache()
    row, other = cache.open_row(4), cache.open_row(4)
    for each, left in ((row, [other]), (other, [])):
        with pytest.raises(TypeError):
            cache.close_row(each, "all of them")  # type: ignore[arg-type]
        assert list(cache.rows) == left
    assert cache.bytes == 0


def test_rows_that_have_gone_leave_their_room_to_those_that_come(served: Served) -> None:
    forward = served.forward()
    token_bytes = forward.layout.token_bytes
    forward.cache = cache = served.cache(1000 * token_bytes)
    gone = [cache.open_row(150) for _ in range(3)]
    kept = cache.open_row(150)
    forward.extend(kept, IDS[:8])
    for row in gone:
        cache.close_row(row)
    assert cache.fits(2, 330)
    cache.open_row(330)
    assert cache.bytes <= 1000 * token_bytes
    logits = forward.extend(kept, IDS[8:])
    np.testing.assert_array_equal(logits[0], served.alone(IDS))


@pytest.mark.parametrize("allocated", range(2 * LAYERS))
def test_memory_that_runs_out_while_buffers_grow_leaves_the_rows_as_they_are(
    shared: Served, monkeypatch: pytest.MonkeyPatch, allocated: int
) -> None:
    forward = shared.forward()
    row = forward.cache.open_row(4)
    forward.extend(row, IDS[:8])
    with monkeypatch.context() as patch:
        left = iter([mmap.mmap] * allocated)

        def mapped(*args: int, **flags: int) -> mmap.mmap:
            if (allocate := next(left, None)) is None:
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
            return allocate(*args, **flags)

        patch.setattr(mmap, "mmap", mapped)
        with pytest.raises(MemoryError):
            forward.cache.open_row(300)
    logits = forward.extend(row, IDS[8:])
    np.testing.assert_array_equal(logits[0], shared.alone(IDS))
    assert list(forward.cache.rows) == [row]
