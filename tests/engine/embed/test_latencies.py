"""What is known of how long runs take."""

import json
import random

import pytest

from engine.embed.latencies import Latencies
from engine.runtime.shapes import Bucket

NPU = Bucket(1, 64)


def known(ms: float = 10.0) -> Latencies:
    latencies = Latencies()
    latencies.calibrate("npu", NPU, [ms] * 7)
    return latencies


def test_calibration_takes_the_median_and_the_tail() -> None:
    latencies = Latencies()
    latencies.calibrate("npu", NPU, [3.0, 1.0, 2.0, 50.0, 2.5])

    (row,) = latencies.rows()
    assert (row.provider, row.bucket) == ("npu", NPU)
    assert (row.median_ms, row.tail_ms, row.runs, row.error) == (2.5, 50.0, 5, 0.0)


def test_the_tail_of_many_samples_leaves_the_slowest_twentieth_out() -> None:
    latencies = Latencies()
    latencies.calibrate("npu", NPU, [*[2.0] * 95, *[100.0] * 5])
    assert latencies.tail("npu", NPU) == 2.0


def test_calibrating_anew_forgets_what_was_known() -> None:
    latencies = known(10.0)
    latencies.record("npu", NPU, 30.0)
    latencies.calibrate("npu", NPU, [4.0])
    (row,) = latencies.rows()
    assert (row.median_ms, row.runs, row.error) == (4.0, 1, 0.0)


def test_runs_of_any_shape_are_judged_by_their_padded_tokens_between_the_measured_ones() -> None:
    latencies = Latencies()
    latencies.calibrate("cpu", Bucket(1, 100), [10.0])
    latencies.calibrate("cpu", Bucket(4, 100), [40.0])
    assert latencies.predict("cpu", Bucket(2, 125)) == pytest.approx(25.0)


def test_below_the_measured_ones_runs_take_as_long_as_the_smallest_and_above_in_proportion() -> (
    None
):
    latencies = Latencies()
    latencies.calibrate("cpu", Bucket(1, 100), [10.0])
    latencies.calibrate("cpu", Bucket(1, 200), [19.0])
    assert latencies.predict("cpu", Bucket(1, 5)) == 10.0
    assert latencies.predict("cpu", Bucket(2, 200)) == pytest.approx(38.0)


def test_a_longer_run_is_never_predicted_to_be_shorter_while_the_measured_ones_rise() -> None:
    latencies = Latencies()
    for tokens, ms in [(16, 2.0), (64, 7.0), (256, 26.0)]:
        latencies.calibrate("cpu", Bucket(1, tokens), [ms])
    predicted = [latencies.predict("cpu", Bucket(1, tokens)) for tokens in range(1, 600)]
    assert predicted == sorted(predicted)


def test_an_unmeasured_provider_is_guessed_and_the_first_run_replaces_the_guess() -> None:
    latencies = Latencies()
    assert latencies.predict("npu", NPU) > 0
    latencies.record("npu", NPU, 91.0)
    assert latencies.predict("npu", NPU) == 91.0


def test_the_median_follows_what_is_seen() -> None:
    latencies = known(10.0)
    for _ in range(60):
        latencies.record("npu", NPU, 15.0)
    assert latencies.predict("npu", NPU) == pytest.approx(15.0, rel=0.01)


@pytest.mark.parametrize("stall_ms", [500.0, 1e9])
def test_one_stall_moves_the_median_by_a_few_percent_however_long_it_is(stall_ms: float) -> None:
    latencies = known(10.0)
    latencies.record("npu", NPU, stall_ms)
    assert latencies.predict("npu", NPU) <= 10.8


def test_stalls_in_every_twentieth_run_leave_the_median_and_show_in_the_mean() -> None:
    latencies, numbers = known(10.0), random.Random(1)
    for _ in range(2000):
        latencies.record("npu", NPU, 500.0 if numbers.random() < 0.05 else 10.0)
    assert latencies.predict("npu", NPU) == pytest.approx(10.0, rel=0.15)
    assert 1.5 < latencies.slowdown("npu") < 10


def test_stalls_are_forgotten_while_others_run_since_nothing_else_would_prove_them_over() -> None:
    latencies = known(10.0)
    latencies.calibrate("cpu", NPU, [10.0])
    latencies.record("npu", NPU, 500.0)
    assert latencies.slowdown("npu") > 3
    for _ in range(400):
        latencies.record("cpu", NPU, 10.0)
    assert latencies.slowdown("npu") == pytest.approx(1.0, abs=0.1)


def test_the_tail_is_exceeded_by_about_one_run_in_twenty() -> None:
    latencies, numbers = known(10.0), random.Random(1)
    exceeded = 0
    for run in range(4000):
        measured = 10.0 * numbers.lognormvariate(0, 0.3)
        exceeded += run >= 1000 and measured > latencies.tail("npu", NPU)
        latencies.record("npu", NPU, measured)
    assert exceeded / 3000 == pytest.approx(0.05, abs=0.02)


def test_the_prediction_error_is_the_mean_deviation_and_falls_once_predictions_are_right() -> None:
    latencies = known(10.0)
    for _ in range(5):
        latencies.record("npu", NPU, 20.0)
    (row,) = latencies.rows()
    wrong = row.error
    for _ in range(60):
        latencies.record("npu", NPU, 20.0)
    (row,) = latencies.rows()
    assert wrong > 0.2
    assert row.error < 0.02


def test_a_provider_of_any_shape_learns_at_the_nearest_measured_size() -> None:
    latencies = Latencies()
    latencies.calibrate("cpu", Bucket(1, 100), [10.0])
    latencies.calibrate("cpu", Bucket(1, 400), [40.0])
    for _ in range(60):
        latencies.record("cpu", Bucket(3, 40), 24.0)
    assert latencies.predict("cpu", Bucket(3, 40)) == pytest.approx(24.0, rel=0.05)
    assert latencies.predict("cpu", Bucket(1, 400)) == 40.0
    assert len(latencies.rows()) == 2


def test_a_size_far_from_all_measured_ones_becomes_one_itself() -> None:
    latencies = Latencies()
    latencies.calibrate("cpu", Bucket(1, 400), [40.0])
    latencies.record("cpu", Bucket(1, 10), 2.0)
    assert latencies.predict("cpu", Bucket(1, 10)) == 2.0
    assert [row.bucket for row in latencies.rows()] == [Bucket(1, 10), Bucket(1, 400)]


def test_sizes_that_are_remembered_stay_few_whatever_is_run() -> None:
    latencies, numbers = Latencies(), random.Random(1)
    for _ in range(2000):
        bucket = Bucket(numbers.randint(1, 64), numbers.randint(1, 512))
        latencies.record("cpu", bucket, 0.1 * bucket.rows * bucket.tokens)
    assert len(latencies.rows()) <= 2 * 16


def test_a_fixed_shape_learns_nothing_from_another() -> None:
    latencies = known(10.0)
    latencies.record("npu", Bucket(1, 72), 30.0)
    assert latencies.predict("npu", NPU) == 10.0
    assert latencies.predict("npu", Bucket(1, 72)) == 30.0


@pytest.mark.parametrize(("ms", "drifts"), [(21.0, True), (4.0, True), (19.0, False), (6.0, False)])
def test_twenty_runs_in_a_row_of_over_twice_or_under_half_the_time_are_a_drift(
    ms: float, drifts: bool
) -> None:
    latencies = known(10.0)
    for _ in range(19):
        latencies.record("npu", NPU, ms)
    assert not latencies.is_drifting("npu", NPU)
    latencies.record("npu", NPU, ms)
    assert latencies.is_drifting("npu", NPU) == drifts


def test_one_run_as_predicted_ends_a_drift_and_so_does_calibration() -> None:
    latencies = known(10.0)
    for _ in range(20):
        latencies.record("npu", NPU, 40.0)
    latencies.record("npu", NPU, 10.0)
    assert not latencies.is_drifting("npu", NPU)
    for _ in range(20):
        latencies.record("npu", NPU, 40.0)
    latencies.calibrate("npu", NPU, [40.0] * 7)
    assert not latencies.is_drifting("npu", NPU)


def test_slow_runs_and_quick_ones_in_turn_are_no_drift() -> None:
    latencies = known(10.0)
    for _ in range(20):
        latencies.record("npu", NPU, 40.0)
        latencies.record("npu", NPU, 2.0)
    assert not latencies.is_drifting("npu", NPU)


def test_nothing_drifts_that_is_not_known() -> None:
    assert not Latencies().is_drifting("npu", NPU)


def test_a_run_that_a_coarse_clock_saw_take_no_time_is_no_error() -> None:
    latencies = known(10.0)
    latencies.record("npu", NPU, 0.0)
    latencies.calibrate("cpu", NPU, [0.0])
    assert 0 < latencies.predict("npu", NPU) < 10
    assert latencies.predict("cpu", NPU) > 0


def test_what_was_stored_predicts_the_same() -> None:
    latencies, numbers = Latencies(), random.Random(1)
    for _ in range(200):
        latencies.record("cpu", Bucket(numbers.randint(1, 9), 32), numbers.uniform(1, 50))
        latencies.record("npu", NPU, numbers.uniform(1, 50))
    stored = Latencies.from_json(json.loads(json.dumps(latencies.to_json())))
    assert stored.rows() == latencies.rows()
    assert stored.slowdown("npu") == pytest.approx(latencies.slowdown("npu"))


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "cpu",
        {"cpu": None},
        {"providers": 3},
        {"providers": {"cpu": 7}, "slowdowns": {}},
        {"providers": {"cpu": [{"rows": 1}]}, "slowdowns": {}},
    ],
)
def test_damaged_content_is_as_good_as_none(content: object) -> None:
    assert Latencies.from_json(content).rows() == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rows", 0),
        ("tokens", -1),
        ("median_ms", -1.0),
        ("median_ms", float("nan")),
        ("tail_ms", float("inf")),
        ("tail_ms", "soon"),
        ("calibrated_ms", None),
        ("runs", []),
        ("error", float("nan")),
    ],
)
def test_one_damaged_value_discards_all(key: str, value: object) -> None:
    content = known().to_json()
    assert Latencies.from_json(content).rows()
    content["providers"]["npu"][0][key] = value
    assert Latencies.from_json(content).rows() == ()
