"""Reads web pages as Markdown; the only door to Beautiful Soup and markdownify.

Scripts do not run, and nothing that a page names is fetched. What leads elsewhere goes: menus,
addresses of links, pictures but for their descriptions.
"""
# markdownify has no types for what a converter takes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import re
import warnings
from collections.abc import Iterator

from bs4 import BeautifulSoup, Tag
from bs4.element import PreformattedString
from bs4.exceptions import ParserRejectedMarkup
from markdownify import MarkdownConverter

from engine.documents.readers.extraction import Extraction
from engine.documents.readers.interface import Reading, Unreadable, decode

_LEFT_OUT = ("script", "style", "template", "noscript", "nav", "svg", "iframe", "object", "button")
_METADATA = {
    "author": "author",
    "dc.creator": "author",
    "article:author": "author",
    "description": "description",
    "keywords": "keywords",
    "date": "date",
    "dc.date": "date",
    "article:published_time": "date",
}
_HEAD_BYTES = 4096
_CHARSET = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?([\w.:-]+)", re.I
)
_LANGUAGE = re.compile(r"\b(?:language|lang|highlight|brush|sourceCode)[-:](\w+)")


def read_html(content: bytes) -> Reading:
    """Reads a web page.

    Raises:
        Unreadable: The bytes are no text, or cannot be taken apart.
    """
    soup = _parsed(_decoded(content))
    metadata = dict(_metadata(soup))
    extraction = Extraction()
    _add(soup, extraction)
    return extraction.reading(metadata)


def add_html(text: str, extraction: Extraction) -> None:
    """Adds what a piece of HTML says.

    Raises:
        Unreadable: It cannot be taken apart.
    """
    _add(_parsed(text), extraction)


def _decoded(content: bytes) -> str:
    """As its bytes say, else as its head says, else by a guess."""
    declared = _CHARSET.search(content[:_HEAD_BYTES])
    text, encoding, _ = decode(content)
    if declared and not encoding.startswith("utf"):
        try:
            return content.decode(declared[1].decode())
        except (LookupError, UnicodeError):
            return text
    return text


def _parsed(text: str) -> BeautifulSoup:
    with warnings.catch_warnings():
        # That a page looks like an address or like XML.
        warnings.simplefilter("ignore")
        try:
            return BeautifulSoup(text, "html.parser")
        except (ParserRejectedMarkup, AssertionError) as error:
            raise Unreadable("its HTML cannot be taken apart") from error


def _add(soup: BeautifulSoup, extraction: Extraction) -> None:
    for tag in soup(["head", "title", *_LEFT_OUT]):
        tag.decompose()
    # Comments, declarations and instructions.
    for unsaid in soup.find_all(string=_is_unsaid):
        unsaid.extract()
    for image in soup("img"):
        image.replace_with(str(image.get("alt") or ""))
    try:
        extraction.add_markdown(_CONVERTER.convert_soup(soup))
    except RecursionError:
        # Nested more deeply than any page that was written: what it says, without its shape.
        extraction.add_text(soup.get_text("\n"))


def _is_unsaid(text: object) -> bool:
    return isinstance(text, PreformattedString)


def _metadata(soup: BeautifulSoup) -> Iterator[tuple[str, str]]:
    for tag in soup("meta"):
        name = _METADATA.get(str(tag.get("name") or tag.get("property")).lower())
        if name and (value := _words(str(tag.get("content") or ""))):
            yield name, value
    title = soup.find("title")
    if title and (words := _words(title.get_text())):
        yield "title", words


def _words(text: str) -> str:
    return " ".join(text.split())


def _code_language(tag: Tag) -> str:
    """As the classes of a code block, of what is in it, or around it say."""
    for one in (tag, tag.find("code"), *tag.find_parents("div", limit=2)):
        names = str(one.get("class", "")) if isinstance(one, Tag) else ""
        if match := _LANGUAGE.search(names):
            return match[1]
    return ""


_CONVERTER = MarkdownConverter(
    heading_style="ATX",
    bullets="-",
    strip=["a"],
    # Words are to be found as they are.
    escape_asterisks=False,
    escape_underscores=False,
    table_infer_header=True,
    code_language_callback=_code_language,
)
