"""Texts in the queries of Tempo, Loki and Prometheus, which all read them as Go does."""

import re

_PLAIN = re.compile(r"[ !#-\[\]-~]")
_SYNTAX = re.compile(r"[\\.+*?()|\[\]{}^$]")


def literal(text: str) -> str:
    """Return a string literal of Go: whatever the text is, it does not end before its last quote."""
    return f'"{"".join(map(_escaped, text))}"'


def pattern(text: str) -> str:
    """Return a regular expression of RE2 for a text as it is; it becomes part of a query by :func:`literal`."""
    return _SYNTAX.sub(r"\\\g<0>", text)


def _escaped(character: str) -> str:
    if _PLAIN.match(character):
        return character
    if character in '"\\':
        return f"\\{character}"
    number = ord(character)
    if 0xD800 <= number < 0xE000:
        # Half of a surrogate pair is no character for Go.
        number = 0xFFFD
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
