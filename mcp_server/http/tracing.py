"""Tracing: one OpenTelemetry span a request, for those who have set where spans go.

Knows the API, which comes with mcp and by itself does nothing; what sends spans is in
`span_export`, which is imported only when it is to send. So nothing leaves the machine by default.
Rule: a span holds what a log line may: no prompt, answer, query, key or text of an error. The
provider is never made the global one, since mcp's own spans would then hold the texts of errors.
Names: OpenTelemetry's conventions for HTTP servers (stable) and generative AI (development).
"""

import importlib
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mcp_server.measures import METHODS

logger = logging.getLogger(__name__)

_SERVER_ERROR = 500


class RequestSpan:
    """The span of one request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def asked(self, operation: str, model: str) -> None:
        """What the request wants, once that is known to exist.

        Args:
            operation: chat, text_completion or embeddings, or a name of ours where none fits.
            model: The id of the model that answers.
        """
        self._span.set_attribute("gen_ai.operation.name", operation)
        self._span.set_attribute("gen_ai.request.model", model)

    def answered(
        self, status: int, prompt_tokens: int | None = None, completion_tokens: int | None = None
    ) -> None:
        """How the request ended, and what it took of a model."""
        self._span.set_attribute("http.response.status_code", status)
        if prompt_tokens is not None:
            self._span.set_attribute("gen_ai.usage.input_tokens", prompt_tokens)
        if completion_tokens is not None:
            self._span.set_attribute("gen_ai.usage.output_tokens", completion_tokens)
        if status >= _SERVER_ERROR:
            self._failed(str(status))

    def failed(self, error: Exception) -> None:
        """A bug ended the request: its kind is told, not its text."""
        self._failed(type(error).__qualname__)

    def _failed(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


class Tracing:
    """Makes the spans of a server."""

    def __init__(self, tracer: Tracer, close: Callable[[], None]) -> None:
        """
        Args:
            tracer: Of a provider that this one owns.
            close: Ends that provider.
        """
        self._tracer = tracer
        self._close = close
        self._callers = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, method: str, route: str, headers: Mapping[str, str]) -> Generator[RequestSpan]:
        """The span of a request, ended with the block; part of the trace its caller names.

        It is not made the current one, so the block may belong to an asynchronous generator.

        Args:
            method: Of the request.
            route: Its template, such as /v1/models/{id}; empty: there is no such route.
            headers: Of the request; `traceparent` is read, in whatever case the mapping takes.
        """
        known = method if method in METHODS else "_OTHER"
        shown = known if known == method else "HTTP"
        attributes = {"http.request.method": known} | ({"http.route": route} if route else {})
        span = self._tracer.start_span(
            f"{shown} {route}".rstrip(),
            self._callers.extract(headers),
            SpanKind.SERVER,
            attributes,
        )
        request = RequestSpan(span)
        try:
            yield request
        except Exception as error:
            request.failed(error)
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Sends what is left, for a moment at most."""
        self._close()


NO_TRACING = Tracing(trace.NoOpTracer(), lambda: None)
"""Makes spans that are nothing and go nowhere."""


def opened(is_configured: bool, version: str) -> Tracing:
    """The tracing of a server; where it cannot be had, a warning, and none.

    Args:
        is_configured: OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set.
            All else the SDK reads from its own variables.
        version: Of this program.
    """
    if not is_configured:
        return NO_TRACING
    try:
        export = importlib.import_module("mcp_server.http.span_export")
    except ImportError:
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what sends spans is not installed: "
            'pip install "npu-gateway[otel]".'
        )
        return NO_TRACING
    return Tracing(*export.opened(version))
