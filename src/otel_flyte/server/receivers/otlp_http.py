"""OTLP over HTTP: https://opentelemetry.io/docs/specs/otlp/#otlphttp."""

import asyncio
from collections.abc import Callable

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from starlette.requests import ClientDisconnect

from otel_flyte.config.endpoints import WELL_KNOWN
from otel_flyte.export.otlp_requests import SHAPES
from otel_flyte.server.receivers import intake
from otel_flyte.server.store.schema import DatabaseError
from otel_flyte.server.store.writer import BusyError, Writer

_JSON, _PROTOBUF = "application/json", "application/x-protobuf"


def app(writer: Writer, is_allowed: Callable[[Request], bool], page_port: int) -> FastAPI:
    """Return the receiver.

    Args:
        writer: takes the requests.
        is_allowed: whether a request may be taken.
        page_port: that of the page, for programs that send to this receiver and print where to look.
    """
    receiver = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    for signal in SHAPES:
        receiver.add_api_route(f"/v1/{signal}", _endpoint(writer, signal, is_allowed), methods=["POST"])

    @receiver.get(WELL_KNOWN)
    def page(request: Request) -> dict[str, int]:
        if not is_allowed(request):
            raise HTTPException(401)
        return {"page_port": page_port}

    return receiver


def _endpoint(writer: Writer, signal: str, is_allowed: Callable[[Request], bool]) -> Callable[[Request], object]:
    async def export(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not is_allowed(request):
            return _failure(401, "the token is missing or wrong: send it as `Authorization: Bearer TOKEN`", kind)
        if kind not in (_JSON, _PROTOBUF):
            return _failure(415, f"the content type must be {_PROTOBUF} or {_JSON}", _PROTOBUF)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        try:
            body = await _body(request)
            taken = await run_in_threadpool(_take, writer, signal, body, encoding, is_json=kind == _JSON)
            await asyncio.wrap_future(taken.written)
        except tuple(_FAILURES) as error:
            code, message, retry_after = _FAILURES[type(error)]
            return _failure(code, message or str(error), kind, retry_after)
        return _answer(200, taken.response, kind)

    return export


_FAILURES: dict[type[Exception], tuple[int, str, int | None]] = {
    intake.InvalidRequestError: (400, "", None),
    intake.TooLargeError: (413, f"a request may have {intake.LARGEST_REQUEST} bytes: send smaller batches", None),
    BusyError: (503, "too many requests wait", intake.RETRY_SECONDS),
    DatabaseError: (503, "", 30),
    ClientDisconnect: (400, "the connection is lost", None),
}
"""The code of the answer, its message unless that of the exception, and the seconds after which to send again."""


def _take(writer: Writer, signal: str, body: bytes, encoding: str, *, is_json: bool) -> intake.Taken:
    content = intake.decompressed(body, encoding)
    return intake.take(writer, signal, intake.parsed(signal, content, is_json=is_json), len(content))


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > intake.LARGEST_REQUEST:
            raise intake.TooLargeError
    return b"".join(parts)


def _failure(code: int, message: str, kind: str, retry_after: int | None = None) -> Response:
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    return _answer(code, Status(message=message), kind, headers)


def _answer(code: int, message: Message, kind: str, headers: dict[str, str] | None = None) -> Response:
    content = MessageToJson(message, indent=None) if kind == _JSON else message.SerializeToString()
    return Response(content, code, headers, media_type=_JSON if kind == _JSON else _PROTOBUF)
