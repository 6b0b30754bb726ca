"""Metrics: what is counted is what happened, under names and labels that are known beforehand."""

import re
import threading

import pytest
from prometheus_client import values

from mcp_server.http.metrics import Metrics
from mcp_server.measures import (
    NOBODY,
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
from mcp_server.results import (
    AnswersEntry,
    IndexEntry,
    MemoryEntry,
    ModelEntry,
    NpuEntry,
    PlacementEntry,
    StatusResult,
)

ONE_OF_EACH: list[Event] = [
    Arrived(),
    Answered("embeddings", "POST", 200, 0.02),
    Rejected("queue_full"),
    Generated(30, 5, first_token_seconds=0.3, decode_seconds=0.2),
    Embedded(7, 0.004),
    Placed("embed", "cpu", "quarantined", fell_back=True),
    Searched(0.003),
    Cancelled("disconnected"),
]


def model(task: str, state: str, memory_bytes: int) -> ModelEntry:
    return ModelEntry(
        task=task,
        state=state,
        model="m",
        why="",
        provider="cpu",
        dimensions=0,
        max_tokens=1,
        license="",
        source="",
        memory_bytes=memory_bytes,
        unloads_in=-1,
    )


def status(index: IndexEntry) -> StatusResult:
    return StatusResult(
        models=[model("embed", "ready", 90), model("generate", "idle", 200)],
        placement=PlacementEntry(
            policy="auto", npu=NpuEntry(code="no-device", why=""), shapes=[], waiting=3
        ),
        answers=AnswersEntry(
            slots=4,
            active=2,
            waiting=1,
            kv_bytes=1000,
            kv_tokens=10,
            prefixes=1,
            prefix_bytes=500,
            prefill_tokens_per_second=0,
            decode_tokens_per_second=0,
        ),
        memory=MemoryEntry(resident_bytes=12345, limit_bytes=0),
        execution_providers=[],
        onnxruntime="1",
        version="1",
        index=index,
        roots=[],
        more_roots=0,
        read_only=False,
    )


STATUS = status(IndexEntry(documents=3, chunks=9, size_bytes=4096))


def metrics(**more: object) -> Metrics:
    return Metrics(["embeddings", "status"], "1.2.3", clock=lambda: 100.0, **more)


def samples(counting: Metrics, now: StatusResult = STATUS) -> dict[str, float]:
    """Each line of the page: name and labels, value."""
    text, content_type = counting.render(now)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_every_event_is_counted_where_it_belongs():
    counting = metrics()
    for event in ONE_OF_EACH:
        counting.record(event)
    found = samples(counting)
    for name in [
        'http_requests_total{method="POST",route="embeddings",status="200"}',
        'http_request_duration_seconds_bucket{le="0.02",route="embeddings"}',
        'http_request_duration_seconds_count{route="embeddings"}',
        'rejected_total{reason="queue_full"}',
        "time_to_first_token_seconds_count",
        'time_per_output_token_seconds_bucket{le="0.05"}',
        "embedding_duration_seconds_count",
        'provider_selected_total{provider="cpu",reason="quarantined",workload="embed"}',
        'provider_fallback_total{workload="embed"}',
        "search_duration_seconds_count",
        'stream_cancelled_total{reason="disconnected"}',
        'build_info{version="1.2.3"}',
    ]:
        assert found[f"npu_gateway_{name}"] == 1, name
    assert found['npu_gateway_prompt_tokens_total{task="generate"}'] == 30
    assert found['npu_gateway_completion_tokens_total{task="generate"}'] == 5
    assert found['npu_gateway_prompt_tokens_total{task="embed"}'] == 7
    assert found["npu_gateway_requests_in_progress"] == 0


def test_a_request_is_in_progress_from_its_arrival_to_its_answer():
    counting = metrics()
    counting.record(Arrived())
    counting.record(Arrived())
    counting.record(Answered("status", "GET", 200, 0.1))
    assert samples(counting)["npu_gateway_requests_in_progress"] == 1


def test_what_is_so_now_is_what_the_tools_tell():
    found = samples(metrics())
    for name, value in {
        "slots": 4,
        "slots_active": 2,
        "requests_waiting": 1,
        "kv_bytes": 1000,
        "prefix_bytes": 500,
        "resident_bytes": 12345,
        "embeddings_waiting": 3,
        "index_documents": 3,
        "index_chunks": 9,
        "index_bytes": 4096,
        'model_loaded{task="embed"}': 1,
        'model_loaded{task="generate"}': 0,
        'model_bytes{task="embed"}': 90,
        'model_bytes{task="generate"}': 0,
    }.items():
        assert found[f"npu_gateway_{name}"] == value, name


def test_an_index_that_cannot_be_read_has_no_numbers_rather_than_zeros():
    found = samples(metrics(), status(IndexEntry(problem="It is broken.")))
    assert not [name for name in found if "index" in name]
    assert found["npu_gateway_slots"] == 4


def test_what_a_caller_makes_up_is_no_label():
    counting = metrics()
    for path in ("", "/../../etc/passwd", 'x"} 1\nforged 1', "unknown"):
        counting.record(Answered(path, f"BREW{path}", 404, 0.01))
    found = samples(counting)
    assert found['npu_gateway_http_requests_total{method="other",route="other",status="404"}'] == 4
    assert not [name for name in found if "passwd" in name or "forged" in name or "BREW" in name]


def test_every_metric_is_documented_and_named_as_prometheus_wants():
    counting = metrics()
    for event in ONE_OF_EACH:
        counting.record(event)
    text = counting.render(STATUS)[0].decode()
    kinds = dict(re.findall(r"^# TYPE (npu_gateway\S+) (\w+)$", text, re.M))
    assert len(kinds) > 25
    for name, kind in kinds.items():
        assert re.search(rf"^# HELP {name} \S.*\.$", text, re.M), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert kind != "histogram" or name.endswith("_seconds"), name
    assert "_created" not in text


def test_an_answer_of_one_token_or_none_has_no_time_per_token():
    counting = metrics()
    counting.record(Generated(9, 0, 0, 0))
    counting.record(Generated(9, 1, 0.5, 0))
    found = samples(counting)
    assert found["npu_gateway_time_to_first_token_seconds_count"] == 1
    assert found["npu_gateway_time_per_output_token_seconds_count"] == 0
    assert counting.recent().answers == ()


def test_the_latest_requests_and_answers_are_kept_and_no_more():
    counting = metrics(unlisted=["status"])
    for number in range(300):
        counting.record(Answered("embeddings", "POST", 200, float(number)))
        counting.record(Answered("status", "GET", 200, 0.001))
        counting.record(Generated(9, 11, first_token_seconds=0.5, decode_seconds=number + 1))
    recent = counting.recent()
    assert len(recent.requests) == len(recent.answers) == 240
    assert [recent.requests[0].seconds, recent.requests[-1].seconds] == [60, 299]
    assert {request.route for request in recent.requests} == {"embeddings"}
    assert recent.answers[-1].tokens_per_second == pytest.approx(10 / 300)
    assert (recent.answers[-1].time, recent.answers[-1].first_token_seconds) == (100, 0.5)


def test_events_of_many_threads_are_all_counted():
    counting = metrics()

    def work() -> None:
        for _ in range(500):
            counting.record(Embedded(2, 0.001))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert samples(counting)['npu_gateway_prompt_tokens_total{task="embed"}'] == 4000


def test_two_servers_in_one_process_count_for_themselves():
    one, other = metrics(), metrics()
    one.record(Searched(0.1))
    assert samples(one)["npu_gateway_search_duration_seconds_count"] == 1
    assert samples(other)["npu_gateway_search_duration_seconds_count"] == 0


def test_where_nobody_counts_telling_does_nothing():
    for event in ONE_OF_EACH:
        NOBODY.record(event)


def test_an_environment_meant_for_many_processes_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.get_value_class())
    Metrics([], "1").record(Arrived())
    assert not list(tmp_path.iterdir())
