"""What keyword search is given of a text, in a real FTS5 table."""

import random
import unicodedata

import apsw
import pytest

from engine.store.lexical_text import (
    WORD,
    clean,
    identifier_parts,
    lexical_text,
    lexical_title,
    spaced,
)


def found(text: str, match: str) -> bool:
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE texts USING fts5(text, content='', "
        "tokenize='porter unicode61 remove_diacritics 2')"
    )
    connection.execute("INSERT INTO texts (rowid, text) VALUES (1, ?)", (lexical_text(text),))
    return bool(list(connection.execute("SELECT 1 FROM texts WHERE texts MATCH ?", (match,))))


def test_plain_english_is_passed_on_as_it_is() -> None:
    text = "The quick brown fox, at 38.101 km/h; snake_case and McDonald's are no trouble? YES.\n"
    assert lexical_text(text.replace("McDonald's", "ALL CAPS")) == text.replace(
        "McDonald's", "ALL CAPS"
    )


def test_what_is_verbatim_in_a_text_is_a_phrase_of_it() -> None:
    text = "call document.getElementById before HTTPServer starts"
    assert found(text, '"document getElementById before HTTPServer"')


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("see getElementById", '"element"'),
        ("see getElementById", '"get element by id"'),
        ("class HTTPServer", '"http server"'),
        ("Py_GetVersion()", '"version"'),
        ("fromWord2Vec", '"word 2 vec"'),
    ],
)
def test_the_parts_of_an_identifier_are_found(text: str, match: str) -> None:
    assert found(text, match)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("明日の東京都の天気は晴れ", "東京都"),
        ("会議はPython言語で行う", "言語で"),
        ("오늘은학교에서 만나요", "학교"),
        ("ภาษาไทยง่าย", "ไทย"),
        ("がんばってﾃｽﾄする", "テスト"),
        ("𠮷野家で食べる", "𠮷野家"),
    ],
)
def test_any_run_of_characters_is_found_where_a_script_has_no_spaces(text: str, part: str) -> None:
    assert found(text, f'"{spaced(part)}"')
    assert not found(text, f'"{spaced(part[::-1])}"')


@pytest.mark.parametrize(
    ("text", "word"),
    [("deﬁne", "define"), ("ＡＰＩ", "api"), ("exam\xadple", "example"), ("a\0b", "ab")],
)
def test_typographic_forms_are_found_by_what_is_typed(text: str, word: str) -> None:
    assert found(text, f'"{word}"')


def test_decomposed_letters_are_found_by_composed_ones() -> None:
    text = "ガラスの한국어"
    assert found(unicodedata.normalize("NFD", text), f'"{spaced("ガラス")}"')
    assert found(unicodedata.normalize("NFD", text), f'"{spaced("한국어")}"')


def test_nothing_that_sqlite_refuses_is_left() -> None:
    text = lexical_text("a\0b\ud800c\udfff漢\0")
    assert "\0" not in text
    assert text.encode()


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("getElementById", ["get", "Element", "By", "Id"]),
        ("parseJSONBody", ["parse", "JSON", "Body"]),
        ("URLs", []),
        ("Word", []),
        ("snake_case", []),
        ("ALLCAPS", []),
        ("aBcDeFgHiJkLmNoP", []),
        ("x" * 60 + "Yyyyyyy", []),
    ],
)
def test_only_identifiers_have_parts(word: str, parts: list[str]) -> None:
    assert identifier_parts(word) == parts


def test_the_parts_of_an_identifier_are_added_once() -> None:
    assert lexical_text("fooBar fooBar fooBar") == "fooBar fooBar fooBar foo Bar"


@pytest.mark.parametrize(
    "unit", ["a", "A", "aB", "fooBar ", "_", "Ab1", "é", "e\u0301\u0316", "\u1100\u3099", "漢", " "]
)
def test_a_line_of_a_megabyte_grows_no_more_than_threefold(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    assert len(lexical_text(text)) <= 3 * len(text)


def test_random_text_of_any_script_is_accepted_by_sqlite() -> None:
    choice = random.Random(5)
    for _ in range(300):
        codes = [choice.choice((0x80, 0x800, 0x3200, 0xFFFF, 0x10FFFF)) for _ in range(40)]
        text = "".join(chr(choice.randint(0, code)) for code in codes)
        lexical_text(text).encode()
        assert clean(text) == clean(clean(text))


def test_words_never_mix_scripts_with_and_without_spaces() -> None:
    assert WORD.findall("Python言語3版 snake_case हिन्दी") == [
        "Python",
        "言語",
        "3",
        "版",
        "snake",
        "case",
        "हिन्दी",
    ]


def test_a_title_that_is_also_a_heading_does_not_count_twice() -> None:
    assert lexical_title("Release  Notes", ("release notes", "Fixed")) == ""
    assert lexical_title("Release notes", ("Fixed",)) == "Release notes"
