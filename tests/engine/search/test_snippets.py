"""The part of a passage that is shown."""

import random
from collections.abc import Callable

import pytest

from engine.corpus import Chunk
from engine.search.query import read_query
from engine.search.snippets import SHORTEST, Snippet, snippet

Stem = Callable[[str], str]


def chunk(text: str, line_start: int = 1) -> Chunk:
    lines = text.count("\n")
    return Chunk(0, text, (), line_start, line_start + lines, 0, len(text.encode()), 1)


def shown(snip: Snippet) -> list[str]:
    return [snip.text[start:end] for start, end in snip.highlights]


def test_a_short_passage_is_shown_whole_without_blank_lines_around_it(stem: Stem) -> None:
    snip = snippet(chunk("\n \n  first\nsecond\n\n", 10), read_query("second"), stem, 200)
    assert (snip.text, snip.line_start, snip.line_end) == ("  first\nsecond", 12, 13)
    assert shown(snip) == ["second"]


def test_the_lines_with_the_most_of_the_question_are_shown(stem: Stem) -> None:
    lines = [f"line {number} of filler text here" for number in range(100)]
    lines[20] = "a cache alone"
    lines[70] = "the cache keeps tokens"
    lines[71] = "until they expire"
    snip = snippet(
        chunk("\n".join(lines), 5), read_query("when do cached tokens expire"), stem, 160
    )
    assert snip.line_start <= 75
    assert snip.line_end >= 76
    assert shown(snip) == ["cache", "tokens", "expire"]
    assert snip.text == "\n".join(lines[snip.line_start - 5 : snip.line_end - 4])
    assert len(snip.text) <= 160


def test_what_is_verbatim_is_shown_before_its_words(stem: Stem) -> None:
    filler = ["nothing to see in this line"] * 20
    text = "\n".join(["foo and bar, bar and foo", *filler, "call foo.bar() here", *filler])
    snip = snippet(chunk(text), read_query("foo.bar()"), stem, 100)
    assert shown(snip) == ["foo.bar()"]


def test_words_are_recognised_in_every_form(stem: Stem) -> None:
    text = "Connected CONNECTIONS, Größe, ﬁnding and ＡＰＩ"
    snip = snippet(chunk(text), read_query("connecting grosse große find api"), stem, 200)
    assert shown(snip) == ["Connected", "CONNECTIONS", "Größe", "ﬁnding", "ＡＰＩ"]


def test_parts_of_identifiers_are_highlighted(stem: Stem) -> None:
    snip = snippet(chunk("x = getElementById(name)"), read_query("elements"), stem, 200)
    assert shown(snip) == ["Element"]


def test_scripts_without_spaces_are_highlighted_where_they_match(stem: Stem) -> None:
    snip = snippet(chunk("明日の東京都の天気は晴れ"), read_query("東京都"), stem, 200)
    assert shown(snip) == ["東京都"]


def test_a_passage_without_the_words_shows_its_beginning(stem: Stem) -> None:
    text = "\n".join(f"line {number}" for number in range(100))
    snip = snippet(chunk(text, 3), read_query("elsewhere"), stem, 50)
    assert snip.text.startswith("line 0\nline 1")
    assert (snip.line_start, snip.start, snip.highlights) == (3, 0, ())


def test_a_long_line_is_cut_between_words(stem: Stem) -> None:
    text = " ".join(f"word{number}" for number in range(2000)) + "\nend"
    snip = snippet(chunk(text, 7), read_query("word1234"), stem, 120)
    assert shown(snip) == ["word1234"]
    assert all(word.startswith("word") and word[4:].isdigit() for word in snip.text.split())
    assert (snip.line_start, snip.line_end) == (7, 7)


def test_a_word_longer_than_the_limit_is_cut(stem: Stem) -> None:
    snip = snippet(chunk("a b " + "x" * 500), read_query("x" * 500), stem, 50)
    assert snip.text == "x" * 50
    assert snip.highlights == ((0, 50),)


def test_a_character_of_several_code_points_is_not_cut(stem: Stem) -> None:
    family = "👨\u200d👩\u200d👧"
    snip = snippet(chunk(family * 300), read_query("word"), stem, 101)
    assert len(snip.text) % len(family) == 0


def test_carriage_returns_do_not_count_as_lines(stem: Stem) -> None:
    snip = snippet(chunk("one\r\ntwo\rhalf\r\nthree\r\n"), read_query("three"), stem, 200)
    assert snip.text == "one\r\ntwo\rhalf\r\nthree"
    assert (snip.line_start, snip.line_end) == (1, 3)


@pytest.mark.parametrize("limit", [-1, 0, 1, SHORTEST])
def test_a_limit_too_small_is_raised(limit: int, stem: Stem) -> None:
    assert len(snippet(chunk("word " * 100), read_query("word"), stem, limit).text) <= SHORTEST


def test_any_text_and_question_gives_a_true_snippet(stem: Stem) -> None:
    choice = random.Random(11)
    units = [*'aB. \t\n\r_-"漢ไ🙂\u0301\0é', "foo.bar()", "getName", "word ", "\r\n", "ﬁ", "--pre "]
    for _ in range(1500):
        text = "".join(choice.choices(units, k=choice.randint(0, 150)))
        query = read_query(
            " ".join(choice.choices(["foo.bar()", "name", "word", "漢", "é", "a"], k=2))
        )
        limit = choice.randint(40, 120)
        whole, snip = (
            snippet(chunk(text), query, stem, 10_000),
            snippet(chunk(text), query, stem, limit),
        )
        assert len(snip.text) <= limit
        assert text[snip.start : snip.start + len(snip.text)] == snip.text
        assert snip.line_start == 1 + text.count("\n", 0, snip.start)
        assert snip.line_end == snip.line_start + snip.text.count("\n")
        assert bool(snip.highlights) == bool(whole.highlights)
        ends = [end for pair in snip.highlights for end in pair]
        assert ends == sorted(ends)
        assert all(0 <= start < end <= len(snip.text) for start, end in snip.highlights)
