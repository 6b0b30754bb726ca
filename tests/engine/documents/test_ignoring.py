"""What git ignores is left out, and nothing else."""

import os
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from engine.corpus import Collection
from engine.documents import finder
from engine.documents.collecting import Part
from engine.documents.finder import FoundFile, Skipped
from engine.documents.ignoring import compiled

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

NAMES = ["a", "b", "foo", "bar", "build", "doc"]
FILES = ["x.md", "y.txt", "foo.md", "Foo.md", "a.md", "b.txt"]
ATOMS = ["a", "b", "foo", "bar", "*.md", "*.txt", "foo*", "b?r", "[ab]", "[!a]", "build", "doc"]
ATOMS += ["x.md", "**", "*", "foo.md", "[a-f]oo", "\\#x", "fo\\o", " a", "a ", "a\\ "]


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text\n")


def find(root: Path):
    """What is found in a path that is a collection."""
    part = Part(str(root), Collection("c", str(root)))
    return (entry for entries in finder.find(part) for entry in entries)


def _names(root: Path, folder: Path | None = None) -> list[str]:
    found = [entry.path for entry in find(root) if isinstance(entry, FoundFile)]
    return sorted(Path(path).relative_to(folder or root).as_posix() for path in found)


def _git(folder: Path, *arguments: str) -> str:
    nobody = {**os.environ, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "XDG_CONFIG_HOME": ""}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=nobody).stdout


def _names_by_git(folder: Path) -> list[str]:
    listed = _git(folder, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    return sorted(name for name in listed if name and not os.path.basename(name).startswith("."))


def _pattern(random: Random) -> str:
    atoms = random.choices(ATOMS, k=random.choice([1, 1, 1, 2, 2, 3]))
    pattern = ("/" if random.random() < 0.25 else "") + "/".join(atoms)
    if random.random() < 0.3 and atoms[-1] != "**":
        pattern += "/"
    return ("!" if random.random() < 0.3 else "") + pattern


@needs_git
@pytest.mark.parametrize("seed", range(40))
def test_any_patterns_hold_as_in_git(folder, seed):
    random = Random(seed)
    _git(folder, "init", "-q")
    for _ in range(14):
        parts = random.choices(NAMES, k=random.randint(0, 3))
        _write(folder, "/".join([*parts, random.choice(FILES)]))
    inner = [path for path in sorted(folder.rglob("[!.]*")) if path.is_dir()]
    places = [path for path in inner if ".git" not in path.parts]
    for place in [folder, *random.sample(places, min(2, len(places)))]:
        patterns = [_pattern(random) for _ in range(random.randint(1, 5))]
        (place / ".gitignore").write_text("\n".join(patterns) + "\n")
    assert _names(folder) == _names_by_git(folder)


@needs_git
def test_what_is_ignored_stays_so_when_a_folder_is_taken_back(folder):
    _git(folder, "init", "-q")
    _write(folder, "src/a.md", "src/build/generated.md", "src/log/a.md", "build/src/a.md")
    (folder / ".gitignore").write_bytes(b"build/\r\nlog\r\n!src/\r\n")
    assert _names(folder) == _names_by_git(folder) == ["src/a.md"]


def test_the_repository_around_a_folder_is_asked(folder):
    _write(folder, ".gitignore", "repo/sub/a.md", "repo/sub/secret.md", "repo/sub/deep/b.md")
    (folder / ".gitignore").write_text("*\n")
    (folder / "repo" / ".git").mkdir()
    (folder / "repo" / ".gitignore").write_text("secret.md\n/sub/deep\n")
    assert _names(folder / "repo") == ["sub/a.md"]
    assert _names(folder / "repo" / "sub") == ["a.md"]
    assert _names(folder / "repo" / "sub" / "a.md", folder) == ["repo/sub/a.md"]
    for ignored in ("sub/deep", "sub/deep/b.md", "sub/secret.md"):
        (skipped,) = find(folder / "repo" / ignored)
        assert isinstance(skipped, Skipped)
        assert skipped.reason == f"{folder / 'repo' / '.gitignore'} leaves it out"


def test_outside_a_repository_only_files_from_the_root_down_are_asked(folder):
    _write(folder, "sub/a.md", "sub/b.md")
    (folder / ".gitignore").write_text("a.md\n")
    assert _names(folder) == ["sub/b.md"]
    assert _names(folder / "sub") == ["a.md", "b.md"]


def test_a_repository_inside_another_has_its_own_rules(folder):
    _write(folder, "inner/a.md")
    (folder / ".git").mkdir()
    (folder / ".gitignore").write_text("inner/\n")
    assert _names(folder) == []
    (folder / "inner" / ".git").mkdir()
    assert _names(folder / "inner") == ["a.md"]


def test_our_own_ignore_files_hold_in_every_folder_without_a_repository(folder):
    _write(folder, "a.md", "b.md", "sub/a.md", "sub/b.md", "sub/deep/b.md", "sub/deep/c.md")
    (folder / ".npugatewayignore").write_text("b.md\n")
    (folder / "sub" / ".npugatewayignore").write_text("a.md\n/deep/c.md\n")
    (folder / "sub" / "deep" / ".npugatewayignore").write_text("!b.md\n")
    assert _names(folder) == ["a.md", "sub/deep/b.md"]


def test_our_own_ignore_files_count_for_more_than_any_gitignore(folder):
    _write(folder, "build/a.md", "build/b.md", "sub/c.md", "sub/d.md", "secret.md")
    (folder / ".gitignore").write_text("build/\n")
    (folder / "sub" / ".gitignore").write_text("c.md\n!d.md\n")
    (folder / ".npugatewayignore").write_text("!build/\nbuild/b.md\n!c.md\nd.md\n/secret.md\n")
    assert _names(folder) == ["build/a.md", "sub/c.md"]
    (skipped,) = find(folder / "secret.md")
    assert skipped.reason == f"{folder / '.npugatewayignore'} leaves it out"


@pytest.mark.parametrize(
    ("line", "name", "where_case_counts"),
    [("*.log", "A.LOG", False), ("Secrets/", "secrets/", False), ("a.md", "a.md", True)],
)
def test_case_counts_in_patterns_where_it_does_for_git(line, name, where_case_counts):
    [strict], [lenient] = compiled(line, ignores_case=False), compiled(line, ignores_case=True)
    assert bool(strict.regex.match(name)) is where_case_counts
    assert lenient.regex.match(name)
