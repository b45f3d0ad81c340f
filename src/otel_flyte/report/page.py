"""One self-contained HTML page of what was recorded: it opens from disk, with no server and nothing from a network.

The script and the style stand in ``assets``, as plain files: there is no build step. Charts are drawn by a page of that
script: the libraries that draw such lines well are 50 KB and more of script in every page, and none of them is on PyPI
in a form that this package could depend on.
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path

from otel_flyte._version import __version__
from otel_flyte.recording import attempts as task_attempts
from otel_flyte.recording import otlp_file
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.otlp_file import Recording
from otel_flyte.recording.tree import Execution, ExecutionTree
from otel_flyte.report import data, static

_PLAIN_ROWS = 2000
"""Spans up to which the page can be read without its script as well."""


def read(*sources: str | PathLike[str]) -> Recording:
    """Read all there is; of files that hold no span, that is what else they hold, and a remark that says so.

    Raises:
        UnreadableError: a file is missing or not OTLP.
    """
    try:
        return otlp_file.read(*sources)
    except otlp_file.EmptyError as error:
        found = error.recording
        remarks = tuple(dict.fromkeys((*found.remarks, str(error))))
        return Recording((), found.records, remarks, found.points, found.logs)


def beside(source: str | PathLike[str]) -> Path:
    """Give where the page of a source goes by default: the source's name with ``.html``, in the current folder."""
    path = Path(source)
    name = (path.name or path.resolve().name).lstrip(".") or "report"
    for suffix in (".jsonl", ".json", ".html"):
        name = name.removesuffix(suffix)
    return Path(f"{name}.html")


def write(recording: Recording, path: str | PathLike[str], trace_url: str = "") -> None:
    """Write the page of a recording.

    Raises:
        OSError: it can't be written.
    """
    Path(path).write_bytes(render(recording, trace_url).encode("utf-8", "replace"))


def render(recording: Recording, trace_url: str = "") -> str:
    """Give the page of a recording; ``trace_url`` is the template of a link to a span, empty for none."""
    tree = ExecutionTree.from_spans(recording.spans, recording.records)
    tree = ExecutionTree(tree.executions, recording.remarks)
    attempts = task_attempts.found(recording)
    style = _asset("page.css") + static.style()
    script = _asset("page.js")
    content = data.as_script(data.of(tree, attempts, recording.logs, trace_url))
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
        f"<title>{escape(_title(tree))}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<div id="app"></div>\n<noscript>{_without_script(tree, attempts, trace_url)}</noscript>\n'
        f'<script type="application/json" id="data">{content}</script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def _without_script(tree: ExecutionTree, attempts: Sequence[Attempt], trace_url: str) -> str:
    few = sum(1 for _ in tree.walk()) <= _PLAIN_ROWS
    drawn = static.picture(tree, attempts if few else (), trace_url)
    return drawn if tree.executions else f"<p>Nothing is recorded.</p>{drawn}"


def _title(tree: ExecutionTree) -> str:
    names = [_name(execution) for execution in tree.executions]
    if not names:
        return "nothing recorded · otel-flyte"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} · otel-flyte"


def _name(execution: Execution) -> str:
    return execution.name or execution.roots[0].span.name


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
