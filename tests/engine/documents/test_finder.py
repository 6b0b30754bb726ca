"""Which files of a folder are found, which are skipped and why."""

import os
import socket
import sys
from pathlib import Path

import pytest

from engine.corpus import Collection
from engine.documents import finder
from engine.documents.collecting import Part
from engine.documents.finder import FoundFile, Skipped, resolved
from engine.errors import InvalidInput

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text\n")


def find(root: Path, inner: tuple[str, ...] = (), **globs: tuple[str, ...]):
    """What is found in a path that is a collection."""
    part = Part(str(root), Collection("c", str(root), **globs), inner)
    return (entry for entries in finder.find(part) for entry in entries)


def _found_in(folder: Path, path: Path, **globs: tuple[str, ...]) -> list[str]:
    """Names or reasons of what is found at a path in a collection."""
    part = Part(str(path), Collection("c", str(folder), **globs))
    return [
        os.path.relpath(entry.path, folder) if isinstance(entry, FoundFile) else entry.reason
        for entries in finder.find(part)
        for entry in entries
    ]


def _names(folder: Path, **globs: tuple[str, ...]) -> list[str]:
    return [
        Path(found.path).relative_to(folder.resolve()).as_posix()
        for found in find(folder, **globs)
        if isinstance(found, FoundFile)
    ]


def _reasons(folder: Path) -> dict[str, str]:
    skipped = [entry for entry in find(folder) if isinstance(entry, Skipped)]
    return {os.path.basename(entry.path): entry.reason for entry in skipped}


def test_documents_and_source_files_are_found_in_order(folder):
    _write(folder, "b.md", "a.txt", "sub/c.py", "sub/deep/d.rst", "Makefile", "e.yaml", "f.JSON")
    assert _names(folder) == [
        "Makefile",
        "a.txt",
        "b.md",
        "e.yaml",
        "f.JSON",
        "sub/c.py",
        "sub/deep/d.rst",
    ]


def test_what_is_found_has_size_and_time(folder):
    _write(folder, "a.md")
    (found,) = find(folder)
    info = (folder / "a.md").stat()
    changed = max(info.st_mtime_ns, info.st_ctime_ns)
    assert found == FoundFile(str((folder / "a.md").resolve()), info.st_size, changed)


def test_hidden_generated_and_installed_files_are_passed_over(folder):
    _write(folder, ".env", ".git/a.md", "node_modules/a.md", "x/__pycache__/a.py", ".venv/a.py")
    _write(folder, "env/pyvenv.cfg", "env/lib/a.py", "picture.png", "a.md")
    assert _names(folder) == ["a.md"]
    assert _reasons(folder) == {}


def test_documents_that_cannot_be_read_yet_are_named(folder):
    _write(folder, "slides.pptx", "letter.odt")
    assert _reasons(folder) == {
        "slides.pptx": "PowerPoint files are not read yet",
        "letter.odt": "OpenDocument files are not read yet",
    }


def test_ignore_files_hold_as_in_git(folder):
    _write(folder, "a.md", "drafts/a.md", "drafts/keep.md", "build/a.md", "sub/build/a.md")
    _write(folder, "sub/a.log", "sub/keep.log", "sub/inner/a.log", "sub/inner/only.txt", "x/y/z.md")
    (folder / ".gitignore").write_text(
        "/build/\ndrafts/*\n!drafts/keep.md\n*.log\nx/**/z.md\n\n#a\n"
    )
    (folder / "sub" / ".gitignore").write_text("!keep.log\ninner/*.txt\n")
    (folder / "sub" / "inner" / ".gitignore").write_text("!a.log\n")
    assert _names(folder) == [
        "a.md",
        "drafts/keep.md",
        "sub/keep.log",
        "sub/build/a.md",
        "sub/inner/a.log",
    ]


def test_nothing_inside_an_ignored_folder_comes_back(folder):
    _write(folder, "out/a.md", "a.md")
    (folder / ".gitignore").write_text("out/\n!out/a.md\n")
    assert _names(folder) == ["a.md"]


def test_an_ignore_file_with_invalid_lines_still_holds(folder):
    _write(folder, "a.md", "b.md")
    (folder / ".gitignore").write_bytes(b"!\n[z-a]\n\\\nb.md\n\xff\xfe\n")
    assert _names(folder) == ["a.md"]


def test_a_file_named_itself_is_what_it_is_in_its_folder(folder):
    _write(
        folder, ".hidden.md", "note.unknown", "slides.pptx", "drafts/a.md", "drafts/b.md", "c.md"
    )
    (folder / "drafts" / ".gitignore").write_text("a.md\n")
    outcomes = {}
    for name in (".hidden.md", "note.unknown", "slides.pptx", "drafts/a.md"):
        (found,) = find(folder / name)
        outcomes[name] = found.reason
    assert outcomes == {
        ".hidden.md": "it is hidden",
        "note.unknown": "its kind is not indexed",
        "slides.pptx": "PowerPoint files are not read yet",
        "drafts/a.md": f"{folder / 'drafts' / '.gitignore'} leaves it out",
    }
    for name in ("drafts/b.md", "c.md"):
        (found,) = find(folder / name)
        assert found.path == str(folder / name)


def test_files_that_programs_write_are_named_with_the_reason(folder):
    generated = ["package-lock.json", "pnpm-lock.yaml", "yarn.lock", "Cargo.lock", "uv.lock"]
    generated += ["a.min.js", "a.min.CSS", "a.js.map"]
    _write(folder, *generated, "a.js", "lock.md", "map.txt")
    assert _names(folder) == ["a.js", "lock.md", "map.txt"]
    reasons = _reasons(folder)
    assert sorted(reasons) == sorted(generated)
    assert {reasons[name] for name in generated[:5]} == {"it is a lock file"}
    assert [reasons[name] for name in generated[5:]] == [
        "it is minified",
        "it is minified",
        "it is a source map",
    ]


def test_a_large_file_is_skipped_with_its_size(folder):
    (folder / "large.txt").write_bytes(b"x" * 11_000_000)
    (folder / "fits.txt").write_bytes(b"x" * 10 * 1024 * 1024)
    assert _names(folder) == ["fits.txt"]
    assert _reasons(folder) == {"large.txt": "it is larger than 10 MB (11.0 MB)"}


@needs_posix
def test_what_was_swapped_for_a_link_during_the_walk_is_not_entered(folder, tmp_path):
    _write(tmp_path, "outside/secret.md", "outside/secret.pdf")
    _write(folder, "first/a.md", "sub/b.md")
    walk = find(folder)
    assert next(walk).path.endswith("a.md")
    (folder / "sub").rename(tmp_path / "moved")
    (folder / "sub").symlink_to(tmp_path / "outside")
    assert list(walk) == [Skipped(str(folder / "sub"), "it is behind a link now")]


@pytest.mark.parametrize("name", ["missing", "missing/deeper", "a\0b", "\ud800"])
def test_a_missing_root_is_refused(folder, name):
    with pytest.raises(InvalidInput, match="nothing in the index changed"):
        list(find(folder / name))


@needs_posix
def test_links_are_not_followed_and_never_lead_out(folder, tmp_path):
    _write(tmp_path, "outside/secret.md")
    _write(folder, "sub/a.md")
    (folder / "inside").symlink_to(folder / "sub")
    (folder / "inside.md").symlink_to(folder / "sub" / "a.md")
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to("self")
    (folder / "gone.md").symlink_to(folder / "nothing")
    (folder / "out").symlink_to(tmp_path / "outside")
    (folder / "out.md").symlink_to(tmp_path / "outside" / "secret.md")
    assert _names(folder) == ["sub/a.md"]
    assert _reasons(folder) == {
        "self": "it is a link that leads nowhere",
        "gone.md": "it is a link that leads nowhere",
        "out": "it is a link that leads out of the folder",
        "out.md": "it is a link that leads out of the folder",
    }


@needs_posix
def test_a_root_that_is_a_link_is_resolved_first(folder, tmp_path):
    _write(folder, "a.md")
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InvalidInput, match="a link leads there"):
        list(find(tmp_path / "link"))
    (found,) = find(resolved(tmp_path / "link"))
    assert found.path == str((folder / "a.md").resolve())


def test_a_path_is_resolved_whether_or_not_anything_is_there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert resolved(Path("nothing") / ".." / "more") == folder.resolve() / "more"


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000])
def test_a_path_that_cannot_be_is_refused(folder, name):
    with pytest.raises(InvalidInput, match="nothing in the index changed"):
        resolved(folder / name)


@needs_posix
@pytest.mark.parametrize("name", ["loop", "loop/deeper"])
def test_links_in_a_circle_are_refused(folder, name):
    (folder / "loop").symlink_to("loop")
    with pytest.raises(InvalidInput, match="nothing in the index changed"):
        resolved(folder / name)


@needs_posix
def test_what_is_no_regular_file_is_skipped_without_waiting(folder):
    os.mkfifo(folder / "pipe.md")
    os.mkfifo(folder / ".gitignore")
    with socket.socket(socket.AF_UNIX) as listener:
        address = os.path.relpath(folder / "socket.md")
        listener.bind(address)
        assert _names(folder) == []
        assert _reasons(folder) == dict.fromkeys(("pipe.md", "socket.md"), "it is no regular file")


@needs_posix
def test_a_folder_that_may_not_be_read_is_skipped_as_unseen(folder):
    _write(folder, "locked/a.md", "b.md")
    (folder / "locked").chmod(0)
    try:
        if os.access(folder / "locked", os.R_OK):
            pytest.skip("needs a user other than root")
        assert _names(folder) == ["b.md"]
        (skipped,) = (entry for entry in find(folder) if isinstance(entry, Skipped))
        assert skipped.unseen
        assert "Permission denied" in skipped.reason
    finally:
        (folder / "locked").chmod(0o700)


@needs_posix
def test_odd_names_are_found_or_skipped_never_fatal(folder):
    odd = [
        "a\nb.md",
        "con.md",
        "tab\t.md",
        'quo"te.md',
        "a:b.md",
        " .md",
        "*.md",
        "日本語 \U0001f600.md",
    ]
    _write(folder, *odd, "-rf.md", "trailing .md")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.md"))).write_text("x")
    assert sorted(_names(folder)) == sorted([*odd, "-rf.md", "trailing .md"])
    assert list(_reasons(folder).values()) == ["its name is no valid Unicode"]
    assert all(name.isprintable() or "\ufffd" in name for name in _reasons(folder))


def test_a_deep_folder_is_walked_to_its_end(folder):
    _write(folder, "/".join(["d"] * 60) + "/a.md")
    assert len(_names(folder)) == 1


def test_what_a_collection_includes_and_excludes_holds_below_its_root(folder):
    _write(folder, "a.md", "a.py", "docs/b.md", "docs/b.py", "docs/old/c.md", "src/docs/d.md")
    assert _names(folder, include=("*.md",)) == [
        "a.md",
        "docs/b.md",
        "docs/old/c.md",
        "src/docs/d.md",
    ]
    assert _names(folder, include=("/docs/",)) == ["docs/b.md", "docs/b.py", "docs/old/c.md"]
    assert _names(folder, include=("*.md", "!c.md"), exclude=("/docs/b*",)) == [
        "a.md",
        "src/docs/d.md",
    ]
    assert _names(folder, exclude=("old/", "*.py")) == ["a.md", "docs/b.md", "src/docs/d.md"]
    assert _names(folder, include=("*.png",)) == []


def test_a_part_of_a_collection_is_found_as_the_whole_finds_it(folder):
    _write(folder, "sub/a.md", "sub/b.py", "sub/skip/c.md", "drafts/deep/d.md", ".hid/x/e.md")
    _write(folder, "node_modules/x/f.md", "env/pyvenv.cfg", "env/lib/g.md")
    (folder / ".gitignore").write_text("skip/\n")
    globs = {"exclude": ("drafts",), "include": ("*.md",)}
    assert _found_in(folder, folder / "sub", **globs) == ["sub/a.md"]
    assert _found_in(folder, folder / "sub" / "a.md", **globs) == ["sub/a.md"]
    ignoring = f"{folder / '.gitignore'} leaves it out"
    passed = folder / "node_modules"
    left_out = {
        "sub/b.py": "its collection does not include it",
        "sub/skip": ignoring,
        "sub/skip/c.md": f"it is in {folder / 'sub' / 'skip'}, and {ignoring}",
        "drafts/deep/d.md": f"it is in {folder / 'drafts'}, and its collection excludes it",
        ".hid/x": f"it is in {folder / '.hid'}, and it is hidden",
        "node_modules/x/f.md": f"it is in {passed}, and it holds installed packages",
        "env/lib": f"it is in {folder / 'env'}, and it holds installed packages",
    }
    for name, reason in left_out.items():
        assert _found_in(folder, folder / name, **globs) == [reason]


def test_a_walk_stops_where_an_inner_collection_begins(folder):
    _write(folder, "a.md", "inner/b.md", "one.md", "z/inner/c.md")
    inner = (str(folder / "inner"), str(folder / "one.md"))
    found = [Path(entry.path).name for entry in find(folder, inner)]
    assert found == ["a.md", "c.md"]
