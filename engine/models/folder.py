"""Reads a model folder into a ModelSpec; says what is missing.

Two kinds: an installed model, whose manifest was written when every file had been checked, and a
user's own Hugging Face style folder, of which nothing is believed. Neither kind is opened here.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelBroken
from engine.models import checksum, configs, external_data, manifest, surgery
from engine.models.catalog import DecoderFacts, EmbedderFacts, Facts
from engine.models.spec import DecoderSpec, EmbedderSpec

_TOKENIZER = "tokenizer.json"
_ONNX_PLACES = ("model.onnx", "onnx/model.onnx")


def read_installed(folder: Path) -> EmbedderSpec | DecoderSpec:
    """Reads a folder that `fetcher` has installed, quickly: sizes are checked, not hashes.

    Raises:
        ModelBroken: A file is missing or changed; names it.
    """
    record = manifest.read(folder)
    manifest.require_files(folder, record)
    files = [file for file in record.files if not _is_config(file.path)]
    weights = _Weights(
        onnx_file=folder / record.onnx_file,
        size=sum(file.size for file in files if file.path != _TOKENIZER),
        hashes={file.path: file.sha256 for file in files},
        converted=bool(record.converter),
    )
    origin = (record.model_id, record.license, record.source)
    return _spec(folder, record.facts, weights, origin)


def read(folder: Path) -> EmbedderSpec | DecoderSpec:
    """Reads a user's own folder: config.json, tokenizer.json, an ONNX file and what belongs to it.

    The graph is looked for where genai_config.json says, then at model.onnx and onnx/model.onnx.
    A decoder needs tokenizer_config.json, an embedder 1_Pooling/config.json. An embedder's weights
    are hashed, which takes about a second a gigabyte.

    Raises:
        ModelBroken: A file is missing, is not what it should be, or lies outside the folder.
    """
    if not folder.is_dir():
        raise ModelBroken(f"{folder} is not a folder.")
    onnx_file = _onnx_file(folder)
    for name in _needed(folder):
        if not (folder / name).is_file():
            raise ModelBroken(f"{name} is missing in {folder}; put the model's own file there.")
    data = [onnx_file.parent / name for name in external_data.locations(onnx_file)]
    facts = _own_facts(folder, onnx_file)
    hashed = [onnx_file, folder / _TOKENIZER, *data] if isinstance(facts, EmbedderFacts) else []
    weights = _Weights(
        onnx_file=onnx_file,
        size=sum(file.stat().st_size for file in (onnx_file, *data)),
        hashes={_relative(file, folder): checksum.sha256_of(file) for file in hashed},
        converted=False,
    )
    return _spec(folder, facts, weights, (folder.resolve().name, "unknown", "own folder"))


@dataclass(frozen=True, slots=True)
class _Weights:
    """The graph with its weights, as far as a spec tells of them."""

    onnx_file: Path
    size: int
    hashes: dict[str, str]
    converted: bool


def _spec(
    folder: Path, facts: Facts, weights: _Weights, origin: tuple[str, str, str]
) -> EmbedderSpec | DecoderSpec:
    model_id, license_id, source = origin
    if isinstance(facts, EmbedderFacts):
        return EmbedderSpec(
            model_id=model_id,
            folder=folder,
            onnx_file=weights.onnx_file,
            tokenizer_file=folder / _TOKENIZER,
            license=license_id,
            source=source,
            max_tokens=facts.max_tokens,
            weight_bytes=weights.size,
            dimensions=facts.dimensions,
            pooling=facts.pooling,
            query_prefix=facts.query_prefix,
            fingerprint=manifest.fingerprint(weights.hashes, facts.pooling),
            has_codes=facts.has_codes,
        )
    return DecoderSpec(
        model_id=model_id,
        folder=folder,
        onnx_file=weights.onnx_file,
        tokenizer_file=folder / _TOKENIZER,
        license=license_id,
        source=source,
        max_tokens=facts.max_tokens,
        weight_bytes=weights.size,
        stop_token_ids=facts.stop_token_ids,
        chat_template=configs.chat_template(folder),
        bos_token=configs.special_token(folder, "bos_token"),
        eos_token=configs.special_token(folder, "eos_token"),
        converted=weights.converted,
        sliding_window=configs.sliding_window(folder),
        tensors=configs.tensor_names(folder),
    )


def _own_facts(folder: Path, onnx_file: Path) -> Facts:
    if configs.task_of(folder) == "generate":
        return DecoderFacts(
            max_tokens=_decoder_max_tokens(folder, onnx_file),
            stop_token_ids=configs.stop_token_ids(folder),
        )
    return EmbedderFacts(
        dimensions=configs.dimensions(folder),
        max_tokens=configs.embedder_max_tokens(folder),
        pooling=configs.pooling(folder),
        query_prefix=configs.query_prefix(folder),
    )


def _decoder_max_tokens(folder: Path, onnx_file: Path) -> int:
    """The context window, or the sliding one where the graph has no place for it.

    Without it a graph attends to tokens that the model never saw in training; up to its size there
    is no difference.
    """
    context, window = configs.decoder_max_tokens(folder), configs.sliding_window(folder)
    if window is None or window.size >= context or surgery.takes_window(onnx_file):
        return context
    return window.size


def _onnx_file(folder: Path) -> Path:
    named = configs.decoder_filename(folder)
    there = [place for place in _ONNX_PLACES if (folder / place).is_file()]
    place = named or next(iter(there), "")
    if not place:
        raise ModelBroken(
            f"{folder} has no ONNX file at {' or '.join(_ONNX_PLACES)}; export the model to ONNX "
            "first."
        )
    if reason := external_data.objection(folder, place):
        raise ModelBroken(
            f"The graph of {folder}{' in genai_config.json' if named else ''} is {place[:200]!r}, "
            f"which {reason}; only plain files below the model's own folder are opened."
        )
    return folder / place


def _needed(folder: Path) -> Generator[str]:
    """The small files a folder must have, in the order in which they tell of each other."""
    yield _TOKENIZER
    # genai_config.json says for a decoder what config.json would.
    if not (folder / "genai_config.json").is_file():
        yield "config.json"
    if configs.task_of(folder) == "generate":
        yield "tokenizer_config.json"


def _is_config(path: str) -> bool:
    """Whether a file is without weight for a vector: every JSON file but the tokenizer."""
    return path.endswith((".json", ".jinja", ".txt", ".md")) and path != _TOKENIZER


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
