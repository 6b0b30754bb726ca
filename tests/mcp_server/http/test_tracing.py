"""Tracing: what a span tells, what it never tells, and that nothing is sent unasked."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.datastructures import Headers

from mcp_server.http import tracing
from mcp_server.http.tracing import NO_TRACING, Tracing

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traced:
    """A tracing whose spans stay here."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.tracing = Tracing(provider.get_tracer("test"), provider.shutdown)

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._kept.get_finished_spans()

    def only(self) -> ReadableSpan:
        (span,) = self.spans()
        return span


@pytest.fixture
def traced() -> Iterator[Traced]:
    one = Traced()
    yield one
    one.tracing.close()


def test_a_span_tells_route_status_model_and_tokens(traced):
    with traced.tracing.span("POST", "/v1/chat/completions", {}) as span:
        span.asked("chat", "smollm2")
        span.answered(200, 12, 30)
    found = traced.only()
    assert found.name == "POST /v1/chat/completions"
    assert found.kind is SpanKind.SERVER
    assert found.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "smollm2",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 30,
    }
    assert found.status.status_code is StatusCode.UNSET
    assert found.parent is None


def test_a_span_belongs_to_the_trace_that_its_caller_names(traced):
    with traced.tracing.span("GET", "/v1/models", Headers({"TraceParent": CALLER})) as span:
        span.answered(200)
    found = traced.only()
    assert f"{found.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{found.parent.span_id:016x}" == "b7ad6b7169203331"


def test_a_trace_that_is_none_is_passed_over(traced):
    for header in [
        "",
        "00-0-0-00",
        "x" * 100_000,
        CALLER.upper(),
        CALLER + "\r\nx",
        "00-" + "0" * 51,
    ]:
        with traced.tracing.span("GET", "/", {"traceparent": header, "tracestate": ",=,\x00"}):
            pass
    assert [found.parent for found in traced.spans()] == [None] * 6


def test_what_a_caller_makes_up_is_no_name(traced):
    with traced.tracing.span("BREW", "", {}) as span:
        span.answered(404)
    found = traced.only()
    assert found.name == "HTTP"
    assert found.attributes == {"http.request.method": "_OTHER", "http.response.status_code": 404}


def test_a_failure_is_told_by_its_kind_and_never_by_its_text(traced):
    with (
        pytest.raises(KeyError),
        traced.tracing.span("POST", "/v1/embeddings", {}),
    ):
        raise KeyError("the prompt of somebody")
    found = traced.only()
    assert found.status.status_code is StatusCode.ERROR
    assert found.attributes["error.type"] == "KeyError"
    assert "prompt" not in found.to_json()


def test_an_answer_of_500_is_a_failure_and_one_of_400_is_not():
    for status, failure in [(500, "500"), (503, "503"), (400, None), (429, None)]:
        one = Traced()
        with one.tracing.span("POST", "/v1/embeddings", {}) as span:
            span.answered(status)
        assert one.only().attributes.get("error.type") == failure
        one.tracing.close()


def test_a_span_ends_though_its_block_is_left_elsewhere(traced):
    def frames() -> Iterator[int]:
        with traced.tracing.span("POST", "/v1/completions", {}) as span:
            yield 1
            span.answered(200)

    left = frames()
    next(left)
    left.close()
    found = traced.only()
    assert found.end_time >= found.start_time
    assert found.status.status_code is StatusCode.UNSET


def test_without_a_collector_spans_are_nothing():
    assert tracing.opened(is_configured=False, version="1") is NO_TRACING
    with NO_TRACING.span("POST", "/", {"traceparent": CALLER}) as span:
        span.asked("chat", "m")
        span.answered(500, 1, 2)
    NO_TRACING.close()


def test_what_sends_is_not_even_imported_without_a_collector():
    code = (
        "import sys\n"
        "from mcp_server.http import tracing\n"
        "with tracing.opened(False, '1').span('GET', '/', {}) as span: span.answered(200)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')\n"
        "       or name.startswith('opentelemetry.exporter')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_collector_without_the_extra_is_a_warning(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mcp_server.http.span_export", None)
    with caplog.at_level(logging.WARNING):
        assert tracing.opened(is_configured=True, version="1") is NO_TRACING
    assert 'pip install "npu-gateway[otel]"' in caplog.text


def test_spans_reach_a_collector_that_is_set(monkeypatch):
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=desk")
        opened = tracing.opened(is_configured=True, version="1.2.3")
        with opened.span("POST", "/v1/embeddings", {"traceparent": CALLER}) as span:
            span.asked("embeddings", "all-minilm")
            span.answered(200, 9)
        opened.close()
        server.shutdown()
        thread.join()
    (sent,) = ExportTraceServiceRequest.FromString(received[0]).resource_spans
    resource = {one.key: one.value.string_value for one in sent.resource.attributes}
    assert resource == {
        "service.name": "npu-gateway",
        "service.version": "1.2.3",
        "deployment.environment.name": "desk",
    }
    assert sent.scope_spans[0].spans[0].name == "POST /v1/embeddings"


def test_a_served_request_is_one_span_without_a_word_of_it(traced, serve):
    with serve(tracing=traced.tracing) as served:
        body = {"model": "all-minilm-l6-v2", "input": "a secret of the house"}
        headers = {"traceparent": CALLER, "authorization": "Bearer undefined"}
        used = served.post("/v1/embeddings", body, headers=headers).json()["usage"]
        served.post("/v1/embeddings", body | {"model": "another"})
    span, refused = traced.spans()
    assert span.name == "POST /embeddings"
    assert span.parent is not None
    assert span.attributes is not None
    assert span.attributes["gen_ai.operation.name"] == "embeddings"
    assert span.attributes["gen_ai.request.model"] == "all-minilm-l6-v2"
    assert span.attributes["gen_ai.usage.input_tokens"] == used["prompt_tokens"]
    assert refused.attributes is not None
    assert refused.attributes["http.response.status_code"] == 404
    assert "secret" not in span.to_json()
    assert "another" not in refused.to_json()
