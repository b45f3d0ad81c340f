"""An OTLP receiver on loopback that keeps what it is sent.

It speaks both protocols of OTLP as a collector does, so that a test observes what would arrive at one: real exporters,
real bytes, real acknowledgements. A process that has exited has had its exports acknowledged, so what it sent is here.
"""

import gzip
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace, TracebackType
from typing import Any, Literal, NamedTuple, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from typing_extensions import Self

T = TypeVar("T")
Protocol = Literal["grpc", "http/protobuf"]
Signal = Literal["traces", "metrics", "logs"]
Attributes = dict[str, Any]


@dataclass(frozen=True)
class Event:
    name: str
    time_ns: int
    attributes: Attributes


@dataclass(frozen=True)
class Link:
    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True)
class Span:
    name: str
    trace_id: str
    span_id: str
    parent_span_id: str
    """Empty for a root."""
    kind: str
    """As in OTLP, without its prefix: ``INTERNAL``, ``CONSUMER`` and so on."""
    start_ns: int
    end_ns: int
    status: str
    """``UNSET``, ``OK`` or ``ERROR``."""
    status_message: str
    attributes: Attributes
    events: tuple[Event, ...]
    links: tuple[Link, ...]
    resource: Attributes
    scope: str


@dataclass(frozen=True)
class LogRecord:
    body: Any
    severity: str
    time_ns: int
    trace_id: str
    span_id: str
    attributes: Attributes
    resource: Attributes
    scope: str


@dataclass(frozen=True)
class MetricPoint:
    """One data point, with what its metric says about it."""

    name: str
    unit: str
    kind: str
    """``gauge``, ``sum``, ``histogram``, ``exponential_histogram`` or ``summary``."""
    monotonic: bool | None
    value: float
    """A number as it is; of a distribution its sum."""
    count: int | None
    start_ns: int
    time_ns: int
    attributes: Attributes
    resource: Attributes
    scope: str


@dataclass(frozen=True)
class Request:
    """One export as it arrived."""

    protocol: Protocol
    signal: Signal
    headers: dict[str, str]
    """HTTP headers or gRPC metadata; names in lower case."""
    message: Any


class _Service(NamedTuple):
    request: type[Any]
    response: type[Message]
    register: Callable[[Any, Any], None]


_SERVICES: dict[Signal, _Service] = {
    "traces": _Service(
        trace_service_pb2.ExportTraceServiceRequest,
        trace_service_pb2.ExportTraceServiceResponse,
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server,
    ),
    "metrics": _Service(
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server,
    ),
    "logs": _Service(
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server,
    ),
}
_SIGNAL_AT: dict[str, Signal] = {f"/v1/{signal}": signal for signal in _SERVICES}


class Receiver:
    """Serves while its ``with`` block runs; everything that it has been sent can be read at any time."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._arrival = threading.Condition()
        self._grpc, self._grpc_port = _grpc_server(self._accept)
        self._http = _http_server(self._accept)
        self._http_thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._grpc.start()
        self._http_thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._http_thread.join()
        self._grpc.stop(grace=None).wait()

    def endpoint(self, protocol: Protocol = "http/protobuf") -> str:
        port = self._grpc_port if protocol == "grpc" else self._http.server_address[1]
        return f"http://127.0.0.1:{port}"

    def environment(self, protocol: Protocol = "http/protobuf") -> dict[str, str]:
        """The standard variables that send everything here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint(protocol),
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }

    def requests(self, signal: Signal | None = None) -> list[Request]:
        with self._arrival:
            return [request for request in self._requests if signal in (None, request.signal)]

    def spans(self, name: str | None = None) -> list[Span]:
        """In the order of arrival; only those called ``name`` if it is given."""
        messages = (request.message for request in self.requests("traces"))
        return [span for message in messages for span in _spans(message) if name in (None, span.name)]

    def logs(self) -> list[LogRecord]:
        return [record for request in self.requests("logs") for record in _logs(request.message)]

    def metrics(self, name: str | None = None) -> list[MetricPoint]:
        messages = (request.message for request in self.requests("metrics"))
        return [point for message in messages for point in _points(message) if name in (None, point.name)]

    def clear(self) -> None:
        with self._arrival:
            self._requests.clear()

    def wait_for(self, condition: Callable[["Receiver"], T], timeout: float = 30.0) -> T:
        """What ``condition`` returns as soon as that is truthy; it is asked again at every arrival."""
        deadline = time.monotonic() + timeout
        with self._arrival:
            while not (found := condition(self)):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    arrived = [span.name for span in self.spans()]
                    raise TimeoutError(f"not within {timeout} s; {len(self._requests)} requests, spans {arrived}")
                self._arrival.wait(remaining)
        return found

    def _accept(self, request: Request) -> None:
        with self._arrival:
            self._requests.append(request)
            self._arrival.notify_all()


# --- the two servers -------------------------------------------------------------------------------------------------


def _grpc_server(accept: Callable[[Request], None]) -> tuple[Any, int]:
    # SO_REUSEPORT would let a second receiver share the port and take half of the exports.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    for signal, service in _SERVICES.items():
        service.register(_servicer(signal, service, accept), server)
    return server, server.add_insecure_port("127.0.0.1:0")


def _servicer(signal: Signal, service: _Service, accept: Callable[[Request], None]) -> Any:
    def export(message: Any, context: Any) -> Message:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        accept(Request("grpc", signal, headers, message))
        return service.response()

    return SimpleNamespace(Export=export)


def _http_server(accept: Callable[[Request], None]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            signal = _SIGNAL_AT.get(self.path)
            if signal is None:
                self._answer(404, b"")
                return
            service = _SERVICES[signal]
            try:
                message = service.request.FromString(_decompress(body, self.headers.get("Content-Encoding", "")))
            except (OSError, zlib.error, DecodeError, ValueError) as error:
                self._answer(400, str(error).encode())
                return
            headers = {key.lower(): value for key, value in self.headers.items()}
            accept(Request("http/protobuf", signal, headers, message))
            self._answer(200, service.response().SerializeToString())

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its caller names it
            """A test's output is the test's."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def _decompress(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "" | "identity":
            return body
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case _:
            raise ValueError(f"unknown content encoding {encoding!r}")


# --- from OTLP to plain values ---------------------------------------------------------------------------------------


def _value(value: common_pb2.AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return tuple(_value(item) for item in value.array_value.values)
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case kind:
            return getattr(value, kind)


def _attributes(pairs: Iterable[common_pb2.KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _resource(resource: resource_pb2.Resource) -> Attributes:
    return _attributes(resource.attributes)


def _spans(message: trace_service_pb2.ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in message.resource_spans:
        resource = _resource(of_resource.resource)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield _span(span, resource, of_scope.scope.name)


def _span(span: trace_pb2.Span, resource: Attributes, scope: str) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        events=tuple(Event(e.name, e.time_unix_nano, _attributes(e.attributes)) for e in span.events),
        links=tuple(Link(k.trace_id.hex(), k.span_id.hex(), _attributes(k.attributes)) for k in span.links),
        resource=resource,
        scope=scope,
    )


def _logs(message: logs_service_pb2.ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for of_resource in message.resource_logs:
        resource = _resource(of_resource.resource)
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                yield LogRecord(
                    body=_value(record.body),
                    severity=record.severity_text,
                    time_ns=record.time_unix_nano,
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    attributes=_attributes(record.attributes),
                    resource=resource,
                    scope=of_scope.scope.name,
                )


def _points(message: metrics_service_pb2.ExportMetricsServiceRequest) -> Iterator[MetricPoint]:
    for of_resource in message.resource_metrics:
        resource = _resource(of_resource.resource)
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                yield from _points_of(metric, resource, of_scope.scope.name)


def _points_of(metric: metrics_pb2.Metric, resource: Attributes, scope: str) -> Iterator[MetricPoint]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    for point in data.data_points:
        yield MetricPoint(
            name=metric.name,
            unit=metric.unit,
            kind=kind,
            monotonic=data.is_monotonic if kind == "sum" else None,
            value=_number(point),
            count=getattr(point, "count", None),
            start_ns=point.start_time_unix_nano,
            time_ns=point.time_unix_nano,
            attributes=_attributes(point.attributes),
            resource=resource,
            scope=scope,
        )


def _number(point: Any) -> float:
    if isinstance(point, metrics_pb2.NumberDataPoint):
        return point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
    return float(point.sum)


# --- what tests ask of spans -----------------------------------------------------------------------------------------


def children(spans: Iterable[Span], parent: Span) -> list[Span]:
    """In the order in which they started."""
    found = [s for s in spans if s.trace_id == parent.trace_id and s.parent_span_id == parent.span_id]
    return sorted(found, key=lambda span: span.start_ns)
