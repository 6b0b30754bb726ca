"""Indexing a folder: once, again, after changes, with bad files, and stopped in between."""

import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import apsw
import pytest
from sample_corpus import (
    MAX_TOKENS,
    SPACE,
    check_citations,
    count_tokens,
    embed,
    indexer,
    write_corpus,
)

from engine.documents.indexer import Indexer
from engine.errors import InvalidInput
from engine.store.interface import EmbeddingSpace
from engine.store.opening import open_store

LARGE = "# Large\n\n" + "".join(f"Sentence {n} is about the river.\n\n" for n in range(2000))


def _content(store):
    """Everything stored, by path, without stamps: a file that is young when it is read has none."""
    return {
        document.path: (replace(document, stamp_ns=0), store.chunks(document.document_id))
        for document in store.documents(limit=10_000)
    }


def _search(store, question):
    return store.hits(store.nearest(embed([question])[0], 5))


def test_two_hundred_documents_are_indexed_and_cited_byte_for_byte(index, store, folder):
    write_corpus(folder)
    report = index()
    assert (report.indexed, report.unchanged, report.removed, report.skipped) == (200, 0, 0, ())
    stored = _content(store)
    assert len(stored) == 200
    for path, (document, chunks) in stored.items():
        content = Path(path).read_bytes()
        assert document.size == len(content)
        check_citations(content, document, chunks)
        assert max(chunk.token_count for chunk in chunks) <= MAX_TOKENS


def test_the_two_hundred_are_of_every_kind(index, store, folder):
    write_corpus(folder)
    index()
    kinds = set()
    for path, (document, _) in _content(store).items():
        content = Path(path).read_bytes()
        japanese = "記録" in content.decode(document.encoding)
        marked = content.startswith((b"\xef\xbb\xbf", b"\xff\xfe"))
        ends = "\r\n" in content.decode(document.encoding)
        kinds.add((Path(path).suffix, japanese, document.encoding, marked, ends))
    for suffix, japanese in ((".md", False), (".md", True), (".txt", False), (".py", False)):
        for marked in (False, True):
            for ends in (False, True):
                assert (suffix, japanese, "utf-8", marked, ends) in kinds
        assert any(kind[:3] == (suffix, japanese, "utf-16-le") for kind in kinds)


def _later():
    """A clock by which every file is old."""
    return time.time_ns() + 10_000_000_000


def test_a_second_run_reads_and_embeds_nothing(store, folder):
    write_corpus(folder)
    list(Indexer(store, embed, count_tokens, MAX_TOKENS, now_ns=_later).run(folder))
    before = _content(store)

    def refuse(texts):
        raise AssertionError(f"{len(texts)} texts were embedded again")

    generation = store.statistics().generation
    (step,) = Indexer(store, refuse, refuse, MAX_TOKENS).run(folder)
    assert (step.report.indexed, step.report.unchanged) == (0, 200)
    assert (step.report.embedded_texts, step.report.removed) == (0, 0)
    assert (step.done, step.total, step.is_last) == (200, 200, True)
    assert _content(store) == before
    assert store.statistics().generation == generation


def test_touching_a_file_embeds_nothing(index, store, folder):
    (folder / "a.md").write_text("# A\n\ntext\n")
    index()
    os.utime(folder / "a.md", (1, 1))
    report = index()
    assert (report.indexed, report.unchanged, report.embedded_texts) == (0, 1, 0)
    (folder / "a.md").write_text("# A\n\nTEXT\n")
    assert index().indexed == 1


def test_an_edit_at_the_same_moment_and_of_the_same_size_is_seen(index, store, folder):
    file = folder / "a.md"
    for number in range(100):
        file.write_text(f"{number:03}\n")
        os.utime(file, (1, 1))
        assert index().indexed == 1
        assert store.chunks(store.documents()[0].document_id)[0].text == f"{number:03}\n"


def test_a_file_is_compared_by_its_hash_until_its_time_is_old_enough(store, folder):
    (folder / "a.md").write_text("words\n")
    stamp = (folder / "a.md").stat().st_ctime_ns
    known = []
    for age in (1_000_000, 1_999_000_000, 2_000_000_000, 3_000_000_000):
        clock = lambda now=stamp + age: now  # noqa: E731
        steps = list(Indexer(store, embed, count_tokens, MAX_TOKENS, now_ns=clock).run(folder))
        known.append((len(steps), store.documents()[0].stamp_ns))
    assert known == [(4, 0), (3, 0), (3, stamp), (1, stamp)]


def test_a_clock_that_jumps_is_harmless(store, folder):
    day = 86_400_000_000_000
    for number, jump in enumerate((0, -40_000 * day, 40_000 * day, -day, 0)):
        (folder / f"{number}.md").write_text(f"number {number}\n")
        (folder / "same.md").write_text("x" * (number + 1))
        clock = lambda jump=jump: time.time_ns() + jump  # noqa: E731
        (*_, last) = Indexer(store, embed, count_tokens, MAX_TOKENS, now_ns=clock).run(folder)
        assert (last.report.indexed, last.report.unchanged) == (2, number)
        (*_, last) = Indexer(store, embed, count_tokens, MAX_TOKENS, now_ns=clock).run(folder)
        assert (last.report.indexed, last.report.embedded_texts) == (0, 0)


def test_edits_deletions_and_new_files_are_reflected(index, store, folder):
    write_corpus(folder)
    index()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files[0].write_text("# Edited\n\nA walrus sings in the courtyard.\n")
    for path in files[1:4]:
        path.unlink()
    (folder / "new.md").write_text("# New\n\nThe submarine is painted yellow.\n")
    report = index()
    assert (report.indexed, report.unchanged, report.removed) == (2, 196, 3)
    assert report.embedded_texts == 2
    assert _search(store, "A walrus sings in the courtyard.")[0].document.path == str(files[0])
    assert _search(store, "New: the submarine is painted yellow.")[0].document.title == "New"
    gone = {str(path) for path in files[1:4]}
    assert not gone & {document.path for document in store.documents(limit=1000)}
    hits = store.hits(store.nearest(embed(["river stone"])[0], 10_000))
    assert not gone & {hit.document.path for hit in hits}


def test_a_run_over_changes_ends_where_a_fresh_run_does(index, store, folder, tmp_path):
    write_corpus(folder, seed=1)
    index()
    write_corpus(folder, seed=2)
    shutil.rmtree(folder / "part3")
    index()
    changed = _content(store)
    store.clear()
    index()
    assert _content(store) == changed


def test_a_folder_renamed_moves_its_documents(index, store, folder):
    write_corpus(folder)
    index()
    (folder / "part1").rename(folder / "moved")
    report = index()
    assert report.indexed == report.removed > 0
    assert store.statistics().documents == 200


def test_only_what_lies_under_the_root_is_removed(index, store, folder):
    for name in ("a/x.md", "ab/x.md", "b/x.md"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("words\n")
    index()
    (folder / "a" / "x.md").unlink()
    (folder / "ab" / "x.md").unlink()
    assert index(folder / "a").removed == 1
    assert len(store.documents()) == 2


def test_one_file_may_be_the_root(index, store, folder):
    (folder / "a.md").write_text("one\n")
    (folder / "b.md").write_text("two\n")
    assert index(folder / "b.md").indexed == 1
    assert index(folder / "b.md").unchanged == 1
    assert [document.title for document in store.documents()] == ["b.md"]


def test_a_file_named_itself_stays_when_its_folder_is_indexed(index, store, folder):
    (folder / ".gitignore").write_text("ignored.md\n")
    for name in ("a.md", "ignored.md", ".hidden.md", "b.weird", "c.rtf", "d.pdf", "x.min.js"):
        (folder / name).write_text("{\\rtf1 %PDF-1.4 text}\n")
        index(folder / name)
    named = store.documents()
    assert [document.title for document in named] == ["a.md"]
    report = index()
    assert (report.indexed, report.removed, report.unchanged) == (0, 0, 1)
    assert store.documents() == named


def test_a_missing_root_removes_nothing(index, store, folder):
    write_corpus(folder)
    index()
    folder.rename(folder.with_name("unplugged"))
    with pytest.raises(InvalidInput, match="nothing in the index changed"):
        index()
    assert store.statistics().documents == 200


def test_documents_without_words_are_recorded_without_chunks(index, store, folder):
    (folder / "blank.md").write_bytes(b" \n\r\n\t\n")
    (folder / "empty.txt").write_bytes(b"")
    report = index()
    assert (report.indexed, report.chunks_added) == (2, 0)
    assert [document.chunk_count for document in store.documents()] == [0, 0]
    assert [document.line_count for document in store.documents()] == [3, 0]
    assert index().unchanged == 2


def test_the_title_is_the_first_heading_or_the_files_name(index, store, folder):
    (folder / "a.md").write_text("intro\n\n## Real title ##\n")
    (folder / "b.txt").write_text("# no heading in plain text\n")
    index()
    assert [document.title for document in store.documents()] == ["Real title", "b.txt"]


def test_binary_and_broken_files_are_skipped_and_the_others_indexed(index, store, folder):
    (folder / "a.md").write_text("words\n")
    (folder / "b.txt").write_bytes(b"PK\x03\x04\0\0\0")
    (folder / "c.txt").write_bytes(bytes(range(1, 32)) * 9)
    (folder / "d.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "e.txt").write_bytes(b"x" * 11_000_000)
    report = index()
    assert report.indexed == 1
    reasons = {Path(skipped.path).name: skipped.reason for skipped in report.skipped}
    assert sorted(reasons) == ["b.txt", "c.txt", "d.txt", "e.txt"]
    assert all(reason.startswith("it is ") for reason in reasons.values())
    assert len(store.documents()) == 1


def test_a_document_that_became_binary_is_no_longer_found(index, store, folder):
    (folder / "a.md").write_text("words\n")
    index()
    (folder / "a.md").write_bytes(b"\0\1\2")
    report = index()
    assert (report.removed, len(report.skipped)) == (1, 1)
    assert store.documents() == []


def test_a_guessed_encoding_is_said(index, store, folder):
    (folder / "alt.txt").write_bytes("Käse für 5 €\r\nund Brot".encode("cp1252"))
    report = index()
    assert [Path(path).name for path in report.guessed_encodings] == ["alt.txt"]
    (document,) = store.documents()
    assert document.encoding_is_guessed
    assert store.chunks(document.document_id)[0].text == "Käse für 5 €\r\nund Brot"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_what_may_not_be_read_now_stays_in_the_index(index, store, folder):
    (folder / "locked").mkdir()
    for name in ("locked/a.md", "b.md"):
        (folder / name).write_text("words\n")
    index()
    os.utime(folder / "b.md", (1, 1))
    (folder / "locked").chmod(0)
    (folder / "b.md").chmod(0)
    try:
        if os.access(folder / "b.md", os.R_OK):
            pytest.skip("needs a user other than root")
        report = index()
        assert (report.removed, len(report.skipped)) == (0, 2)
        assert store.statistics().documents == 2
    finally:
        (folder / "locked").chmod(0o700)


def test_a_file_that_vanishes_during_a_run_is_skipped(store, folder):
    for name in "abc":
        (folder / f"{name}.md").write_text("words\n")
    steps = indexer(store).run(folder)
    next(steps)
    (folder / "b.md").unlink()
    (*_, last) = steps
    assert last.report.indexed == 2
    assert [Path(skipped.path).name for skipped in last.report.skipped] == ["b.md"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX links")
def test_a_file_swapped_for_a_link_during_a_run_is_not_followed(store, folder, tmp_path):
    (tmp_path / "secret.txt").write_text("secret\n")
    (folder / "a.md").write_text("words\n")
    steps = indexer(store).run(folder)
    next(steps)
    (folder / "a.md").unlink()
    (folder / "a.md").symlink_to(tmp_path / "secret.txt")
    (*_, last) = steps
    assert (last.report.indexed, len(last.report.skipped)) == (0, 1)
    assert store.documents() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX links")
def test_a_folder_swapped_for_a_link_during_a_run_is_not_followed(store, folder, tmp_path):
    for name in ("documents/sub", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text(f"words in {name}\n")
    steps = indexer(store).run(folder)
    next(steps)
    (folder / "sub").rename(tmp_path / "moved")
    (folder / "sub").symlink_to(tmp_path / "outside")
    (*_, last) = steps
    assert [skipped.reason for skipped in last.report.skipped] == ["it is behind a link now"]
    assert store.documents() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
def test_a_file_that_keeps_changing_is_skipped_and_what_was_indexed_stays(
    store, folder, index, monkeypatch
):
    file = folder / "a.md"
    file.write_text("first\n")
    index()
    file.write_text("second\n")
    stat = os.fstat
    seen = []

    def changing(descriptor):
        seen.append(descriptor)
        file.write_text("x" * (10 + len(seen)))
        return stat(descriptor)

    monkeypatch.setattr(os, "fstat", changing)
    report = index()
    assert [skipped.reason for skipped in report.skipped] == ["it changed while it was read"]
    assert report.removed == 0
    monkeypatch.undo()
    (document,) = store.documents()
    assert store.chunks(document.document_id)[0].text == "first\n"
    assert index().indexed == 1


def test_a_file_edited_during_a_run_is_indexed_as_it_was_read(store, index, folder):
    (folder / "a.md").write_text("first\n")
    (folder / "b.md").write_text("before\n")
    steps = indexer(store).run(folder)
    next(steps)
    (folder / "b.md").write_text("after the edit\n")
    list(steps)
    (_, document) = store.documents()
    assert store.chunks(document.document_id)[0].text == "after the edit\n"
    assert index().unchanged == 2


def test_progress_rises_to_the_total_of_both_phases(store, folder):
    write_corpus(folder)
    (folder / "large.md").write_text(LARGE)
    (folder / "binary.txt").write_bytes(b"\0")
    steps = list(indexer(store).run(folder))
    reading = [step for step in steps if step.phase == "reading"]
    embedding = [step for step in steps if step.phase == "embedding"]
    assert steps == reading + embedding
    assert list(dict.fromkeys(step.files_done for step in reading)) == list(range(203))
    assert {step.files_total for step in steps} == {202}
    assert len({step.texts_done for step in embedding}) == len(embedding) - 1 > 10
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert [step.is_last for step in steps] == [False] * (len(steps) - 1) + [True]
    last = steps[-1]
    assert (last.done, last.total) == (202 + last.texts_total, 202 + last.texts_total)
    assert last.texts_done == last.report.embedded_texts == store.statistics().texts
    assert last.report.indexed == 201


def test_an_empty_folder_is_one_step(store, folder):
    (step,) = indexer(store).run(folder)
    assert (step.done, step.total) == (0, 0)


def test_closing_a_run_leaves_whole_documents_and_the_next_run_the_rest(store, folder, index):
    write_corpus(folder)
    (folder / "large.md").write_text(LARGE)
    embedded = 0
    for stop in (1, 2, 30, 31, 210, 5, 7):
        steps = indexer(store).run(folder)
        for _ in range(stop):
            step = next(steps)
        steps.close()
        embedded += step.report.embedded_texts
        for document, chunks in _content(store).values():
            assert len(chunks) == document.chunk_count
    assert store.statistics().documents == 201
    report = index()
    assert report.indexed == 0
    assert 0 < embedded < store.statistics().texts
    assert report.embedded_texts == store.statistics().texts - embedded
    resumed = _content(store)
    store.clear()
    index()
    assert _content(store) == resumed


def test_a_step_embeds_few_texts_and_few_tokens(store, folder):
    (folder / "large.md").write_text(LARGE)
    (folder / "short.md").write_text("".join(f"# H{n}\n\nx\n\n" for n in range(200)))
    sizes = []

    def embedding(texts):
        sizes.append((len(texts), sum(count_tokens(texts))))
        return embed(texts)

    list(Indexer(store, embedding, count_tokens, 4000).run(folder))
    assert max(texts for texts, _ in sizes) == 32
    assert max(tokens for _, tokens in sizes) <= 4096


def test_an_embedder_that_fails_leaves_what_was_embedded_before(store, folder, index):
    write_corpus(folder)
    calls = []

    def failing(texts):
        calls.append(texts)
        if len(calls) == 9:
            raise RuntimeError("the model died")
        return embed(texts)

    with pytest.raises(RuntimeError):
        list(Indexer(store, failing, count_tokens, MAX_TOKENS).run(folder))
    report = index()
    assert report.unchanged == 200
    assert report.embedded_texts == store.statistics().texts - sum(map(len, calls[:8]))


def _embedded_texts(store, folder):
    """The texts that a run embeds."""
    texts = []

    def noting(some):
        texts.extend(some)
        return embed(some)

    (*_, last) = Indexer(store, noting, count_tokens, MAX_TOKENS).run(folder)
    assert last.report.lacking_texts == 0
    assert len(texts) == last.report.embedded_texts
    return texts


def test_renaming_and_copying_embed_nothing(store, folder):
    write_corpus(folder)
    assert _embedded_texts(store, folder)
    (folder / "part1").rename(folder / "moved")
    shutil.copytree(folder / "part2", folder / "copied")
    assert _embedded_texts(store, folder) == []
    paths = {Path(path).relative_to(folder).parts[0] for path in _content(store)}
    assert {"moved", "part2", "copied"} <= paths
    assert "part1" not in paths


def test_one_paragraph_among_a_hundred_chunks_embeds_three_texts_at_most(store, folder):
    random = Random(7)
    paragraphs = [" ".join(random.choices(LARGE.split(), k=60)) + f" {n}." for n in range(150)]
    (folder / "a.md").write_text("\n\n".join(paragraphs))
    assert len(_embedded_texts(store, folder)) >= 100
    for place in (0, 20, 75, 149):
        paragraphs[place] = paragraphs[place].replace("river", "walrus", 1) + " More words."
        (folder / "a.md").write_text("\n\n".join(paragraphs))
        assert 1 <= len(_embedded_texts(store, folder)) <= 3


def test_without_an_embedder_documents_are_found_by_their_words(store, folder, tmp_path):
    write_corpus(folder)
    (folder / "new.md").write_text("# New\n\nThe submarine is painted yellow.\n" * 200)
    bare = open_store(tmp_path / "bare.sqlite")
    (*_, last) = Indexer(bare).run(folder)
    assert (last.phase, last.report.indexed, last.report.embedded_texts) == ("reading", 201, 0)
    assert last.report.lacking_texts == bare.statistics().texts > 300
    (hit, *_) = bare.hits(bare.lexical(["submarine"], 5))
    assert hit.document.path == str(folder / "new.md")
    (*_, again) = Indexer(bare).run(folder)
    assert (again.report.indexed, again.report.unchanged) == (0, 201)
    bare.use(SPACE)
    (*_, with_one) = indexer(bare).run(folder)
    assert (with_one.report.indexed, with_one.report.lacking_texts) == (201, 0)
    counts = [
        (chunk.token_count, count_tokens([chunk.embedded_text])[0])
        for _, chunks in _content(bare).values()
        for chunk in chunks
    ]
    assert all(stored == counted for stored, counted in counts)
    (*_, without) = Indexer(bare).run(folder)
    assert (without.report.unchanged, without.report.indexed) == (201, 0)
    bare.close()


def test_another_model_reads_no_file_and_embeds_every_text(store, folder, index):
    write_corpus(folder)
    index()
    texts = store.statistics().texts
    store.use(EmbeddingSpace("other", "fingerprint-2", SPACE.dimensions))
    steps = list(indexer(store).embed_lacking())
    assert {step.phase for step in steps} == {"embedding"}
    assert (steps[0].texts_total, steps[-1].texts_done) == (texts, texts)
    assert steps[-1].report.lacking_texts == 0
    assert (steps[-1].is_last, steps[0].is_last) == (True, False)
    (only,) = indexer(store).embed_lacking()
    assert (only.is_last, only.done, only.total) == (True, 0, 0)


def test_a_rebuild_reads_everything_anew(store, folder, index):
    write_corpus(folder)
    (folder / "binary.txt").write_bytes(b"\0")
    index()
    before = _content(store)
    (*_, last) = indexer(store).run(folder, rebuild=True)
    assert (last.report.indexed, len(last.report.skipped)) == (200, 1)
    assert last.report.embedded_texts == 0
    assert last.files_total == 201
    assert _content(store) == before


def test_documents_cut_by_other_rules_are_cut_anew(store, folder, index):
    write_corpus(folder)
    index()
    before = _content(store)
    store.require_chunking(0)
    assert len(_content(store)) == 200
    assert index().indexed == 200
    assert _content(store).keys() == before.keys()
    assert index().unchanged == 200


def test_documents_cut_for_a_model_that_takes_more_are_cut_anew(store, folder):
    (folder / "a.txt").write_text(" ".join(f"word{number}" for number in range(3000)))
    list(Indexer(store, embed, count_tokens, 510).run(folder))
    store.use(EmbeddingSpace("shorter", "fingerprint-2", SPACE.dimensions))
    (*_, last) = Indexer(store, embed, count_tokens, 254).run(folder)
    assert (last.report.indexed, last.report.lacking_texts) == (1, 0)
    ((_, chunks),) = _content(store).values()
    assert max(chunk.token_count for chunk in chunks) <= 254
    (*_, last) = Indexer(store, embed, count_tokens, 254).run(folder)
    assert last.report.embedded_texts == 0


def test_the_same_text_is_embedded_once(store, folder):
    for name in "abc":
        (folder / f"{name}.md").write_text("the same words\n")
    assert _embedded_texts(store, folder) == ["the same words\n"]
    (folder / "a.md").unlink()
    (folder / "d.md").write_text("the same words\n")
    assert _embedded_texts(store, folder) == []
    (hit,) = _search(store, "the same words")
    assert (Path(hit.document.path).name, hit.score) == ("b.md", pytest.approx(1))


def test_a_run_can_be_stopped_while_a_long_text_is_cut(store, folder):
    (folder / "a.txt").write_text("".join(f"Line {n} of the river.\n" for n in range(20_000)))
    steps = indexer(store).run(folder)
    first, *cutting = (next(steps) for _ in range(20))
    assert {(step.path, step.files_done) for step in cutting} == {(str(folder / "a.txt"), 0)}
    steps.close()
    assert (first.files_total, store.count()) == (1, 0)
    (*_, last) = indexer(store).run(folder)
    assert (last.report.indexed, last.report.lacking_texts) == (1, 0)


def test_small_files_come_before_a_large_one(store, folder):
    (folder / "a.md").write_text(LARGE)
    (folder / "b.md").write_text("words\n")
    steps = indexer(store).run(folder)
    next(steps)
    assert next(steps).path.endswith("b.md")


def test_a_run_that_changes_nothing_writes_nothing(store, folder, index, tmp_path):
    (folder / "a.md").write_text("words\n")
    (folder / "picture.md").write_bytes(b"\0")
    (folder / "empty.md").write_bytes(b"")
    (folder / "leaf.min.js").write_text("x")
    index()
    index()
    other = apsw.Connection(str(tmp_path / "index" / "index.sqlite"))
    other.execute("BEGIN IMMEDIATE")
    report = index()
    assert (report.unchanged, len(report.skipped)) == (2, 2)
    other.close()


def test_any_bytes_are_indexed_or_skipped(store, folder, index):
    random = Random(3)
    pieces = [
        b"# h\n",
        b"```\n",
        b"\r\n",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xe6\x97\xa5",
        b"\xf0\x9f",
    ]
    for number in range(250):
        parts = [
            random.choice(pieces) if random.random() < 0.6 else random.randbytes(3)
            for _ in range(random.randrange(12))
        ]
        suffix = (".md", ".txt", ".py")[number % 3]
        (folder / f"{number}{suffix}").write_bytes(b"".join(parts))
    report = index()
    assert report.indexed + len(report.skipped) == 250
    assert report.indexed > 50
    for path, (document, chunks) in _content(store).items():
        content = Path(path).read_bytes()
        for chunk in chunks:
            assert (
                content[chunk.byte_start : chunk.byte_end].decode(document.encoding) == chunk.text
            )
