"""The commands on the user's documents, run as a person or a script runs them."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import piped, run

from engine.documents.one_indexer import one_indexer
from mcp_server.__main__ import parser

TIDES = "# Tides\n\nThe sea rises because the moon pulls at it.\n"


@pytest.fixture
def flags(tmp_path, models_dir) -> list[str]:
    return ["--data-dir", str(tmp_path / "data"), "--models-dir", str(models_dir)]


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "tides.md").write_text(TIDES)
    (made / "picture.png").write_bytes(b"\x89PNG\x00\x00")
    (made / "bread.md").write_text("# Bread\n\nKnead the dough, let it rest overnight.\n")
    return made


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, models_dir) -> tuple[list[str], Path]:
    """Flags and folder of an index that the tests only read."""
    home = tmp_path_factory.mktemp("read")
    folder = home / "documents"
    (folder / "code").mkdir(parents=True)
    (folder / "tides.md").write_text(TIDES)
    (folder / "code" / "tide.py").write_text("def tide():\n    return 'moon' # sea\n")
    (folder / "日本.md").write_text(
        "# 潮汐\n\n月の引力で海面が上下します。\x1b]0;owned\x07\u202e\n", "utf-8"
    )
    (folder / "broken.txt").write_bytes(b"\x00\x01" * 99)
    for name, seconds in (("tides.md", 1_600_000_000), ("code/tide.py", 1_700_000_000)):
        os.utime(folder / name, (seconds, seconds))
    flags = ["--data-dir", str(home / "data"), "--models-dir", str(models_dir)]
    assert run("index", str(folder), "--name", "papers", *flags).returncode == 0
    return flags, folder


def found(flags: list[str], *words: str) -> list[str]:
    """File names that a search prints as JSON, best first."""
    result = run("search", *words, "--json", *flags)
    assert result.returncode == 0, result.stderr
    return [Path(one["path"]).name for one in json.loads(result.stdout)["passages"]]


def test_a_folder_is_indexed_and_searched_from_a_shell(flags, folder):
    indexed = piped("index", str(folder), *flags)
    again = run("index", str(folder), "--json", *flags)
    answer = run("search", "Why does the ocean move?", "--json", *flags)
    shown = run("search", "Why does the ocean move?", "--top-k", "1", *flags)
    assert indexed.returncode == again.returncode == answer.returncode == 0
    assert "2 indexed, 0 unchanged" in indexed.stdout
    assert json.loads(again.stdout)["unchanged"] == 2
    assert json.loads(again.stdout)["embedded_texts"] == 0
    best = json.loads(answer.stdout)["passages"][0]
    assert Path(best["path"]) == (folder / "tides.md").resolve()
    assert (best["line_start"], best["line_end"]) == (1, 3)
    assert f"{best['path']}:1-3" in shown.stdout
    assert "because the moon pulls" in shown.stdout
    assert "bread.md" not in shown.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--path", "*/code/*"], ["tide.py"]),
        (["--kind", "source"], ["tide.py"]),
        (["--after", "2023-01-01", "--before", "2023-12-31"], ["tide.py"]),
        (["--before", "2020-12-31"], ["tides.md"]),
        (["--collection", "papers", "--top-k", "1"], ["tide.py"]),
        (["--mode", "keyword", "--kind", "markdown"], ["tides.md"]),
        (["--metadata", "author=nobody"], []),
    ],
)
def test_a_search_is_narrowed_from_a_shell(indexed, words, expected):
    flags, _ = indexed
    assert found(flags, "tide moon", *words) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "markdwn"], "markdown"),
        (["--collection", "paper"], "papers"),
        (["--after", "soon"], "2026-12-31"),
        (["--metadata", "author"], "NAME=VALUE"),
        (["--top-k", "0"], "--top-k must be"),
    ],
)
def test_a_bad_filter_is_one_sentence(indexed, words, said):
    flags, _ = indexed
    result = run("search", "tide", *words, *flags)
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_the_parts_of_a_score_are_shown_where_asked(indexed):
    flags, _ = indexed
    result = run("search", "moon sea", "--explain", *flags)
    assert re.search(r"words 0\.\d+ x \d\.\d+ \(rank \d", result.stdout)
    assert "(rank 1, raw " in result.stdout


def test_what_is_no_ascii_goes_through_pipes_and_what_steers_a_terminal_stays_out(indexed):
    flags, _ = indexed
    shown = piped("search", "月の引力", "--top-k", "1", *flags)
    assert "海面が上下します" in shown.stdout
    assert "日本.md" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout
    assert found(flags, "月の引力", "--top-k", "1") == ["日本.md"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_words_looked_for_are_highlighted_on_a_terminal(indexed):
    flags, _ = indexed
    master, slave = os.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "mcp_server", "search", "moon pulling", "--top-k", "1", *flags]
    with subprocess.Popen(command, stdout=slave, stderr=subprocess.DEVNULL, env=environment):
        os.close(slave)
        shown = b""
        while part := _part(master):
            shown += part
    text = shown.decode()
    assert re.search(r"\x1b\[1;33mmoon\x1b\[0m", text)
    assert re.search(r"\x1b\[1;33mpulls\x1b\[0m", text)
    assert not re.search(r"\x1b\[[\d;]*mbecause", text)


def _part(master: int) -> bytes:
    try:
        return os.read(master, 10_000)
    except OSError:
        return b""


def test_collections_are_listed_with_what_was_left_out_of_them(indexed):
    flags, folder = indexed
    shown = run("collections", "--skipped", *flags)
    listed = json.loads(run("collections", "--skipped", "--json", *flags).stdout)
    assert f"collection papers: {folder.resolve()}, 3 documents" in shown.stdout
    assert "broken.txt: " in shown.stdout
    assert [one["name"] for one in listed["collections"]] == ["papers"]
    assert Path(listed["skipped_files"][0]["path"]).name == "broken.txt"
    assert listed["skipped_files"][0]["reason"]


def test_an_index_is_examined_and_copied_while_it_is_there(indexed, tmp_path):
    flags, _ = indexed
    sound = run("verify", *flags)
    copied = run("backup", str(tmp_path / "index.sqlite"), *flags)
    again = run("backup", str(tmp_path / "index.sqlite"), *flags)
    assert (sound.returncode, sound.stdout) == (0, "The index is sound.\n")
    assert copied.returncode == 0
    assert again.returncode == 1
    assert "index.sqlite" in again.stderr
    own = ["--data-dir", str(tmp_path), *flags[2:]]
    assert found(own, "tide moon", "--kind", "source") == ["tide.py"]


def test_a_damaged_index_is_found_out(flags, folder):
    run("index", str(folder), *flags)
    file = Path(flags[1]) / "index.sqlite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8_000] = bytes(8_000)
    file.write_bytes(content)
    result = run("verify", "--json", *flags)
    shown = run("verify", *flags)
    assert result.returncode == shown.returncode == 1
    assert "Traceback" not in result.stderr
    assert len(shown.stdout.splitlines()) <= 21
    for part in ("is damaged", "ove ", str(file), "index"):
        assert part in shown.stderr


def test_a_collection_is_dropped_and_its_space_given_back(flags, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "secret.md").write_text("The zyzzyva is a weevil.\n")
    run("index", str(folder), *flags)
    run("index", str(other), "--name", "beetles", *flags)
    missing = run("collections", "--drop", "beetle", *flags)
    dropped = json.loads(run("collections", "--drop", "beetles", "--json", *flags).stdout)
    cleaned = run("gc", *flags)
    kept = (Path(flags[1]) / "index.sqlite").read_bytes()
    assert missing.returncode == 1
    assert "beetles" in missing.stderr
    assert dropped == {"dropped": "beetles", "removed": 1}
    assert cleaned.returncode == 0
    assert "the index takes" in cleaned.stdout
    assert b"zyzzyva" not in kept
    assert found(flags, "zyzzyva", "--mode", "keyword") == []


def test_include_and_exclude_say_what_belongs_to_a_collection(flags, folder):
    first = run("index", str(folder), "--include", "*.md", "--exclude", "bread*", *flags)
    changed = run("index", str(folder), "--exclude", "tides*", "--json", *flags)
    nameless = run("index", "--name", "x", *flags)
    assert "1 indexed" in first.stdout
    assert (json.loads(changed.stdout)["indexed"], json.loads(changed.stdout)["removed"]) == (1, 1)
    assert nameless.returncode == 1
    assert "name it, too" in nameless.stderr


def test_all_collections_are_brought_up_to_date_and_read_anew(flags, folder):
    nothing = run("index", *flags)
    run("index", str(folder), *flags)
    (folder / "new.md").write_text("Something new.\n")
    updated = json.loads(run("index", "--json", *flags).stdout)
    anew = json.loads(run("reindex", "--json", *flags).stdout)
    assert nothing.returncode == 1
    assert "npu-gateway index DIR" in nothing.stderr
    assert (updated["indexed"], updated["unchanged"]) == (1, 2)
    assert anew["indexed"] == 3
    assert anew["embedded_texts"] == 0


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="needs a user other than root",
)
def test_files_that_cannot_be_read_now_make_the_command_fail(flags, folder):
    (folder / "tides.md").chmod(0)
    result = run("index", str(folder), *flags)
    assert result.returncode == 1
    assert "tides.md: it cannot be read" in result.stdout


def test_a_folder_that_is_away_makes_the_command_fail_and_loses_nothing(flags, folder):
    run("index", str(folder), *flags)
    folder.rename(folder.with_name("elsewhere"))
    result = run("index", *flags)
    asked = run("index", str(folder), "--rebuild", *flags)
    assert result.returncode == asked.returncode == 1
    assert str(folder) in result.stdout
    assert "2 documents in the index now" in result.stdout
    assert "documents" in asked.stderr
    assert sorted(found(flags, "tide dough")) == ["bread.md", "tides.md"]


def test_while_another_run_indexes_the_command_says_so_in_one_sentence(flags, folder):
    run("index", str(folder), *flags)
    with one_indexer(Path(flags[1]) / "index.sqlite"):
        result = run("index", *flags)
        assert found(flags, "dough")[0] == "bread.md"
    assert result.returncode == 1
    assert "already running in this process" in result.stderr
    assert result.stderr.count("\n") == 1


def test_searching_an_empty_index_says_how_to_fill_it(flags):
    result = run("search", "anything", *flags)
    assert result.returncode == 0
    assert "npu-gateway index DIR" in result.stderr
    assert "npu-gateway index DIR" in run("collections", *flags).stderr
    assert "npu-gateway index DIR" in run("watch", *flags).stderr


def test_a_folder_that_is_not_there_is_one_sentence(flags):
    result = run("index", "/no/such/folder", *flags)
    assert result.returncode == 1
    assert "/no/such/folder" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def watching(flags, folder) -> Iterator["subprocess.Popen[str]"]:
    run("index", str(folder), *flags)
    command = [sys.executable, "-u", "-m", "mcp_server", "watch", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.usefixtures("as_in_a_terminal")
def test_watch_indexes_what_appears_until_it_is_interrupted(watching, flags, folder):
    for line in watching.stderr:
        if line.startswith("watching"):
            break
    (folder / "new.md").write_text("# Wine\n\nCorks are cut from oak bark.\n")
    for line in watching.stdout:
        if line.startswith("1 indexed"):
            break
    assert found(flags, "cork oak", "--mode", "keyword") == ["new.md"]
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert "Traceback" not in errors


def test_every_command_that_readme_shows_is_taken():
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", readme, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    shown = [shlex.split(line)[1:] for line in lines if line.startswith("npu-gateway ")]
    assert [words[0] for words in shown if words[0] in ("index", "search")] == ["index", "search"]
    for words in shown:
        assert " ".join(words).startswith(parser().parse_args(words).command)
