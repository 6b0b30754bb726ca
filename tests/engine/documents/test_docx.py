"""Word documents."""

import io
import zipfile

import pytest
from sample_documents import docx, table

from engine.documents.readers.docx import read_docx
from engine.documents.readers.interface import Heading, Unreadable

PARAGRAPHS = [("Heading1", "Harbour & sea"), ("", "A lantern."), ("Heading2", "Boats")]


def test_a_document_becomes_markdown_with_its_headings_and_tables():
    reading = read_docx(docx(PARAGRAPHS, body=table(["Boat", "Price"], ["Small", "5"])))
    headings = [block.heading for block in reading.blocks if block.heading]
    assert headings == [Heading(1, "Harbour & sea"), Heading(2, "Boats")]
    assert reading.text == (
        "# Harbour & sea\n\nA lantern.\n\n## Boats\n\n| Boat | Price |\n| --- | --- |\n"
        "| Small | 5 |\n\n"
    )


def test_its_properties_are_metadata():
    assert dict(read_docx(docx(title="Tides")).metadata) == {"title": "Tides", "author": "Ada"}


def test_an_encrypted_document_is_refused():
    with pytest.raises(Unreadable, match="it is encrypted, or of Word's format before 2007"):
        read_docx(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000))
    content = docx(PARAGRAPHS).replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")
    with pytest.raises(Unreadable, match="it is encrypted"):
        read_docx(content)


def test_what_would_unpack_to_more_than_it_may_is_refused_unpacked():
    with pytest.raises(Unreadable, match="it would unpack to 80 MB"):
        read_docx(docx(PARAGRAPHS, parts={"word/comments.xml": b" " * 80_000_000}))


def test_a_part_that_is_larger_than_it_says_is_refused():
    content = docx(parts={"word/more.xml": b"x" * 5_000_000})
    lying = content.replace((5_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    assert lying != content
    with pytest.raises(Unreadable, match="it is no Word document that can be read"):
        read_docx(lying)


def test_entities_are_refused():
    """What eight of them can grow to, and files that they could name."""
    head = "<!DOCTYPE w [" + "".join(f"<!ENTITY e{n} '&e{n - 1};'>" for n in range(1, 9)) + "]>"
    with pytest.raises(Unreadable, match="declares a document type"):
        read_docx(docx(PARAGRAPHS, head=head))


def test_pictures_and_what_lies_elsewhere_are_not_opened():
    relationships = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/image" Target="file:///etc/passwd" TargetMode="External"/></Relationships>'
    )
    drawing = "http://schemas.openxmlformats.org/drawingml/2006"
    picture = (
        f'<w:p><w:r><w:drawing><wp:inline xmlns:wp="{drawing}/wordprocessingDrawing">'
        f'<a:graphic xmlns:a="{drawing}/main"><a:graphicData>'
        f'<pic:pic xmlns:pic="{drawing}/picture"><pic:blipFill><a:blip r:link="rId1" xmlns:r='
        '"http://schemas.openxmlformats.org/officeDocument/2006/relationships"/></pic:blipFill>'
        "</pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>"
    )
    parts = {"word/_rels/document.xml.rels": relationships.encode()}
    assert read_docx(docx([("", "words")], body=picture, parts=parts)).text == "words\n\n"


def _without_document() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("mimetype", "application/zip")
    return content.getvalue()


@pytest.mark.parametrize("content", [b"", b"words", b"PK\3\4", _without_document()])
def test_what_is_no_word_document_is_refused(content):
    with pytest.raises(Unreadable, match="it is no Word document that can be read"):
        read_docx(content)
