"""What every request must have before the page or the API sees it: a known host, a token, and a bounded size."""

import ipaddress
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders

from otel_flyte.server import problems
from otel_flyte.server.problems import Problem

LONGEST_PATH = 4096
LONGEST_QUERY = 8192
LARGEST_BODY = 65536
"""Bytes. No route reads a body."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_SCHEMES = 'Bearer, Basic realm="any user, the token as password", charset="UTF-8"'
"""A browser asks its user by the second one."""

_SLASH = re.compile(rb"%2f", re.IGNORECASE)


def guarded(app: Any, is_allowed: Callable[[Mapping[str, str]], bool], *, checks_host: bool) -> Any:
    """Return an application that passes only the requests which may be answered.

    Args:
        app: the application.
        is_allowed: whether a request with these headers may read.
        checks_host: whether a request must name an address or localhost. A page of another site can make its own
            name stand for this machine, and then read all answers; the name is what tells its requests from others.
    """

    async def guard(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        problem = _problem(scope, headers, is_allowed, checks_host=checks_host)
        _keep_slashes(scope)
        answer = app if problem is None else problems.response(scope["path"], problem)
        await answer(scope, receive, _with_headers(send))

    return guard


def _problem(
    scope: Mapping[str, Any],
    headers: Headers,
    is_allowed: Callable[[Mapping[str, str]], bool],
    *,
    checks_host: bool,
) -> Problem | None:
    if checks_host and not _is_local(headers.get("host", "")):
        return Problem(421, "this server answers to localhost and addresses only: use one, or give it a --token-file")
    if not is_allowed(headers):
        message = "the token is missing or wrong: send it as `Authorization: Bearer TOKEN`"
        return Problem(401, message, {"WWW-Authenticate": _SCHEMES})
    if len(scope.get("raw_path") or scope["path"]) > LONGEST_PATH:
        return Problem(414, f"the path is too long: it may have {LONGEST_PATH} bytes")
    if len(scope["query_string"]) > LONGEST_QUERY:
        return Problem(414, f"the query is too long: it may have {LONGEST_QUERY} bytes")
    size = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not size.isdecimal() or len(size) > 9 or int(size) > LARGEST_BODY:
        return Problem(413, "no request has a body here: send none", {"Connection": "close"})
    return None


def _is_local(host: str) -> bool:
    """Return whether a host header names localhost or an address, or is missing, as in HTTP/1.0."""
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if not host or name.lower().rstrip(".") == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _keep_slashes(scope: MutableMapping[str, Any]) -> None:
    """Leave encoded slashes and percent signs in the path as they are: a name may have a slash, and is no two parts."""
    if scope["path"].startswith((problems.API, problems.MODELARTS)) and scope.get("raw_path"):
        raw = scope["raw_path"].partition(b"?")[0].replace(b"%25", b"%2525")
        scope["path"] = unquote(_SLASH.sub(b"%252F", raw).decode("latin-1"))


def _with_headers(send: Any) -> Any:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
