"""A recording as one HTML page that needs no server and no network.

The script draws the charts itself: a library would be in every page, and the one on PyPI, uPlot in uplot-python, has
120 KB.
"""

import base64
import hashlib
import zlib
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path

from otel_flyte._version import __version__
from otel_flyte.recording.cells import without_direction
from otel_flyte.recording.span_tree import Execution
from otel_flyte.recording.tree import Analysis
from otel_flyte.report import data, scripts, static

_LARGEST_PLAIN = 2**20
"""The number of characters of data above which they are compressed. Plain data can be read in the file."""

_STATIC_SPANS = 2000
"""The number of spans up to which charts can be seen without the script as well."""


def default_path(source: str | PathLike[str]) -> Path:
    """Return the path of a source's page: its name with ``.html``, in the current folder."""
    path = Path(source)
    name = (path.name or path.resolve().name).lstrip(".") or "report"
    for suffix in (".jsonl", ".json", ".html"):
        name = name.removesuffix(suffix)
    return Path(f"{name}.html")


def write(analysis: Analysis, path: str | PathLike[str], trace_url: str = "") -> None:
    """Write the page of a recording.

    Raises:
        OSError: it can't be written.
    """
    Path(path).write_bytes(render(analysis, trace_url).encode("utf-8", "replace"))


def render(analysis: Analysis, trace_url: str = "") -> str:
    """Return the page of a recording; ``trace_url`` is the template of a link to a span, empty for none."""
    style = _asset("page.css") + static.style()
    script = scripts.script()
    content = data.as_script(data.page_data(analysis, trace_url))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta name="generator" content="otel-flyte {__version__}">\n'
        f"<title>{escape(_title(analysis.tree.executions))}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<div id="app"></div>\n<noscript>{_without_script(analysis, trace_url)}</noscript>\n'
        f"{_data(content)}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _data(content: str) -> str:
    """Return the element with the data; a browser decompresses them by itself, in a page from disk as well."""
    kind = "application/json"
    if len(content) > _LARGEST_PLAIN:
        compressed = zlib.compress(content.encode("utf-8", "replace"))
        kind, content = "application/zlib", base64.b64encode(compressed).decode()
    return f'<script type="{kind}" id="data">{content}</script>'


def _without_script(analysis: Analysis, trace_url: str) -> str:
    are_few = sum(1 for _ in analysis.tree.walk()) <= _STATIC_SPANS
    picture = static.picture(analysis.tree, analysis.attempts if are_few else (), trace_url)
    return picture if analysis.tree.executions else f"<p>Nothing is recorded.</p>{picture}"


def _title(executions: tuple[Execution, ...]) -> str:
    if not executions:
        return "nothing recorded · otel-flyte"
    more = f" and {len(executions) - 1} more" if len(executions) > 1 else ""
    name = without_direction(executions[0].name or executions[0].roots[0].span.name)
    return f"{name}{more} · otel-flyte"


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
