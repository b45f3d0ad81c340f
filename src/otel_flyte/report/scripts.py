"""The script of the page, the same in a report file, a deck and on a server: its parts in the order of ``_PARTS``.

The parts are plain files in ``assets/page`` without a build step; they share one scope.
"""

from functools import cache
from importlib.resources import files

_PARTS = (
    "data",
    "elements",
    "words",
    "units",
    "copy",
    "rows",
    "frame",
    "head",
    "bars",
    "markers",
    "path",
    "whole",
    "running",
    "timeline",
    "zoom",
    "charts",
    "histogram",
    "logs",
    "items",
    "details",
    "address",
    "keyboard",
    "begin",
    "newer",
    "follow",
    "start",
)


@cache
def script() -> str:
    """Return the script of the page."""
    folder = files(__package__) / "assets" / "page"
    parts = ((folder / f"{name}.js").read_text(encoding="utf-8") for name in _PARTS)
    return f'(() => {{\n"use strict";\n{"".join(parts)}}})();\n'
