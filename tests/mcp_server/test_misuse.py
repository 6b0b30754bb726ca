"""Command lines that say something else than was meant."""

import pytest
from shell import run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serch", "x"], "There is no command 'serch'; did you mean search?"),
        (["status"], "There is no command 'status'; there are serve, config,"),
        (["keys"], "There is no command 'keys'; there are keys create, keys list, keys revoke."),
        (["keys", "lst"], "There is no command 'keys lst'; did you mean keys list?"),
        (["search", "x", "--topk", "3"], "npu-gateway search has no --topk; did you mean --top-k?"),
        (["search", "x", "--qqq=3"], "npu-gateway search has no --qqq; npu-gateway search --help"),
        (["search", "how", "do", "I"], "no place for 'do': several words that belong together go"),
        (["watch", "/notes"], "npu-gateway watch has no place for '/notes'"),
        (["backup"], "npu-gateway backup: the following arguments are required: FILE; "),
        (["keys", "create", "x", "--scope", "y"], "choose from"),
        (["\x1b[31mred"], "There is no command '"),
    ],
)
def test_who_misuses_the_command_line_reads_one_sentence_on_what_there_is(words, said):
    result = run(*words)
    assert result.returncode == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "\x1b" not in result.stderr


def test_without_a_command_all_are_listed_and_nothing_is_done():
    result = run()
    assert result.returncode == 2
    assert result.stdout == ""
    for fact in ("usage: npu-gateway", "search", "doctor"):
        assert fact in result.stderr
