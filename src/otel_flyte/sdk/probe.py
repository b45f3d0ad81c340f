"""Send one span, or an empty request of another signal, and see what the receiver makes of it."""

import os
from dataclasses import dataclass
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_flyte import semconv
from otel_flyte.config.settings import SignalPlan
from otel_flyte.export import otlp_requests
from otel_flyte.export.connection import connect
from otel_flyte.export.transport import Outcome, Verdict
from otel_flyte.sdk import resource
from otel_flyte.sdk.id_generator import FlyteIdGenerator

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    Attributes:
        destination: the URL that it was posted to, or the host and port for gRPC, as it may be shown to anybody.
        arrived: whether it arrived.
        text: a few words about that.
    """

    destination: str
    arrived: bool
    text: str


def send(plan: SignalPlan) -> Answer:
    """Send a request over OTLP as a task would, once.

    Raises:
        OSError, ValueError, ImportError: the way there can't be made, because of a certificate for example.
    """
    transport = connect(plan, os.environ)
    return _answer(transport.destination, transport.send(_request(plan.signal), TIMEOUT_SECONDS))


def _answer(destination: str, outcome: Outcome) -> Answer:
    if outcome.verdict is not Verdict.ACCEPTED:
        return Answer(destination, arrived=False, text=outcome.reason)
    if outcome.rejected:
        return Answer(destination, arrived=False, text=f"partial: {outcome.rejected} rejected ({outcome.reason})")
    warning = f", with a warning: {outcome.reason}" if outcome.reason else ""
    return Answer(destination, arrived=True, text=f"accepted{warning}")


def _request(signal: str) -> Any:
    if signal != "traces":
        return otlp_requests.request(signal)
    provider = TracerProvider(resource=resource.ours(), id_generator=FlyteIdGenerator(), shutdown_on_exit=False)
    span = provider.get_tracer(semconv.SCOPE).start_span(semconv.SPAN_DOCTOR)
    span.end()
    return encode_spans([span] if isinstance(span, ReadableSpan) else [])
