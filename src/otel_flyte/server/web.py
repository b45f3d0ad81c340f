"""The page and the API, as one application."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from otel_flyte._version import __version__
from otel_flyte.recording.attempts import UnknownAttemptError
from otel_flyte.server import guard, problems
from otel_flyte.server.api import modelarts
from otel_flyte.server.api import routes as api
from otel_flyte.server.api.analyses import Analyses
from otel_flyte.server.api.comparisons import Comparisons
from otel_flyte.server.live import Changes
from otel_flyte.server.pages import compare_routes as compare_pages
from otel_flyte.server.pages import routes as pages
from otel_flyte.server.problems import BadRequestError, BusyError, NotFoundError
from otel_flyte.server.source import Source, UnavailableError, UnknownExecutionError


def app(
    source: Source,
    changes: Changes,
    is_allowed: Callable[[Mapping[str, str]], bool],
    *,
    endpoint: str,
    checks_host: bool = False,
    default_domain: str = "development",
) -> Any:
    """Return the application.

    Args:
        source: where executions are found.
        changes: those of the source.
        is_allowed: whether a request with these headers may read.
        endpoint: where telemetry is received, empty where recordings are read instead.
        checks_host: whether a request must name an address or localhost.
        default_domain: the domain of a project of ModelArts that names none.
    """
    made = FastAPI(
        title="otel-flyte", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )
    analyses = Analyses(source)
    comparisons = Comparisons(source, analyses)
    for kind, answer in _PROBLEMS.items():
        made.add_exception_handler(kind, answer)
    made.include_router(api.router(source, analyses, comparisons, changes), prefix="/api/v1")
    made.include_router(modelarts.router(source, analyses, default_domain), prefix="/v2")
    made.include_router(pages.router(source, changes, endpoint))
    made.include_router(compare_pages.router(source, comparisons))
    return guard.guarded(made, is_allowed, checks_host=checks_host)


def _of_http(request: Request, error: Any) -> Response:
    message = f"{error.detail}: see /api/v1/openapi.json for what there is"
    return problems.for_request(request, error.status_code, message, error.headers)


def _invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"][1:]))
    return problems.for_request(request, 400, f"{name}: {first['msg']}")


def _no_execution(request: Request, error: Exception) -> Response:
    return problems.for_request(request, 404, f"no execution {error} is recorded: see the list of executions")


def _with(status: int) -> Callable[[Request, Exception], Response]:
    return lambda request, error: problems.for_request(request, status, str(error))


def _unreadable(request: Request, error: Exception) -> Response:
    return problems.for_request(request, 503, f"the database can't be read ({error}): ask again later")


def _unavailable(request: Request, error: Any) -> Response:
    if pages.is_page(request.url.path):
        return pages.unavailable(request.url.path, str(error), error.status)
    return problems.for_request(request, error.status, str(error))


_PROBLEMS: Mapping[type[Exception], Callable[[Request, Exception], Response]] = {
    HTTPException: _of_http,
    RequestValidationError: _invalid,
    UnknownExecutionError: _no_execution,
    UnknownAttemptError: _with(404),
    NotFoundError: _with(404),
    BadRequestError: _with(400),
    BusyError: _with(503),
    UnavailableError: _unavailable,
    sqlite3.Error: _unreadable,
}
