"""Reads PDF page by page, with the outline as headings; the only door to pdfium.

Knows no forms, no scripts and no pictures: pdfium is built without scripts, and pages are not
drawn. Pages without an outline take lines in larger letters as headings.
"""
# pdfium has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from ctypes import c_double
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low

import pypdfium2
from pypdfium2 import PdfDocument, PdfiumError, PdfTextPage, raw

from engine.documents.readers.extraction import Extraction, cleaned
from engine.documents.readers.interface import Reading, Unreadable

_METADATA = {"Title": "title", "Author": "author", "Subject": "subject", "Keywords": "keywords"}
_DATE = re.compile(r"D:(\d{4})(\d{2})(\d{2})")
_MOST_OUTLINE_ENTRIES = 5000

# pdfium's sign for a hyphen that only divides a word at the end of a line.
_DIVIDED = re.compile("[\ufffe\x02]\r?\n")

# Lines further apart than this many usual distances begin a paragraph.
_PARAGRAPH_GAP = 1.4
_LARGER_LETTERS = 1.15
_LONGEST_HEADING = 120
_LONGEST_TITLE = 200
_SPACE_OR_DOT = re.compile(r"[\s.]+")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    height: float
    """Above the bottom of the page, in points."""
    size: float
    """Of its first letter, in points."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the outline."""

    level: int
    title: str


def read_pdf(content: bytes) -> Reading:
    """Reads a PDF.

    Raises:
        Unreadable: It is encrypted or broken, or holds no text.
    """
    with closing(_opened(content)) as document:
        pages = [_lines(document, number) for number in range(len(document))]
        outline = _outline(document)
        metadata = dict(_metadata(document))
    extraction = Extraction()
    body_size = _body_size(pages)
    if title := _title(pages[0] if pages else [], body_size):
        metadata.setdefault("title", title)
    for number, lines in enumerate(pages):
        extraction.begin_page()
        entries = outline.get(number, []) if outline else _large(lines, body_size)
        _add_page(lines, entries, extraction)
    if extraction.is_blank:
        raise Unreadable("its pages hold no text (only pictures, perhaps)")
    return extraction.reading(metadata)


def _opened(content: bytes) -> PdfDocument:
    try:
        return PdfDocument(content)
    except PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise Unreadable("it is encrypted") from error
        raise Unreadable("it is no PDF that can be read (it is damaged)") from error


def _lines(document: PdfDocument, number: int) -> list[_Line]:
    """The lines of a page; none where the page is damaged."""
    try:
        with closing(document[number]) as page, closing(page.get_textpage()) as text_page:
            text = text_page.get_text_range()
            return list(_located(text, text_page))
    except PdfiumError:
        return []


def _located(text: str, page: PdfTextPage) -> Iterator[_Line]:
    place = 0
    for line in text.split("\n"):
        words = line.strip()
        if words:
            first = place + line.index(words[0])
            index = raw.FPDFText_GetCharIndexFromTextIndex(page, first)
            yield _Line(
                line.rstrip("\r"), _height(page, index), raw.FPDFText_GetFontSize(page, index)
            )
        place += len(line) + 1


def _height(page: PdfTextPage, index: int) -> float:
    across, up = c_double(), c_double()
    raw.FPDFText_GetCharOrigin(page, index, across, up)
    return up.value


def _add_page(lines: Sequence[_Line], entries: Sequence[_Entry], extraction: Extraction) -> None:
    headings = _placed(lines, entries)
    begins = _paragraph_starts(lines)
    paragraph: list[str] = []
    for number, line in enumerate(lines):
        if number in begins or number in headings:
            _add_paragraph(paragraph, extraction)
            paragraph = []
        if entry := headings.get(number):
            extraction.add_heading(entry.level, line.text)
        else:
            paragraph.append(line.text)
    _add_paragraph(paragraph, extraction)


def _add_paragraph(lines: Sequence[str], extraction: Extraction) -> None:
    extraction.add_text(_DIVIDED.sub("", "\n".join(lines)))


def _placed(lines: Sequence[_Line], entries: Sequence[_Entry]) -> Mapping[int, _Entry]:
    """Each entry with the number of the line that says the same, in order."""
    placed: dict[int, _Entry] = {}
    keys = [_key(line.text) for line in lines]
    after = 0
    for entry in entries:
        title = _key(entry.title)
        found = [at for at in range(after, len(keys)) if keys[at] and _says(keys[at], title)]
        if found:
            after = found[0] + 1
            placed[found[0]] = entry
    return placed


def _says(line: str, title: str) -> bool:
    """Whether a line is a title, but for its number."""
    return line == title or (line.endswith(title) and not line[: -len(title)].strip("0123456789"))


def _key(text: str) -> str:
    return _SPACE_OR_DOT.sub("", cleaned(text)).casefold()


def _paragraph_starts(lines: Sequence[_Line]) -> set[int]:
    gaps = [before.height - after.height for before, after in pairwise(lines)]
    usual = median_low([gap for gap in gaps if gap > 0] or [0.0])
    # What goes up begins a column.
    return {
        number
        for number, gap in enumerate(gaps, 1)
        if gap > _PARAGRAPH_GAP * usual or gap < -2 * usual
    }


def _body_size(pages: Sequence[Sequence[_Line]]) -> float:
    """The size that most letters have."""
    sizes: Counter[float] = Counter()
    for line in (line for page in pages for line in page):
        sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _large(lines: Sequence[_Line], body_size: float) -> list[_Entry]:
    return [
        _Entry(1 if line.size > 1.6 * body_size else 2, line.text)
        for line in lines
        if line.size > _LARGER_LETTERS * body_size > 0 and len(line.text) <= _LONGEST_HEADING
    ]


def _title(lines: Sequence[_Line], body_size: float) -> str:
    """What a first page says in its largest letters, if they are larger than most."""
    largest = max((line.size for line in lines), default=0.0)
    words = " ".join(line.text.strip() for line in lines if line.size == largest)
    return words if largest > _LARGER_LETTERS * body_size and len(words) <= _LONGEST_TITLE else ""


def _outline(document: PdfDocument) -> dict[int, list[_Entry]]:
    """The entries of each page, by its 0-based number."""
    entries: dict[int, list[_Entry]] = {}
    try:
        for number, bookmark in enumerate(document.get_toc()):
            target = bookmark.get_dest()
            page = target.get_index() if target else None
            title = " ".join(bookmark.get_title().split())
            if page is not None and title:
                entries.setdefault(page, []).append(_Entry(bookmark.level + 1, title))
            if number > _MOST_OUTLINE_ENTRIES:
                break
    except (PdfiumError, pypdfium2.PdfiumWarning):
        return {}
    return entries


def _metadata(document: PdfDocument) -> Iterator[tuple[str, str]]:
    for key, name in _METADATA.items():
        if value := " ".join(cleaned(document.get_metadata_value(key)).split()):
            yield name, value
    if date := _DATE.match(document.get_metadata_value("CreationDate")):
        yield "date", "-".join(date.groups())
