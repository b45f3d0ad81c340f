"""The page and the API, as one application."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

from otel_flyte.server import api, pages
from otel_flyte.server.live import Changes
from otel_flyte.server.source import Source


def app(source: Source, changes: Changes, is_allowed: Callable[[Mapping[str, str]], bool], endpoint: str) -> FastAPI:
    """Return the application.

    Args:
        source: where executions are found.
        changes: those of the source.
        is_allowed: whether a request with these headers may read.
        endpoint: where telemetry is received, empty where recordings are read instead.
    """
    made = FastAPI(title="otel-flyte", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")

    @made.middleware("http")
    async def protect(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request) if is_allowed(request.headers) else _unauthorized()
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    made.include_router(api.router(source), prefix="/api/v1")
    made.include_router(pages.router(source, changes, endpoint))
    return made


def _unauthorized() -> Any:
    message = "the token is missing or wrong: send it as `Authorization: Bearer TOKEN`\n"
    return Response(message, 401, {"WWW-Authenticate": "Bearer"}, media_type="text/plain")
