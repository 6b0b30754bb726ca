"""How well texts are spread over two devices: a simulation, since no machine here has an NPU.

    python examples/benchmarks/placement.py [--seeds 20]

The real scheduler decides, under a virtual clock, for devices with these latencies:

- CPU: 0.6 ms a run and 0.1 ms a padded token, which is what embed.py measured of all-MiniLM-L6-v2
  on 2 cores within 10 % (1.8 ms a query, 9,800 tokens/s in bulk).
- fast NPU: 2.2, 3.0, 4.0 and 8.5 ms for 32, 64, 128 and 256 tokens. Not measured: scaled from
  Qualcomm's published figures of larger encoders on a Snapdragon X Elite.
- slow NPU: 91 ms a text, as reported of one chip, it is not known why.
- stalling NPU: the fast one, of which a run in 20 takes 50 times as long. Texts that it stalls on
  are also run by the CPU once that has nothing else to do.
- halting NPU: the fast one, of which a run in 20 takes 200 ms whatever its length.

The texts are those of embed.py by their lengths, cut at 256 tokens, in one call. Compared are:

- fixed: the rule "up to three texts go to the NPU, more to the CPU", which leaves bulk to the CPU.
- offline: the best assignment of texts to devices by one who knows all times, stalls included,
  beforehand, with fractions of texts, no padding and the CPU's best rate. Texts go to the NPU in
  the order of the ratio of times; which of them meets a stall is not for it to choose.
- bound: what no schedule can beat that runs each text once, not even one that keeps its shortest
  texts for the stalls.

Medians (worst) over 20 seeds of stalls, ours in ms and as a multiple of the others:

    NPU        texts     ours       of fixed     of offline       of bound
    fast         200      656  0.273 (0.273)  1.016 (1.016)  1.016 (1.016)
    fast       2,000    6,413  0.279 (0.279)  1.003 (1.003)  1.003 (1.003)
    slow         200    1,886  0.784 (0.784)  1.027 (1.027)  1.024 (1.024)
    slow       2,000   17,927  0.779 (0.779)  1.004 (1.004)  1.004 (1.004)
    stalling     200    1,245  0.517 (0.805)  1.016 (1.155)  1.420 (1.754)
    stalling   2,000   12,603  0.548 (0.594)  1.001 (1.030)  1.368 (1.443)
    halting      200    1,070  0.445 (0.614)  1.024 (1.073)  1.078 (1.191)
    halting    2,000   11,087  0.482 (0.516)  1.002 (1.011)  1.041 (1.073)

Where a stall costs 50 times the run it hits, foreseeing each one and meeting it with a short text
would save another quarter (negative: nothing that can be known beforehand does). Of 200 texts one
run may be the last and stall: in the worst of 20 seeds that cost 15 %.
"""

import argparse
import heapq
import itertools
import random
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from engine.embed.latencies import Latencies
from engine.embed.scheduling import Policy, Run, Scheduler
from engine.embed.waiting import Work
from engine.runtime.shapes import Bucket

MAX_TOKENS = 256
CPU_MS_A_RUN, CPU_MS_A_TOKEN = 0.6, 0.1
MAX_BATCH_TOKENS, MAX_ROWS = 512, 64
CPU_RATE = CPU_MS_A_TOKEN + CPU_MS_A_RUN / MAX_BATCH_TOKENS
"""Milliseconds a token at best."""

CALIBRATED = [Bucket(1, 16), Bucket(1, 64), Bucket(1, 256), Bucket(2, 256)]
"""Shapes of the CPU that are known from the start."""

NpuTime = Callable[[int, float], float]
"""How long the n-th run takes, given what such a run takes as a rule."""


@dataclass(frozen=True)
class Device:
    """An NPU."""

    name: str
    run_ms: dict[int, float]
    """By tokens of the bucket."""
    stall: Callable[[float], float] = field(default=lambda run_ms: run_ms)
    """How long a stalled run takes."""
    stalls: float = 0.0
    """Share of runs that stall."""

    def times(self, seed: int) -> NpuTime:
        """The stalls of one seed."""
        numbers = random.Random(seed)
        stalled = [numbers.random() < self.stalls for _ in range(30_000)]
        return lambda index, run_ms: self.stall(run_ms) if stalled[index] else run_ms


_FAST = {32: 2.2, 64: 3.0, 128: 4.0, 256: 8.5}
FAST = Device("fast", _FAST)
SLOW = Device("slow", dict.fromkeys(_FAST, 91.0))
STALLING = Device("stalling", _FAST, stall=lambda run_ms: 50 * run_ms, stalls=0.05)
HALTING = Device("halting", _FAST, stall=lambda _: 200.0, stalls=0.05)


@dataclass(frozen=True)
class Outcome:
    """What a simulation came to."""

    latencies: Latencies
    runs: list[Run]
    waited_ms: dict[Work, float]
    """From when a text came until it was done."""
    end_ms: float
    """When the last text was done."""

    @property
    def padding(self) -> float:
        """Share of what the CPU ran."""
        runs = [run for run in self.runs if run.provider == "cpu"]
        padded = sum(run.bucket.rows * run.bucket.tokens for run in runs)
        return 1 - sum(work.tokens for run in runs for work in run.works) / padded


def cpu_ms(bucket: Bucket) -> float:
    """What the CPU takes for a run."""
    return CPU_MS_A_RUN + CPU_MS_A_TOKEN * bucket.rows * bucket.tokens


def calibrated(device: Device) -> Latencies:
    """What calibration finds: the stalls are too rare for it."""
    latencies = Latencies()
    for bucket in CALIBRATED:
        latencies.calibrate("cpu", bucket, [cpu_ms(bucket)] * 7)
    for tokens, run_ms in device.run_ms.items():
        latencies.calibrate("npu", Bucket(1, tokens), [run_ms] * 7)
    return latencies


def simulate(
    arrivals: Iterable[tuple[float, Sequence[Work]]],
    device: Device,
    *,
    seed: int = 0,
    policy: Policy = "auto",
    energy_weight: float = 0.0,
) -> Outcome:
    """Runs texts that come at these times, in ms, until all are done."""
    latencies, times = calibrated(device), device.times(seed)
    scheduler = Scheduler(
        latencies,
        policy=policy,
        max_batch_tokens=MAX_BATCH_TOKENS,
        max_rows=MAX_ROWS,
        energy_weight=energy_weight,
        repeats=True,
    )
    scheduler.set_shapes("cpu", None)
    scheduler.set_shapes("npu", [Bucket(1, tokens) for tokens in device.run_ms])
    order, runs, npu_runs = itertools.count(), list[Run](), itertools.count()
    events: list[tuple[float, int, Run | Sequence[Work]]] = []
    came, waited = dict[Work, float](), dict[Work, float]()
    for time, works in arrivals:
        events.append((time, next(order), works))
        came |= dict.fromkeys(works, time)
    heapq.heapify(events)
    free, now, wake = ["npu", "cpu"], 0.0, float("inf")
    while len(waited) < len(came):
        # 1. What happens next, if nobody looks again before.
        if wake < events[0][0]:
            now = wake
        else:
            now, _, event = heapq.heappop(events)
            if isinstance(event, Run):
                free.append(event.provider)
                waited |= {work: now - came[work] for work in scheduler.finished(event, now)}
            else:
                scheduler.add(event)
        # 2. Whoever is free is asked.
        for provider in list(free):
            run = scheduler.next_run(provider, now)
            if run is None:
                continue
            free.remove(provider)
            runs.append(run)
            taken = cpu_ms(run.bucket)
            if provider == "npu":
                taken = times(next(npu_runs), device.run_ms[run.bucket.tokens])
            heapq.heappush(events, (now + taken, next(order), run))
        # 3. Whoever got nothing looks again when the others turn out to be late.
        wakes = (scheduler.ask_again_at(provider, now) for provider in free)
        wake = max(now + 0.01, min((at for at in wakes if at is not None), default=float("inf")))
    return Outcome(latencies, runs, waited, now)


def token_counts(texts: int) -> list[int]:
    """Lengths of the texts of embed.py, special tokens included."""
    words = random.Random(1)
    lengths = (int(words.lognormvariate(4.5, 0.8)) + 3 for _ in range(texts))
    return [min(length + 2, MAX_TOKENS) for length in lengths]


def bulk(counts: Iterable[int], caller: object = "bulk") -> list[Work]:
    """Texts of one call."""
    return [Work(caller, tokens, is_query=False, payload=None) for tokens in counts]


def fixed_rule_ms(counts: Sequence[int]) -> float:
    """All on the CPU, in the same batches as always."""
    return simulate([(0.0, bulk(counts))], FAST, policy="cpu").end_ms


def offline_ms(counts: Sequence[int], device: Device, seed: int = 0) -> float:
    """The best assignment by one who knows all times beforehand."""
    costs = _costs(counts, device)
    times = device.times(seed)
    on_cpu, on_npu = sum(cpu for cpu, _ in costs), 0.0
    best = on_cpu
    for index, (cpu, npu) in enumerate(sorted(costs, key=lambda cost: cost[1] / cost[0])):
        taken = times(index, npu)
        if on_npu + taken >= on_cpu - cpu:
            share = min(1.0, max(0.0, (on_cpu - on_npu) / (taken + cpu)))
            best = min(best, on_npu + share * taken)
        on_npu, on_cpu = on_npu + taken, on_cpu - cpu
        best = min(best, max(on_npu, on_cpu))
    return best


def bound_ms(counts: Sequence[int], device: Device, seed: int = 0) -> float:
    """What no schedule can beat that runs each text once.

    Of n runs of the NPU the stalls among the first n are known. However the texts are chosen, the
    later of the two ends is at least any weighted mean of both, and the least weighted mean takes
    the n texts with the least difference; the stalls hit those they cost least with.
    """
    costs, times = _costs(counts, device), device.times(seed)
    dearer = [min(times(i, npu) - npu for npu in device.run_ms.values()) for i in range(len(costs))]
    stalled = list(itertools.accumulate(dearer, initial=0.0))
    on_cpu = sum(cpu for cpu, _ in costs)
    bounds = [0.0] * len(stalled)
    for weight in (step / 50 for step in range(51)):
        change = sorted(weight * npu - (1 - weight) * cpu for cpu, npu in costs)
        for n, changed in enumerate(itertools.accumulate(change, initial=0.0)):
            mean = (1 - weight) * on_cpu + changed + weight * stalled[n]
            bounds[n] = max(bounds[n], mean)
    return min(bounds)


def _costs(counts: Iterable[int], device: Device) -> list[tuple[float, float]]:
    """Of each text: milliseconds on the CPU in the best batch, and on the NPU."""
    lengths = sorted(device.run_ms)
    return [
        (tokens * CPU_RATE, device.run_ms[lengths[bisect_left(lengths, tokens)]])
        for tokens in counts
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    print(f"{'NPU':<10}{'texts':>6}{'ours':>9}{'of fixed':>15}{'of offline':>15}{'of bound':>15}")
    for device in (FAST, SLOW, STALLING, HALTING):
        for texts in (200, 2000):
            counts = token_counts(texts)
            ours = [simulate([(0.0, bulk(counts))], device, seed=seed).end_ms for seed in seeds]
            others = [
                [fixed_rule_ms(counts)] * len(seeds),
                [offline_ms(counts, device, seed) for seed in seeds],
                [bound_ms(counts, device, seed) for seed in seeds],
            ]
            cells = (_cell(ours, other) for other in others)
            print(f"{device.name:<10}{texts:>6,}{statistics.median(ours):>9,.0f}{''.join(cells)}")


def _cell(ours: Sequence[float], others: Sequence[float]) -> str:
    ratios = [mine / other for mine, other in zip(ours, others, strict=True)]
    return f"{f'{statistics.median(ratios):.3f} ({max(ratios):.3f})':>15}"


if __name__ == "__main__":
    main()
