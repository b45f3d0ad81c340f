"""The addresses of backends, and the headers that they need."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

TEMPO, PROMETHEUS, LOKI = "Tempo", "Prometheus", "Loki"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_OURS = frozenset({"host", "accept", "accept-encoding", "content-length", "transfer-encoding", "connection"})


class AddressError(Exception):
    """An address or a header can't be used. The message is one line, without the value: it may hold a password."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend.

    Attributes:
        name: as users know it.
        url: the base of its API, without user, password and the last slash.
        headers: those of each request.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def option(self) -> str:
        """The option that names it."""
        return f"--{self.name.lower()}"

    def __str__(self) -> str:
        return f"{self.name} at {self.url}"


def backend(name: str, url: str, headers: Mapping[str, str]) -> Backend:
    """Return the backend at a URL, whose user and password become a header.

    Raises:
        AddressError: the URL can't be used.
    """
    option = f"--{name.lower()}"
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"[\s\x00-\x1f]", url.strip()):
        raise AddressError(f"{option} is no URL: write it as http://HOST:PORT")
    if parts.query or parts.fragment:
        raise AddressError(f"{option} has a query: give the base of the API, as http://HOST:PORT")
    own = dict(headers)
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        own["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    place = parts.netloc.rpartition("@")[2]
    return Backend(name, parts._replace(netloc=place, path=parts.path.rstrip("/")).geturl(), own)


def headers(given: Iterable[str]) -> dict[str, str]:
    """Return the headers that are given as ``NAME: VALUE``.

    Raises:
        AddressError: one can't be used.
    """
    found: dict[str, str] = {}
    for number, each in enumerate(given, 1):
        name, colon, value = each.partition(":")
        if not colon or not _NAME.fullmatch(name.strip()) or not _VALUE.fullmatch(value):
            raise AddressError(f"--backend-header number {number} is no header: write it as 'NAME: VALUE'")
        if name.strip().lower() in _OURS:
            raise AddressError(f"--backend-header {name.strip()} is set for each request: remove it")
        found[name.strip()] = value.strip()
    return found
