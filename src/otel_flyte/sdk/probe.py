"""Sends one span, or an empty request of another signal, and reports the receiver's answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_flyte import semconv
from otel_flyte.config.endpoints import SignalPlan
from otel_flyte.export import otlp_requests
from otel_flyte.export.connection import connect
from otel_flyte.export.otlp_spans import encode_spans
from otel_flyte.export.transport import Outcome, Verdict
from otel_flyte.sdk import sdk_spans
from otel_flyte.sdk.arguments import usable_environment

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request.

    Attributes:
        destination: the URL, or the host and port for gRPC, without password.
        arrived: whether the receiver accepted the request.
        text: the answer in a few words.
    """

    destination: str
    arrived: bool
    text: str


def send(plan: SignalPlan, environ: Mapping[str, str]) -> Answer:
    """Send a request over OTLP as a task would, once.

    Args:
        plan: the destination.
        environ: usable standard values.

    Raises:
        OSError, ValueError, ImportError: the connection can't be made, because of a certificate for example.
    """
    transport = connect(plan, environ)
    return _answer(transport.destination, transport.send(_request(plan.signal), TIMEOUT_SECONDS))


def _answer(destination: str, outcome: Outcome) -> Answer:
    if outcome.verdict is not Verdict.ACCEPTED:
        has_remedy = outcome.verdict is not Verdict.RETRY or ", try " in outcome.reason
        remedy = "" if has_remedy else ": check the receiver and the endpoint"
        return Answer(destination, arrived=False, text=f"{outcome.reason}{remedy}")
    if outcome.rejected:
        return Answer(destination, arrived=False, text=f"partial: {outcome.rejected} rejected ({outcome.reason})")
    warning = f", with a warning: {outcome.reason}" if outcome.reason else ""
    return Answer(destination, arrived=True, text=f"accepted{warning}")


def _request(signal: str) -> Any:
    if signal != "traces":
        return otlp_requests.request(signal)
    with usable_environment() as values:
        provider = sdk_spans.provider_without_processors(values)
    span = provider.get_tracer(semconv.SCOPE).start_span(semconv.SPAN_DOCTOR)
    span.end()
    return encode_spans([span] if isinstance(span, ReadableSpan) else [])
