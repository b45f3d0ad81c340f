"""The scripts and styles of the pages: those of the report, and those of the server."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_PLACES = {
    "page.js": "otel_flyte.report",
    "page.css": "otel_flyte.report",
    "static.css": "otel_flyte.report",
    "live.js": "otel_flyte.server",
    "list.js": "otel_flyte.server",
    "list.css": "otel_flyte.server",
    "icon.svg": "otel_flyte.server",
}
_KINDS = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file, with its media type and a digest of its content."""

    content: bytes
    kind: str
    digest: str


@cache
def asset(name: str) -> Asset | None:
    """Return a file, ``None`` where there is none of that name."""
    if name not in _PLACES:
        return None
    content = (files(_PLACES[name]) / "assets" / name).read_bytes()
    return Asset(content, _KINDS[name.rpartition(".")[2]], hashlib.sha256(content).hexdigest()[:32])
