"""Bounds of attribute values, so that a backend can store them."""

from typing import Any

STRING_LIMIT = 1024
"""Bytes of a string value, in UTF-8."""

ENTRIES_LIMIT = 24
"""Entries of a user's mapping or sequence, which may have any length.

Labels, annotations and inputs together must leave room for other attributes: the SDK drops the oldest above 128.
"""

ELLIPSIS = "…"
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def bounded(value: object) -> str:
    """Return a string of at most 1 KiB; an ellipsis marks a cut."""
    text = value if isinstance(value, str) else str(value)
    if len(text) <= STRING_LIMIT and text.isascii():
        return text
    encoded = text[: STRING_LIMIT + 1].encode("utf-8", "replace")
    if len(encoded) > STRING_LIMIT:
        encoded = encoded[: STRING_LIMIT - len(ELLIPSIS.encode())]
        return encoded.decode("utf-8", "ignore") + ELLIPSIS
    return encoded.decode("utf-8")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, else the name of its class."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def encodable(text: str) -> str:
    """Return a text without surrogates, which UTF-8 can't encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def uri(value: object) -> str:
    """Return a bounded URI without credentials: a password, a signature."""
    scheme, separator, rest = str(value).partition("://")
    if not separator:
        return bounded(scheme)
    if scheme in ("http", "https"):
        rest = rest.partition("?")[0]
    host, slash, path = rest.partition("/")
    return bounded(f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}")


def attribute(value: Any) -> bool | int | float | str | tuple[str, ...]:
    """Return a value that OpenTelemetry accepts: a scalar of 64 bits, a sequence of bounded strings, or a string."""
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        try:
            return in_64_bits(value)
        except OverflowError:
            # Beyond some thousand digits Python refuses to convert an integer to decimal text.
            return bounded(hex(value))
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(bounded(item) for item in list(value)[:ENTRIES_LIMIT])
    return bounded(value)


def in_64_bits(value: int) -> int | float:
    """Return an integer that OTLP can hold, else the nearest double.

    Raises:
        OverflowError: it is larger than every double.
    """
    return value if _SMALLEST <= value <= _LARGEST else float(value)


LONGEST = 200
"""Characters of a receiver's answer in a line: some answer with a whole page."""


def in_brief(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line, with an ellipsis if it has more characters than ``longest``."""
    words = " ".join(text.split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
