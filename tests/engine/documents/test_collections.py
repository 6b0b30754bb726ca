"""Indexing collections: parts of them, one in another, with patterns, with roots that vanish."""

import shutil
from pathlib import Path

import pytest
from sample_corpus import SPACE, indexer

from engine.corpus import Collection, SkippedFile
from engine.documents.collecting import Wishes
from engine.errors import InvalidInput
from engine.store.interface import EmbeddingSpace


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"words of {name}\n")


def _last(steps):
    (*_, last) = steps
    assert last.is_last
    return last.report


def _stored(store, folder):
    return [Path(one.path).relative_to(folder).as_posix() for one in store.documents(limit=1000)]


def test_a_folder_becomes_a_collection_named_after_it(store, folder, index):
    _write(folder, "a.md", "sub/b.md")
    index()
    assert store.collections() == [Collection("documents", str(folder))]
    _write(folder, "c.md", "sub/d.md")
    assert index(folder / "sub").indexed == 1
    assert store.collections() == [Collection("documents", str(folder))]
    assert _stored(store, folder) == ["a.md", "sub/b.md", "sub/d.md"]
    assert index().indexed == 1


def test_wishes_are_kept_for_later_runs(store, folder, index):
    _write(folder, "a.md", "b.py", "drafts/c.md", "sub/d.md")
    wishes = Wishes("mine", include=("*.md",), exclude=("drafts/",))
    assert _last(indexer(store).run(folder, wishes)).indexed == 2
    assert store.collections() == [Collection("mine", str(folder), ("*.md",), ("drafts/",))]
    _write(folder, "e.md", "e.py", "drafts/e.md")
    assert index().indexed == 1
    assert index(folder / "drafts").skipped[0].reason == "its collection excludes it"
    assert _stored(store, folder) == ["a.md", "e.md", "sub/d.md"]


def test_changed_wishes_remove_what_is_no_longer_wanted(store, folder, index):
    _write(folder, "a.md", "b.py")
    index()
    report = _last(indexer(store).run(folder, Wishes(exclude=("*.py",))))
    assert (report.removed, report.unchanged) == (1, 1)
    report = _last(indexer(store).run(folder, Wishes(exclude=())))
    assert (report.indexed, report.unchanged) == (1, 1)


def test_a_wish_that_cannot_be_changes_nothing(store, folder, index):
    _write(folder, "a.md")
    index()
    (folder / "a.md").unlink()
    with pytest.raises(InvalidInput):
        next(indexer(store).run(folder, Wishes(exclude=("",))))
    assert _stored(store, folder) == ["a.md"]


def test_an_inner_collection_says_itself_what_is_included(store, folder, index):
    _write(folder, "a.md", "inner/b.md", "inner/b.py", "inner/deep/c.md")
    _last(indexer(store).run(folder, Wishes(include=("*.md",))))
    _last(indexer(store).run(folder / "inner", Wishes(include=("*.py",))))
    assert [one.name for one in store.collections()] == ["documents", "inner"]
    assert _stored(store, folder) == ["a.md", "inner/b.py"]
    for report in (index(), _last(indexer(store).run_all())):
        assert (report.indexed, report.removed, report.unchanged) == (0, 0, 2)
    (folder / "inner" / "b.py").unlink()
    _write(folder, "inner/d.py", "e.md")
    assert (index().indexed, index().removed) == (2, 0)
    assert _stored(store, folder) == ["a.md", "e.md", "inner/d.py"]


def test_an_inner_collection_is_indexed_though_the_outer_one_ignores_its_folder(
    store, folder, index
):
    _write(folder, "a.md", "build/docs/b.md", "build/c.md")
    (folder / ".gitignore").write_text("build/\n")
    index()
    _last(indexer(store).run(folder / "build" / "docs", Wishes(name="docs")))
    for report in (index(), _last(indexer(store).run_all())):
        assert (report.removed, report.unchanged) == (0, 2)


def test_moving_a_file_from_one_collection_to_another_embeds_nothing(store, folder):
    _write(folder, "z/a.md", "z/keep.md", "b/b.md")
    for name in ("z", "b"):
        _last(indexer(store).run(folder / name))
    for source, target in (("z", "b"), ("b", "z")):
        (folder / source / "a.md").rename(folder / target / "a.md")
        report = _last(indexer(store).run_all())
        assert (report.indexed, report.removed, report.embedded_texts) == (1, 1, 0)


def test_a_missing_root_is_reported_and_the_others_go_on(store, folder):
    for name in ("a", "b", "c"):
        _write(folder, f"{name}/{name}.md", f"{name}/inner/x.md")
        _last(indexer(store).run(folder / name))
    (folder / "b").rename(folder / "unplugged")
    _write(folder, "c/new.md")
    report = _last(indexer(store).run_all())
    assert (report.indexed, report.removed, report.unchanged) == (1, 0, 4)
    ((path, reason),) = [(one.path, one.reason) for one in report.unavailable]
    assert path == str(folder / "b")
    assert "nothing in the index changed" in reason
    (folder / "unplugged").rename(folder / "b")
    assert _last(indexer(store).run_all()).unchanged == 7


def test_a_missing_path_is_refused_and_makes_no_collection(store, folder, index):
    with pytest.raises(InvalidInput, match="nothing in the index changed"):
        index(folder / "missing")
    assert store.collections() == []
    _write(folder, "a.md")
    index()
    with pytest.raises(InvalidInput, match="nothing in the index changed"):
        index(folder / "missing")
    folder.rename(folder.with_name("unplugged"))
    for path in (folder, folder / "sub", folder / "a.md"):
        with pytest.raises(InvalidInput, match="nothing in the index changed"):
            index(path)
    assert len(store.documents()) == 1


def test_a_folder_that_is_suddenly_empty_is_like_a_missing_one(store, folder, index):
    _write(folder, "a.md", "sub/b.md")
    index()
    folder.rename(folder.with_name("unplugged"))
    folder.mkdir()
    (folder / ".hidden").write_text("x")
    with pytest.raises(InvalidInput, match="as if a drive were not there"):
        index()
    report = _last(indexer(store).run_all())
    assert (report.removed, len(report.unavailable)) == (0, 1)
    report = _last(indexer(store).run_changed([str(folder / "sub" / "b.md")]))
    assert (report.removed, len(report.unavailable)) == (0, 1)
    assert len(store.documents()) == 2
    (folder / "picture.png").write_bytes(b"\0")
    assert index().removed == 2


def test_a_path_of_a_collection_that_is_gone_is_removed(store, folder, index):
    _write(folder, "a.md", "sub/b.md", "sub/c.md")
    index()
    shutil.rmtree(folder / "sub")
    assert index(folder / "sub").removed == 2
    assert _stored(store, folder) == ["a.md"]


def test_only_what_changed_is_gone_through(store, folder, index):
    _write(folder, "a.md", "b.md", "sub/c.md", "sub/d.md")
    index()
    _write(folder, "new/e.md")
    (folder / "b.md").unlink()
    shutil.rmtree(folder / "sub")
    (folder / "a.md").write_text("other words\n")
    changed = [str(folder / name) for name in ("new", "b.md", "sub", "a.md", "never.md", ".x.md")]
    report = _last(indexer(store).run_changed([*changed, str(folder.parent / "elsewhere")]))
    assert (report.indexed, report.removed, report.unavailable) == (2, 3, ())
    assert _stored(store, folder) == ["a.md", "new/e.md"]


def _reasons(store):
    return {Path(one.path).name: (one.reason, one.size) for one in store.skipped()}


def test_what_is_left_out_is_kept_with_its_reason(store, folder, index):
    (folder / "large.json").write_bytes(b"x" * 3_000_000)
    (folder / "a.min.js").write_text("x")
    (folder / "b.md").write_bytes(b"\0\0\0")
    _write(folder, "c.md", "inner/d.md")
    (folder / "inner" / "e.md").write_bytes(b"\0")
    _last(indexer(store).run(folder / "inner"))
    index()
    expected = {
        "large.json": ("it is larger than 2 MB (3.0 MB)", -1),
        "a.min.js": ("it is minified", -1),
        "b.md": ("it is binary (it holds NUL bytes)", -1),
        "e.md": ("it is binary (it holds NUL bytes)", -1),
    }
    assert _reasons(store) == expected
    assert store.statistics().skipped == 4
    (folder / "b.md").write_text("no longer\n")
    (folder / "large.json").unlink()
    index()
    assert sorted(_reasons(store)) == ["a.min.js", "e.md"]


def test_a_file_that_no_reader_took_is_not_read_again_until_it_changes(store, folder, index):
    (folder / "b.md").write_bytes(b"\0\0\0")
    info = (folder / "b.md").stat()
    stamp = max(info.st_mtime_ns, info.st_ctime_ns)
    index()
    store.set_skipped(str(folder), [SkippedFile(str(folder / "b.md"), "it is so", 3, stamp)])
    assert [one.reason for one in index().skipped] == ["it is so"]
    (*_, last) = indexer(store).run(folder, rebuild=True)
    assert [one.reason for one in last.report.skipped] == ["it is binary (it holds NUL bytes)"]
    (folder / "b.md").write_bytes(b"words")
    assert index().indexed == 1
    assert store.skipped() == []


def test_a_named_file_that_a_walk_passes_over_is_reported_and_not_kept(store, folder, index):
    _write(folder, "a.md", "b.unknown", ".c.md")
    index()
    for name, reason in (("b.unknown", "its kind is not indexed"), (".c.md", "it is hidden")):
        assert [one.reason for one in index(folder / name).skipped] == [reason]
    assert store.skipped() == []


def test_a_collection_dropped_is_not_gone_through_any_more(store, folder):
    for name in ("a", "b"):
        _write(folder, f"{name}/x.md")
        _last(indexer(store).run(folder / name))
    store.drop_collection("a")
    assert _last(indexer(store).run_all()).unchanged == 1
    assert _last(indexer(store).run_changed([str(folder / "a")])).indexed == 0
    assert _stored(store, folder) == ["b/x.md"]


def test_a_run_embeds_what_any_run_before_left(store, folder, index):
    _write(folder, "a.md", "sub/b.md")
    index()
    store.use(EmbeddingSpace("other", "fingerprint-2", SPACE.dimensions))
    report = index(folder / "sub")
    assert (report.unchanged, report.embedded_texts, report.lacking_texts) == (1, 2, 0)
