"""Tokens that would name a member of an object twice."""

import pytest

from engine.decode.grammars.key_watch import KeyWatch, TokenTexts

WORDS = (b'"', b'a"', b'ab"', b'"a"', b' "a"', b'"a":', b'b"', b',"a"', b'\\"', b"x", b'"b":1,"a"')
TOKENS = TokenTexts([(text, index) for index, text in enumerate(WORDS)])
ALWAYS = {b',"a"', b'"b":1,"a"'}
"""Whole names after a comma; they can be spelled otherwise."""


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("", set()),
        ("{", set()),
        ('{"a":1', set()),
        ('{"a":1,', {b'"a"', b' "a"', b'"a":'}),
        ('{"a":1,"', {b'a"'}),
        ('{"a":1,"a', {b'"', b'"a"', b'"a":', b'"b":1,"a"'}),
        ('{"a":1,"aa', set()),
        ('{"a":"b","c":"', set()),
        ('{"a":{"b":1},"c":{"', set()),
        ('{"a":[{"a":1}],"', {b'a"'}),
        ('{"ab":1,"a":2,"a', {b'"', b'"a"', b'"a":', b'"b":1,"a"', b'b"'}),
        ('{"a\\"":1,"a', {b'\\"'} - {b'\\"'}),
        ('{"x\\\\":1,"x\\\\', {b'"', b'"a"', b'"a":', b'"b":1,"a"'}),
        ('["a","', set()),
        ('{"a":1}', set()),
    ],
)
def test_a_name_is_not_completed_twice(text: str, forbidden: set[bytes]) -> None:
    watch = KeyWatch()
    watch.feed(text.encode())
    assert {WORDS[token] for token in watch.forbidden(TOKENS)} == forbidden | ALWAYS


def test_a_copy_goes_on_by_itself() -> None:
    watch = KeyWatch()
    watch.feed(b'{"a":1,"')
    other = watch.copy()
    other.feed(b'b":2,"')
    assert other.repeats(b'b":')
    assert watch.repeats(b'a"')
    assert not watch.repeats(b'b"')


def test_text_around_json_is_not_looked_at() -> None:
    watch = KeyWatch(b"<call>")
    watch.feed(b'He said "{a, <cal and <call>')
    assert set(watch.forbidden(TOKENS)) == {WORDS.index(word) for word in ALWAYS}
    watch.feed(b'{"a":1,"')
    assert WORDS.index(b'a"') in watch.forbidden(TOKENS)
    watch.feed(b'b":2}</call> {"a"')
    assert watch.forbidden(TOKENS) == []
