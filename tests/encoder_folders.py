"""A user's own folder of a random BERT encoder, with a tokenizer of its own."""

import json
from pathlib import Path

import tokenizers
from encoder_models import EncoderForm, write_fused

SHORT = EncoderForm(positions=24)
"""Reads 24 tokens of a text at most, so that an NPU needs one shape for it."""


def write_folder(folder: Path, form: EncoderForm = SHORT) -> Path:
    """Writes graph, tokenizer and configuration; a text is words w0, w1, ... Returns the folder."""
    write_fused(folder, form)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(form.vocabulary - 4))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(words[:4])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": form.hidden,
        "max_position_embeddings": form.positions,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = json.dumps({"pooling_mode": "mean"})
    (folder / "1_Pooling" / "config.json").write_text(pooling, encoding="utf-8")
    return folder
