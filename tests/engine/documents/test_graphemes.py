"""Where a text may be cut."""

import pytest

from engine.documents.graphemes import safe_cut


@pytest.mark.parametrize(
    "whole",
    [
        "e\u0301",
        "a\u0300\u0316\u0323",
        "\r\n",
        "\U0001f469\u200d\U0001f4bb",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
        "\U0001f44d\U0001f3fd",
        "\U0001f1ef\U0001f1f5",
        "\u2764\ufe0f",
        "\u1112\u1161\u11ab",
        "\u0915\u094d\u0937".replace("\u0937", "\u093f"),
        "\U0001f3f4\U000e0067\U000e0062\U000e007f",
        "か\u3099",
    ],
)
def test_a_character_is_never_split(whole):
    text = "x" + whole + "y"
    for index in range(1, len(text)):
        place = safe_cut(text, index)
        assert place <= index
        assert place not in range(2, len(whole) + 1)


def test_flags_are_cut_between_countries():
    text = "\U0001f1ef\U0001f1f5" * 4
    assert [safe_cut(text, index) for index in range(1, 8)] == [1, 2, 2, 4, 4, 6, 6]


def test_ordinary_text_is_cut_where_asked():
    assert [safe_cut("日本語 text", index) for index in range(1, 8)] == list(range(1, 8))
    assert safe_cut("ab", 2) == 2


def test_an_endless_character_is_cut_all_the_same():
    assert safe_cut("a" + "\u0301" * 5000, 3000) == 3000
