"""Real ONNX models of a few KB with random weights: a decoder and its tokenizer.

The decoder is laid out as the published Phi-3 files are (inputs input_ids, attention_mask,
past_key_values.N.key/value; GroupQueryAttention with rotary embedding), so everything that serves
the real ones serves it. Its words are bytes: what it says is nonsense, but always the same.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import tokenizers
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, decoders, pre_tokenizers

from engine.models.spec import DecoderSpec

HEADS, KV_HEADS, HEAD_SIZE, HIDDEN, FFN, LAYERS = 2, 1, 16, 32, 48, 2
UNUSED_IDS = 5
"""Ids at the end of the logits that the tokenizer does not know."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Form:
    """What distinguishes one tiny decoder from another."""

    context: int = 512
    kv_dtype: type = np.float32
    logits_rows: bool = True
    position_ids: bool = False
    doubles_cache: bool = False
    """Gives the past twice over, which no loop can go on from."""
    seed: int = 0


def byte_tokenizer() -> tokenizers.Tokenizer:
    """A byte-level BPE with a few merges; its control tokens have the ids 0, 1 and 2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ċ", "Ċ"), ("ã", "ģ")]
    words = [*CONTROL_TOKENS, *alphabet, *("".join(pair) for pair in merges)]
    model = tokenizers.models.BPE({word: i for i, word in enumerate(words)}, merges)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in CONTROL_TOKENS]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def phi3_like_tokenizer() -> tokenizers.Tokenizer:
    """SentencePiece's kind as Phi-3 has it: "▁" for spaces, bytes for what is not in it.

    Its control tokens swallow the white space after them.
    """
    letters = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?<|>_/中é"
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "H"), ("▁H", "i"), ("▁", "▁")]
    words = [
        *("<unk>", "<s>", "</s>"),
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *letters,
        *("".join(pair) for pair in merges),
    ]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            {word: i for i, word in enumerate(words)},
            merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>")]
    )
    tokenizer.add_tokens([AddedToken("</s>", special=False, normalized=False, rstrip=True)])
    tokenizer.add_special_tokens(
        [
            AddedToken(text, special=True, normalized=False, rstrip=True)
            for text in ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
        ]
    )
    return tokenizer


def write_decoder(folder: Path, form: Form | None = None) -> DecoderSpec:
    """Writes model.onnx, tokenizer.json and the two configuration files of a tiny decoder."""
    form = form or Form()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab_size() + UNUSED_IDS
    onnx.save(_Writer(form, vocabulary).model(), folder / "model.onnx")
    tokenizer_config = {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "chat_template": CHAT_TEMPLATE,
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": form.context,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config), "utf-8")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return DecoderSpec(
        model_id=folder.name,
        folder=folder,
        onnx_file=folder / "model.onnx",
        tokenizer_file=folder / "tokenizer.json",
        license="unknown",
        source="own folder",
        max_tokens=form.context,
        stop_token_ids=(2,),
        chat_template=CHAT_TEMPLATE,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        weight_bytes=(folder / "model.onnx").stat().st_size,
    )


def write_encoder_like(onnx_file: Path) -> None:
    """Writes a graph with no key-value cache: it gives its input_ids back as logits."""
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    logits = helper.make_tensor_value_info("logits", TensorProto.INT64, ["batch", "length"])
    nodes = [helper.make_node("Identity", ["input_ids"], ["logits"])]
    graph = helper.make_graph(nodes, "main_graph", [ids], [logits])
    onnx.save(helper.make_model(graph, ir_version=7), onnx_file)


class _Writer:
    """Collects the nodes and weights of one graph."""

    def __init__(self, form: Form, vocabulary: int) -> None:
        self._form = form
        self._vocabulary = vocabulary
        self._random = np.random.default_rng(form.seed)
        self._nodes: list[onnx.NodeProto] = []
        self._late: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._kv_type = helper.np_dtype_to_tensor_dtype(np.dtype(form.kv_dtype))

    def model(self) -> onnx.ModelProto:
        self._mask()
        self._caches()
        hidden = self._node("Gather", "embedded", ["input_ids"], weight=(self._vocabulary, HIDDEN))
        for layer in range(LAYERS):
            hidden = self._layer(layer, hidden)
        hidden = self._norm("final", hidden)
        if self._form.logits_rows:
            hidden = self._node("Gather", "last", [hidden, "logits_rows"], axis=1)
        self._matmul("logits", hidden, HIDDEN, self._vocabulary)
        graph = helper.make_graph(
            [*self._nodes, *self._late],
            "main_graph",
            self._inputs(),
            self._outputs(),
            self._weights,
        )
        opsets = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=7)

    def _mask(self) -> None:
        self._constant("one", np.array(1, np.int64))
        self._constant("axis", np.array([1], np.int64))
        self._node("ReduceSum", "row_sums", ["attention_mask", "axis"], keepdims=0)
        self._node("Sub", "last_positions", ["row_sums", "axis"])
        self._node("Cast", "seqlens_k", ["last_positions"], to=TensorProto.INT32)
        self._node("Shape", "mask_shape", ["attention_mask"])
        self._node("Gather", "width", ["mask_shape", "one"], axis=0)
        self._node("Cast", "total_length", ["width"], to=TensorProto.INT32)

    def _caches(self) -> None:
        half = np.arange(HEAD_SIZE // 2) * 2 / HEAD_SIZE
        angles = np.arange(self._form.context)[:, None] / 10000**half
        self._constant("cos_cache", np.cos(angles).astype(self._form.kv_dtype))
        self._constant("sin_cache", np.sin(angles).astype(self._form.kv_dtype))

    def _layer(self, layer: int, hidden: str) -> str:
        name = f"layers.{layer}"
        normed = self._norm(f"{name}.input", hidden)
        width = (HEADS + 2 * KV_HEADS) * HEAD_SIZE
        qkv = self._matmul(f"{name}.qkv", normed, HIDDEN, width)
        attended = self._attention(layer, qkv)
        projected = self._matmul(f"{name}.o", attended, HEADS * HEAD_SIZE, HIDDEN)
        hidden = self._node("Add", f"{name}.attended", [hidden, projected])
        normed = self._norm(f"{name}.post", hidden)
        gate = self._matmul(f"{name}.gate", normed, HIDDEN, FFN)
        up = self._matmul(f"{name}.up", normed, HIDDEN, FFN)
        sigmoid = self._node("Sigmoid", f"{name}.sigmoid", [gate])
        swish = self._node("Mul", f"{name}.swish", [gate, sigmoid])
        product = self._node("Mul", f"{name}.product", [swish, up])
        down = self._matmul(f"{name}.down", product, FFN, HIDDEN)
        return self._node("Add", f"{name}.out", [hidden, down])

    def _attention(self, layer: int, qkv: str) -> str:
        cast = self._node("Cast", f"layers.{layer}.qkv_kv", [qkv], to=self._kv_type)
        past, present = f"past_key_values.{layer}", f"present.{layer}"
        attended = f"layers.{layer}.attention"
        if self._form.doubles_cache:
            present = f"layers.{layer}.new"
            for kind in ("key", "value"):
                joined = [f"{past}.{kind}", f"{present}.{kind}"]
                self._late.append(
                    helper.make_node("Concat", joined, [f"present.{layer}.{kind}"], axis=2)
                )
        lengths_and_caches = ("seqlens_k", "total_length", "cos_cache", "sin_cache")
        self._nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [cast, "", "", f"{past}.key", f"{past}.value", *lengths_and_caches],
                [attended, f"{present}.key", f"{present}.value"],
                domain="com.microsoft",
                num_heads=HEADS,
                kv_num_heads=KV_HEADS,
                scale=HEAD_SIZE**-0.5,
                do_rotary=1,
                rotary_interleaved=0,
            )
        )
        return self._node("Cast", f"{attended}_float", [attended], to=TensorProto.FLOAT)

    def _norm(self, name: str, hidden: str) -> str:
        self._constant(f"{name}.weight", np.ones(HIDDEN, np.float32))
        inputs = [hidden, f"{name}.weight"]
        return self._node("SimplifiedLayerNormalization", f"{name}.norm", inputs, epsilon=1e-5)

    def _matmul(self, name: str, left: str, rows: int, columns: int) -> str:
        values = self._random.normal(0, rows**-0.5, (rows, columns))
        self._constant(f"{name}.weight", values.astype(np.float32))
        return self._node("MatMul", name, [left, f"{name}.weight"])

    def _node(
        self,
        op: str,
        output: str,
        inputs: list[str],
        weight: tuple[int, int] | None = None,
        **attributes: int | float,
    ) -> str:
        if weight is not None:
            self._constant(f"{output}.weight", self._random.normal(0, 1, weight).astype(np.float32))
            inputs = [f"{output}.weight", *inputs]
        self._nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, values: np.ndarray) -> None:
        self._weights.append(numpy_helper.from_array(values, name))

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        ids: dict[str, list[str]] = {
            "input_ids": ["batch_size", "sequence_length"],
            "attention_mask": ["batch_size", "total_sequence_length"],
        }
        if self._form.position_ids:
            ids["position_ids"] = ["batch_size", "sequence_length"]
        if self._form.logits_rows:
            ids["logits_rows"] = ["logits_rows"]
        plain = [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in ids.items()]
        return plain + self._kv("past_key_values", "past_sequence_length")

    def _outputs(self) -> list[onnx.ValueInfoProto]:
        shape = ["batch_size", "rows", self._vocabulary]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
        return [logits, *self._kv("present", "total_sequence_length")]

    def _kv(self, prefix: str, length: str) -> list[onnx.ValueInfoProto]:
        shape = ["batch_size", KV_HEADS, length, HEAD_SIZE]
        return [
            helper.make_tensor_value_info(f"{prefix}.{layer}.{kind}", self._kv_type, shape)
            for layer in range(LAYERS)
            for kind in ("key", "value")
        ]
