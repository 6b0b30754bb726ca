"""The house keeps its own rules: signs on doors, README's map and tables, what imports what."""

import ast
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from mcp import MCPDeprecationWarning

from mcp_server import settings
from mcp_server.__main__ import COMMANDS, parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = sorted(
    path
    for package in ("engine", "mcp_server")
    for path in (ROOT / package).rglob("*.py")
    if "sample_documents" not in path.parts
)


def sign(path: Path) -> str:
    """The first line of a file's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0]


def expected_map() -> str:
    """README's map: a line a module, rooms by their `__init__`."""
    lines: list[str] = []
    for path in sorted(FILES, key=lambda path: (path.parent, path.name != "__init__.py", path)):
        room = path.parent.relative_to(ROOT).as_posix()
        if path.name == "__init__.py":
            lines.append(f"{room + '/':<34} {sign(path)}")
        else:
            lines.append(f"{'  ' * (room.count('/') + 1) + path.stem:<34} {sign(path)}")
    return "\n".join(lines)


def block_after(marker: str) -> str:
    """The first fenced block behind a line of README."""
    return README.split(marker, 1)[1].split("```", 2)[1].split("\n", 1)[1].rstrip("\n")


def test_no_two_test_files_have_one_name():
    """pytest imports them by it, and would collect neither."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_every_file_has_a_sign_that_is_one_sentence():
    for path in FILES:
        assert sign(path).endswith("."), path
        assert len(sign(path)) <= 100, path


def test_the_map_in_readme_is_the_signs_on_the_doors():
    assert block_after("## Map") == expected_map(), "\n" + expected_map()


def test_the_settings_in_readme_are_the_ones_there_are():
    rows = [f"| `{flag}` | `{name}` | {text} |" for flag, name, text in settings.table()]
    assert "\n".join(rows).replace("ID|PATH", "ID\\|PATH") in README, "\n" + "\n".join(rows)


def test_the_commands_in_readme_are_the_ones_there_are():
    rows = [f"| `npu-gateway {name}` | {text} |" for name, (_, text, _) in COMMANDS.items()]
    assert "\n".join(rows) in README, "\n" + "\n".join(rows)


def test_every_command_says_what_it_does():
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([*name.split(), "--help"])
        assert ended.value.code == 0


def test_the_server_brings_in_no_heavy_library():
    code = (
        "import sys, mcp_server, mcp_server.stdio, mcp_server.__main__, mcp_server.commands.serve\n"
        "heavy = {'torch', 'transformers', 'fastapi', 'pandas', 'onnx', 'gguf', 'safetensors',\n"
        "         'huggingface_hub', 'llguidance', 'jsonschema',\n"
        "         'prometheus_client'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_what_the_protocol_calls_deprecated_fails_a_test():
    with pytest.raises(MCPDeprecationWarning):
        warnings.warn("The roots capability is deprecated.", MCPDeprecationWarning, stacklevel=1)


def test_nothing_committed_names_a_registry_host_or_a_lock():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\n")
    if not any(listed):
        pytest.skip("needs a git checkout")
    words = re.compile("pypi" + r"\.org|files\.python" + r"hosted|registry\.npm" + "js")
    for name in filter(None, listed):
        text = (ROOT / name).read_text(encoding="utf-8", errors="ignore")
        assert not words.search(text), name


def test_what_readme_quotes_of_the_doctor_is_what_it_says():
    """Sentences stand in the code in parts, each in quotes of its own."""
    code = "".join(path.read_text(encoding="utf-8") for path in FILES)
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    table = README.partition("## When something is wrong")[2].partition("\n## ")[0]
    quoted = [
        words
        for row in table.splitlines()
        if row.startswith(("| doctor", "| tools"))
        for words in re.findall("`([^`]+)`", row.split("|")[1])
    ]
    assert len(quoted) > 9
    for words in quoted:
        assert words.removeprefix("none: ") in code, words
