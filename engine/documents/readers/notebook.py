"""Reads Jupyter notebooks: what their cells say, and how what these print begins."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from engine.documents.readers.extraction import Extraction
from engine.documents.readers.interface import Reading, Unreadable, decode

_Json = Mapping[str, object]

# Longer outputs are logs and tables of numbers.
_OUTPUT_CHARACTERS = 2000


def read_notebook(content: bytes) -> Reading:
    """Reads a notebook of format 3 or 4.

    Raises:
        Unreadable: It is no notebook.
    """
    try:
        notebook = _mapping(json.loads(decode(content)[0]))
    except (ValueError, RecursionError) as error:
        raise Unreadable("it is no notebook (it is no JSON)") from error
    if "nbformat" not in notebook:
        raise Unreadable("it is no notebook (it names no format)")
    metadata = _mapping(notebook.get("metadata"))
    language = _language(metadata)
    extraction = Extraction()
    for cell in _cells(notebook):
        _add_cell(cell, language, extraction)
    return extraction.reading(_described(metadata, language))


def _cells(notebook: _Json) -> Iterator[_Json]:
    sheets = [notebook, *map(_mapping, _sequence(notebook.get("worksheets")))]
    for sheet in sheets:
        yield from map(_mapping, _sequence(sheet.get("cells")))


def _add_cell(cell: _Json, language: str, extraction: Extraction) -> None:
    text = _text(cell.get("source", cell.get("input")))
    match cell.get("cell_type"):
        case "markdown":
            extraction.add_markdown(text)
        case "heading":
            level = cell.get("level")
            extraction.add_heading(level if isinstance(level, int) else 1, text)
        case "code":
            extraction.add_code(text, language)
            for output in _sequence(cell.get("outputs")):
                extraction.add_code(_output(_mapping(output))[:_OUTPUT_CHARACTERS], "text")
        case _:
            extraction.add_text(text)


def _output(output: _Json) -> str:
    if output.get("output_type") == "error" or output.get("output_type") == "pyerr":
        return f"{output.get('ename', '')}: {output.get('evalue', '')}"
    return _text(output.get("text") or _mapping(output.get("data")).get("text/plain"))


def _language(metadata: _Json) -> str:
    named = (
        _mapping(metadata.get("kernelspec")).get("language"),
        _mapping(metadata.get("language_info")).get("name"),
    )
    name = next((name for name in named if isinstance(name, str)), "python")
    return name if name.isidentifier() else ""


def _described(metadata: _Json, language: str) -> Mapping[str, str]:
    authors = [_mapping(author).get("name") for author in _sequence(metadata.get("authors"))]
    described = {
        "title": metadata.get("title"),
        "author": ", ".join(name for name in authors if isinstance(name, str)),
        "language": language,
    }
    return {name: value for name, value in described.items() if value and isinstance(value, str)}


def _text(value: object) -> str:
    """A text that may be given as a list of lines."""
    parts = [value] if isinstance(value, str) else _sequence(value)
    return "".join(part for part in parts if isinstance(part, str))


def _mapping(value: object) -> _Json:
    return cast(_Json, value) if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[object]:
    return cast(Sequence[object], value) if isinstance(value, list) else ()
