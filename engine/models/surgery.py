"""Brings a decoder's graph to the form that is served: edited in memory, weights left alone.

Knows the operators of decoder graphs; `graph`, imported by name and for graphs of others alone,
knows the file format. Rule: what a file says is kept; only what it leaves out is added, and what
cannot be served is refused with what it is.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.errors import ModelBroken
from engine.models.spec import DecoderSpec, SlidingWindow, TensorNames

if TYPE_CHECKING:
    from engine.models.graph import GraphEditor, GraphNode

KvType = Literal["float16"]

ATTENTION = "com.microsoft.GroupQueryAttention"
"""The operator that writes new keys and values into the buffer it is given."""

_NAMES = TensorNames()
_ROWS = "logits_rows"
_NBITS = "com.microsoft.MatMulNBits"
_HEADS = frozenset(["MatMul", _NBITS, "com.microsoft.FusedMatMul"])
# What may stand between the head and the logits: a bias, a scale, a mask, a soft cap, a cast.
_BEHIND_HEAD = frozenset(["Add", "Cast", "Div", "Mul", "Tanh", "Where"])
# Attentions that keep keys and values in a form of their own.
_OTHER_CACHES = frozenset(
    f"com.microsoft.{name}"
    for name in (
        "DecoderMaskedMultiHeadAttention",
        "DecoderMaskedSelfAttention",
        "PagedAttention",
        "SparseAttention",
    )
)
_FLOATS = ("float", "float16")
# Inputs of GroupQueryAttention that are of its own float type: queries, keys and values, rotary
# caches, a bias and sinks.
_OF_ITS_TYPE = (0, 1, 2, 7, 8, 10, 11)

# Inputs that tell what a graph is, where it is no decoder that is served.
_TELLING_INPUTS = {
    "inputs_embeds": "takes embeddings in place of token ids, as one part of a model in several",
    "pixel_values": "looks at images",
    "encoder_hidden_states": "is the decoder of an encoder-decoder model",
    "encoder_attention_mask": "is the decoder of an encoder-decoder model",
    "use_cache_branch": "is two graphs merged into one, with and without a cache",
    "block_table": "keeps its cache in pages",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surgery:
    """What is added to a graph that lacks it."""

    window: bool = True
    """The sliding window that the model was trained with: `local_window_size`."""
    logits_rows: bool = True
    """An input of that name, int64 [rows]: for which new tokens logits are computed."""
    accuracy_level: int | None = 4
    """Of 4-bit multiplications: 4 rounds activations to 8 bits, about 3 times as fast as 32-bit
    floats, which is what None leaves them."""
    kv_dtype: KvType | None = None
    """Of the keys and values that GroupQueryAttention keeps as 32-bit floats; None as published.
    "float16" takes half the memory, at the same speed. A random Phi-3's logits, which deviate by
    1.2, move by 0.001 (root mean square, 4 layers); accuracy level 4 moves them by 0.03."""


@dataclass(frozen=True, slots=True)
class PreparedGraph:
    """A graph in the form that is served."""

    content: bytes | None
    """What to open in the file's place, its external data beside it; None for the file itself."""
    shares_buffer: bool
    """Whether past and present are one buffer, updated in place (GroupQueryAttention); else each
    present is the past joined with what is new, and becomes the next run's past."""


def prepare(spec: DecoderSpec, surgery: Surgery | None = None) -> PreparedGraph:
    """Reads a decoder's graph, without its external data, and adds what it lacks.

    Inputs and outputs get the names of `TensorNames()`. A graph that was converted here lacks
    nothing and is read only where another `kv_dtype` is wanted.

    Raises:
        ModelBroken: It cannot be read, or is of a form that is not served; says which.
    """
    surgery = surgery or Surgery()
    if spec.converted:
        if surgery.kv_dtype is None:
            return PreparedGraph(None, shares_buffer=True)
        surgery = replace(surgery, window=False, logits_rows=False, accuracy_level=None)
    editor = _read(spec.onnx_file)
    edits = [_renamed(editor, spec.tensors)]
    _require_served(editor, spec)
    shares_buffer = _shares_buffer(editor, spec)
    if surgery.window and (window := spec.sliding_window) and window.size < spec.max_tokens:
        edits.append(_add_window(editor, window))
    if surgery.logits_rows and _ROWS not in editor.inputs:
        edits.append(_add_logits_rows(editor, spec))
    if surgery.accuracy_level is not None:
        edits.append(_add_accuracy_level(editor, surgery.accuracy_level))
    if surgery.kv_dtype is not None and shares_buffer:
        edits.append(_narrow_cache(editor))
    return PreparedGraph(editor.to_bytes() if any(edits) else None, shares_buffer)


def takes_window(onnx_file: Path) -> bool:
    """Whether a graph's attention has a place for a sliding window.

    Raises:
        ModelBroken: The file cannot be read or is no ONNX model.
    """
    return any(node.operator == ATTENTION for node in _read(onnx_file).nodes)


def _read(onnx_file: Path) -> "GraphEditor":
    # By name: it imports onnx, which serving a converted model does without.
    module = importlib.import_module("engine.models.graph")
    return module.GraphEditor(onnx_file)


# Names


def _renamed(editor: "GraphEditor", names: TensorNames) -> bool:
    values = [*editor.inputs, *editor.outputs]
    served = asdict(_NAMES)
    changes = {
        value: served[field].replace("%d", found[1] if found.groups() else "")
        for field, name in asdict(names).items()
        if name != served[field]
        for value in values
        if (found := re.fullmatch(re.escape(name).replace("%d", r"(\d+)"), value))
    }
    if changes:
        editor.rename(changes)
    return bool(changes)


def _layers(editor: "GraphEditor") -> Iterator[tuple[int, str, str]]:
    """Layer, past and present of each cache tensor that the graph takes."""
    for past, present in (
        (_NAMES.past_key, _NAMES.present_key),
        (_NAMES.past_value, _NAMES.present_value),
    ):
        pattern = re.escape(past).replace("%d", r"(\d+)")
        for name in editor.inputs:
            if found := re.fullmatch(pattern, name):
                yield int(found[1]), name, present % int(found[1])


# What is served


def _require_served(editor: "GraphEditor", spec: DecoderSpec) -> None:
    inputs, outputs = editor.inputs, editor.outputs
    cache = {past: present for _, past, present in _layers(editor)}
    known = {_NAMES.input_ids, _NAMES.attention_mask, _NAMES.position_ids, _ROWS, *cache}
    for name, meaning in _TELLING_INPUTS.items():
        if name in inputs:
            raise _refused(spec, f"{meaning} (its input {name})")
    if unknown := sorted(inputs.keys() - known):
        raise _refused(spec, f"takes what no plain decoder takes ({', '.join(unknown[:8])})")
    needed = {_NAMES.input_ids, _NAMES.attention_mask} - inputs.keys()
    needed |= {_NAMES.logits, *cache.values()} - outputs.keys()
    if needed:
        raise _refused(spec, f"lacks {', '.join(sorted(needed)[:8])}")
    if not cache:
        raise _refused(spec, "has no past_key_values inputs: it was exported without a cache")
    if other := sorted({inputs[past].dtype for past in cache} - {*_FLOATS}):
        raise _refused(spec, f"keeps its keys and values as {', '.join(other)}")
    if len(outputs[_NAMES.logits].shape) != 3:
        raise _refused(spec, "gives logits that are not [batch, length, vocabulary]")


def _shares_buffer(editor: "GraphEditor", spec: DecoderSpec) -> bool:
    readers: dict[str, list[GraphNode]] = {}
    for node in editor.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    shared: set[bool] = set()
    for _, past, present in _layers(editor):
        nodes = readers.get(past, [])
        if other := sorted({node.operator for node in nodes} & _OTHER_CACHES):
            raise _refused(spec, f"has {', '.join(other)}, which keeps a cache of its own form")
        if any(node.number("sliding_window_cache") for node in nodes):
            raise _refused(spec, "keeps no more of its cache than a window (sliding_window_cache)")
        shared.add(any(n.operator == ATTENTION and present in n.outputs for n in nodes))
    if len(shared) > 1:
        raise _refused(spec, f"has {ATTENTION} in some layers and not in others")
    return shared == {True}


def _refused(spec: DecoderSpec, reason: str) -> ModelBroken:
    return ModelBroken(
        f"{spec.onnx_file.name} in {spec.folder.name} {reason}, which is not served; use an export "
        "of a text decoder in one graph that takes input_ids, attention_mask and a float32 or "
        "float16 cache, with or without position_ids."
    )


# What is added


def _add_window(editor: "GraphEditor", window: SlidingWindow) -> bool:
    layers = {past: layer for layer, past, _ in _layers(editor)}
    changed = False
    for node in editor.nodes:
        layer = next((layers[name] for name in node.inputs if name in layers), None)
        if node.operator != ATTENTION or (window.layers and layer not in window.layers):
            continue
        if (node.number("local_window_size") or -1) < 0:
            node.set_number("local_window_size", window.size)
            changed = True
    return changed


def _add_accuracy_level(editor: "GraphEditor", level: int) -> bool:
    lacking = [n for n in editor.nodes if n.operator == _NBITS and not n.number("accuracy_level")]
    for node in lacking:
        node.set_number("accuracy_level", level)
    return bool(lacking)


def _narrow_cache(editor: "GraphEditor") -> bool:
    """Lets attention take and give 16-bit floats in a graph of 32-bit ones."""
    layers = [names for _, *names in _layers(editor)]
    wide = {past: present for past, present in layers if editor.inputs[past].dtype == "float"}
    for name in chain(wide, wide.values()):
        editor.set_type(name, np.float16)
    casts: dict[str, str] = {}
    for node in editor.nodes:
        if node.operator != ATTENTION or wide.keys().isdisjoint(node.inputs):
            continue
        for index in _OF_ITS_TYPE:
            if value := "".join(node.inputs[index : index + 1]):
                narrow = casts.get(value) or editor.add_cast(value, np.float16, f"{value}/narrow")
                node.set_input(index, narrow)
                casts[value] = narrow
        output = node.outputs[0]
        node.set_output(0, f"{output}/narrow")
        editor.add_cast(f"{output}/narrow", np.float32, output)
    return bool(wide)


def _add_logits_rows(editor: "GraphEditor", spec: DecoderSpec) -> bool:
    """Lets the head read the rows asked for; a graph without a plain head is left alone."""
    makers = {name: node for node in editor.nodes for name in node.outputs}
    behind: list[str] = []
    head = makers.get(_NAMES.logits)
    while head is not None and head.operator in _BEHIND_HEAD:
        behind += head.outputs
        made = [makers[name] for name in head.inputs if name in makers]
        head = next((node for node in made if node.operator != "Constant"), None)
    is_plain = head is not None and head.operator in _HEADS
    states = head.inputs[0] if head is not None and is_plain else ""
    if editor.outputs[_NAMES.logits].shape[1] == 1:
        states = _before_pruning(makers, states)
        if not states:
            raise _refused(spec, "gives the logits of its last token alone")
    if head is None or not states:
        return False
    rows = editor.add_input(_ROWS, np.int64, [_ROWS])
    head.set_input(0, editor.add_node("Gather", [states, rows], f"{_ROWS}/states", axis=1))
    editor.forget_shapes({*behind, *head.outputs})
    editor.free_dimension(_NAMES.logits, 1, _ROWS)
    return True


def _before_pruning(makers: "dict[str, GraphNode]", states: str) -> str:
    """What is read by a Gather of the last row and an Unsqueeze; empty where it is not that."""
    for operator in ("Unsqueeze", "Gather"):
        node = makers.get(states)
        if node is None or node.operator != operator:
            return ""
        states = node.inputs[0]
    return states
