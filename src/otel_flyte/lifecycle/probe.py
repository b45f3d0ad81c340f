"""Send one span, or an empty batch of another signal, and see what the receiver makes of it.

Exporters tell nothing but success and failure, retry for long, and swallow a partial success: the first answer is taken
from underneath them, while their endpoint, headers, certificates and compression are what they are in a task.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_flyte import semconv
from otel_flyte.lifecycle import exporters, providers
from otel_flyte.lifecycle.id_generator import FlyteIdGenerator
from otel_flyte.settings import GRPC, HTTP, SignalPlan

TIMEOUT_SECONDS = 5.0

_RESPONSES: dict[str, Any] = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}
_HTTP_HINTS = {
    400: f"does it speak OTLP? {semconv.PROTOCOL}={GRPC} may be what it wants",
    401: f"check {semconv.HEADERS}",
    403: f"check {semconv.HEADERS}",
    404: "it takes no {signal} at this path; {exporter}=none keeps them at home",
    405: "it takes no {signal} at this path",
    415: f"it wants another protocol: set {semconv.PROTOCOL}",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a batch: whether it arrived, and one line about that."""

    arrived: bool
    text: str


def send(plan: SignalPlan, exporter_name: str) -> Answer:
    """Send a batch over OTLP as a task would, and wait for the first answer no longer than the bound.

    An exporter that is refused goes on trying in the background, until the process ends.
    """
    answers: list[Answer] = []
    answered = threading.Event()

    def take(answer: Answer) -> None:
        answers.append(answer)
        answered.set()

    def try_to_send() -> None:
        try:
            exporter = exporters.load(exporter_name, plan)
            (_send_by_grpc if plan.protocol == GRPC else _send_by_http)(exporter, plan, take)
        except Exception as error:
            take(_failed(_first_line(error)))

    threading.Thread(target=try_to_send, name="otel-flyte-probe", daemon=True).start()
    answered.wait(TIMEOUT_SECONDS)
    return answers[0] if answers else _failed(f"timed out: no answer in {TIMEOUT_SECONDS:g} s")


def _send_by_http(exporter: Any, plan: SignalPlan, take: Callable[[Answer], None]) -> None:
    with _each_response(lambda outcome: take(_http_answer(outcome, plan))):
        result = exporter.export(_batch(plan.signal))
    take(Answer(arrived=result.value == 0, text="accepted" if result.value == 0 else "refused"))


@contextmanager
def _each_response(take: Callable[[Any], None]) -> Iterator[None]:
    """Watch every response or exception of ``requests``, which all versions of the HTTP exporters speak through."""
    import requests

    original = requests.Session.send

    def send(self: Any, request: Any, **kwargs: Any) -> Any:
        try:
            response = original(self, request, **kwargs)
        except Exception as error:
            take(error)
            raise
        take(response)
        return response

    requests.Session.send = send  # type: ignore[method-assign]
    try:
        yield
    finally:
        requests.Session.send = original  # type: ignore[method-assign]


def _http_answer(outcome: Any, plan: SignalPlan) -> Answer:
    if isinstance(outcome, Exception):
        return _failed(_why_no_response(outcome))
    if not outcome.ok:
        exporter = semconv.EXPORTER.format(signal=plan.signal.upper())
        hint = _HTTP_HINTS.get(outcome.status_code, "").format(signal=plan.signal, exporter=exporter)
        return _failed(", ".join(part for part in (f"refused: {outcome.status_code} {outcome.reason}", hint) if part))
    if "html" in outcome.headers.get("Content-Type", ""):
        return _failed(f"answered {outcome.status_code} with a web page: that is no OTLP receiver")
    response = _RESPONSES[plan.signal]()
    # Some receivers answer in JSON, or with a word of their own: what they accepted they did accept.
    with suppress(DecodeError):
        response.ParseFromString(outcome.content)
    return _accepted(response)


def _why_no_response(error: Exception) -> str:
    """Say in plain words what ``requests`` buries in nested exceptions."""
    words = str(error)
    if "Connection refused" in words:
        return "refused: nothing listens there"
    if "timed out" in words or "Timeout" in type(error).__name__:
        return "timed out"
    if "resolve" in words or "Name or service" in words or "getaddrinfo" in words:
        return "the host's name can't be resolved"
    if "CERTIFICATE" in words or "SSL" in words:
        return f"TLS failed ({_first_line(error)}): check the scheme of the endpoint, and {semconv.CERTIFICATE}"
    if "BadStatusLine" in words or "Connection aborted" in words:
        return f"it does not speak HTTP/1: {semconv.PROTOCOL}={GRPC} may be what it wants"
    return _first_line(error)


def _send_by_grpc(exporter: Any, plan: SignalPlan, take: Callable[[Answer], None]) -> None:
    import grpc

    try:
        response = exporter._client.Export(
            _request(plan.signal), metadata=exporter._headers, timeout=TIMEOUT_SECONDS - 0.5
        )
    except grpc.RpcError as error:
        take(_failed(_grpc_refusal(error)))
    else:
        take(_accepted(response))


def _grpc_refusal(error: Any) -> str:
    code, details = error.code().name, str(error.details()).partition("\n")[0]
    match code:
        case "DEADLINE_EXCEEDED":
            return "timed out"
        case "UNAVAILABLE" if "refused" in details:
            return "refused: nothing listens there"
        case "UNAVAILABLE" if "DNS" in details or "resolution" in details:
            return "the host's name can't be resolved"
        case "UNAVAILABLE":
            return f"refused: UNAVAILABLE ({details}); {semconv.PROTOCOL}={HTTP} may be what it wants"
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return f"refused: {code}, check {semconv.HEADERS}"
        case _:
            return f"refused: {code} ({details})"


def _accepted(response: Any) -> Answer:
    partial = response.partial_success
    rejected = next((number for name, number in partial.ListFields() if name.name.startswith("rejected")), 0)
    if rejected:
        return _failed(f"partial: {rejected} rejected ({partial.error_message})")
    warning = f", with a warning: {partial.error_message}" if partial.error_message else ""
    return Answer(arrived=True, text=f"accepted{warning}")


def _batch(signal: str) -> Any:
    """Give what an exporter of the SDK takes: a real span, or an empty batch, which is valid OTLP."""
    if signal == "traces":
        return _spans()
    if signal == "logs":
        return []
    from opentelemetry.sdk.metrics.export import MetricsData

    return MetricsData(resource_metrics=[])


def _request(signal: str) -> Any:
    if signal == "traces":
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        return encode_spans(_spans())
    return ExportLogsServiceRequest() if signal == "logs" else ExportMetricsServiceRequest()


def _spans() -> Sequence[ReadableSpan]:
    provider = TracerProvider(resource=providers.resource(), id_generator=FlyteIdGenerator(), shutdown_on_exit=False)
    span = provider.get_tracer(semconv.SCOPE).start_span(semconv.SPAN_DOCTOR)
    span.end()
    return [span] if isinstance(span, ReadableSpan) else []


def _failed(text: str) -> Answer:
    return Answer(arrived=False, text=text)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
