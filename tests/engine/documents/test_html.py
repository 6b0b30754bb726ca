"""Web pages."""

import pytest

from engine.documents.readers.html import read_html
from engine.documents.readers.interface import Heading, Unreadable

PAGE = """<!doctype html><html lang="en"><head><title> A  page
</title><meta name="author" content="Ada"><meta name="Description" content="What it is">
<style>p {color: red}</style><script>var hidden = "words";</script></head>
<body><nav><a href="/">Home</a></nav>
<h1>Harbour</h1><p>A <b>lantern</b> for <a href="https://example.org/x">the_ship</a>.</p>
<img src="data:image/png;base64,AAAA" alt="A map">
<h2>Prices</h2><table><tr><th>Boat</th><th>Price</th></tr><tr><td>Small</td><td>5</td></tr></table>
<pre><code class="language-python">def f():
    return "&lt;b&gt;"  # `tick`
</code></pre><!-- no words --><ul><li>one</li><li>two</li></ul></body></html>"""


def _text(page: str) -> str:
    return read_html(page.encode()).text.strip()


def test_a_page_becomes_markdown_with_its_headings_tables_and_code():
    reading = read_html(PAGE.encode())
    headings = [block.heading for block in reading.blocks if block.heading]
    assert headings == [Heading(1, "Harbour"), Heading(2, "Prices")]
    assert "A **lantern** for the_ship." in reading.text
    assert "| Boat | Price |\n| --- | --- |\n| Small | 5 |" in reading.text
    assert '```python\ndef f():\n    return "<b>"' in reading.text
    assert "- one\n- two" in reading.text
    assert "A map" in reading.text
    assert (reading.encoding, reading.byte_start) == ("", 0)


def test_what_nobody_reads_on_a_page_is_left_out():
    text = _text(PAGE)
    assert not [word for word in ("hidden", "red", "Home", "base64", "no words") if word in text]


def test_what_a_page_says_of_itself_is_metadata():
    reading = read_html(PAGE.encode())
    assert reading.title == "A page"
    assert dict(reading.metadata) == {
        "title": "A page",
        "author": "Ada",
        "description": "What it is",
    }


def test_the_encoding_is_what_the_page_says_where_its_bytes_do_not():
    page = '<meta charset="shift_jis"><p>港 5 €</p>'
    assert "港" in read_html('<meta charset="shift_jis"><p>港</p>'.encode("shift_jis")).text
    assert "港 5 €" in read_html(page.encode()).text
    assert "Käse" in read_html('<meta charset="no-such-code"><p>Käse</p>'.encode("cp1252")).text


@pytest.mark.parametrize("depth", [2000, 60_000])
def test_nesting_without_end_leaves_the_words(depth):
    assert _text("<div>" * depth + "deep words" + "</div>" * depth) == "deep words"


def test_declarations_that_no_browser_knows_do_no_harm():
    page = "<?xml version='1.0'?><![if x]><p>words</p><![endif]><!FOO x><![CDATA[x]]>"
    assert _text(page) == "words"
    with pytest.raises(Unreadable, match="NUL"):
        read_html(b"<p>\0</p>")
