"""Attribute values that a backend can hold."""

from typing import Any

STRING_LIMIT = 1024
"""Bytes of a string value, in UTF-8."""

ENTRIES_LIMIT = 24
"""Entries of a mapping or a sequence that a user may have made as long as they like.

Labels, annotations and inputs together must leave room for the rest: past 128 attributes the SDK drops the oldest.
"""

ELLIPSIS = "…"


def bounded(value: object) -> str:
    """Return a string of at most 1 KiB; its end shows where it was cut."""
    text = value if isinstance(value, str) else str(value)
    if len(text) <= STRING_LIMIT and text.isascii():
        return text
    encoded = text[: STRING_LIMIT + 1].encode("utf-8", "replace")
    if len(encoded) > STRING_LIMIT:
        encoded = encoded[: STRING_LIMIT - len(ELLIPSIS.encode())]
        return encoded.decode("utf-8", "ignore") + ELLIPSIS
    return encoded.decode("utf-8")


def encodable(text: str) -> str:
    """Return a text that UTF-8 has, of one that may hold halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def uri(value: object) -> str:
    """Return where something lies, bounded, without what opens the door to it: a password, a signature."""
    scheme, separator, rest = str(value).partition("://")
    if not separator:
        return bounded(scheme)
    if scheme in ("http", "https"):
        rest = rest.partition("?")[0]
    host, slash, path = rest.partition("/")
    return bounded(f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}")


def attribute(value: Any) -> bool | int | float | str | tuple[str, ...]:
    """Return a value that OpenTelemetry accepts: scalars as they are, sequences of bounded strings, else a string."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(bounded(item) for item in list(value)[:ENTRIES_LIMIT])
    return bounded(value)


LONGEST = 200
"""Characters of what a receiver says that are worth a line: some answer with a whole page."""


def in_brief(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line and with an ellipsis where it is longer than so many characters."""
    words = " ".join(text.split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
