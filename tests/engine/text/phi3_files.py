"""Phi-3's tokenizer.json and tokenizer_config.json, made again byte for byte as published.

The vocabulary comes from llama.cpp's GGUF of it; everything else is written here.
"""

import json
from pathlib import Path

from gguf import GGUFReader

WORDS = 32_000
"""Ids below are the vocabulary; those from here on are control tokens, and then unused ones."""
CONTROL = range(WORDS, 32_011)
ROLES = ["system", "user", "assistant"]


def tokenizer_json(gguf_file: Path) -> bytes:
    """The published tokenizer.json, made from llama.cpp's form of it."""
    fields = GGUFReader(gguf_file).fields
    tokens, scores, types = (
        fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "scores", "token_type")
    )
    vocabulary = {text: token_id for token_id, text in enumerate(tokens[:WORDS])}
    ordinary = [token_id for token_id in range(WORDS) if types[token_id] == 1]
    merges = [
        (scores[token_id], merge)
        for token_id in ordinary
        for merge in _merges(tokens[token_id], vocabulary)
    ]
    merges.sort(key=lambda scored: scored[0], reverse=True)
    a, b = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    described: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": tokens[token_id],
                "single_word": False,
                "lstrip": False,
                "rstrip": _eats_space(token_id),
                "normalized": False,
                "special": token_id != 2,
            }
            for token_id in (0, 1, 2, *CONTROL)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [a],
            "pair": [a, b],
            "special_tokens": {},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocabulary,
            "merges": [merge for _, merge in merges],
        },
    }
    return _windows_json(described)


def _merges(text: str, vocabulary: dict[str, int]) -> list[str]:
    """The ways to make a word of two others, by the ids of the two."""
    splits = ((text[:at], text[at:]) for at in range(1, len(text)))
    pairs = [pair for pair in splits if all(part in vocabulary for part in pair)]
    return [" ".join(pair) for pair in sorted(pairs, key=lambda p: [vocabulary[x] for x in p])]


def _eats_space(token_id: int) -> bool:
    return token_id == 2 or token_id > CONTROL[0]


def tokenizer_config() -> bytes:
    """The published tokenizer_config.json."""
    controls = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>"]
    controls += [f"<|placeholder{number}|>" for number in range(1, 5)]
    controls += ["<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>", "<|user|>"]
    turns = "el".join(
        f"{{% if message['role'] == '{role}' %}}"
        f"{{{{'<|{role}|>\n' + message['content'] + '<|end|>\n'}}}}"
        for role in ROLES
    ).replace("el{% if", "{% elif")
    described: dict[str, object] = {
        "add_bos_token": False,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(token_id): {
                "content": text,
                "lstrip": False,
                "normalized": False,
                "rstrip": _eats_space(token_id),
                "single_word": False,
                "special": token_id != 2,
            }
            for token_id, text in zip((0, 1, 2, *CONTROL), controls, strict=True)
        },
        "bos_token": "<s>",
        "chat_template": f"{{% for message in messages %}}{turns}{{% endif %}}{{% endfor %}}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "legacy": False,
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    }
    return _windows_json(described) + b"\r\n"


def _windows_json(described: object) -> bytes:
    return json.dumps(described, indent=2, ensure_ascii=False).replace("\n", "\r\n").encode()
