"""Answers that are compressed, and not sent to those who have them; and answers that go on."""

import gzip
import zlib
from collections.abc import Mapping
from contextlib import aclosing

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

READ = ["GET", "HEAD"]
"""The methods of what people look at: uvicorn leaves the content out of an answer to HEAD."""

_LEVEL = 5
_SMALLEST = 1000


class Stream(StreamingResponse):
    """An answer that closes its content when the connection ends."""

    async def stream_response(self, send: Send) -> None:
        """Send the content."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().stream_response(send)


class Lines(Stream):
    """JSON, one value a line."""

    media_type = "application/x-ndjson"


class Events(Stream):
    """Server-sent events."""

    media_type = "text/event-stream"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set the headers."""
        # nginx buffers answers unless this header disables it.
        super().init_headers({**(headers or {}), "X-Accel-Buffering": "no"})


def answer(request: Request, content: bytes, kind: str, tag: str) -> Response:
    """Return content in the encoding that a request accepts, or 304 where its sender has it.

    Args:
        request: the request.
        content: the body.
        kind: its media type.
        tag: identifies the content.
    """
    known = unchanged(request, tag)
    if known is not None:
        return known
    encoding = accepted(request)
    headers = _headers(tag, encoding)
    if encoding and len(content) >= _SMALLEST:
        headers["Content-Encoding"] = encoding
        content = _COMPRESS[encoding](content)
    return Response(content, headers=headers, media_type=kind)


def unchanged(request: Request, tag: str) -> Response | None:
    """Return 304 where the sender of a request has the content with a tag, else ``None``."""
    headers = _headers(tag, accepted(request))
    known = (each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(","))
    return Response(status_code=304, headers=headers) if {headers["ETag"], "*"}.intersection(known) else None


def accepted(request: Request) -> str:
    """Return the encoding to use: ``gzip``, ``deflate`` or none."""
    weights = {}
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, parameter = each.strip().partition(";")
        weights[name.strip()] = parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return next((name for name in _COMPRESS if weights.get(name, weights.get("*", False))), "")


def _headers(tag: str, encoding: str) -> dict[str, str]:
    # A strong tag names the bytes that are sent, which differ by their encoding.
    return {"ETag": f'"{tag}-{encoding or "identity"}"', "Vary": "Accept-Encoding"}


_COMPRESS = {
    "gzip": lambda content: gzip.compress(content, _LEVEL, mtime=0),
    "deflate": lambda content: zlib.compress(content, _LEVEL),
}
