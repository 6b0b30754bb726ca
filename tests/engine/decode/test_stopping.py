"""Stop strings are never shown, nothing else is held back for long, and limits end answers."""

import random
from itertools import pairwise

import pytest

from engine.decode.sampling import SamplingParams
from engine.decode.stopping import Stopping


def _stream(pieces: list[str], *stop: str) -> tuple[list[str], str | None]:
    stopping = Stopping(SamplingParams(stop=stop), stop_token_ids=())
    shown: list[str] = []
    for piece in pieces:
        shown.append(stopping.show(piece))
        if stopping.finish_reason is not None:
            break
    return [*shown, stopping.finish("")], stopping.finish_reason


@pytest.mark.parametrize(
    ("pieces", "stop", "shown", "reason"),
    [
        (["one", " two"], [], ["one", " two", ""], None),
        (["one END two"], ["END"], ["one ", ""], "stop"),
        (["one E", "N", "D two"], ["END"], ["one ", "", "", ""], "stop"),
        (["one E", "NTER"], ["END"], ["one ", "ENTER", ""], None),
        (["one EN"], ["END"], ["one ", "EN"], None),
        (["EE", "E", "ND"], ["END"], ["E", "E", "", ""], "stop"),
        (["a\n", "\nb"], ["\n\n", "User:"], ["a", "", ""], "stop"),
        (["aab", "aac"], ["aabaac"], ["", "", ""], "stop"),
        (["aab", "aabaac!"], ["aabaac"], ["", "aab", ""], "stop"),
        (["東", "京", "都"], ["京都"], ["東", "", "", ""], "stop"),
        (["xab"], ["abc", "b"], ["xa", ""], "stop"),
        (["x", "abc"], ["bc", "abc"], ["x", "", ""], "stop"),
    ],
)
def test_text_is_shown_up_to_the_stop_string(
    pieces: list[str], stop: list[str], shown: list[str], reason: str | None
) -> None:
    assert _stream(pieces, *stop) == (shown, reason)


def test_where_the_pieces_are_cut_makes_no_difference() -> None:
    chance = random.Random(5)
    for _ in range(500):
        text = "".join(chance.choices("ab\n", k=30))
        stop = ["".join(chance.choices("ab\n", k=chance.randrange(1, 6))) for _ in range(3)]
        cuts = [0, *sorted(chance.choices(range(31), k=6)), 30]
        pieces = [text[start:end] for start, end in pairwise(cuts)]
        shown, reason = _stream(pieces, *stop)
        ends = sorted((text.find(s) + len(s), text.find(s)) for s in stop if s in text)
        expected = (text[: ends[0][1]], "stop") if ends else (text, None)
        assert ("".join(shown), reason) == expected


def _stream_until(pieces: list[str], until: str, *stop: str) -> tuple[str, str | None]:
    stopping = Stopping(SamplingParams(stop=stop), stop_token_ids=(), until=until)
    shown = "".join(map(stopping.show, pieces))
    return shown + stopping.finish(""), stopping.finish_reason


@pytest.mark.parametrize(
    ("text", "stop", "shown", "reason"),
    [
        ("one END two", ["END"], "one ", "stop"),
        ("one <CALL> END two", ["END"], "one <CALL> END two", None),
        ("one <CALL END", ["END"], "one <CALL ", "stop"),
        ("one <CALL>", ["<"], "one ", "stop"),
        ("one <CALL>", ["CALL>"], "one <CALL>", None),
        ("one END <CALL>", ["END <CALL> x", "END"], "one ", "stop"),
        ("one <CALL> <CALL> <C", ["<C"], "one ", "stop"),
        ("one <CAL", ["two"], "one <CAL", None),
    ],
)
def test_stop_strings_count_no_more_behind_a_text(
    text: str, stop: list[str], shown: str, reason: str | None
) -> None:
    for cut in range(len(text)):
        pieces = [text[:cut], text[cut:]]
        assert _stream_until(pieces, "<CALL>", *stop) == (shown, reason)
    assert _stream_until(list(text), "<CALL>", *stop) == (shown, reason)
    assert _stream_until(list(text), "", *stop) == (text, None)


def test_a_stop_token_ends_the_answer_and_counts() -> None:
    stopping = Stopping(SamplingParams(), stop_token_ids=(2, 7))
    assert stopping.count(5)
    assert stopping.finish_reason is None
    assert not stopping.count(7)
    assert (stopping.finish_reason, stopping.token_count) == ("stop", 2)


def test_a_stop_token_of_the_request_ends_the_answer_beside_the_models() -> None:
    for token_id in (2, 7):
        stopping = Stopping(SamplingParams(stop_token_ids=(7,)), stop_token_ids=(2,))
        assert stopping.count(5)
        assert not stopping.count(token_id)
        assert stopping.finish_reason == "stop"


def _stream_tokens(pieces: list[str], stop: tuple[str, ...], least: int) -> tuple[str, str | None]:
    """A piece a token, until it is finished; what is shown, and why it ended."""
    stopping = Stopping(SamplingParams(stop=stop, min_tokens=least), stop_token_ids=())
    shown = ""
    for piece in pieces:
        assert stopping.count(5)
        shown += stopping.show(piece)
        if stopping.finish_reason is not None:
            break
    return shown + stopping.finish(""), stopping.finish_reason


@pytest.mark.parametrize(
    ("pieces", "stop", "least", "shown", "reason"),
    [
        (["a END", " b", " END", " c"], ("END",), 1, "a END b ", "stop"),
        (["a END", " b", " END", " c"], ("END",), 2, "a END b ", "stop"),
        (["a END", " b", " END", " c"], ("END",), 3, "a END b END c", None),
        (["a EN", "D b"], ("END",), 1, "a ", "stop"),
        (["a EN", "D b"], ("END",), 2, "a END b", None),
        (["aa", "a"], ("aa",), 1, "a", "stop"),
        (["ab", "x"], ("b", "abc"), 1, "abx", None),
        (["ab", "c", "d"], ("b", "abcd"), 1, "", "stop"),
        (["ab", "c", "b"], ("b", "abcd"), 1, "abc", "stop"),
    ],
)
def test_a_stop_string_that_the_first_tokens_complete_is_text(
    pieces: list[str], stop: tuple[str, ...], least: int, shown: str, reason: str | None
) -> None:
    assert _stream_tokens(pieces, stop, least) == (shown, reason)


def test_stop_strings_after_min_tokens_are_found_however_the_pieces_are_cut() -> None:
    chance = random.Random(6)
    for _ in range(2_000):
        text = "".join(chance.choices("ab\n", k=30))
        stop = tuple("".join(chance.choices("ab\n", k=chance.randrange(1, 6))) for _ in range(3))
        cuts = [0, *sorted(chance.sample(range(1, 30), 6)), 30]
        pieces = [text[start:end] for start, end in pairwise(cuts)]
        least = chance.randrange(8)
        ends = sorted(
            (start + len(s), start)
            for s in stop
            for start in range(30)
            if text.startswith(s, start) and start + len(s) > cuts[least]
        )
        expected = (text[: ends[0][1]], "stop") if ends else (text, None)
        assert _stream_tokens(pieces, stop, least) == expected


def test_max_tokens_ends_the_answer_with_the_token_that_reaches_it() -> None:
    stopping = Stopping(SamplingParams(max_tokens=2), stop_token_ids=())
    assert stopping.count(5)
    assert stopping.finish_reason is None
    assert stopping.count(5)
    assert stopping.finish_reason == "length"


def test_the_room_in_the_context_window_ends_the_answer() -> None:
    stopping = Stopping(SamplingParams(max_tokens=100), stop_token_ids=(), room=1)
    stopping.count(5)
    assert stopping.finish_reason == "length"


def test_a_stop_token_at_the_limit_is_a_stop() -> None:
    stopping = Stopping(SamplingParams(max_tokens=1), stop_token_ids=(2,))
    stopping.count(2)
    assert stopping.finish_reason == "stop"


def test_a_stop_string_at_the_limit_is_a_stop() -> None:
    stopping = Stopping(SamplingParams(max_tokens=1, stop=("b",)), stop_token_ids=())
    stopping.count(5)
    assert stopping.show("ab") == "a"
    assert stopping.finish_reason == "stop"
    assert stopping.finish("c") == ""


def test_text_that_waited_is_shown_at_the_end() -> None:
    stopping = Stopping(SamplingParams(stop=("END",)), stop_token_ids=())
    assert stopping.show("the E") == "the "
    assert stopping.finish("N") == "EN"


def test_a_stop_string_that_the_last_text_completes_is_not_shown() -> None:
    stopping = Stopping(SamplingParams(stop=("END",)), stop_token_ids=())
    stopping.show("the EN")
    assert stopping.finish("D.") == ""
    assert stopping.finish_reason == "stop"
