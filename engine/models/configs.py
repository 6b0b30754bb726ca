"""What the JSON files of a Hugging Face style folder say about its model.

Knows only those files, not the graph. Rule: what is not said and cannot be derived is refused, not
guessed; a model served with the wrong pooling or stop token looks fine and answers badly.
"""

import json
from pathlib import Path
from typing import Any, cast

from engine.errors import ModelBroken
from engine.models.spec import Pooling, SlidingWindow, Task, TensorNames

Json = dict[str, Any]

# Their position table starts after the padding id: two of its rows take no token.
_OFFSET_TYPES = frozenset(["camembert", "mpnet", "roberta", "xlm-roberta"])

_POOLING_FILE = "1_Pooling/config.json"
_POOLINGS: tuple[Pooling, ...] = ("cls", "mean")
# sentence-transformers had a switch for each mode before version 6, and has one name since.
_SWITCHES = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}

_PROMPTS_FILE = "config_sentence_transformers.json"
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_SERVED_MODULES = frozenset(["Transformer", "Pooling", "Normalize"])

# Fields of TensorNames as genai_config.json calls them, and what other graphs a model may have.
_TENSORS = {
    "input_ids": "input_ids",
    "attention_mask": "attention_mask",
    "position_ids": "position_ids",
    "past_key": "past_key_names",
    "past_value": "past_value_names",
    "logits": "logits",
    "present_key": "present_key_names",
    "present_value": "present_value_names",
}
_OTHER_PARTS = ("encoder", "embedding", "vision", "speech", "encoder_decoder_init")

_TEMPLATE_FILE = "chat_template.jinja"

# Tokenizers say this or more where their authors set no limit.
_NO_LIMIT = 1_000_000


def read(folder: Path, name: str) -> Json:
    """One JSON file as a dictionary; empty where the file is not there.

    Raises:
        ModelBroken: It is no JSON object.
    """
    value: Any = _parsed(folder, name) if (folder / name).is_file() else {}
    if not isinstance(value, dict):
        raise ModelBroken(f"{name} in {folder.name} is not a JSON object.")
    return cast("Json", value)


def task_of(folder: Path) -> Task:
    """Whether the folder holds a decoder or, as every other model is taken to be, an embedder."""
    said = _list(read(folder, "config.json").get("architectures"))
    if any(str(name).endswith("ForCausalLM") for name in said):
        return "generate"
    return "generate" if (folder / "genai_config.json").is_file() else "embed"


def pooling(folder: Path) -> Pooling:
    """How token states become one vector, from 1_Pooling/config.json.

    Raises:
        ModelBroken: The file is not there, or asks for what is not served.
    """
    for module in _modules(folder):
        if module not in _SERVED_MODULES:
            raise ModelBroken(f"{folder.name} has a {module} layer, which is not served.")
    if not (folder / _POOLING_FILE).is_file():
        raise ModelBroken(
            f"{_POOLING_FILE} is missing in {folder}; put the model's own file there, or one with "
            '{"pooling_mode": "mean"} or {"pooling_mode": "cls"}, as the model was trained.'
        )
    modes = _pooling_modes(read(folder, _POOLING_FILE))
    for served in _POOLINGS:
        if modes == [served]:
            return served
    raise ModelBroken(
        f"{_POOLING_FILE} in {folder.name} asks for {' and '.join(modes) or 'no pooling_mode'}; "
        f"served are {' or '.join(_POOLINGS)}."
    )


def _pooling_modes(config: Json) -> list[str]:
    if "pooling_mode" in config:
        return [str(mode) for mode in _list(config["pooling_mode"])]
    switched_on = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
    return [_SWITCHES.get(name, name) for name in switched_on]


def query_prefix(folder: Path) -> str:
    """The prompt for queries, if the authors published one.

    Raises:
        ModelBroken: There is one for documents too, or it is left out of the pooling.
    """
    config = read(folder, _PROMPTS_FILE)
    prompts: Any = config.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise ModelBroken(f"{_PROMPTS_FILE} in {folder.name} has prompts that are no object.")
    texts = {name: text for name, text in cast("Json", prompts).items() if isinstance(text, str)}
    names = [name for name in _DOCUMENT_PROMPTS if name in texts]
    if any(texts.get(name) for name in names or [str(config.get("default_prompt_name"))]):
        raise ModelBroken(
            f"{_PROMPTS_FILE} in {folder.name} has a prompt for documents, which is not served; "
            "choose a model that has one for queries at most."
        )
    prefix = texts.get("query", "")
    if prefix and read(folder, _POOLING_FILE).get("include_prompt") is False:
        raise ModelBroken(
            f"{_POOLING_FILE} in {folder.name} leaves prompts out of the pooling, which is not "
            "served; choose another model."
        )
    return prefix


def dimensions(folder: Path) -> int:
    """Length of a token's state.

    Raises:
        ModelBroken: config.json does not say.
    """
    return _required(read(folder, "config.json").get("hidden_size"), "hidden_size", folder)


def embedder_max_tokens(folder: Path) -> int:
    """What one text may have at most, special tokens included."""
    config = read(folder, "config.json")
    positions = _positive(config.get("max_position_embeddings"))
    if positions and _model_type(folder) in _OFFSET_TYPES:
        positions -= 2
    said = _positive(read(folder, "sentence_bert_config.json").get("max_seq_length"))
    said = said or _positive(read(folder, "tokenizer_config.json").get("model_max_length"))
    limits = [limit for limit in (said, positions) if limit and limit < _NO_LIMIT]
    return _required(min(limits, default=None), "max_position_embeddings", folder)


def decoder_max_tokens(folder: Path) -> int:
    """The context window, or the part of it for which keys and values may be kept.

    LongRoPE (Phi-3 128k, Phi-3.5) turns keys by other angles as soon as a text is longer than its
    original context: what was kept until then is wrong from there on, so it ends there.
    """
    config = read(folder, "config.json")
    said = _genai_model(folder).get("context_length") or config.get("max_position_embeddings")
    context = _required(said, "max_position_embeddings", folder)
    scaling: Any = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(scaling, dict) or "long_factor" not in scaling:
        return context
    name = "original_max_position_embeddings"
    original = cast("Json", scaling).get(name) or config.get(name)
    return min(context, _required(original, name, folder))


def sliding_window(folder: Path) -> SlidingWindow | None:
    """How far back a token was trained to attend; None for as far as there is something."""
    config = read(folder, "config.json")
    size = _positive(config.get("sliding_window"))
    if size is None or config.get("use_sliding_window") is False:
        return None
    count = _positive(config.get("num_hidden_layers")) or 0
    layers = frozenset(range(count))
    if "layer_types" in config:
        kinds = _list(config["layer_types"])
        layers = frozenset(i for i, kind in enumerate(kinds) if kind == "sliding_attention")
        count = len(kinds)
    elif type(config.get("max_window_layers")) is int:
        layers = frozenset(range(config["max_window_layers"], count))
    if len(layers) == count:
        return SlidingWindow(size=size)
    return SlidingWindow(size=size, layers=layers) if layers else None


def tensor_names(folder: Path) -> TensorNames:
    """What the graph calls its inputs and outputs, as genai_config.json says.

    Raises:
        ModelBroken: It describes a model of several graphs, or one that is no plain decoder.
    """
    model = _genai_model(folder)
    decoder = _object(model.get("decoder"))
    parts = [name for name in _OTHER_PARTS if model.get(name)]
    parts += ["pipeline"] if decoder.get("pipeline") else []
    if parts or read(folder, "config.json").get("is_encoder_decoder") is True:
        raise ModelBroken(
            f"{folder.name} is a model of several graphs ({', '.join(parts) or 'encoder'}); served "
            "are text decoders in one graph: choose another export or model."
        )
    said = {**_object(decoder.get("inputs")), **_object(decoder.get("outputs"))}
    names = {field: said.get(name) for field, name in _TENSORS.items()}
    return TensorNames(**{field: name for field, name in names.items() if isinstance(name, str)})


def stop_token_ids(folder: Path) -> tuple[int, ...]:
    """The ids that end an answer, from the first file that names any.

    Raises:
        ModelBroken: No file does.
    """
    places = {
        "generation_config.json": read(folder, "generation_config.json"),
        "genai_config.json": _genai_model(folder),
        "config.json": read(folder, "config.json"),
    }
    for name, place in places.items():
        ids = [i for i in _list(place.get("eos_token_id")) if i is not None]
        if not all(type(i) is int and i >= 0 for i in ids):
            raise ModelBroken(f"{name} in {folder.name} has an eos_token_id that is no token id.")
        if ids:
            return tuple(ids)
    raise ModelBroken(f"No file in {folder.name} names an eos_token_id; it could never stop.")


def chat_template(folder: Path) -> str:
    """Jinja source from chat_template.jinja or tokenizer_config.json.

    Raises:
        ModelBroken: There is none: the model was not trained to chat.
    """
    if (folder / _TEMPLATE_FILE).is_file():
        return _text(folder, _TEMPLATE_FILE)
    template: Any = read(folder, "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        template = _default(cast("list[Any]", template))
    if not isinstance(template, str):
        raise ModelBroken(
            f"tokenizer_config.json in {folder.name} has no chat_template: choose an "
            "instruction-tuned model."
        )
    return template


def _default(templates: list[Any]) -> Any:
    """Of templates with names, the one that is meant where nobody names one."""
    named = [cast("Json", entry) for entry in templates if isinstance(entry, dict)]
    return next((e.get("template") for e in named if e.get("name") == "default"), None)


def special_token(folder: Path, name: str) -> str:
    """The text of a special token, for instance "bos_token"; empty where there is none."""
    token: Any = read(folder, "tokenizer_config.json").get(name)
    if isinstance(token, dict):
        token = cast("Json", token).get("content")
    return token if isinstance(token, str) else ""


def decoder_filename(folder: Path) -> str:
    """The graph's file as genai_config.json names it; empty where that does not say."""
    name = _object(_genai_model(folder).get("decoder")).get("filename")
    return name if isinstance(name, str) else ""


def _genai_model(folder: Path) -> Json:
    return _object(read(folder, "genai_config.json").get("model"))


def _object(value: Any) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}


def _modules(folder: Path) -> list[str]:
    """Class names of modules.json, which unlike the other files is a list."""
    if not (folder / "modules.json").is_file():
        return []
    entries: Any = _parsed(folder, "modules.json")
    try:
        return [str(entry["type"]).rpartition(".")[2] for entry in entries]
    except (KeyError, TypeError) as error:
        raise ModelBroken(f"modules.json in {folder.name} lists no modules ({error}).") from error


def _model_type(folder: Path) -> str:
    said = read(folder, "config.json").get("model_type", "")
    if not isinstance(said, str):
        raise ModelBroken(f"config.json in {folder.name} has a model_type that is no text.")
    return said


def _parsed(folder: Path, name: str) -> Any:
    """What a JSON file says, all of whose texts can be written as UTF-8 again."""
    try:
        value = json.loads(_text(folder, name))
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ModelBroken(f"{name} in {folder.name} is not readable JSON ({error}).") from error
    return value


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ModelBroken(f"{name} in {folder.name} is not readable text ({error}).") from error


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _positive(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _required(value: Any, name: str, folder: Path) -> int:
    number = _positive(value)
    if number is None:
        raise ModelBroken(f"config.json in {folder.name} does not say {name}.")
    return number
