"""What the source must be like to run where no test of ours runs: on Windows."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HERE = Path(__file__).parents[1]
SOURCES = sorted(
    file
    for folder in ("engine", "mcp_server")
    for file in (HERE / folder).rglob("*.py")
    if "sample_documents" not in file.parts
)

POSIX_ONLY = {"fcntl", "pwd", "grp", "resource", "termios", "pty", "tty", "crypt", "spwd", "syslog"}
# asyncio's loop of Windows has neither; processes are never forked there.
NOT_ON_THE_LOOP = {
    "add_signal_handler",
    "add_reader",
    "add_writer",
    "fork",
    "forkpty",
    "forkserver",
}

PROGRAMS = {"Popen", "run", "call", "check_call", "check_output"}
# A program that is itself started without a window has no other to show.
STARTED_WITHOUT_A_WINDOW = {"engine/models/child_program.py"}


@cache
def trees() -> list[tuple[str, ast.Module]]:
    """Every source that runs on Windows, by its name."""
    return [
        (file.relative_to(HERE).as_posix(), ast.parse(file.read_text(encoding="utf-8")))
        for file in SOURCES
    ]


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Calls, with what is called as it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> set[str]:
    """Names of arguments; ** stands for more that are not seen."""
    return {one.arg or "**" for one in call.keywords}


def test_modules_that_only_posix_has_are_imported_in_branches_alone():
    for name, tree in trees():
        for node in tree.body:
            imported = {one.name for one in node.names} if isinstance(node, ast.Import) else set()
            imported |= {node.module} if isinstance(node, ast.ImportFrom) else set()
            assert not imported & POSIX_ONLY, name


def test_nothing_is_asked_of_the_event_loop_that_windows_has_not():
    for name, tree in trees():
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & NOT_ON_THE_LOOP, name


def test_programs_get_no_standard_input_and_no_window():
    found = []
    for name, tree in trees():
        for called, call in calls(tree):
            if called.startswith("subprocess.") and called.split(".")[1].split("[")[0] in PROGRAMS:
                found.append(name)
                assert "stdin" in keywords(call), name
                has_no_window = keywords(call) & {"creationflags", "**"}
                assert has_no_window or name in STARTED_WITHOUT_A_WINDOW, name
    assert len(found) >= 2


def test_text_is_read_and_written_in_an_encoding_whatever_the_system_prefers():
    for name, tree in trees():
        for called, call in calls(tree):
            if called.startswith("metadata."):
                continue  # It reads UTF-8 by itself.
            if called.endswith((".read_text", ".write_text")):
                assert "encoding" in keywords(call), f"{name}:{call.lineno}"


def test_files_are_opened_as_bytes_or_in_an_encoding():
    for name, tree in trees():
        for called, call in calls(tree):
            if called == "open" or called.endswith(".open"):
                modes = [one.value for one in call.args if isinstance(one, ast.Constant)]
                text = ast.unparse(call)
                is_file = called == "open" or any(
                    isinstance(mode, str) and set(mode) <= set("rwabxt+") for mode in modes
                )
                is_bytes = any(isinstance(mode, str) and "b" in mode for mode in modes)
                assert not is_file or is_bytes or "encoding=" in text, f"{name}:{call.lineno}"
