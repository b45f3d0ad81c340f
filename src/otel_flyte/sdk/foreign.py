"""Providers that somebody else has configured, in a pod: what can be had for them without changing what they send.

Their exporters retry for as long as they like when the process ends, 45 s have been measured. In a pod, where that eats
the time that Kubernetes leaves it, they are shut down within the exit bound. A program that sets providers for itself,
and a notebook, keep the end that they have.
"""

import atexit
import sys
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from otel_flyte import providers
from otel_flyte.process import shutdown
from otel_flyte.runtime.guard import guarded
from otel_flyte.sdk.processors import ForeignSpans, OpenSpans
from otel_flyte.supervisor import client

_adopted: list[Any] = []


@guarded
def adopt() -> None:
    """Bound the end of the providers that are set, and have the spans of the tracer provider told of signals."""
    for provider in _providers():
        if any(provider is known for known in _adopted) or shutdown.is_ours(provider):
            continue
        _adopted.append(provider)
        if isinstance(provider, TracerProvider):
            provider.add_span_processor(OpenSpans())
            if client.is_supervised():
                provider.add_span_processor(ForeignSpans())
        # The SDK keeps its exit handler there, so that a provider can be shut down earlier.
        handler = getattr(provider, "_atexit_handler", None)
        if handler is not None:
            atexit.unregister(handler)
            provider._atexit_handler = None
            shutdown.at_exit(provider)


def _providers() -> list[Any]:
    found: list[Any] = [providers.tracer_provider()]
    if "opentelemetry.sdk.metrics" in sys.modules:
        from opentelemetry import metrics

        found.append(providers.given_meter_provider or metrics.get_meter_provider())
    if "opentelemetry.sdk._logs" in sys.modules:
        from opentelemetry import _logs

        found.append(providers.given_logger_provider or _logs.get_logger_provider())
    return found
