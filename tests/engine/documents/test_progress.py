"""How long indexing will take, and what it has done."""

from engine.documents.progress import IndexProgress, IndexReport, Pace


def test_the_time_that_is_left_follows_the_pace_so_far():
    now = [100.0]
    pace = Pace(1000, clock=lambda: now[0])
    assert pace.seconds_left() is None
    now[0] += 0.5
    pace.add(100)
    assert pace.seconds_left() is None
    now[0] += 1.5
    assert pace.seconds_left() == 18
    pace.add(400)
    assert pace.seconds_left() == 2
    pace.add(900)
    assert pace.seconds_left() == 0


def test_without_anything_done_no_time_is_foretold():
    now = [0.0]
    pace = Pace(10, clock=lambda: now[0])
    now[0] = 60
    assert pace.seconds_left() is None


def test_reports_add_up():
    one = IndexReport(indexed=1, guessed_encodings=("a",), lacking_texts=2)
    assert one + IndexReport(indexed=2, guessed_encodings=("b",)) == IndexReport(
        indexed=3, guessed_encodings=("a", "b"), lacking_texts=2
    )


def test_files_and_texts_count_together():
    progress = IndexProgress(
        phase="embedding",
        files_done=3,
        files_total=3,
        texts_done=4,
        texts_total=9,
        report=IndexReport(),
    )
    assert (progress.done, progress.total) == (7, 12)
