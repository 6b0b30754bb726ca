"""Writes the small files beside a llama decoder's graph: configs and tokenizer.

Values come in, Hugging Face's JSON goes out, in the same order every time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.models.converters.llama_graph import LlamaFacts

# How a text is cut before byte pairs are merged, by GGUF's name: first single digits, then GPT-2's
# pattern, which is the one built into ByteLevel.
PRE_TOKENIZERS: Mapping[str, Any] = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": True,
            },
        ],
    }
}

# Control tokens that end an answer wherever they exist, beside the model's own.
_ENDS = ("<|endoftext|>", "<|im_end|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A byte-level BPE vocabulary and how the model uses it."""

    tokens: Sequence[str]
    """By id, in GPT-2's printable spelling of bytes."""
    merges: Sequence[Sequence[str]]
    """Left and right, the one to merge first first."""
    control: Sequence[int]
    """Ids that never come from plain text."""
    pre_tokenizer: str
    """A key of `PRE_TOKENIZERS`."""
    bos: int
    eos: int
    pad: int
    add_bos: bool
    chat_template: str


def write(folder: Path, facts: LlamaFacts, vocabulary: Vocabulary) -> None:
    """Writes config.json, generation_config.json, tokenizer.json and tokenizer_config.json."""
    documents = {
        "config.json": _config(facts, vocabulary),
        "generation_config.json": _generation_config(vocabulary),
        "tokenizer.json": _tokenizer(vocabulary),
        "tokenizer_config.json": _tokenizer_config(facts, vocabulary),
    }
    for name, document in documents.items():
        text = json.dumps(document, ensure_ascii=False, indent=1)
        (folder / name).write_text(text + "\n", encoding="utf-8", newline="\n")


def _config(facts: LlamaFacts, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": facts.hidden,
        "intermediate_size": facts.inner,
        "num_hidden_layers": facts.layers,
        "num_attention_heads": facts.heads,
        "num_key_value_heads": facts.kv_heads,
        "head_dim": facts.head_size,
        "max_position_embeddings": facts.context,
        "rms_norm_eps": facts.epsilon,
        "rope_theta": facts.rope_base,
        "tie_word_embeddings": True,
        "vocab_size": facts.vocabulary,
        "bos_token_id": vocabulary.bos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.pad,
    }


def _generation_config(vocabulary: Vocabulary) -> dict[str, Any]:
    ends = [token for token in vocabulary.control if vocabulary.tokens[token] in _ENDS]
    return {
        "bos_token_id": vocabulary.bos,
        "eos_token_id": list(dict.fromkeys([vocabulary.eos, *ends])),
        "pad_token_id": vocabulary.pad,
    }


def _tokenizer_config(facts: LlamaFacts, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": facts.context,
        "add_bos_token": vocabulary.add_bos,
        "bos_token": vocabulary.tokens[vocabulary.bos],
        "eos_token": vocabulary.tokens[vocabulary.eos],
        "pad_token": vocabulary.tokens[vocabulary.pad],
        "chat_template": vocabulary.chat_template,
    }


def _tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    """As the tokenizers library reads it; characters whose bytes have no token vanish."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(token, vocabulary.tokens[token]) for token in vocabulary.control
        ],
        "normalizer": None,
        "pre_tokenizer": PRE_TOKENIZERS[vocabulary.pre_tokenizer],
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: token for token, text in enumerate(vocabulary.tokens)},
            "merges": vocabulary.merges,
        },
    }


def _added_token(token: int, text: str) -> dict[str, Any]:
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    return {"id": token, "content": text, **dict.fromkeys(flags, False), "special": True}
