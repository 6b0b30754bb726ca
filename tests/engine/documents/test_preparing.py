"""What is recorded of a file."""

import os
import tracemalloc
from pathlib import Path

import pytest
from sample_corpus import MAX_TOKENS, count_tokens
from sample_documents import docx, notebook, pdf

from engine.corpus import Collection
from engine.documents import finder
from engine.documents.collecting import Part
from engine.documents.preparing import AsKnown, Cutting, Prepared, preparing
from engine.documents.reading import ReadingProcess

WORDS = [(12, "These are words"), (12, "of a page.")]
FILES = {
    "a.md": (b"# Title\n\nwords\n", "markdown", "Title"),
    "a.txt": (b"words\n", "text", "a.txt"),
    "a.py": (b"def f():\n    pass\n", "source", "a.py"),
    "a.csv": (b"name,town\nAda,London\n", "csv", "a.csv"),
    "a.jsonl": (b'{"a": 1}\n', "json-lines", "a.jsonl"),
    "a.html": (b"<title>Page</title><p>words</p>", "html", "Page"),
    "a.ipynb": (notebook({"cell_type": "markdown", "source": "# Cell"}), "notebook", "Cell"),
    "a.pdf": (pdf([WORDS, WORDS]), "pdf", "a.pdf"),
    "a.docx": (docx([("Heading1", "Letter")]), "docx", "Letter"),
    "a.eml": (b"Subject: Boats\n\nwords\n", "email", "Boats"),
    "a.mbox": (b"From a b\nSubject: Boats\n\nwords\n", "email", "a.mbox"),
}


def _prepare(path: Path, known_sha256: str = ""):
    ((file,),) = finder.find(Part(str(path), Collection("c", str(path))))
    if isinstance(file, finder.Skipped):
        return file
    cutting = Cutting(count_tokens, MAX_TOKENS)
    with ReadingProcess() as process:
        steps = preparing(file, known_sha256, cutting, process, lambda: 2**63)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value


@pytest.mark.parametrize("name", FILES)
def test_kind_title_times_and_hash_are_recorded(tmp_path, name):
    content, kind, title = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    os.utime(path, ns=(0, 1_700_000_000_123_456_700))
    prepared = _prepare(path)
    assert isinstance(prepared, Prepared)
    document = prepared.document
    assert (document.kind, document.title) == (kind, title)
    assert (document.size, document.chunk_count) == (len(content), len(prepared.chunks))
    assert document.modified_ns == path.stat().st_mtime_ns
    known = _prepare(path, document.content_sha256)
    assert known == AsKnown(document.stamp_ns, document.modified_ns)


def test_chunks_of_a_pdf_have_pages_and_places_in_its_text(tmp_path):
    path = tmp_path / "a.pdf"
    pages = [[(12, f"Page {n} " + "word " * 12)] * 20 for n in (1, 2, 3)]
    path.write_bytes(pdf(pages, metadata={"Author": "Ada"}))
    prepared = _prepare(path)
    assert isinstance(prepared, Prepared)
    document, chunks = prepared.document, prepared.chunks
    assert document.page_count == 3
    assert document.text_is_extracted
    assert not document.encoding_is_guessed
    assert dict(document.metadata) == {"author": "Ada"}
    for chunk in chunks:
        numbers = [int(line.split()[1]) for line in chunk.text.splitlines() if line.strip()]
        assert (chunk.page_start, chunk.page_end) == (min(numbers), max(numbers))
    ends = [chunk.byte_end for chunk in chunks]
    assert [chunk.byte_start for chunk in chunks] == [0, *ends[:-1]]
    assert ends[-1] == sum(len(chunk.text.encode()) for chunk in chunks)


def test_what_a_file_says_of_itself_is_bounded(tmp_path):
    path = tmp_path / "a.html"
    path.write_text(f"<title>{'t' * 9000}</title><meta name=author content='{'a' * 9000}'>words")
    prepared = _prepare(path)
    assert isinstance(prepared, Prepared)
    assert len(prepared.document.title) == 200
    assert {name: len(value) for name, value in prepared.document.metadata.items()} == {
        "title": 500,
        "author": 500,
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("large.txt", "it is larger than 10 MB (524.3 MB)"),
        ("large.json", "it is larger than 2 MB (524.3 MB)"),
        ("large.pdf", "it is larger than 100 MB (524.3 MB)"),
    ],
)
def test_a_file_that_is_too_large_is_not_held_in_memory(tmp_path, name, reason):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(500 * 1024 * 1024)
    tracemalloc.start()
    try:
        skipped = _prepare(path)
        assert isinstance(skipped, finder.Skipped)
        assert skipped.reason == reason
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_foreign_document_is_not_held_in_memory_here(tmp_path):
    path = tmp_path / "large.pdf"
    path.write_bytes(pdf([WORDS]) + b"%" + b" " * 60_000_000)
    tracemalloc.start()
    try:
        assert _prepare(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
