"""The numbers of a random Phi-3 of any size, and its forward pass without any runtime.

Every weight is drawn from a seed and its own name, so one model can be written in several layouts
and read back here. The forward pass is the independent check: 64-bit numbers, no onnxruntime.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
EPSILON = 9.999999747378752e-06
THETA = 10000.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The model itself, whatever layout it is written in; the default is a toy of 9.6 MB."""

    hidden: int = 64
    ffn: int = 128
    heads: int = 4
    kv_heads: int = 4
    head_size: int = 16
    layers: int = 2
    context: int = 512
    vocabulary: int = 32064
    window: int | None = 2047
    """What config.json says; the published graph has none."""
    qkv_bias: bool = False
    """As Qwen2 has it."""
    seed: int = 0

    @property
    def qkv(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.head_size


TOY = Shape()
FULL = Shape(hidden=3072, ffn=8192, heads=32, kv_heads=32, head_size=96, layers=32, context=4096)


def _kept_of_toys(
    make: Callable[..., NDArray[np.float32]],
) -> Callable[..., NDArray[np.float32]]:
    """Makes the same weights of a toy once; those of a full size would fill the memory."""

    @lru_cache(maxsize=128)
    def kept(*asked: Any) -> NDArray[np.float32]:
        made = make(*asked)
        made.flags.writeable = False
        return made

    @wraps(make)
    def made(shape: Shape, *asked: Any) -> NDArray[np.float32]:
        return (kept if shape.hidden <= TOY.hidden else make)(shape, *asked)

    return made


@_kept_of_toys
def embedding(shape: Shape) -> NDArray[np.float32]:
    """[vocabulary, hidden]."""
    drawn = _random(shape, "embedding").standard_normal(
        (shape.vocabulary, shape.hidden), np.float32
    )
    drawn *= np.float32(0.5)
    return drawn


def norm(shape: Shape, name: str) -> NDArray[np.float32]:
    """[hidden], around 1; the name as "0.input", "0.post_attention" or "final"."""
    return _random(shape, f"norm {name}").uniform(0.75, 1.25, shape.hidden).astype(np.float32)


def bias(shape: Shape, layer: int) -> NDArray[np.float32]:
    """[qkv], of the packed projection."""
    return _random(shape, f"bias {layer}").normal(0, 0.5, shape.qkv).astype(np.float32)


def quantised(
    shape: Shape, name: str, rows: slice = slice(None)
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Bytes [N, K/32, 16] and scales [N, K/32] of a projection; the name as "0.o" or "head".

    A byte holds two weights, the first in its lower half; one is (bits - 8) * scale.
    """
    outputs, inputs = projection_shape(shape, name)
    random = _random(shape, f"projection {name}")
    blocks = inputs // BLOCK
    packed = random.integers(0, 256, (outputs, blocks, BLOCK // 2), np.uint8)
    scales = random.uniform(0.75, 1.25, (outputs, blocks)) * 0.25 / np.sqrt(inputs)
    return packed[rows], scales[rows].astype(np.float32)


def projection(shape: Shape, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
    """[N, K] in full precision: what the quantised bytes stand for."""
    return _projection(shape, name, rows.start, rows.stop)


@_kept_of_toys
def _projection(
    shape: Shape, name: str, start: int | None, stop: int | None
) -> NDArray[np.float32]:
    packed, scales = quantised(shape, name, slice(start, stop))
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*scales.shape, BLOCK)
    weights = (halves.astype(np.float32) - 8) * scales[..., None]
    return weights.reshape(len(packed), -1)


def projection_shape(shape: Shape, name: str) -> tuple[int, int]:
    """Outputs and inputs."""
    return {
        "qkv": (shape.qkv, shape.hidden),
        "o": (shape.hidden, shape.heads * shape.head_size),
        "gate": (shape.ffn, shape.hidden),
        "up": (shape.ffn, shape.hidden),
        "down": (shape.hidden, shape.ffn),
        "head": (shape.vocabulary, shape.hidden),
    }[name.rpartition(".")[2]]


def angles(shape: Shape) -> NDArray[np.float64]:
    """[context, head_size / 2]: how far each pair of a head is turned at each position."""
    return np.arange(shape.context)[:, None] * THETA ** (
        -np.arange(0, shape.head_size, 2) / shape.head_size
    )


def _random(shape: Shape, name: str) -> np.random.Generator:
    return np.random.default_rng([shape.seed, zlib.crc32(name.encode())])


def forward(
    shape: Shape, token_ids: Sequence[int], rows: Sequence[int], window: int | None = None
) -> NDArray[np.float64]:
    """Logits [rows, vocabulary] after the tokens at those positions, in 64-bit numbers.

    With a window a token attends to so many keys at most, its own included.
    """
    states = embedding(shape)[list(token_ids)].astype(np.float64)
    positions = np.arange(len(states))
    visible = positions[None] <= positions[:, None]
    if window is not None:
        visible &= positions[None] > positions[:, None] - window
    hidden = ~visible
    for layer in range(shape.layers):
        normed = _rms_norm(states, norm(shape, f"{layer}.input"))
        states = states + _attend(shape, layer, normed, hidden)
        normed = _rms_norm(states, norm(shape, f"{layer}.post_attention"))
        gate, up = (normed @ projection(shape, f"{layer}.{name}").T for name in ("gate", "up"))
        states = states + (gate / (1 + np.exp(-gate)) * up) @ projection(shape, f"{layer}.down").T
    last = _rms_norm(states[list(rows)], norm(shape, "final"))
    return last @ projection(shape, "head").T.astype(np.float64)


def greedy(
    shape: Shape, token_ids: Sequence[int], count: int, window: int | None = None
) -> list[int]:
    """The best `count` next tokens, each found by a whole forward pass."""
    ids = list(token_ids)
    for _ in range(count):
        ids.append(int(forward(shape, ids, [len(ids) - 1], window)[0].argmax()))
    return ids[len(token_ids) :]


def _rms_norm(states: NDArray[Any], weight: NDArray[Any]) -> NDArray[np.float64]:
    return states / np.sqrt((states**2).mean(-1, keepdims=True) + EPSILON) * weight


def _attend(
    shape: Shape, layer: int, states: NDArray[np.float64], hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    qkv = states @ projection(shape, f"{layer}.qkv").T
    if shape.qkv_bias:
        qkv = qkv + bias(shape, layer)
    heads = qkv.reshape(len(states), -1, shape.head_size).transpose(1, 0, 2)
    queries, keys, values = np.split(heads, [shape.heads, shape.heads + shape.kv_heads])
    queries, keys = _turned(shape, queries), _turned(shape, keys)
    group = shape.heads // shape.kv_heads
    joined = np.empty((len(states), shape.heads, shape.head_size))
    for head in range(shape.heads):
        scores = queries[head] @ keys[head // group].T / np.sqrt(shape.head_size)
        scores[hidden] = -np.inf
        weights = np.exp(scores, out=scores)
        joined[:, head] = weights @ values[head // group] / weights.sum(-1, keepdims=True)
    return joined.reshape(len(states), -1) @ projection(shape, f"{layer}.o").T


def _turned(shape: Shape, heads: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = np.split(heads, 2, axis=-1)
    turns = angles(shape)[: heads.shape[1]]
    cos, sin = np.cos(turns), np.sin(turns)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
