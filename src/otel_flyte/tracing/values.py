"""Attribute values that a backend can hold."""

from typing import Any

STRING_LIMIT = 1024
"""Characters of a string value."""

ENTRIES_LIMIT = 32
"""Entries of a mapping or a sequence that a user may have made as long as they like."""

ELLIPSIS = "…"


def bounded(value: object) -> str:
    """Return a string of at most 1 KiB characters; its end shows where it was cut."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > STRING_LIMIT:
        text = text[: STRING_LIMIT - 1] + ELLIPSIS
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def attribute(value: Any) -> bool | int | float | str | tuple[str, ...]:
    """Return a value that OpenTelemetry accepts: scalars as they are, sequences of bounded strings, else a string."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(bounded(item) for item in list(value)[:ENTRIES_LIMIT])
    return bounded(value)
