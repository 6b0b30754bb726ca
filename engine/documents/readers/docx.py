"""Reads Word documents as the web pages they would be; the only door to mammoth.

No macro runs, no picture is unpacked, and nothing outside the file is opened.
"""
# mammoth has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import io
import zipfile
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

import mammoth

from engine.documents.readers.extraction import Extraction
from engine.documents.readers.html import add_html
from engine.documents.readers.interface import Reading, Unreadable

_OLD_FORMAT = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MOST_PARTS = 20_000
_MOST_PART_BYTES = 64 * 1024 * 1024
_ENCRYPTED = 0x1

# What is raised for what is wrong with an archive and its parts.
_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError),
    ExpatError,
)

_PROPERTIES = "docProps/core.xml"
_METADATA = {
    "title": "title",
    "creator": "author",
    "subject": "subject",
    "keywords": "keywords",
    "language": "language",
    "created": "date",
}


def read_docx(content: bytes) -> Reading:
    """Reads a Word document.

    Raises:
        Unreadable: It is encrypted, broken, a bomb, or no Word document.
    """
    if content.startswith(_OLD_FORMAT):
        raise Unreadable("it is encrypted, or of Word's format before 2007")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            metadata = dict(_examined(parts))
        page = mammoth.convert_to_html(
            io.BytesIO(content),
            convert_image=_no_image,
            include_embedded_style_map=False,
            external_file_access=False,
        ).value
    except RecursionError as error:
        raise _damaged("it is nested too deeply") from error
    except _DAMAGES as error:
        raise _damaged(str(error)) from error
    extraction = Extraction()
    add_html(page, extraction)
    return extraction.reading(metadata)


def _damaged(why: str) -> Unreadable:
    return Unreadable(f"it is no Word document that can be read ({why})")


def _no_image(image: object) -> list[object]:
    del image
    return []


def _examined(parts: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """Unpacks every part that is text once, none further than it may; gives the metadata."""
    entries = parts.infolist()
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        raise Unreadable("it is encrypted")
    texts = [entry for entry in entries if entry.filename.endswith((".xml", ".rels"))]
    declared = sum(entry.file_size for entry in texts)
    if declared > _MOST_PART_BYTES or len(entries) > _MOST_PARTS:
        raise Unreadable(f"it would unpack to {declared / 1e6:,.0f} MB in {len(entries):,} parts")
    for entry in texts:
        with parts.open(entry) as file:
            text = file.read(entry.file_size + 1)
        # Word writes none; what it declares can be made to grow without end.
        if b"<!DOCTYPE" in text.replace(b"\0", b""):
            raise _damaged("it declares a document type")
        if entry.filename == _PROPERTIES:
            yield from _metadata(text)


def _metadata(text: bytes) -> Iterator[tuple[str, str]]:
    try:
        properties = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return
    for element in properties:
        name = _METADATA.get(element.tag.rpartition("}")[2])
        if name and element.text and (words := " ".join(element.text.split())):
            yield name, words
