"""OTLP over gRPC."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from otel_flyte import semconv
from otel_flyte.config.endpoints import HTTP
from otel_flyte.config.standard import GRPC_BINARY
from otel_flyte.export.otlp_requests import SHAPES
from otel_flyte.export.target import USER_AGENT, Target, load_credentials
from otel_flyte.export.transport import Outcome, Verdict, accepted
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_brief

REQUEST_LIMIT = 4 * 2**20
"""gRPC's default limit of a message, in bytes."""

_METHOD = "/opentelemetry.proto.collector.{package}.v1.{service}Service/Export"
_OPTIONS = (
    ("grpc.primary_user_agent", USER_AGENT),
    # Retries are the caller's.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # This is the time that a connection may take.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_UNAVAILABLE = (
    (("refused",), "connection refused, nothing listens there"),
    (("DNS", "resolution"), "the host's name can't be resolved"),
    (("http1", "http2", "HTTP2", "HTTP/2"), f"the receiver does not speak HTTP/2, try {semconv.PROTOCOL}={HTTP}"),
    (("Timeout", "timed out", "Shutdown"), "timed out, no connection"),
    (("reset", "closed", "EOF"), "connection reset"),
)
"""Reasons by the words of gRPC's core."""

_RETRYABLE = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
"""https://opentelemetry.io/docs/specs/otlp/#failures"""


class GrpcTransport:
    """A channel that connects with its first request, and again after failures.

    Raises:
        OSError: a certificate can't be read.
        LookupError: the credential provider is not installed.
    """

    request_limit = REQUEST_LIMIT

    def __init__(self, target: Target) -> None:
        self.timeout = target.timeout
        self.destination = target.address
        self._signal = target.signal
        self._metadata = tuple(_metadata(*header) for header in target.headers.items())
        compression = grpc.Compression.Gzip if target.compression == "gzip" else grpc.Compression.NoCompression
        if target.secure:
            self._channel = grpc.secure_channel(target.address, _credentials(target), _OPTIONS, compression)
        else:
            self._channel = grpc.insecure_channel(target.address, _OPTIONS, compression)
        service = SHAPES[target.signal].service
        self._export = self._channel.unary_unary(_METHOD.format(package=service.lower(), service=service))

    def send(self, request: Message, timeout: float) -> Outcome:
        """Call ``Export`` once."""
        try:
            body = self._export(request.SerializeToString(), timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failed(error)
        except Exception as error:
            return Outcome(Verdict.REFUSED, in_brief(str(error)) or type(error).__name__)
        return accepted(self._signal, body)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _metadata(name: str, value: str) -> tuple[str, str | bytes]:
    """Return a header as metadata, whose value is bytes if its name says so."""
    return name, value.encode() if name.endswith(GRPC_BINARY) else value


def _credentials(target: Target) -> grpc.ChannelCredentials:
    if target.credentials:
        return load_credentials(target.credentials, grpc.ChannelCredentials)
    files = (target.certificate, target.client_key, target.client_certificate)
    return grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))


def _failed(error: Any) -> Outcome:
    code, details = error.code().name, in_brief(str(error.details()))
    retry_after = _retry_after(error)
    answer = f"{code} ({details})"
    match code:
        case "DEADLINE_EXCEEDED":
            return Outcome(Verdict.RETRY, "timed out")
        case "UNAVAILABLE":
            reasons = (reason for words, reason in _UNAVAILABLE if any(word in details for word in words))
            return Outcome(Verdict.RETRY, next(reasons, answer), retry_after=retry_after)
        case "RESOURCE_EXHAUSTED" if "larger than max" in details or "too large" in details:
            return Outcome(Verdict.TOO_LARGE, details)
        case code if code in _RETRYABLE or (code == "RESOURCE_EXHAUSTED" and retry_after is not None):
            return Outcome(Verdict.RETRY, answer, retry_after=retry_after)
        case "INVALID_ARGUMENT":
            return Outcome(Verdict.REJECTED, answer)
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return Outcome(Verdict.REFUSED, f"{answer}, check {semconv.HEADERS}")
        case _:
            return Outcome(Verdict.REFUSED, answer)


def _retry_after(error: Any) -> float | None:
    """Read ``RetryInfo``, which receivers attach either as a detail of the status or as metadata of its own."""
    with importing:
        from google.rpc.error_details_pb2 import RetryInfo
        from google.rpc.status_pb2 import Status

    metadata = dict(error.trailing_metadata() or ())
    retry_info, status = RetryInfo(), Status()
    with suppress(DecodeError, TypeError):
        status.ParseFromString(metadata.get("grpc-status-details-bin", b""))
        is_detail = any(detail.Unpack(retry_info) for detail in status.details)
        if not is_detail and "google.rpc.retryinfo-bin" in metadata:
            retry_info.ParseFromString(metadata["google.rpc.retryinfo-bin"])
            is_detail = True
        if is_detail:
            return float(retry_info.retry_delay.seconds + retry_info.retry_delay.nanos / 1e9)
    return None
