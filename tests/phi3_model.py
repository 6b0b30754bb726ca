"""A random Phi-3 as a model folder: graph, weights, configurations and a small tokenizer."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from phi3_graph import PUBLISHED, Layout, data_file, graph_of
from phi3_weights import THETA, TOY, Shape
from tiny_models import phi3_like_tokenizer

from engine.models.spec import DecoderSpec

STOP_TOKEN_IDS = (32000, 32001, 32007)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|' + message['role'] + '|>\n' + message['content'] + "
    "'<|end|>\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def write_phi3(folder: Path, shape: Shape = TOY, layout: Layout = PUBLISHED) -> None:
    """Writes a model folder: graph, weights, configurations and a tokenizer of small words.

    The weights are streamed: no more than one tensor is in memory. A folder in optimum's layout
    has no genai_config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, weights = graph_of(shape, layout)
    (folder / layout.filename).write_bytes(model.SerializeToString())
    with (folder / data_file(layout)).open("wb") as data:
        for weight in weights:
            data.write(np.ascontiguousarray(weight.make()).data)
    if layout.attention != "optimum":
        text = json.dumps(genai_config(shape, layout), indent=4)
        (folder / "genai_config.json").write_text(text, "utf-8")
    (folder / "config.json").write_text(json.dumps(hub_config(shape), indent=2), "utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"bos_token": "<s>", "eos_token": "<|endoftext|>", "chat_template": CHAT_TEMPLATE}
        ),
        "utf-8",
    )
    (folder / "tokenizer.json").write_text(_tokenizer(shape.vocabulary), "utf-8")


@cache
def _tokenizer(vocabulary: int) -> str:
    """The small tokenizer as JSON, with words that no text becomes for all other ids."""
    described = json.loads(phi3_like_tokenizer().to_str())
    words = described["model"]["vocab"]
    words.update({token["content"]: token["id"] for token in described["added_tokens"]})
    words.update({f"_{number}": number for number in range(len(words), vocabulary)})
    return json.dumps(described)


def spec_of(folder: Path, shape: Shape = TOY, layout: Layout = PUBLISHED) -> DecoderSpec:
    """The spec of a written folder with its full context, whatever may be served of it.

    No control token of the small tokenizer has its published id, so nothing stops an answer.
    """
    return DecoderSpec(
        model_id=folder.name,
        folder=folder,
        onnx_file=folder / layout.filename,
        tokenizer_file=folder / "tokenizer.json",
        license="unknown",
        source="own folder",
        max_tokens=shape.context,
        stop_token_ids=STOP_TOKEN_IDS,
        chat_template=CHAT_TEMPLATE,
        bos_token="<s>",
        eos_token="<|endoftext|>",
    )


def genai_config(shape: Shape, layout: Layout) -> dict[str, Any]:
    """What genai_config.json says, in the order in which the published one does."""
    positions = {} if layout.attention == "gqa" else {"position_ids": "position_ids"}
    return {
        "model": {
            "bos_token_id": 1,
            "context_length": shape.context,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": layout.filename,
                "head_size": shape.head_size,
                "hidden_size": shape.hidden,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    **positions,
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": shape.heads,
                "num_hidden_layers": shape.layers,
                "num_key_value_heads": shape.kv_heads,
            },
            "eos_token_id": list(STOP_TOKEN_IDS),
            "pad_token_id": 32000,
            "type": "phi3",
            "vocab_size": shape.vocabulary,
        },
        "search": {
            "diversity_penalty": 0.0,
            "do_sample": False,
            "early_stopping": True,
            "length_penalty": 1.0,
            "max_length": shape.context,
            "min_length": 0,
            "no_repeat_ngram_size": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": layout.attention.startswith("gqa"),
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 1,
            "top_p": 1.0,
        },
    }


def hub_config(shape: Shape) -> dict[str, Any]:
    """What config.json says."""
    return {
        "architectures": ["Phi3ForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 32000,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": shape.context,
        "model_type": "phi3",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "original_max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": THETA,
        "sliding_window": shape.window,
        "vocab_size": shape.vocabulary,
    }
