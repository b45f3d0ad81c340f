"""Properties of inputs and outputs: their size where it is known at no cost, on request their value.

No code of the user is called for it: a ``repr`` or a property may be slow, and may show a secret.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import PurePath
from typing import Any

from opentelemetry.trace import Span

from otel_flyte import semconv
from otel_flyte.config import settings
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import ELLIPSIS, ENTRIES_LIMIT, bounded

_PLAIN = (bool, int, float)
_PLAIN_KINDS = frozenset(_PLAIN)
_LARGEST_INT = 2**63
"""OTLP's integers are below it."""

_SHOWN_AS_TEXT = (dt.date, dt.time, dt.timedelta, PurePath)
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
_ARRAYS = frozenset(("numpy", "torch", "pyarrow"))
"""Libraries whose ``nbytes`` costs no computation."""

_TABLES = frozenset(("pandas", "polars", "pyarrow"))
_NESTING_LIMIT = 3
_LONGEST_INT = 1024
"""Bits. Beyond some thousand digits Python refuses to convert an integer to text."""


@guarded
def add_inputs(span: Span, values: Mapping[str, Any]) -> None:
    """Set the properties of a task's inputs."""
    _add(span, values, semconv.INPUT_PROPERTY)


@guarded
def add_outputs(span: Span, values: Mapping[str, Any]) -> None:
    """Set the properties of a task's outputs."""
    _add(span, values, semconv.OUTPUT_PROPERTY)


def _add(span: Span, values: Mapping[str, Any], pattern: str) -> None:
    with_values = settings.current().capture_values
    # Short tasks mostly take and return numbers, whose only property is their value.
    if (_PLAIN_KINDS.issuperset(map(type, values.values())) and not with_values) or not span.is_recording():
        return
    found = {
        pattern.format(variable=bounded(variable), property=name): each
        for variable, value in islice(values.items(), ENTRIES_LIMIT)
        for name, each in _properties(value, with_values=with_values)
    }
    if found:
        span.set_attributes(found)


def _properties(value: Any, *, with_values: bool) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if kind not in _PLAIN:
        library = kind.__module__.partition(".")[0]
        if kind in (bytes, bytearray):
            yield "size", len(value)
        elif library in _ARRAYS and isinstance(getattr(value, "nbytes", None), int):
            yield "size", value.nbytes
        if kind in _SIZED or (library in _TABLES and hasattr(kind, "__len__")):
            yield "length", len(value)
    if with_values:
        fits = kind in _PLAIN and (kind is not int or abs(value) < _LARGEST_INT)
        yield "value", value if fits else bounded(_shown(value, _NESTING_LIMIT))


def _shown(value: Any, depth: int) -> str:
    """Return a value as text: of a container its first entries, of an object of the user's own class its type."""
    kind = type(value)
    if kind is int and value.bit_length() > _LONGEST_INT:
        return f"<int of {value.bit_length()} bits>"
    if value is None or kind in _PLAIN:
        return repr(value)
    if isinstance(value, str):
        return str.__str__(value) if depth == _NESTING_LIMIT else repr(str.__str__(value))
    if isinstance(value, _SHOWN_AS_TEXT):
        return str(value)
    if depth and kind is dict:
        shown = (f"{_shown(key, depth - 1)}: {_shown(item, depth - 1)}" for key, item in _few(value.items()))
        return f"{{{', '.join(shown)}{_more(value)}}}"
    if depth and kind in (list, tuple, set, frozenset):
        return f"[{', '.join(_shown(item, depth - 1) for item in _few(value))}{_more(value)}]"
    return f"<{kind.__qualname__}>"


def _few(entries: Any) -> Iterator[Any]:
    return islice(entries, ENTRIES_LIMIT)


def _more(value: Any) -> str:
    return f", {ELLIPSIS}" if len(value) > ENTRIES_LIMIT else ""
