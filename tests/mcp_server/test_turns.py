"""Turns: whose call is next, and whose goes when the line is too long."""

import random

from mcp_server.turns import Turns


def in_line(*callers: str) -> Turns[str]:
    """Calls named by caller and number, in order of arrival."""
    turns: Turns[str] = Turns()
    for number, caller in enumerate(callers):
        turns.join(caller, f"{caller}{number}")
    return turns


def served(turns: Turns[str]) -> list[str]:
    return [turns.next() for _ in range(turns.waiting)]


def test_one_caller_is_served_in_order_of_arrival():
    assert served(in_line(*"aaaa")) == ["a0", "a1", "a2", "a3"]


def test_callers_are_served_in_turns():
    assert served(in_line(*"aaaabbc")) == ["a0", "b4", "c6", "a1", "b5", "a2", "a3"]


def test_who_comes_back_has_to_wait_for_those_who_are_there():
    turns = in_line(*"aab")
    assert turns.next() == "a0"
    turns.join("c", "c")
    assert turns.next() == "b2"
    turns.join("b", "b")
    assert served(turns) == ["c", "a1", "b"]


def test_who_waits_for_each_answer_has_as_many_turns_as_who_does_not():
    turns, order = in_line(*"baaaaa"), ""
    for _ in range(8):
        caller = turns.next()[0]
        order += caller
        turns.join("a", "a")
        if order[-2:-1] == "b":
            turns.join("b", "b")
    assert order == "babababa"


def test_who_leaves_is_not_served():
    turns = in_line(*"aab")
    turns.leave("a", "a0")
    turns.leave("b", "b2")
    assert served(turns) == ["a1"]


def test_the_last_call_goes_of_who_has_most_and_rather_of_who_has_just_joined():
    assert in_line(*"ababa").shorten("a") == "a4"
    assert in_line(*"aaabb").shorten("b") == "a2"
    assert in_line(*"aabb").shorten("b") == "b3"
    assert in_line(*"aabb").shorten("a") == "a1"


def test_a_call_in_work_counts_as_one_of_those_a_caller_has():
    turns = in_line(*"aab")
    assert turns.next() == "a0"
    assert turns.shorten("b") == "a1"
    turns.join("a", "again")
    turns.done("a")
    assert turns.shorten("b") == "b2"


def test_whatever_happens_nobody_is_passed_more_often_than_there_are_others():
    rng = random.Random(6)
    turns: Turns[int] = Turns()
    callers: dict[int, str] = {}
    passed: dict[int, int] = {}
    working: list[int] = []
    for number in range(4_000):
        caller = rng.choice("aaaaaaaabbbc")
        callers[number] = caller
        passed[number] = sum(callers[call] == caller for call in passed) * 3
        turns.join(caller, number)
        if turns.waiting > 20:
            gone = turns.shorten(caller)
            assert gone == max(call for call in passed if callers[call] == callers[gone])
            del passed[gone]
        if rng.random() < 0.3:
            working.append(turns.next())
            del passed[working[-1]]
            for call in passed:
                passed[call] -= 1
                assert passed[call] >= -3, "passed by more than a turn of everybody"
        if len(working) > 2:
            turns.done(callers[working.pop(0)])
        assert turns.waiting == len(passed) <= 20
