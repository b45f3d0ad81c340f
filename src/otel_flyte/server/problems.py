"""Errors as answers: one line, in the shape that the clients of a path expect."""

from collections.abc import Mapping
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

API, MODELARTS = "/api/", "/v2/"
"""The beginnings of the paths of the API, and of the one that is ModelArts'."""

_LONGEST = 1000
_PARAMETER_ERROR = "ModelArts.0104"


class BadRequestError(Exception):
    """A parameter can't be used. The message is one line."""


class NotFoundError(LookupError):
    """There is no such thing. The message is one line."""


class BusyError(Exception):
    """The server has too much to do. The message is one line."""


class Problem(NamedTuple):
    """An answer that is an error."""

    status: int
    message: str
    headers: Mapping[str, str] = {}


def response(path: str, problem: Problem) -> Response:
    """Return an error in the shape of a path: ModelArts' own, the API's, else plain text."""
    message = problem.message if len(problem.message) <= _LONGEST else f"{problem.message[:_LONGEST]}…"
    if path.startswith(MODELARTS):
        code = _PARAMETER_ERROR if problem.status == 400 else f"ModelArts.{problem.status:04}"
        content = {"error_code": code, "error_msg": message}
        return JSONResponse(content, problem.status, problem.headers)
    if path.startswith(API):
        return JSONResponse({"detail": message}, problem.status, problem.headers)
    return PlainTextResponse(f"{message}\n", problem.status, problem.headers)


def for_request(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as the answer to a request."""
    return response(request.url.path, Problem(status, message, headers or {}))
