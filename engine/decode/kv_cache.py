"""KVCache: keys and values of one sequence, and how far they are filled.

Knows the session's tensors by name; knows no token. The graph's attention shares one buffer between
past and present: both are bound to the same array once, so a step writes its keys in place and
copies nothing. What is filled is told to the graph by the attention mask's width.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.errors import ModelBroken
from engine.runtime.session import Array, Binding, Session, Tensor

# Capacities are multiples of this: few different sizes, and at most so many positions unused.
_STEP = 256

_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """The cache tensors of one graph."""

    names: tuple[tuple[str, str], ...]
    """Input and output that share a buffer: past and present keys and values of each layer."""
    heads: int
    head_size: int
    dtype: type[np.generic]

    @classmethod
    def of(cls, session: Session) -> "CacheLayout":
        """Reads the layout off a session's inputs.

        Raises:
            ModelBroken: The graph has no cache of this form.
        """
        past = {name: found for name in session.inputs if (found := _PAST.fullmatch(name))}
        names = tuple((name, f"present.{found[1]}.{found[2]}") for name, found in past.items())
        if not past or any(present not in session.outputs for _, present in names):
            raise ModelBroken(
                "The model's graph has no past_key_values inputs with present outputs: "
                "export it with a key-value cache."
            )
        heads, head_size, dtype = _shape({name: session.inputs[name] for name in past})
        return cls(names, heads, head_size, dtype)


class KVCache:
    """Buffers [1, heads, capacity, head_size] of one sequence, in a binding of their own."""

    def __init__(self, session: Session, layout: CacheLayout, capacity: int) -> None:
        self.capacity = capacity
        self.position = 0
        """Tokens whose keys and values are in the cache."""
        self._binding: Binding | None = session.binding()
        shape = (1, layout.heads, capacity, layout.head_size)
        for past, present in layout.names:
            buffer: Array = np.zeros(shape, layout.dtype)
            self._binding.bind_input(past, buffer)
            self._binding.bind_output(present, buffer)

    @property
    def binding(self) -> Binding:
        """Where the buffers are bound; a run's other arrays are bound beside them."""
        if self._binding is None:
            raise ValueError("the cache is closed")
        return self._binding

    def close(self) -> None:
        """Frees the buffers; may be called again."""
        self._binding = None
        self.capacity = self.position = 0

    def advance(self, tokens: int) -> None:
        """Tells that a run has written so many more tokens."""
        if self.position + tokens > self.capacity:
            raise IndexError(f"{tokens} tokens at {self.position} exceed {self.capacity}")
        self.position += tokens


def capacity_for(tokens: int, context: int) -> int:
    """A cache's capacity for so many tokens, never more than the model's context."""
    return min(-(-tokens // _STEP) * _STEP, context)


def _shape(past: Mapping[str, Tensor]) -> tuple[int, int, type[np.generic]]:
    shapes = {(tensor.shape[1:2] + tensor.shape[3:], tensor.dtype) for tensor in past.values()}
    match list(shapes):
        case [((int(heads), int(head_size)), (np.float32 | np.float16) as dtype)]:
            return heads, head_size, dtype
        case _:
            raise ModelBroken(
                "The model's past_key_values inputs are not [batch, heads, length, head size] "
                "in float32 or float16, the same in every layer: export it in that form."
            )
