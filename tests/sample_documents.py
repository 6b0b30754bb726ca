"""Small documents of foreign formats, made by hand."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

Line = tuple[float, str]
"""Size of its letters in points, and its text."""


def pdf(
    pages: Sequence[Sequence[Line]],
    *,
    metadata: Mapping[str, str] | None = None,
    outline: Sequence[tuple[int, str]] = (),
    trailer: str = "",
) -> bytes:
    """A PDF whose pages hold lines from the top, 1.2 letters apart, an empty one a gap.

    Args:
        pages: Their lines.
        metadata: Of the document, by PDF's names.
        outline: 0-based page and title of each entry.
        trailer: More entries of the trailer.
    """
    count = len(pages)
    first_outline = 5 + 2 * count
    objects = [
        f"<</Type/Catalog/Pages 2 0 R{f'/Outlines {first_outline} 0 R' if outline else ''}>>",
        f"<</Type/Pages/Count {count}/Kids[{' '.join(f'{5 + 2 * n} 0 R' for n in range(count))}]>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        "<<" + "".join(f"/{name}({value})" for name, value in (metadata or {}).items()) + ">>",
    ]
    for number, lines in enumerate(pages):
        stream = _stream(lines)
        objects += [
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>"
            f"/Contents {6 + 2 * number} 0 R>>",
            f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        ]
    objects += _outline_objects(outline, first_outline)
    return _assembled(objects, trailer)


def _stream(lines: Sequence[Line]) -> str:
    place = 750.0
    shown: list[str] = []
    for size, text in lines:
        place -= 1.2 * size
        words = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        if text:
            shown.append(f"BT /F1 {size} Tf 1 0 0 1 50 {place:.1f} Tm ({words}) Tj ET")
    return "\n".join(shown)


def _outline_objects(outline: Sequence[tuple[int, str]], first: int) -> list[str]:
    if not outline:
        return []
    last = first + len(outline)
    entries = [f"<</Type/Outlines/First {first + 1} 0 R/Last {last} 0 R/Count {len(outline)}>>"]
    for number, (page, title) in enumerate(outline, first + 1):
        after = f"/Next {number + 1} 0 R" if number < last else ""
        entries.append(
            f"<</Title({title})/Parent {first} 0 R{after}/Dest[{5 + 2 * page} 0 R/XYZ 0 700 0]>>"
        )
    return entries


def _assembled(objects: Sequence[str], trailer: str) -> bytes:
    content = b"%PDF-1.4\n"
    places: list[int] = []
    for number, one in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{one}\nendobj\n".encode("cp1252")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    return (
        content
        + (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
            f"trailer\n<</Size {len(objects) + 1}/Root 1 0 R/Info 4 0 R{trailer}>>\n"
            f"startxref\n{len(content)}\n%%EOF\n"
        ).encode()
    )


_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def docx(
    paragraphs: Sequence[tuple[str, str]] = (),
    *,
    body: str = "",
    title: str = "",
    head: str = "",
    parts: Mapping[str, bytes] | None = None,
) -> bytes:
    """A Word document.

    Args:
        paragraphs: Style and text of each.
        body: More of its body, as XML.
        title: In its properties.
        head: Before the root of its main part.
        parts: More of its parts.
    """
    written = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{escape(text)}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    document = f'{head}<w:document xmlns:w="{_WORD}"><w:body>{written}{body}</w:body></w:document>'
    names = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{n}">'
        f'<w:name w:val="heading {n}"/></w:style>'
        for n in (1, 2, 3)
    )
    held = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": document,
        "word/styles.xml": f'<w:styles xmlns:w="{_WORD}">{names}</w:styles>',
        "docProps/core.xml": f'<c:coreProperties xmlns:c="{_PACKAGE}/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{escape(title)}</dc:title><dc:creator>Ada</dc:creator></c:coreProperties>",
        **(parts or {}),
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, part in held.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, part)
    return content.getvalue()


def table(*rows: Sequence[str]) -> str:
    """A table in a Word document's body."""
    cells = "".join(
        "<w:tr>"
        + "".join(f"<w:tc><w:p><w:r><w:t>{escape(cell)}</w:t></w:r></w:p></w:tc>" for cell in row)
        + "</w:tr>"
        for row in rows
    )
    return f"<w:tbl>{cells}</w:tbl>"


def notebook(*cells: Mapping[str, object], **metadata: object) -> bytes:
    """A notebook of format 4."""
    described = {"kernelspec": {"language": "python"}, **metadata}
    written = {"nbformat": 4, "nbformat_minor": 5, "metadata": described, "cells": list(cells)}
    return json.dumps(written).encode()
