"""Metrics: counts what the server does, for Prometheus and for the plots of the status page.

Knows no endpoint. What is counted comes as events; what is so now is read from one `StatusResult`
when it is asked for, so that both pages tell what the tools tell.
Rule: every label has a closed set of values; whatever is not in it is counted as `other`.
Buckets are those that OpenTelemetry's conventions for generative AI prescribe (gen-ai-metrics,
status development), so that boards made for other servers fit; where they end too early for a
small machine, and an answer that waits its turn, their last step is repeated.
Measured (Linux x86-64, 2 cores): recording an event takes 0.3 to 5 us, rendering 0.6 ms.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_server.measures import (
    METHODS,
    Answered,
    Arrived,
    Cancelled,
    Embedded,
    Event,
    Generated,
    Placed,
    Rejected,
    Searched,
)
from mcp_server.results import StatusResult

_NAMESPACE = "npu_gateway"

_DURATIONS = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
"""Seconds, as of gen_ai.server.request.duration."""

_SHORT_DURATIONS = (0.001, 0.0025, 0.005, *_DURATIONS[:11])
"""Seconds of embedding and searching: one text takes some milliseconds."""

_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
"""Seconds, as of gen_ai.server.time_to_first_token up to 10."""

_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""Seconds, as of gen_ai.server.time_per_output_token."""

_OTHER = "other"

_KEPT = 240
"""Requests and answers on the status page: more points than a plot of it has."""


@dataclass(frozen=True)
class RecentRequest:
    """One point of a plot."""

    time: float
    """Its end, in seconds since 1970."""
    route: str
    seconds: float
    status: int


@dataclass(frozen=True)
class RecentAnswer:
    """One point of a plot."""

    time: float
    """Its end, in seconds since 1970."""
    completion_tokens: int
    tokens_per_second: float
    first_token_seconds: float


@dataclass(frozen=True)
class Recent:
    """The latest, oldest first."""

    requests: tuple[RecentRequest, ...]
    answers: tuple[RecentAnswer, ...]


class Metrics:
    """The `Measures` of a server over HTTP."""

    def __init__(
        self,
        routes: Collection[str],
        version: str,
        unlisted: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            routes: The names of all routes.
            version: Of this program.
            unlisted: Routes that are counted but not among the recent requests, such as those the
                status page itself asks.
            clock: Seconds since 1970.
        """
        self._routes = frozenset(routes)
        self._unlisted = frozenset(unlisted)
        self._clock = clock
        self._recent_requests: deque[RecentRequest] = deque(maxlen=_KEPT)
        self._recent_answers: deque[RecentAnswer] = deque(maxlen=_KEPT)
        disable_created_metrics()
        # PROMETHEUS_MULTIPROC_DIR would put them into files, which outlive the process.
        values.ValueClass = values.MutexValue
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._gauge("build_info", "The version that runs.", "version").labels(version).set(1)
        self._define_requests()
        self._define_work()
        self._record: dict[type[Event], Callable[[Any], None]] = {
            Arrived: self._arrived,
            Answered: self._answered,
            Rejected: lambda event: self._rejected.labels(event.reason).inc(),
            Generated: self._generated,
            Embedded: self._embedded,
            Placed: self._placed,
            Searched: lambda event: self._search_seconds.observe(event.seconds),
            Cancelled: lambda event: self._cancelled.labels(event.why).inc(),
        }

    def _define_requests(self) -> None:
        """`http_request_duration_seconds` is OpenTelemetry's http.server.request.duration, and for
        the routes of models gen_ai.server.request.duration."""
        self._requests = self._counter(
            "http_requests", "Requests answered.", "route", "method", "status"
        )
        self._request_seconds = self._histogram(
            "http_request_duration_seconds", "From arrival to the last byte.", _DURATIONS, "route"
        )
        self._in_progress = self._gauge("requests_in_progress", "Requests being answered.")
        self._rejected = self._counter(
            "rejected", "Requests refused, or failed, before their answer began.", "reason"
        )
        self._cancelled = self._counter(
            "stream_cancelled", "Streams that ended before their answer.", "reason"
        )

    def _define_work(self) -> None:
        """`time_to_first_token_seconds` and `time_per_output_token_seconds` are OpenTelemetry's
        gen_ai.server.time_to_first_token and .time_per_output_token; the tokens together are
        gen_ai.client.token.usage, as a sum."""
        self._prompt_tokens = self._counter("prompt_tokens", "Tokens read.", "task")
        self._completion_tokens = self._counter("completion_tokens", "Tokens written.", "task")
        self._first_token_seconds = self._histogram(
            "time_to_first_token_seconds", "From the request to its first token.", _FIRST_TOKEN
        )
        self._token_seconds = self._histogram(
            "time_per_output_token_seconds", "Per token of an answer after its first.", _PER_TOKEN
        )
        self._embedding_seconds = self._histogram(
            "embedding_duration_seconds", "Embedding the texts of one call.", _SHORT_DURATIONS
        )
        self._search_seconds = self._histogram(
            "search_duration_seconds",
            "One search, its query's embedding included.",
            _SHORT_DURATIONS,
        )
        self._selected = self._counter(
            "provider_selected",
            "Pieces of work, by what did them.",
            "workload",
            "provider",
            "reason",
        )
        self._fallback = self._counter(
            "provider_fallback", "Pieces of work that their provider could not do.", "workload"
        )

    def record(self, event: Event) -> None:
        """Counts an event."""
        self._record[type(event)](event)

    def recent(self) -> Recent:
        """The latest requests and answers."""
        return Recent(tuple(self._recent_requests), tuple(self._recent_answers))

    def render(self, status: StatusResult) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, which every collector reads: the library's choice
        between formats raises TypeError at some Accept headers.

        Args:
            status: What is so now.

        Returns:
            The text and its content type.
        """
        together = _Together(self._registry, _gauges(status))
        return generate_latest(together), CONTENT_TYPE_PLAIN_0_0_4

    def _arrived(self, _: Arrived) -> None:
        self._in_progress.inc()

    def _answered(self, event: Answered) -> None:
        route = event.route if event.route in self._routes else _OTHER
        method = event.method if event.method in METHODS else _OTHER
        self._in_progress.dec()
        self._requests.labels(route, method, str(event.status)).inc()
        self._request_seconds.labels(route).observe(event.seconds)
        if route not in self._unlisted:
            self._recent_requests.append(
                RecentRequest(self._clock(), route, event.seconds, event.status)
            )

    def _generated(self, event: Generated) -> None:
        self._prompt_tokens.labels("generate").inc(event.prompt_tokens)
        self._completion_tokens.labels("generate").inc(event.completion_tokens)
        if not event.completion_tokens:
            return
        self._first_token_seconds.observe(event.first_token_seconds)
        later = event.completion_tokens - 1
        if later and event.decode_seconds > 0:
            self._token_seconds.observe(event.decode_seconds / later)
            self._recent_answers.append(
                RecentAnswer(
                    self._clock(),
                    event.completion_tokens,
                    later / event.decode_seconds,
                    event.first_token_seconds,
                )
            )

    def _embedded(self, event: Embedded) -> None:
        self._prompt_tokens.labels("embed").inc(event.prompt_tokens)
        self._embedding_seconds.observe(event.seconds)

    def _placed(self, event: Placed) -> None:
        self._selected.labels(event.workload, event.provider, event.reason).inc()
        if event.fell_back:
            self._fallback.labels(event.workload).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=_NAMESPACE, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=_NAMESPACE, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            name, text, labels, namespace=_NAMESPACE, registry=self._registry, buckets=buckets
        )


class _Together(Collector):
    """What was counted, and what is so now."""

    def __init__(self, counted: Collector, now: Collection[Metric]) -> None:
        self._counted = counted
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """All of it."""
        yield from self._counted.collect()
        yield from self._now


def _gauges(status: StatusResult) -> list[Metric]:
    """What is so now; without what is not known."""
    answers, index = status.answers, status.index
    plain = {
        "slots": (answers.slots, "Answers that are written at once, at most."),
        "slots_active": (answers.active, "Answers being written."),
        "requests_waiting": (answers.waiting, "Calls that wait for a slot."),
        "kv_bytes": (answers.kv_bytes, "Keys and values of the answers being written."),
        "prefix_bytes": (answers.prefix_bytes, "Keys and values kept of earlier prompts."),
        "resident_bytes": (status.memory.resident_bytes, "What the whole process takes."),
        "embeddings_waiting": (status.placement.waiting, "Texts that wait for their run."),
    }
    if not index.problem or index.documents:
        plain |= {
            "index_documents": (index.documents, "Documents in the index."),
            "index_chunks": (index.chunks, "Passages in the index."),
            "index_bytes": (index.size_bytes, "What the index takes on disk."),
        }
    gauges: list[Metric] = [
        GaugeMetricFamily(f"{_NAMESPACE}_{name}", text, value)
        for name, (value, text) in plain.items()
    ]
    loaded = GaugeMetricFamily(
        f"{_NAMESPACE}_model_loaded", "1 while the model of a task is in memory.", labels=["task"]
    )
    memory = GaugeMetricFamily(
        f"{_NAMESPACE}_model_bytes", "What the model of a task takes, estimated.", labels=["task"]
    )
    for model in status.models:
        is_loaded = model.state == "ready"
        loaded.add_metric([model.task], is_loaded)
        memory.add_metric([model.task], model.memory_bytes if is_loaded else 0)
    return [*gauges, loaded, memory]
