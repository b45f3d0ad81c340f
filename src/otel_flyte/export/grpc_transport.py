"""OTLP over gRPC."""

from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from otel_flyte import semconv
from otel_flyte.config.endpoints import HTTP
from otel_flyte.export.target import USER_AGENT, Target
from otel_flyte.export.transport import Outcome, Verdict, accepted
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_brief

REQUEST_LIMIT = 4 * 2**20
"""Bytes of a message that gRPC takes unless told otherwise."""

_METHOD = "/opentelemetry.proto.collector.{package}.v1.{service}/Export"
_SERVICES = {
    "traces": ("trace", "TraceService"),
    "metrics": ("metrics", "MetricsService"),
    "logs": ("logs", "LogsService"),
}
_OPTIONS = (
    ("grpc.primary_user_agent", USER_AGENT),
    # How often is tried, and when, is the caller's to say.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # This is how long a connection may take.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_HTTP_2 = ("http1", "http2", "HTTP2", "HTTP/2")
_UNAVAILABLE = (
    (("refused",), "connection refused, nothing listens there"),
    (("DNS", "resolution"), "the host's name can't be resolved"),
    (_HTTP_2, f"it does not speak HTTP/2: {semconv.PROTOCOL}={HTTP} may be what it wants"),
    (("Timeout", "timed out", "Shutdown"), "timed out, no connection"),
    (("reset", "closed", "EOF"), "connection reset"),
)
"""What is meant by the words that gRPC's core has for it."""

_RETRYABLE = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
"""https://opentelemetry.io/docs/specs/otlp/#failures"""


class GrpcTransport:
    """A channel that connects with its first request, and again after failures.

    Raises:
        OSError: a certificate can't be read.
        LookupError: the credential provider that was asked for is not installed.
    """

    request_limit = REQUEST_LIMIT

    def __init__(self, target: Target) -> None:
        self.timeout = target.timeout
        self.destination = target.address
        self._target = target
        self._metadata = tuple(target.headers.items())
        compression = grpc.Compression.Gzip if target.compression == "gzip" else grpc.Compression.NoCompression
        if target.secure:
            self._channel = grpc.secure_channel(target.address, _credentials(target), _OPTIONS, compression)
        else:
            self._channel = grpc.insecure_channel(target.address, _OPTIONS, compression)
        package, service = _SERVICES[target.signal]
        self._export = self._channel.unary_unary(_METHOD.format(package=package, service=service))

    def send(self, request: Message, timeout: float) -> Outcome:
        """Call ``Export`` once."""
        try:
            body = self._export(request.SerializeToString(), timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failed(error)
        except Exception as error:
            return Outcome(Verdict.REFUSED, in_brief(str(error)) or type(error).__name__)
        return accepted(self._target.signal, body)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _credentials(target: Target) -> grpc.ChannelCredentials:
    if not target.credentials:
        return grpc.ssl_channel_credentials(
            _content(target.certificate), _content(target.client_key), _content(target.client_certificate)
        )
    for entry in entry_points(group="opentelemetry_otlp_credential_provider", name=target.credentials):
        credentials = entry.load()()
        if isinstance(credentials, grpc.ChannelCredentials):
            return credentials
    raise LookupError(f"there is no credential provider {target.credentials} for gRPC here")


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _failed(error: Any) -> Outcome:
    code, details = error.code().name, in_brief(str(error.details()))
    retry_after = _retry_after(error)
    said = f"{code} ({details})"
    match code:
        case "DEADLINE_EXCEEDED":
            return Outcome(Verdict.RETRY, "timed out")
        case "UNAVAILABLE":
            reasons = (reason for words, reason in _UNAVAILABLE if any(word in details for word in words))
            return Outcome(Verdict.RETRY, next(reasons, said), retry_after=retry_after)
        case "RESOURCE_EXHAUSTED" if "larger than max" in details or "too large" in details:
            return Outcome(Verdict.TOO_LARGE, details)
        case code if code in _RETRYABLE or (code == "RESOURCE_EXHAUSTED" and retry_after is not None):
            return Outcome(Verdict.RETRY, said, retry_after=retry_after)
        case "INVALID_ARGUMENT":
            return Outcome(Verdict.REJECTED, said)
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return Outcome(Verdict.REFUSED, f"{said}, check {semconv.HEADERS}")
        case _:
            return Outcome(Verdict.REFUSED, said)


def _retry_after(error: Any) -> float | None:
    """Read the ``RetryInfo`` that a receiver attaches, by either of the two ways in which it may."""
    with importing:
        from google.rpc.error_details_pb2 import RetryInfo
        from google.rpc.status_pb2 import Status

    metadata = dict(error.trailing_metadata() or ())
    retry_info, status = RetryInfo(), Status()
    with suppress(DecodeError, TypeError):
        status.ParseFromString(metadata.get("grpc-status-details-bin", b""))
        found = [retry_info for detail in status.details if detail.Unpack(retry_info)]
        if not found and "google.rpc.retryinfo-bin" in metadata:
            retry_info.ParseFromString(metadata["google.rpc.retryinfo-bin"])
            found = [retry_info]
        if found:
            return float(retry_info.retry_delay.seconds + retry_info.retry_delay.nanos / 1e9)
    return None
