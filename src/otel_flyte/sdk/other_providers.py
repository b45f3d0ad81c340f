"""Other providers, in a pod: the end of the process is bounded for them, and their records do not change.

Their exporters retry for as long as they like when the process ends; 45 s have been measured. Kubernetes may kill a pod
before, so they are shut down within the exit bound. A program that sets providers itself, and a notebook, keep their
own end.
"""

import atexit
import sys
from collections.abc import Iterator
from typing import Any

from otel_flyte import providers
from otel_flyte.process import shutdown
from otel_flyte.runtime.guard import guarded

_adopted: list[Any] = []
_is_pod = False


@guarded
def adopt() -> None:
    """Bound the end of the providers in use, and keep track of the open spans of the tracer provider."""
    global _is_pod
    _is_pod = True
    for provider in filter(None, _providers()):
        _adopt(provider)


def adopt_in_a_pod(provider: Any) -> None:
    """Do the same with a provider that the program has set while a task runs."""
    if _is_pod:
        _adopt(provider)


def _adopt(provider: Any) -> None:
    if any(provider is known for known in _adopted) or shutdown.is_ours(provider):
        return
    _adopted.append(provider)
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    if sdk is not None and isinstance(provider, sdk.TracerProvider):
        _follow(provider)
    # The SDK keeps its exit handler there, so that a provider can be shut down earlier.
    handler = getattr(provider, "_atexit_handler", None)
    if handler is not None:
        atexit.unregister(handler)
        provider._atexit_handler = None
        shutdown.at_exit(provider)


def _follow(provider: Any) -> None:
    from otel_flyte.sdk.processors import AcknowledgedSpans, OpenSpans
    from otel_flyte.sdk.user_tracers import share_context_with_threads
    from otel_flyte.supervisor import client

    share_context_with_threads()
    provider.add_span_processor(OpenSpans())
    if client.is_supervised():
        provider.add_span_processor(AcknowledgedSpans())


def _providers() -> Iterator[Any]:
    yield providers.tracer_provider()
    if "opentelemetry.sdk.metrics" in sys.modules:
        yield providers.meter_provider()
    if "opentelemetry.sdk._logs" in sys.modules:
        yield providers.logger_provider()
