"""What a free provider is given."""

import random
from collections.abc import Iterable, Sequence

import pytest

from engine.embed.latencies import Latencies
from engine.embed.scheduling import Policy, Run, Scheduler
from engine.embed.waiting import Work
from engine.runtime.shapes import Bucket

NPU_MS = {32: 2.0, 64: 3.0, 128: 4.0, 256: 7.0}
BUCKETS = [Bucket(1, tokens) for tokens in NPU_MS]


def latencies(npu_ms: dict[int, float] | None = None) -> Latencies:
    """A CPU of 0.1 ms a token, and an NPU."""
    known = Latencies()
    for tokens in (10, 100, 1000):
        known.calibrate("cpu", Bucket(1, tokens), [tokens / 10] * 7)
    for tokens, ms in (npu_ms or NPU_MS).items():
        known.calibrate("npu", Bucket(1, tokens), [ms] * 7)
    return known


def scheduler(
    policy: Policy = "auto",
    *,
    npu: Sequence[Bucket] = (),
    npu_ms: dict[int, float] | None = None,
    max_rows: int = 64,
    energy_weight: float = 0.0,
    repeats: bool = False,
) -> Scheduler:
    """With a CPU, and an NPU if it has shapes."""
    made = Scheduler(
        latencies(npu_ms),
        policy=policy,
        max_batch_tokens=512,
        max_rows=max_rows,
        energy_weight=energy_weight,
        repeats=repeats,
    )
    made.set_shapes("cpu", None)
    made.set_shapes("npu", npu)
    return made


def bulk(*tokens: int, caller: object = "bulk") -> list[Work]:
    return [Work(caller, count, is_query=False, payload=None) for count in tokens]


def query(tokens: int, caller: object = "asker") -> Work:
    return Work(caller, tokens, is_query=True, payload=None)


def lengths(run: Run | None) -> list[int]:
    return [] if run is None else sorted(work.tokens for work in run.works)


def all_runs(made: Scheduler, provider: str = "cpu") -> list[Run]:
    """One run after the other on one provider, each as long as predicted."""
    runs: list[Run] = []
    now = 0.0
    while (run := made.next_run(provider, now)) is not None:
        now += run.predicted_ms
        made.finished(run, now)
        runs.append(run)
    return runs


def padding(runs: Iterable[Run]) -> float:
    padded = sum(run.bucket.rows * run.bucket.tokens for run in runs)
    return 1 - sum(work.tokens for run in runs for work in run.works) / padded


def padded_tokens_of_a_plan(counts: Iterable[int]) -> int:
    """Batches filled from the longest text to the shortest, with all texts in sight."""
    longest, rows, padded = 0, 0, 0
    for count in sorted(counts, reverse=True):
        if not rows or longest * (rows + 1) > 512 or rows == 64:
            longest, rows = count, 0
        rows += 1
        padded += longest
    return padded


def random_counts(texts: int, seed: int = 1, most: int = 256) -> list[int]:
    numbers = random.Random(seed)
    return [min(most, int(numbers.lognormvariate(4.5, 0.8)) + 5) for _ in range(texts)]


class TestOneProvider:
    def test_nothing_waiting_gives_nothing(self) -> None:
        assert scheduler().next_run("cpu", 0.0) is None

    def test_a_text_that_waits_is_run_at_once_in_its_exact_length(self) -> None:
        made = scheduler()
        made.add(bulk(37))
        run = made.next_run("cpu", 0.0)
        assert run is not None
        assert (run.bucket, run.predicted_ms, made.waiting) == (Bucket(1, 37), 3.7, 0)

    @pytest.mark.parametrize("texts", [1, 7, 200, 2000])
    def test_bulk_is_batched_as_well_as_a_plan_of_all_of_it(self, texts: int) -> None:
        counts = random_counts(texts)
        made = scheduler()
        made.add(bulk(*counts))
        runs = all_runs(made)
        padded = padded_tokens_of_a_plan(counts)
        assert sorted(count for run in runs for count in lengths(run)) == sorted(counts)
        assert sum(run.bucket.rows * run.bucket.tokens for run in runs) <= padded
        assert padding(runs) <= 0.03

    @pytest.mark.parametrize("seed", range(5))
    def test_no_run_exceeds_the_limits_but_that_of_one_long_text(self, seed: int) -> None:
        made = scheduler(max_rows=7)
        made.add(bulk(*random_counts(300, seed, most=1000)))
        for run in all_runs(made):
            assert run.bucket.rows == len(run.works) <= 7
            assert run.bucket.tokens == max(lengths(run))
            assert run.bucket.rows == 1 or run.bucket.rows * run.bucket.tokens <= 512

    @pytest.mark.parametrize("seed", range(5))
    def test_little_of_any_run_is_padding(self, seed: int) -> None:
        made = scheduler()
        numbers = random.Random(seed)
        made.add(bulk(*(numbers.randint(1, 512) for _ in range(60))))
        for run in all_runs(made):
            assert padding([run]) <= 0.1 or max(lengths(run)) - min(lengths(run)) <= 8

    def test_longest_texts_come_first(self) -> None:
        made = scheduler()
        made.add(bulk(20, 500, 100))
        assert [lengths(run) for run in all_runs(made)] == [[500], [100], [20]]

    def test_texts_of_one_length_are_run_in_the_order_in_which_they_came(self) -> None:
        made = scheduler(max_rows=1)
        works = bulk(50, 50, 50)
        made.add(works[:2])
        made.add(works[2:])
        assert [work for run in all_runs(made) for work in run.works] == works


class TestCallers:
    def test_queries_overtake_bulk(self) -> None:
        made = scheduler()
        made.add(bulk(*[200] * 100))
        made.add([query(10)])
        assert lengths(made.next_run("cpu", 0.0)) == [10]

    def test_queries_of_several_callers_share_a_run_without_any_wait(self) -> None:
        made = scheduler()
        made.add(query(10 + number % 5, caller=number) for number in range(16))
        run = made.next_run("cpu", 0.0)
        assert len(lengths(run)) == 16

    def test_a_query_does_not_share_its_run_with_bulk(self) -> None:
        made = scheduler()
        made.add([*bulk(12, 12), query(12)])
        assert [len(run.works) for run in all_runs(made)] == [1, 2]

    def test_bulk_of_several_callers_shares_runs(self) -> None:
        made = scheduler()
        for number in range(8):
            made.add(bulk(64, caller=number))
        assert [len(run.works) for run in all_runs(made)] == [8]

    def test_a_small_call_does_not_wait_for_a_large_one(self) -> None:
        made = scheduler()
        made.add(bulk(*[250] * 1000, caller="index"))
        made.add(bulk(20, 100, caller="small"))
        callers = [{work.caller for work in run.works} for run in all_runs(made)]
        assert all("small" in run for run in callers[1:4:2])
        assert not any("small" in run for run in callers[4:])

    def test_a_hundred_callers_take_turns(self) -> None:
        made = scheduler(max_rows=1)
        for number in range(100):
            made.add(bulk(*[10 + number] * 3, caller=number))
        callers = [work.caller for run in all_runs(made) for work in run.works]
        for turn in range(3):
            assert set(callers[turn * 100 : turn * 100 + 100]) == set(range(100))

    def test_what_waits_of_a_caller_who_is_gone_is_forgotten(self) -> None:
        made = scheduler()
        made.add([*bulk(30, 30, caller="gone"), *bulk(30, caller="here"), query(9, "gone")])
        made.drop("gone")
        assert made.waiting == 1
        assert [run.works[0].caller for run in all_runs(made)] == ["here"]

    def test_dropping_a_stranger_changes_nothing(self) -> None:
        made = scheduler()
        made.add(bulk(30))
        made.drop("stranger")
        assert made.waiting == 1

    def test_what_runs_for_a_caller_who_is_gone_is_finished_and_wanted_by_nobody(self) -> None:
        made = scheduler()
        gone, here = bulk(30, caller="gone"), bulk(30, caller="here")
        made.add(gone + here)
        run = made.next_run("cpu", 0.0)
        assert run is not None
        made.drop("gone")
        assert made.finished(run, 3.0) == tuple(here)


class TestTwoProviders:
    def test_the_npu_takes_what_it_is_best_at_and_the_cpu_what_the_npu_is_worst_at(self) -> None:
        made = scheduler(npu=BUCKETS)
        made.add(bulk(*[33, 64, 65, 128, 129, 256] * 20))
        assert lengths(made.next_run("npu", 0.0)) == [256]
        assert set(lengths(made.next_run("cpu", 0.0))) == {33}

    def test_the_npu_runs_a_text_in_the_smallest_shape_that_holds_it(self) -> None:
        made = scheduler("npu", npu=BUCKETS)
        made.add(bulk(65))
        run = made.next_run("npu", 0.0)
        assert run is not None
        assert (run.bucket, run.predicted_ms) == (Bucket(1, 128), 4.0)

    def test_texts_no_shape_holds_are_run_by_the_cpu_first(self) -> None:
        made = scheduler(npu=BUCKETS)
        made.add(bulk(*[100] * 20, 300, 400))
        assert lengths(made.next_run("npu", 0.0)) == [100]
        assert lengths(made.next_run("cpu", 0.0)) == [400]

    def test_a_slow_npu_declines_what_the_cpu_will_have_done_sooner(self) -> None:
        made = scheduler(npu=[Bucket(1, 256)], npu_ms={256: 91.0})
        made.add(bulk(*[100] * 5))
        assert made.next_run("npu", 0.0) is None
        assert len(lengths(made.next_run("cpu", 0.0))) == 5

    def test_a_slow_npu_takes_the_longest_where_the_cpu_has_more_to_do_than_that(self) -> None:
        made = scheduler(npu=[Bucket(1, 256)], npu_ms={256: 91.0})
        made.add(bulk(*[100] * 20, 250))
        assert lengths(made.next_run("npu", 0.0)) == [250]

    def test_the_cpu_declines_a_text_that_the_npu_will_have_done_sooner(self) -> None:
        made = scheduler(npu=BUCKETS)
        made.add(bulk(250))
        assert made.next_run("cpu", 0.0) is None
        assert lengths(made.next_run("npu", 0.0)) == [250]

    def test_the_cpu_takes_it_where_the_npu_is_busy_for_longer(self) -> None:
        made = scheduler(npu=[Bucket(1, 256)], npu_ms={256: 20.0})
        made.add(bulk(250))
        assert made.next_run("npu", 0.0) is not None
        made.add(bulk(100))
        assert made.next_run("cpu", 1.0) is not None

    def test_the_tail_of_bulk_is_split_so_that_both_end_together(self) -> None:
        made = scheduler(npu=BUCKETS)
        made.add(bulk(*[128] * 7))
        run = made.next_run("cpu", 0.0)
        assert run is not None
        assert len(run.works) == 1  # 12.8 ms, in which the NPU does three.

    def test_one_that_all_others_have_declined_in_favour_of_never_declines(self) -> None:
        known = latencies({256: 91.0})
        made = Scheduler(known, policy="auto", max_batch_tokens=512, max_rows=64)
        made.set_shapes("cpu", None)
        made.set_shapes("npu", [Bucket(1, 256)])
        made.add(bulk(200))
        assert made.next_run("npu", 0.0) is None
        for tokens in (10, 100, 1000):
            known.calibrate("cpu", Bucket(1, tokens), [tokens * 9.0])
        assert made.next_run("cpu", 0.0) is not None

    def test_an_npu_that_stalls_is_no_longer_relied_on(self) -> None:
        made = scheduler(npu=BUCKETS)
        made.add(bulk(250, 250))
        run = made.next_run("npu", 0.0)
        assert made.next_run("cpu", 0.0) is None
        again = made.ask_again_at("cpu", 0.0)
        assert run is not None
        assert again == run.predicted_ms
        asked = 0
        while made.next_run("cpu", again) is None:
            again = made.ask_again_at("cpu", again)
            assert again is not None
            asked += 1
        assert again <= 50
        assert asked <= 4

    @pytest.mark.parametrize("absent", ["npu", "cpu"])
    def test_an_idle_provider_that_does_not_come_for_its_run_is_no_longer_relied_on(
        self, absent: str
    ) -> None:
        present = {"npu": "cpu", "cpu": "npu"}[absent]
        made = scheduler(npu=[Bucket(1, 256)], npu_ms={256: 91.0 if absent == "cpu" else 5.0})
        made.add(bulk(200))
        now, asked = 1000.0, 1
        while made.next_run(present, now) is None:
            again = made.ask_again_at(present, now)
            assert again is not None
            assert again > now
            now, asked = again, asked + 1
        assert now <= 1000.0 + 2 * 91
        assert asked <= 10

    def test_a_provider_out_of_service_is_given_nothing_and_relied_on_for_nothing(self) -> None:
        made = scheduler(npu=BUCKETS)
        made.add(bulk(250))
        made.set_shapes("npu", ())
        assert made.next_run("npu", 0.0) is None
        assert lengths(made.next_run("cpu", 0.0)) == [250]

    def test_shapes_that_become_ready_are_used_from_then_on(self) -> None:
        made = scheduler("npu", npu=BUCKETS[:1])
        made.add(bulk(100))
        assert made.next_run("npu", 0.0) is None
        made.set_shapes("npu", BUCKETS)
        assert lengths(made.next_run("npu", 0.0)) == [100]

    def test_a_shape_of_several_rows_is_filled_and_used_where_it_is_cheaper_a_text(self) -> None:
        made = scheduler("npu", npu=[Bucket(1, 64), Bucket(8, 64)])
        known = latencies()
        known.calibrate("npu", Bucket(8, 64), [6.0])
        made = Scheduler(known, policy="npu", max_batch_tokens=512, max_rows=64)
        made.set_shapes("npu", [Bucket(1, 64), Bucket(8, 64)])
        made.add(bulk(*[60] * 9))
        runs = all_runs(made, "npu")
        assert [(run.bucket, len(run.works)) for run in runs] == [
            (Bucket(8, 64), 8),
            (Bucket(1, 64), 1),
        ]

    def test_energy_keeps_work_from_the_cpu_as_far_as_it_weighs(self) -> None:
        """The CPU's 20 ms against the NPU's 40 ms at 0.74 of the power."""
        given: list[bool] = []
        for weight in (0.0, 1.0, 10.0):
            made = scheduler(npu=[Bucket(1, 256)], npu_ms={256: 40.0}, energy_weight=weight)
            made.add(bulk(200))
            given.append(made.next_run("cpu", 0.0) is not None)
        assert given == [True, True, True]
        given.clear()
        for weight in (0.0, 10.0):
            made = scheduler(npu=[Bucket(1, 256)], npu_ms={256: 21.0}, energy_weight=weight)
            made.add(bulk(200))
            given.append(made.next_run("cpu", 0.0) is not None)
        assert given == [True, False]


class TestPolicies:
    @pytest.mark.parametrize(
        ("policy", "expected"),
        [("auto", {"npu", "cpu"}), ("npu", {"npu"}), ("cpu", {"cpu"})],
    )
    def test_the_policy_says_who_runs_bulk(self, policy: Policy, expected: set[str]) -> None:
        made = scheduler(policy, npu=BUCKETS)
        made.add(bulk(*[100] * 40))
        given = {name for name in ("npu", "cpu") if made.next_run(name, 0.0) is not None}
        assert given == expected

    def test_under_npu_the_cpu_runs_only_what_no_shape_holds(self) -> None:
        made = scheduler("npu", npu=BUCKETS)
        made.add(bulk(*[100] * 40, 300, 310))
        assert [lengths(run) for run in all_runs(made, "cpu")] == [[310], [300]]

    def test_under_npu_the_cpu_runs_all_if_the_npu_is_out_of_service(self) -> None:
        made = scheduler("npu", npu=BUCKETS)
        made.set_shapes("npu", ())
        made.add(bulk(*[100] * 5))
        assert [len(run.works) for run in all_runs(made)] == [5]

    def test_under_cpu_the_npu_is_not_relied_on(self) -> None:
        made = scheduler("cpu", npu=BUCKETS)
        made.add(bulk(250))
        assert made.next_run("npu", 0.0) is None
        assert lengths(made.next_run("cpu", 0.0)) == [250]


class TestFailures:
    def test_what_failed_waits_again_before_all_others(self) -> None:
        made = scheduler()
        made.add(bulk(30))
        run = made.next_run("cpu", 0.0)
        assert run is not None
        made.add([query(9)])
        made.failed(run)
        assert lengths(made.next_run("cpu", 1.0)) == [30]

    def test_what_the_npu_failed_on_goes_to_the_cpu(self) -> None:
        made = scheduler("npu", npu=BUCKETS)
        made.add(bulk(30))
        run = made.next_run("npu", 0.0)
        assert run is not None
        made.failed(run)
        assert made.next_run("npu", 1.0) is None
        assert lengths(made.next_run("cpu", 1.0)) == [30]

    def test_what_failed_for_a_caller_who_is_gone_does_not_wait_again(self) -> None:
        made = scheduler()
        made.add(bulk(30, caller="gone") + bulk(30, caller="here"))
        run = made.next_run("cpu", 0.0)
        assert run is not None
        made.drop("gone")
        made.failed(run)
        assert [work.caller for again in all_runs(made) for work in again.works] == ["here"]

    def test_a_failed_run_teaches_no_latency(self) -> None:
        known = latencies()
        made = Scheduler(known, policy="auto", max_batch_tokens=512, max_rows=64)
        made.set_shapes("cpu", None)
        made.add(bulk(30))
        run = made.next_run("cpu", 0.0)
        assert run is not None
        before = known.rows()
        made.failed(run)
        assert known.rows() == before


class TestRepeating:
    def test_an_idle_cpu_runs_anew_what_the_npu_stalls_on_and_the_first_to_finish_counts(
        self,
    ) -> None:
        made = scheduler(npu=BUCKETS, repeats=True)
        works = bulk(120)
        made.add(works)
        stalled = made.next_run("npu", 0.0)
        assert made.next_run("cpu", 0.0) is None
        again = made.ask_again_at("cpu", 0.0)
        assert again == pytest.approx(4.0 + 12.0)
        repeated = made.next_run("cpu", again)
        assert stalled is not None
        assert repeated is not None
        assert repeated.works == stalled.works
        assert made.finished(repeated, 28.0) == tuple(works)
        assert made.finished(stalled, 200.0) == ()

    def test_a_stalled_query_is_repeated_before_bulk_goes_on(self) -> None:
        made = scheduler(npu=BUCKETS, repeats=True)
        made.add([query(64)])
        assert made.next_run("npu", 0.0) is not None
        made.add(bulk(*[250] * 10))
        assert lengths(made.next_run("cpu", 20.0)) == [64]

    def test_nothing_is_repeated_twice_at_once_or_without_being_asked_for(self) -> None:
        made = scheduler(npu=BUCKETS, repeats=True)
        made.set_shapes("other", None)
        made.add(bulk(120))
        assert made.next_run("npu", 0.0) is not None
        assert made.next_run("cpu", 100.0) is not None
        assert made.next_run("other", 101.0) is None
        made = scheduler(npu=BUCKETS)
        made.add(bulk(120))
        assert made.next_run("npu", 0.0) is not None
        assert made.next_run("cpu", 100.0) is None

    def test_a_text_whose_repetition_runs_does_not_wait_again_when_its_run_fails(self) -> None:
        made = scheduler(npu=BUCKETS, repeats=True)
        works = bulk(120)
        made.add(works)
        stalled, repeated = made.next_run("npu", 0.0), made.next_run("cpu", 100.0)
        assert stalled is not None
        assert repeated is not None
        made.failed(stalled)
        assert made.waiting == 0
        made.failed(repeated)
        assert made.waiting == 1
        last = made.next_run("cpu", 103.0)
        assert last is not None
        assert made.finished(last, 115.0) == tuple(works)

    def test_an_idle_npu_repeats_one_text_that_it_holds(self) -> None:
        made = scheduler(npu=BUCKETS, repeats=True)
        made.set_shapes("npu", ())
        made.add([query(60)])
        assert made.next_run("cpu", 0.0) is not None
        made.set_shapes("npu", BUCKETS)
        run = made.next_run("npu", 100.0)
        assert run is not None
        assert run.bucket == Bucket(1, 64)


class TestFigures:
    def test_nobody_need_ask_again_while_nothing_waits_and_nothing_runs(self) -> None:
        made = scheduler(npu=BUCKETS)
        assert made.next_run("cpu", 0.0) is None
        assert made.ask_again_at("cpu", 0.0) is None

    def test_a_run_teaches_how_long_its_shape_takes(self) -> None:
        known = latencies()
        made = Scheduler(known, policy="npu", max_batch_tokens=512, max_rows=64)
        made.set_shapes("npu", BUCKETS)
        for turn in range(60):
            made.add(bulk(60))
            run = made.next_run("npu", 1000.0 * turn)
            assert run is not None
            made.finished(run, 1000.0 * turn + 5.0)
        assert known.predict("npu", Bucket(1, 64)) == pytest.approx(5.0, rel=0.01)


@pytest.mark.parametrize("policy", ["auto", "npu", "cpu"])
@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_every_text_is_done_once_whatever_fails_stalls_or_is_dropped(
    seed: int, repeats: bool, policy: Policy
) -> None:
    numbers = random.Random(seed)
    made = scheduler(policy, npu=BUCKETS, repeats=repeats)
    running: dict[str, tuple[Run, float]] = {}
    added: set[Work] = set()
    done: list[Work] = []
    dropped: set[object] = set()
    now = 0.0

    def ends(provider: str) -> None:
        run, _ = running.pop(provider)
        if numbers.random() < 0.2:
            made.failed(run)
        else:
            done.extend(made.finished(run, now))

    def begins(provider: str) -> None:
        run = made.next_run(provider, now)
        if run is not None:
            busy = {work for other, _ in running.values() for work in other.works}
            assert repeats or not busy & set(run.works)
            ms = run.predicted_ms * (50 if numbers.random() < 0.05 else 1)
            running[provider] = (run, now + ms)

    for step in range(400):
        match numbers.choices(["add", "drop", "shapes", "end", "wait"], [4, 1, 1, 8, 4])[0]:
            case "add" if step < 300:
                caller = (step, numbers.random())
                works = [
                    Work(caller, numbers.randint(1, 400), numbers.random() < 0.3, None)
                    for _ in range(numbers.randint(1, 20))
                ]
                made.add(works)
                added |= set(works)
            case "drop" if added:
                caller = numbers.choice(sorted({work.caller for work in added}))
                dropped.add(caller)
                made.drop(caller)
            case "shapes":
                made.set_shapes("npu", numbers.sample(BUCKETS, numbers.randint(0, 4)))
            case "end" if running:
                ends(numbers.choice(sorted(running)))
            case _:
                now += numbers.uniform(0, 20)
        for provider in numbers.sample(["cpu", "npu"], 2):
            if provider not in running:
                begins(provider)
        # Something always runs while anything waits.
        assert running or not made.waiting
    while running:
        provider = min(running, key=lambda name: running[name][1])
        now = max(now, running[provider][1])
        ends(provider)
        for free in ("npu", "cpu"):
            if free not in running:
                begins(free)

    assert made.waiting == 0
    assert len(done) == len(set(done))
    assert {work for work in added if work.caller not in dropped} <= set(done)
