"""Refuses a model whose weights lie outside its own folder, before the runtime opens anything.

An ONNX file names the files that hold its weights; a hostile one may name any file of the machine,
or, with a mark that ONNX Runtime keeps for itself, an address in memory. Versions of the runtime
differ in what they refuse; what is refused here never reaches them.
"""

import importlib
import os
from pathlib import Path, PureWindowsPath

from engine.errors import ModelBroken


def locations(onnx_file: Path) -> list[str]:
    """The external-data files that an ONNX file names, each checked to be safe to open.

    Raises:
        ModelBroken: It is no ONNX file, or a file it names is missing or may lie elsewhere.
    """
    # By name: it imports onnx, which serving an installed model does without.
    graph = importlib.import_module("engine.models.graph")
    named: list[str] = sorted(set(graph.external_data_files(onnx_file)))
    for location in named:
        if reason := objection(onnx_file.parent, location):
            raise ModelBroken(
                f"{onnx_file.name} in {onnx_file.parent.name} keeps weights in {location[:200]!r}, "
                f"which {reason}; only plain files below the model's own folder are opened."
            )
    return named


def objection(folder: Path, location: str) -> str:
    """What speaks against opening a file that a model names, as "is missing"; empty if nothing."""
    # Read as Windows reads it, whatever this machine is: that form knows every way to escape.
    path = PureWindowsPath(location)
    if not location or "\0" in location:
        return "is no file name"
    if "*" in location:
        # No file's name on Windows, and how ONNX Runtime marks addresses: */_ORT_MEM_ADDR_/*
        return "is no file name but a mark"
    if path.drive or path.root or ":" in location:
        return "is an absolute path"
    if ".." in path.parts or "\\" in location:
        return "may lead outside the folder"
    try:
        return _objection_to_file(folder, folder / location)
    except (OSError, ValueError) as error:
        return f"is no file name here ({type(error).__name__})"


def _objection_to_file(folder: Path, file: Path) -> str:
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
        return "is a link that leads outside the folder"
    if not file.is_file():
        return "is missing"
    if file.stat().st_nlink > 1:
        return "has another name elsewhere (a hard link)"
    return ""
