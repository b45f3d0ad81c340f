"""Providers that somebody else has configured, in a pod: what can be had for them without changing what they send.

Their exporters retry for as long as they like when the process ends, 45 s have been measured. In a pod, where that eats
the time that Kubernetes leaves it, they are shut down within the exit bound. A program that sets providers for itself,
and a notebook, keep the end that they have.
"""

import atexit
import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from otel_flyte import activation
from otel_flyte.guard import guarded
from otel_flyte.lifecycle import shutdown, supervised
from otel_flyte.lifecycle.open_spans import OpenSpans

_adopted: list[Any] = []


class _SettledSpans(SpanProcessor):
    """Tell ``otel-flyte exec`` that what has ended is somebody else's to deliver: nobody says when it is."""

    def on_end(self, span: ReadableSpan) -> None:
        """Settle a span."""
        supervised.settled_all([span])

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  # nothing is held back
        """Do nothing; OpenTelemetry 1.27 takes the base class's answer for a failure."""
        return True


@guarded
def adopt() -> None:
    """Bound the end of the providers that are set, and have the spans of the tracer provider told of signals."""
    for provider in _providers():
        if any(provider is known for known in _adopted) or shutdown.is_ours(provider):
            continue
        _adopted.append(provider)
        if isinstance(provider, TracerProvider):
            provider.add_span_processor(OpenSpans())
            if supervised.is_supervised():
                provider.add_span_processor(_SettledSpans())
        # The SDK keeps its exit handler there, so that a provider can be shut down earlier.
        handler = getattr(provider, "_atexit_handler", None)
        if handler is not None:
            atexit.unregister(handler)
            provider._atexit_handler = None
            shutdown.at_exit(provider)


def _providers() -> list[Any]:
    found: list[Any] = [activation.tracer_provider_given or trace.get_tracer_provider()]
    if "opentelemetry.sdk.metrics" in sys.modules:
        from opentelemetry import metrics

        found.append(activation.meter_provider_given or metrics.get_meter_provider())
    if "opentelemetry.sdk._logs" in sys.modules:
        from opentelemetry import _logs

        found.append(activation.logger_provider_given or _logs.get_logger_provider())
    return found
