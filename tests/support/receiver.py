"""An OTLP receiver on loopback that keeps all exports.

It supports both protocols of OTLP like a collector, so that tests use real exporters, real bytes and real
acknowledgements. All exports of an ended process have been acknowledged, so they are available.

It can misbehave like collectors: a function decides the answer to each export, and it can be down for a while.
"""

import contextlib
import gzip
import select
import socket
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
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
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
    """Empty for a root span."""
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
    """The value of a number, or the sum of a distribution."""
    count: int | None
    start_ns: int
    time_ns: int
    attributes: Attributes
    resource: Attributes
    scope: str


@dataclass(frozen=True)
class Request:
    """One received export."""

    protocol: Protocol
    signal: Signal
    headers: dict[str, str]
    """HTTP headers or gRPC metadata; names in lower case."""
    message: Any

    @property
    def size(self) -> int:
        """The number of its spans, data points or log records."""
        return sum(len(records) for records in _lists_of_records(self.message))


@dataclass(frozen=True)
class Reply:
    """The answer to an export; by default everything is accepted at once."""

    status: int = 200
    """An HTTP status; over gRPC the code with the same meaning."""
    retry_after: int | None = None
    """Seconds until a retry, for an error status."""
    takes: int | None = None
    """The number of accepted records, the first ones; the others are rejected. ``None`` accepts all."""
    delay: float = 0.0
    """Seconds until it answers. An export whose client has disconnected by then is not accepted."""
    is_lost: bool = False
    """Whether the connection breaks after the export is accepted and before the client is answered."""
    is_last: bool = False
    """Whether the receiver stops instead of answering."""


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
    """Serves within its ``with`` block; accepted exports can be read at any time.

    ``respond`` returns the answer to an export; it is called in several threads at once. ``grpc_address`` is the
    address for gRPC, if a test needs a certain one.
    """

    def __init__(
        self,
        respond: Callable[[Request], Reply] = lambda request: Reply(),
        grpc_address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._respond = respond
        self._requests: list[Request] = []
        self._arrival = threading.Condition()
        self._lock = threading.Lock()
        self._down: threading.Event | None = None
        """Set when the running servers stop; ``None`` while there are none."""
        self._grpc_address = _reserve(*grpc_address)
        self._http_address = _reserve()
        self.attempts = 0
        """The number of exports that have arrived, accepted or not."""

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()
        self._grpc_address.close()
        self._http_address.close()

    def up(self) -> None:
        """Serve at the same ports as before."""
        with self._lock:
            if self._down is None:
                self._down = threading.Event()
                self._grpc = _grpc_server(_address(self._grpc_address), self._handle, self._down)
                self._http = _http_server(_port(self._http_address), self._handle, self._down)
                self._grpc.start()
                self._http_thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
                self._http_thread.start()

    def down(self) -> None:
        """Break every connection and refuse new ones."""
        with self._lock:
            if self._down is not None:
                self._down.set()
                self._http.shutdown()
                self._http.server_close()
                self._http_thread.join()
                self._grpc.stop(grace=None).wait()
                self._down = None

    def endpoint(self, protocol: Protocol = "http/protobuf") -> str:
        return f"http://127.0.0.1:{_port(self._grpc_address if protocol == 'grpc' else self._http_address)}"

    def environment(self, protocol: Protocol = "http/protobuf") -> dict[str, str]:
        """Return the standard variables that send everything here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint(protocol),
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }

    def requests(self, signal: Signal | None = None) -> list[Request]:
        with self._arrival:
            return [request for request in self._requests if signal in (None, request.signal)]

    def spans(self, name: str | None = None) -> list[Span]:
        """Return spans in the order of arrival; with ``name`` only those of that name."""
        return [span for span in spans(self.requests("traces")) if name in (None, span.name)]

    def logs(self) -> list[LogRecord]:
        return [record for request in self.requests("logs") for record in _logs(request.message)]

    def metrics(self, name: str | None = None) -> list[MetricPoint]:
        messages = (request.message for request in self.requests("metrics"))
        return [point for message in messages for point in _points(message) if name in (None, point.name)]

    def clear(self) -> None:
        with self._arrival:
            self._requests.clear()

    def wait_for(self, condition: Callable[["Receiver"], T], timeout: float = 30.0) -> T:
        """Return the first truthy result of ``condition``, which is called again after each arrival."""
        deadline = time.monotonic() + timeout
        with self._arrival:
            while not (found := condition(self)):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    arrived = [span.name for span in self.spans()]
                    raise TimeoutError(f"not within {timeout} s; {len(self._requests)} requests, spans {arrived}")
                self._arrival.wait(remaining)
        return found

    def _handle(self, request: Request, client_waits: Callable[[], bool], down: threading.Event) -> "_Answer | None":
        """Return the answer; ``None`` if the receiver has stopped or the client has disconnected."""
        with self._arrival:
            self.attempts += 1
        reply = self._respond(request)
        deadline = time.monotonic() + reply.delay
        while (remaining := deadline - time.monotonic()) > 0:
            if down.wait(min(remaining, 0.05)) or not client_waits():
                return None
        if reply.is_last:
            threading.Thread(target=self.down).start()
            down.wait()
            return None
        response = _SERVICES[request.signal].response()
        if reply.status == 200:
            _take(request, reply.takes, response)
            with self._arrival:
                self._requests.append(request)
                self._arrival.notify_all()
        return None if reply.is_lost else _Answer(reply, response)


class _Answer(NamedTuple):
    reply: Reply
    response: Message

    @property
    def error(self) -> status_pb2.Status:
        """The error message, the same for both protocols."""
        status = status_pb2.Status(code=_CODES[self.reply.status].value[0], message="misbehaving as configured")
        if self.reply.retry_after is not None:
            detail = AnyMessage()
            detail.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=self.reply.retry_after)))
            status.details.append(detail)
        return status


_Handle = Callable[[Request, Callable[[], bool], threading.Event], _Answer | None]
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


def _take(request: Request, count: int | None, response: Any) -> None:
    """Keep the first records of a request, and set the number of rejected records in the response."""
    rejected = 0 if count is None else max(0, request.size - count)
    surplus = rejected
    for records in reversed(list(_lists_of_records(request.message))):
        cut = min(surplus, len(records))
        del records[len(records) - cut :]
        surplus -= cut
    if rejected:
        field = {"traces": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}
        setattr(response.partial_success, field[request.signal], rejected)
        response.partial_success.error_message = "misbehaving as configured"


def _lists_of_records(message: Any) -> Iterator[Any]:
    """Yield the lists of records in a request; each can be shortened."""
    match message:
        case trace_service_pb2.ExportTraceServiceRequest():
            yield from (scope.spans for one in message.resource_spans for scope in one.scope_spans)
        case logs_service_pb2.ExportLogsServiceRequest():
            yield from (scope.log_records for one in message.resource_logs for scope in one.scope_logs)
        case _:
            for scope in (scope for one in message.resource_metrics for scope in one.scope_metrics):
                yield from (getattr(metric, metric.WhichOneof("data")).data_points for metric in scope.metrics)


# --- the two servers -------------------------------------------------------------------------------------------------


def _reserve(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Reserve a port: connections are refused until this process listens, and no other process can use it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((host, port))
    return reserved


def _address(reserved: socket.socket) -> str:
    host, port = reserved.getsockname()
    return f"{host}:{port}"


def _port(reserved: socket.socket) -> int:
    port: int = reserved.getsockname()[1]
    return port


def _grpc_server(address: str, handle: _Handle, down: threading.Event) -> Any:
    # SO_REUSEPORT would let a second receiver share the port and take half of the exports.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    for signal, service in _SERVICES.items():
        service.register(_servicer(signal, handle, down), server)
    server.add_insecure_port(address)
    return server


def _servicer(signal: Signal, handle: _Handle, down: threading.Event) -> Any:
    def export(message: Any, context: Any) -> Any:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        answer = handle(Request("grpc", signal, headers, message), context.is_active, down)
        if answer is None:
            return context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
        if answer.reply.status != 200:
            context.set_trailing_metadata((("grpc-status-details-bin", answer.error.SerializeToString()),))
            context.abort(_CODES[answer.reply.status], answer.error.message)
        return answer.response

    return SimpleNamespace(Export=export)


class _HttpServer(ThreadingHTTPServer):
    """Closes its connections when it is closed."""

    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


def _http_server(port: int, handle: _Handle, down: threading.Event) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            signal = _SIGNAL_AT.get(self.path)
            if signal is None:
                self._answer(404, b"")
                return
            try:
                decompressed = _decompress(body, self.headers.get("Content-Encoding", ""))
                message = _SERVICES[signal].request.FromString(decompressed)
            except (OSError, zlib.error, DecodeError, ValueError) as error:
                self._answer(400, str(error).encode())
                return
            headers = {key.lower(): value for key, value in self.headers.items()}
            answer = handle(Request("http/protobuf", signal, headers, message), self._client_waits, down)
            if answer is None:
                self.close_connection = True
            elif answer.reply.status != 200:
                self._answer(answer.reply.status, answer.error.SerializeToString(), answer.reply.retry_after)
            else:
                self._answer(200, answer.response.SerializeToString())

        def _client_waits(self) -> bool:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return not readable or bool(self.connection.recv(1, socket.MSG_PEEK))

        def _answer(self, code: int, body: bytes, retry_after: int | None = None) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            if retry_after is not None:
                self.send_header("Retry-After", str(retry_after))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its caller names it
            """Write nothing, so that the output of a test is its own."""

    return _HttpServer(("127.0.0.1", port), Handler)


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


def spans(requests: Iterable[Request]) -> list[Span]:
    """Return the spans of requests in their order."""
    return [span for request in requests if request.signal == "traces" for span in _spans(request.message)]


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


# --- queries on spans ------------------------------------------------------------------------------------------------


def children(spans: Iterable[Span], parent: Span) -> list[Span]:
    """Return child spans in the order of their starts."""
    found = [s for s in spans if s.trace_id == parent.trace_id and s.parent_span_id == parent.span_id]
    return sorted(found, key=lambda span: span.start_ns)
