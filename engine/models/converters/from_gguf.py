"""Reads weights, tokenizer and facts from a GGUF file.

Takes what SmolLM2 needs and refuses the rest with a sentence: architecture llama, matrices in Q4_1
or Q8_0 with tied embeddings in Q8_0, byte-level BPE cut up as SmolLM does. A tensor that it would
not use is a reason to refuse too, since leaving it out would make another model.

Numbers behind the defaults are in examples/benchmarks/weight_formats.py.
"""
# gguf's own types are partly unknown; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, ReaderTensor, TokenType

from engine.errors import ModelBroken
from engine.models.converters import block_weights, llama_files
from engine.models.converters.block_weights import Bits, BlockWeights, Bytes, Floats
from engine.models.converters.llama_files import Vocabulary
from engine.models.converters.llama_graph import LlamaFacts, LlamaGraph
from engine.models.graph import GraphWriter

T = TypeVar("T")

_ADVICE = "Use a model folder that already holds an ONNX file."


def convert(
    gguf_file: Path, folder: Path, *, bits: Bits = 8, accuracy_level: Literal[1, 4] = 4
) -> None:
    """Writes a Hugging Face style folder: `model.onnx` with its data, tokenizer and configs.

    The same file always gives the same bytes. The graph's inputs and outputs are described in
    `llama_graph`.

    Args:
        gguf_file: The model.
        folder: Where to write; made if it is not there, files of the same names are replaced.
        bits: Of the weights that are Q4_1 in the file.
        accuracy_level: 4 rounds activations to 8 bits, block by block; 1 leaves them float32,
            which is slow and meant for checking the weights.

    Raises:
        ModelBroken: The file is no GGUF model, is damaged, or is of a kind not converted.
    """
    reader = _open(gguf_file)
    metadata = _Metadata(gguf_file.name, reader)
    metadata.expect("general.architecture", "llama")
    vocabulary = _vocabulary(metadata)
    facts = _facts(metadata, len(vocabulary.tokens))
    folder.mkdir(parents=True, exist_ok=True)
    weights = _Weights(gguf_file.name, reader, bits)
    with GraphWriter(folder / "model.onnx", external_data=True) as graph:
        LlamaGraph(graph, facts, weights, accuracy_level).write()
        weights.refuse_unused()
    llama_files.write(folder, facts, vocabulary)


def _open(gguf_file: Path) -> GGUFReader:
    try:
        return GGUFReader(gguf_file)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ModelBroken(
            f"{gguf_file.name} is not a whole GGUF file ({error}); fetch the model again."
        ) from error


class _Metadata:
    """The key-value part of a GGUF file."""

    def __init__(self, file_name: str, reader: GGUFReader) -> None:
        self._file_name = file_name
        self._fields = reader.fields

    def get(self, key: str, kind: Callable[[Any], T]) -> T:
        """A value that must be there, as `kind` makes it."""
        try:
            return kind(self._fields[key].contents())
        except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
            raise ModelBroken(
                f"{self._file_name} has no usable {key}; fetch the model again."
            ) from error

    def optional(self, key: str, default: Any) -> Any:
        """A value, or the default where the file has none."""
        return self._fields[key].contents() if key in self._fields else default

    def expect(self, key: str, *known: object) -> None:
        """Refuses a value that is none of the known; a missing one counts as the value None."""
        value = self.optional(key, None)
        if value not in known:
            served = " or ".join(map(repr, known))
            raise ModelBroken(
                f"{self._file_name} has {key} {value!r}; only {served} is converted. {_ADVICE}"
            )


def _facts(metadata: _Metadata, vocabulary: int) -> LlamaFacts:
    heads = metadata.get("llama.attention.head_count", int)
    hidden = metadata.get("llama.embedding_length", int)
    # A float32; the number that was meant is its shortest decimal form, 1e-05 not 9.99999975e-06.
    epsilon = metadata.get("llama.attention.layer_norm_rms_epsilon", np.float32)
    if heads < 1 or hidden % heads:
        raise ModelBroken(f"The model's {heads} heads do not divide its width {hidden}. {_ADVICE}")
    metadata.expect("llama.rope.dimension_count", hidden // heads, None)
    metadata.expect("llama.attention.key_length", hidden // heads, None)
    metadata.expect("llama.attention.value_length", hidden // heads, None)
    metadata.expect("llama.rope.scaling.type", "none", None)
    return LlamaFacts(
        layers=metadata.get("llama.block_count", int),
        hidden=hidden,
        inner=metadata.get("llama.feed_forward_length", int),
        heads=heads,
        kv_heads=metadata.get("llama.attention.head_count_kv", int),
        context=metadata.get("llama.context_length", int),
        vocabulary=vocabulary,
        rope_base=metadata.get("llama.rope.freq_base", float),
        epsilon=float(str(epsilon)),
    )


class _Weights:
    """The tensors of a GGUF file as MatMulNBits wants them, and which of them were taken."""

    def __init__(self, file_name: str, reader: GGUFReader, bits: Bits) -> None:
        self._file_name = file_name
        self._unused = {tensor.name: tensor for tensor in reader.tensors}
        self._formats: Mapping[GGMLQuantizationType, Callable[[Bytes], BlockWeights]] = {
            GGMLQuantizationType.Q4_1: lambda raw: block_weights.from_q4_1(raw, bits),
            GGMLQuantizationType.Q8_0: block_weights.from_q8_0,
        }

    def vector(self, name: str, size: int) -> Floats:
        """A vector, stored as float32."""
        tensor = self._take(name, [size])
        if tensor.tensor_type != GGMLQuantizationType.F32:
            raise self._refused(tensor)
        return np.asarray(tensor.data, np.float32)

    def matrix(self, name: str, rows: int, columns: int) -> BlockWeights:
        """A matrix; GGUF tells its shape inner dimension first."""
        tensor = self._take(name, [columns, rows])
        read = self._formats.get(tensor.tensor_type)
        if read is None:
            raise self._refused(tensor)
        return read(np.asarray(tensor.data, np.uint8))

    def stacked(self, names: Sequence[str], rows: Sequence[int], columns: int) -> BlockWeights:
        """Matrices of those rows below each other."""
        parts = [self.matrix(*named, columns) for named in zip(names, rows, strict=True)]
        if len({(part.bits, part.zeros is None) for part in parts}) > 1:
            raise ModelBroken(
                f"{self._file_name} stores {', '.join(names)} in different types. {_ADVICE}"
            )
        return block_weights.stack(parts)

    def refuse_unused(self) -> None:
        """Refuses a file with tensors that nothing asked for."""
        if self._unused:
            raise ModelBroken(
                f"{self._file_name} has the tensor {next(iter(self._unused))}, which a plain llama "
                f"model has not. {_ADVICE}"
            )

    def _take(self, name: str, shape: Sequence[int]) -> ReaderTensor:
        tensor = self._unused.pop(f"{name}.weight", None)
        if tensor is None or list(map(int, tensor.shape)) != list(shape):
            found = "none" if tensor is None else list(map(int, tensor.shape))
            raise ModelBroken(
                f"{self._file_name} should have a tensor {name}.weight of shape {list(shape)} but "
                f"has {found}; fetch the model again."
            )
        return tensor

    def _refused(self, tensor: ReaderTensor) -> ModelBroken:
        return ModelBroken(
            f"{self._file_name} stores {tensor.name} as {tensor.tensor_type.name}, which is not "
            f"converted. {_ADVICE}"
        )


def _vocabulary(metadata: _Metadata) -> Vocabulary:
    metadata.expect("tokenizer.ggml.model", "gpt2")
    metadata.expect("tokenizer.ggml.pre", *llama_files.PRE_TOKENIZERS)
    tokens = metadata.get("tokenizer.ggml.tokens", list[str])
    types = metadata.get("tokenizer.ggml.token_type", list[int])
    merges = metadata.get("tokenizer.ggml.merges", list[str])
    if not set(types) <= {TokenType.NORMAL, TokenType.CONTROL} or len(types) != len(tokens):
        raise ModelBroken(f"The model's tokenizer has tokens of an unknown type. {_ADVICE}")
    return Vocabulary(
        tokens=tokens,
        merges=[pair.split(" ") for pair in merges],
        control=[token for token, kind in enumerate(types) if kind == TokenType.CONTROL],
        pre_tokenizer=metadata.get("tokenizer.ggml.pre", str),
        bos=metadata.get("tokenizer.ggml.bos_token_id", int),
        eos=metadata.get("tokenizer.ggml.eos_token_id", int),
        pad=metadata.get("tokenizer.ggml.padding_token_id", int),
        add_bos=bool(metadata.optional("tokenizer.ggml.add_bos_token", False)),
        chat_template=metadata.get("tokenizer.chat_template", str),
    )
