"""How texts are spread over two devices, as simulated by the benchmark that quotes it."""

import importlib.util
import random
import statistics
import sys
from pathlib import Path
from types import ModuleType

import pytest

from engine.embed.scheduling import Policy
from engine.embed.waiting import Work
from engine.runtime.shapes import Bucket

_FILE = Path(__file__).parents[3] / "examples" / "benchmarks" / "placement.py"
SEEDS = range(6)


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("placement", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["placement"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


placement = _loaded()
FAST, SLOW = placement.FAST, placement.SLOW
STALLING, HALTING = placement.STALLING, placement.HALTING


def end_ms(texts: int, device: object, seed: int = 0) -> float:
    arrivals = [(0.0, placement.bulk(placement.token_counts(texts)))]
    return placement.simulate(arrivals, device, seed=seed).end_ms


@pytest.mark.parametrize("texts", [200, 2000])
@pytest.mark.parametrize("device", [FAST, SLOW], ids=["fast", "slow"])
def test_bulk_ends_within_5_percent_of_what_no_schedule_can_beat(
    device: object, texts: int
) -> None:
    counts = placement.token_counts(texts)
    ours = end_ms(texts, device)
    bound = placement.bound_ms(counts, device)
    assert bound <= ours <= 1.05 * bound
    assert ours < 0.8 * placement.fixed_rule_ms(counts)


@pytest.mark.parametrize("device", [STALLING, HALTING], ids=["stalling", "halting"])
def test_2000_texts_end_within_5_percent_of_an_assignment_that_foresees_all_stalls(
    device: object,
) -> None:
    counts = placement.token_counts(2000)
    fixed = placement.fixed_rule_ms(counts)
    for seed in SEEDS:
        ours = end_ms(2000, device, seed)
        assert ours >= placement.bound_ms(counts, device, seed)
        assert ours <= 1.05 * placement.offline_ms(counts, device, seed)
        assert ours < 0.7 * fixed


@pytest.mark.parametrize("device", [STALLING, HALTING], ids=["stalling", "halting"])
def test_200_texts_mostly_do_too_and_a_stall_at_the_very_end_costs_at_most_a_fifth(
    device: object,
) -> None:
    counts = placement.token_counts(200)
    fixed = placement.fixed_rule_ms(counts)
    ours = [end_ms(200, device, seed) for seed in range(20)]
    ratios = [mine / placement.offline_ms(counts, device, seed) for seed, mine in enumerate(ours)]
    assert statistics.mean(ratios) <= 1.05
    assert sum(ratio <= 1.1 for ratio in ratios) >= 16
    assert max(ratios) <= 1.2
    assert max(ours) < 0.9 * fixed


@pytest.mark.parametrize("texts", [200, 2000, 8000])
def test_of_what_the_cpu_runs_beside_an_npu_at_most_a_tenth_is_padding(texts: int) -> None:
    arrivals = [(0.0, placement.bulk(placement.token_counts(texts)))]
    assert placement.simulate(arrivals, FAST).padding <= 0.1


@pytest.mark.parametrize("device", [FAST, SLOW], ids=["fast", "slow"])
def test_a_query_waits_for_one_run_at_most_while_bulk_is_done(device: object) -> None:
    numbers = random.Random(1)
    queries = [Work(n, numbers.randint(7, 20), is_query=True, payload=None) for n in range(100)]
    arrivals = [(0.0, placement.bulk(placement.token_counts(2000)))]
    arrivals += [(50.0 * number, [query]) for number, query in enumerate(queries)]
    outcome = placement.simulate(arrivals, device)
    waited = sorted(outcome.waited_ms[query] for query in queries)
    longest = placement.cpu_ms(Bucket(1, 512))
    assert waited[-1] <= longest + placement.cpu_ms(Bucket(1, 20))


def test_a_stalled_query_is_answered_by_the_cpu_after_a_few_milliseconds() -> None:
    queries = [Work(n, 120, is_query=True, payload=None) for n in range(400)]
    arrivals = [(50.0 * number, [query]) for number, query in enumerate(queries)]
    outcome = placement.simulate(arrivals, STALLING)
    assert sum(run.provider == "npu" for run in outcome.runs) > 100
    assert max(outcome.waited_ms.values()) <= 3 * placement.cpu_ms(Bucket(1, 120))


@pytest.mark.parametrize("device", [FAST, SLOW], ids=["fast", "slow"])
def test_a_hundred_callers_are_served_alike_beside_an_indexing_run(device: object) -> None:
    calls = [placement.bulk(placement.token_counts(40)[n % 35 :][:5], caller=n) for n in range(100)]
    index = placement.bulk(placement.token_counts(5000), caller="index")
    outcome = placement.simulate([(0.0, [*index, *(w for call in calls for w in call)])], device)
    ends = [max(outcome.waited_ms[work] for work in call) for call in calls]
    tokens = sum(work.tokens for call in calls for work in call)
    alone = tokens * placement.CPU_RATE
    assert max(ends) <= 2 * alone
    assert outcome.end_ms > 3 * max(ends)


def test_wrong_calibration_shows_as_prediction_error_and_is_unlearned() -> None:
    counts = placement.token_counts(3000)
    outcome = placement.simulate([(0.0, placement.bulk(counts))], FAST)
    assert all(row.error < 0.05 for row in outcome.latencies.rows() if row.runs > 50)
    slower = placement.Device("slower", FAST.run_ms, stall=lambda run_ms: 3 * run_ms, stalls=1.0)
    outcome = placement.simulate([(0.0, placement.bulk(counts))], slower)
    for row in outcome.latencies.rows():
        if row.provider == "npu" and row.runs > 100:
            assert row.median_ms == pytest.approx(3 * FAST.run_ms[row.bucket.tokens], rel=0.05)
            assert outcome.latencies.is_drifting("npu", row.bucket)


def test_an_npu_slower_than_calibrated_still_gets_its_share() -> None:
    counts = placement.token_counts(2000)
    slower = placement.Device("slower", FAST.run_ms, stall=lambda run_ms: 3 * run_ms, stalls=1.0)
    assert end_ms(2000, slower) <= 1.05 * placement.offline_ms(counts, slower)


@pytest.mark.parametrize(
    ("policy", "providers"), [("auto", {"cpu", "npu"}), ("npu", {"npu"}), ("cpu", {"cpu"})]
)
def test_the_policy_says_who_runs(policy: Policy, providers: set[str]) -> None:
    arrivals = [(0.0, placement.bulk(placement.token_counts(200)))]
    outcome = placement.simulate(arrivals, FAST, policy=policy)
    assert {run.provider for run in outcome.runs} == providers


def test_the_more_energy_weighs_the_less_the_cpu_runs_at_the_end() -> None:
    ended: list[float] = []
    for weight in (0.0, 3.0, 30.0):
        arrivals = [(0.0, placement.bulk(placement.token_counts(200)))]
        outcome = placement.simulate(arrivals, FAST, energy_weight=weight)
        runs = [run for run in outcome.runs if run.provider == "cpu"]
        ended.append(sum(work.tokens for run in runs for work in run.works))
    assert ended == sorted(ended, reverse=True)
    assert ended[2] < ended[0]
