"""The scripts and styles of the pages: those of the report, and those of the server."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from otel_flyte.report import scripts

_PLACES = {
    "page.css": "otel_flyte.report",
    "static.css": "otel_flyte.report",
    "list.js": "otel_flyte.server.pages",
    "list.css": "otel_flyte.server.pages",
    "compare.css": "otel_flyte.server.pages",
    "icon.svg": "otel_flyte.server.pages",
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
    if name == "page.js":
        content = scripts.script().encode()
    elif name in _PLACES:
        content = (files(_PLACES[name]) / "assets" / name).read_bytes()
    else:
        return None
    return Asset(content, _KINDS[name.rpartition(".")[2]], hashlib.sha256(content).hexdigest()[:32])
