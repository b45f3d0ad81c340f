"""OTLP over gRPC: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otel_flyte.export import otlp_requests
from otel_flyte.export.otlp_requests import SHAPES
from otel_flyte.server.receivers import intake
from otel_flyte.server.store.schema import DatabaseError
from otel_flyte.server.store.writer import BusyError, Writer

_SERVICE = "opentelemetry.proto.collector.{signal}.v1.{service}Service"
_THREADS = 8
_DETAILS = "grpc-status-details-bin"


def server(writer: Writer, is_allowed: Callable[[Mapping[str, str]], bool]) -> grpc.Server:
    """Return the receiver, which is not started and has no port.

    Args:
        writer: takes the requests.
        is_allowed: whether a request with this metadata may be taken.
    """
    made = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="otel-flyte-grpc"),
        options=[("grpc.max_receive_message_length", intake.LARGEST_REQUEST), ("grpc.so_reuseport", 0)],
    )
    for signal, shape in SHAPES.items():
        export = grpc.unary_unary_rpc_method_handler(
            _export(writer, signal, is_allowed),
            request_deserializer=type(otlp_requests.request(signal)).FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        name = _SERVICE.format(signal="trace" if signal == "traces" else signal, service=shape.service)
        made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": export}),))
    return made


def _export(writer: Writer, signal: str, is_allowed: Callable[[Mapping[str, str]], bool]) -> Callable[[Any, Any], Any]:
    def export(request: Any, context: Any) -> Any:
        if not is_allowed(dict(context.invocation_metadata())):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong")
        try:
            taken = intake.take(writer, signal, request, request.ByteSize())
            taken.written.result()
        except BusyError:
            _refuse(context, "too many requests wait", intake.RETRY_SECONDS)
        except DatabaseError as error:
            _refuse(context, str(error), 30)
        return taken.response

    return export


def _refuse(context: Any, message: str, seconds: int) -> None:
    """Refuse a request so that its sender sends it again: only with ``RetryInfo`` does it do that."""
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    info = AnyMessage()
    info.Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    details = Status(code=code.value[0], message=message, details=[info])
    context.set_trailing_metadata(((_DETAILS, details.SerializeToString()),))
    context.abort(code, message)
