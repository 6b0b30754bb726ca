"""Sends spans by OTLP over HTTP; alone imports OpenTelemetry's SDK, the extra otel.

Where to, how often and with which headers is read by the SDK, from OpenTelemetry's own variables.
"""

import threading
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

_CLOSING_SECONDS = 1.0
"""How long the last spans may take to leave: a collector that is gone must not hold up an end."""


def opened(version: str) -> tuple[Tracer, Callable[[], None]]:
    """A tracer whose spans go out in batches, by a thread of their own; and what ends it."""
    ours = Resource({"service.name": "npu-gateway", "service.version": version})
    provider = TracerProvider(
        resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def close() -> None:
        closing = threading.Thread(target=provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSING_SECONDS)

    return provider.get_tracer("npu-gateway", version), close
