"""What is looked for of what a person typed."""

import random
from typing import Any

import apsw
import pytest

from engine.search.query import read_query

ALPHABET = [
    *"\"'`()[]{}<>*^:+-.,;!?/\\|&%$#@~=_ \t\n\0",
    *["AND", "OR", "NOT", "NEAR(", "text:", "a*", '""', "“", "”", "’", "foo.bar()", "--pre", "C++"],
    *[
        "the",
        "word",
        "38.101",
        "getElementById",
        "東京",
        "ไทย",
        "हिन्दी",
        "é",
        "\ud800",
        "🙂",
        "½",
        "²",
    ],
]


def test_common_words_are_not_looked_for() -> None:
    assert read_query("how do I open the door?").words == ("open", "door")


def test_a_question_of_common_words_only_looks_for_them() -> None:
    assert read_query("to be or not to be").words == ("to", "be", "or", "not")


@pytest.mark.parametrize("text", ["", " ", "?!", "\0", "\ud800", "🙂", '""', "``", "- -- ---", "_"])
def test_there_is_nothing_to_look_for_without_a_word(text: str) -> None:
    query = read_query(text)
    assert query.is_empty
    assert (query.words, query.verbatim, query.is_verbatim) == ((), (), False)


def test_a_word_typed_twice_is_looked_for_once() -> None:
    assert read_query("Tokens tokens TOKENS").match == '"Tokens"'


@pytest.mark.parametrize(
    "identifier",
    [
        *[
            "--pre",
            "-Wall",
            "38.101",
            "v1.2.3",
            "foo.bar()",
            "os.path.join",
            "snake_case",
            "__init__",
        ],
        *["std::move", "a->b", "key=value", "src/main/x.py", "/etc/hosts", "~/notes", ".gitignore"],
        *["$HOME", "@property", "C++", "C#", "getElementById", r"C:\data\x.txt", "fusion.py"],
    ],
)
def test_identifiers_are_kept_verbatim(identifier: str) -> None:
    assert read_query(f"what does {identifier} do?").verbatim == (identifier,)
    assert read_query(identifier).is_verbatim
    assert not read_query(f"what does {identifier} break?").is_verbatim


@pytest.mark.parametrize(
    "text",
    [
        *[
            "multi-agent systems",
            "TNF-alpha and IL-6",
            "Alzheimer's disease",
            "and/or",
            "e.g. this",
        ],
        *[
            "He said so. Then",
            "JavaScript on GitHub",
            "mRNA",
            "well-known (facts)",
            "it's 5 o'clock",
        ],
    ],
)
def test_ordinary_writing_is_no_identifier(text: str) -> None:
    assert read_query(text).verbatim == ()


def test_an_identifier_alone_is_meant_as_it_is() -> None:
    assert read_query("TaskGroup").verbatim == ("TaskGroup",)


@pytest.mark.parametrize("text", ['find "exact  words" here', "find “exact words” here"])
def test_what_is_quoted_is_kept_verbatim(text: str) -> None:
    query = read_query(text)
    assert query.verbatim == ("exact words",)
    assert '"exact words"' in query.match


def test_what_is_quoted_keeps_its_common_words() -> None:
    assert '"to be or not"' in read_query('"to be or not"').match


def test_punctuation_around_a_word_is_the_sentence_s() -> None:
    assert read_query("(see foo.bar()), “please”!").verbatim == ("foo.bar()", "please")


def test_a_dotted_number_is_found_as_a_whole(index: Any) -> None:
    index.add(["release 38 of 101", "specification 38.101 says", "101.38"])
    assert index.find("38.101") == [1]


def test_the_passage_with_the_phrase_stands_before_those_with_its_words(index: Any) -> None:
    fillers = [f"other words {number}" for number in range(9)]
    index.add(["bar and foo and " * 3, "foo, then bar", "call foo.bar() now", "bar foo", *fillers])
    assert index.find("foo.bar()")[0] == 2


def test_a_compound_is_found_written_apart(index: Any) -> None:
    index.add(["several agents in multiple systems", "multi agents", "nothing"])
    assert index.find("multi-agent") == [1, 0]


def test_other_forms_of_a_word_are_found(index: Any) -> None:
    index.add(["connecting", "connected", "naïve Größe", "unrelated"])
    assert sorted(index.find("connects")) == [0, 1]
    assert index.find("naive") == [2]


def test_parts_of_identifiers_are_found_either_way(index: Any) -> None:
    index.add(["the getElementById call", "get an element by its id", "other"])
    assert index.find("element by id") == [0, 1] or index.find("element by id") == [1, 0]
    assert index.find("getElementById")[0] == 0


def test_a_run_in_a_script_without_spaces_is_found_inside_another(index: Any) -> None:
    index.add(["明日の東京都の天気は晴れ", "京都の東側", "大阪"])
    assert index.find("東京都の天気") == [0, 1]
    assert index.find("大") == [2]


@pytest.mark.parametrize(
    "text",
    [
        "multi-agent",
        "20.04",
        "don't",
        "what?",
        'a "b',
        "AND",
        "NEAR(a b)",
        "text: x",
        "a*",
        "^a",
        "-a",
    ],
)
def test_nothing_typed_is_taken_for_syntax(text: str, index: Any) -> None:
    index.add([text])
    assert index.find(text) == [0]


def test_ten_thousand_random_questions_are_read_and_searched(index: Any) -> None:
    choice = random.Random(7)
    index.add(["the word getElementById 東京 38.101", "foo.bar() --pre"])
    for _ in range(10_000):
        parts = choice.choices(ALPHABET, k=choice.randint(0, 12))
        text = choice.choice(("", " ")).join(parts)
        assert index.find(text) in ([], [0], [1], [0, 1], [1, 0])


def test_a_very_long_question_is_cut_to_what_a_search_can_bear(index: Any) -> None:
    index.add(["word7"])
    text = " ".join(f"word{number} x-{number}" for number in range(100_000))
    read = read_query(text)
    assert [len(read.terms), len(read.words), len(read.verbatim)] == [64, 64, 0]
    assert index.find(text) == [0]


def test_of_very_many_quoted_phrases_some_are_looked_for() -> None:
    read = read_query(" ".join(f'"the phrase {number}"' for number in range(300)))
    assert [len(read.terms), len(read.verbatim)] == [64, 64]


@pytest.mark.parametrize(
    "text", ["(" * 9000, ")" * 9000, "a" * 9000, "a." * 4500, '"' * 9000, "漢" * 9000, "aB" * 4500]
)
def test_a_question_without_spaces_is_read(text: str, index: Any) -> None:
    index.add(["a b"])
    assert index.find(text) in ([], [0])


def test_an_expression_of_fts5_would_fail_unread(index: Any) -> None:
    with pytest.raises(apsw.SQLError):
        index.match("multi-agent")
