"""Manifest: what an installed model's folder holds, written last, so that it tells whole from half.

Rule: a folder without it is not installed, and one whose files differ from it in size is broken.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.errors import ModelBroken
from engine.models import configs
from engine.models.catalog import DecoderFacts, EmbedderFacts, Facts, KnownFile
from engine.models.spec import Pooling

NAME = "npu-gateway.json"
_FORMAT = 1

_FACTS = {facts.task: facts for facts in (EmbedderFacts, DecoderFacts)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was installed, from where, and each file's size and hash."""

    model_id: str
    license: str
    source: str
    converter: str
    """What made the graph, with its version; empty where the graph came as it is."""
    onnx_file: str
    facts: Facts
    files: tuple[KnownFile, ...]

    @property
    def size_bytes(self) -> int:
        """Size of all files it lists, whether they are there or not."""
        return sum(file.size for file in self.files)


def is_in(folder: Path) -> bool:
    """Whether a folder has a manifest, whatever it says."""
    return (folder / NAME).is_file()


def write(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest into the folder it is about."""
    record = {"format": _FORMAT, "task": manifest.facts.task, **dataclasses.asdict(manifest)}
    (folder / NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """Reads the manifest; `require_files` checks what it says.

    Raises:
        ModelBroken: It cannot be read.
    """
    try:
        return _parse(configs.read(folder, NAME))
    except (ModelBroken, ValueError, KeyError, TypeError) as error:
        raise ModelBroken(
            f"The record {NAME} of {folder.name} cannot be read; {_mend(folder)}."
        ) from error


def require_files(folder: Path, manifest: Manifest) -> None:
    """Checks that every file the manifest lists is there with its size.

    Raises:
        ModelBroken: A file is missing or of another size; says which.
    """
    for file in manifest.files:
        _require(folder, file)


def _parse(record: dict[str, Any]) -> Manifest:
    if record["format"] != _FORMAT:
        raise ValueError("another version of npu-gateway wrote it")
    facts = cast("dict[str, Any]", record["facts"])
    if "stop_token_ids" in facts:
        facts["stop_token_ids"] = tuple(facts["stop_token_ids"])
    return Manifest(
        model_id=record["model_id"],
        license=record["license"],
        source=record["source"],
        converter=record["converter"],
        onnx_file=record["onnx_file"],
        facts=_FACTS[record["task"]](**facts),
        files=tuple(KnownFile(**file) for file in record["files"]),
    )


def _require(folder: Path, file: KnownFile) -> None:
    path = folder / file.path
    size = path.stat().st_size if path.is_file() else None
    if size is None:
        raise ModelBroken(f"{file.path} of {folder.name} is missing; {_mend(folder)}.")
    if size != file.size:
        raise ModelBroken(
            f"{file.path} of {folder.name} has {size:,} bytes instead of {file.size:,}; "
            f"{_mend(folder)}."
        )


def _mend(folder: Path) -> str:
    return f"fetch it again with: npu-gateway pull {folder.name}"


def fingerprint(files: dict[str, str], pooling: Pooling) -> str:
    """One hash over what decides a vector: path and SHA-256 of each file, and the pooling."""
    lines = [f"{sha256}  {path}\n" for path, sha256 in sorted(files.items())]
    return hashlib.sha256("".join([*lines, pooling]).encode()).hexdigest()
