"""GET requests to a backend: each has a deadline, an answer of bounded size, and few retries."""

import json
import time
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from otel_flyte.recording.cells import printable
from otel_flyte.server.remote.backends import Backend
from otel_flyte.server.source import UnavailableError

DEADLINE = 20.0
"""Seconds of a call, its retries included."""
LARGEST = 128 * 2**20
"""Bytes of an answer."""

_CONNECT, _SILENCE = 3.0, 10.0
"""Seconds until a connection is made, and between two parts of an answer."""
_PAUSES = (0.2, 0.6)
"""Seconds before each retry."""
_MOST_REDIRECTS = 3
_CHUNK = 2**16
_CONNECTIONS = 8
_QUOTED = 200
"""Characters of a backend's own message in ours."""

_BUSY = frozenset({429, 502, 503, 504})
_DENIED = frozenset({401, 403, 407})
_UNREADABLE_QUERY = frozenset({400, 413, 414, 422})


class _PassingError(Exception):
    """A fault that a retry may not meet; its cause is the error to report else."""


class Client:
    """Asks one backend, from any thread."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._session = requests.Session()
        self._session.headers.clear()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(_CONNECTIONS, _CONNECTIONS))

    def json(self, path: str, parameters: Mapping[str, str | int]) -> Any:
        """Return the object of JSON at a path.

        Raises:
            UnavailableError: there is none.
        """
        content = self.content(path, parameters, "application/json")
        try:
            found = json.loads(content or b"")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self.nonsense()
        return found

    def content(self, path: str, parameters: Mapping[str, str | int], accept: str) -> bytes | None:
        """Return the answer for a path, ``None`` where nothing is there.

        Raises:
            UnavailableError: the backend does not answer, or refuses to.
        """
        deadline = time.monotonic() + DEADLINE
        for pause in (*_PAUSES, None):
            try:
                return self._answer(path, parameters, accept, deadline)
            except _PassingError as error:
                if pause is None or time.monotonic() + pause > deadline:
                    raise error.args[0] from None
            time.sleep(pause)
        raise AssertionError

    def nonsense(self) -> UnavailableError:
        """Return the error for an answer that is not what this backend sends."""
        option = self.backend.option
        return self._error(f"does not answer as {self.backend.name} does: check {option}", 502)

    def _answer(self, path: str, parameters: Mapping[str, str | int], accept: str, deadline: float) -> bytes | None:
        url, headers = self.backend.url + path, {**self.backend.headers, "Accept": accept}
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                with self._get(url, parameters, headers) as answer:
                    if not answer.is_redirect:
                        return self._body(answer, deadline)
                    target = urljoin(url, answer.headers["Location"])
                if _origin(target) != _origin(url):
                    # The credentials are those of one host.
                    headers = {"Accept": accept}
                url, parameters = target, {}
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
            raise self._late() from None
        except (requests.exceptions.ConnectionError, urllib3.exceptions.ProtocolError) as error:
            reason = _reason(error)
            problem = self._error(f"can't be reached ({reason}): start it, or correct {self.backend.option}", 503)
            # A connection that was kept alive may be gone.
            raise (_PassingError(problem) if "refused" not in reason else problem) from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError, OSError):
            raise self.nonsense() from None
        raise self._error(f"redirects too often: give its own address in {self.backend.option}", 502)

    def _get(self, url: str, parameters: Mapping[str, str | int], headers: Mapping[str, str]) -> requests.Response:
        return self._session.get(
            url,
            params=parameters,
            headers={**headers, "Accept-Encoding": "identity"},
            timeout=(_CONNECT, _SILENCE),
            allow_redirects=False,
            stream=True,
            # Without one, `requests` takes a password from `.netrc`.
            auth=lambda request: request,
        )

    def _body(self, answer: requests.Response, deadline: float) -> bytes | None:
        if answer.status_code == 404:
            return None
        content = self._read(answer, deadline)
        if answer.status_code == 200:
            return content
        raise self._refusal(answer.status_code, content)

    def _read(self, answer: requests.Response, deadline: float) -> bytes:
        # It returns what has come; `read` waits for all that was asked for.
        read = getattr(answer.raw, "read1", answer.raw.read)
        found = bytearray()
        while chunk := read(_CHUNK, decode_content=True):
            found += chunk
            if len(found) > LARGEST:
                raise self._error(f"answers more than {LARGEST // 2**20} MiB: ask for less", 502)
            if time.monotonic() > deadline:
                raise self._late()
        return bytes(found)

    def _refusal(self, status: int, content: bytes) -> Exception:
        option = self.backend.option
        if status in _DENIED:
            return self._error(
                f"refuses access ({status}): give its credentials by --backend-header or in {option}", 502
            )
        if status in _BUSY:
            return _PassingError(self._error(f"is busy or not ready ({status}): ask again later", 503))
        if status in _UNREADABLE_QUERY:
            said = printable(" ".join(content[: 4 * _QUOTED].decode("utf-8", "replace").split()))[:_QUOTED]
            return self._error(f"refuses the query ({status}: {said}): ask for less, or check its limits", 502)
        if status >= 500:
            return self._error(f"fails ({status}): see its log, and ask again later", 502)
        return self._error(f"answers {status}: check {option}", 502)

    def _late(self) -> UnavailableError:
        return self._error("does not answer in time: ask again later, or for less", 503)

    def _error(self, text: str, status: int) -> UnavailableError:
        return UnavailableError(f"{self.backend} {text}", status)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _reason(error: Exception) -> str:
    """Return the reason of a failed connection in few words: the library's own has the URL and addresses of objects."""
    text = str(error)
    reasons = {
        "refused": "connection refused",
        "resolve": "unknown host",
        "getaddrinfo": "unknown host",
        "Name or service": "unknown host",
        "certificate": "its certificate is not trusted",
        "SSL": "no TLS",
        "unreachable": "no route",
    }
    return next((words for part, words in reasons.items() if part in text), "the connection broke")
