"""YAML as the package ``yaml`` writes it, several times as fast for most entries.

Most entries are words, numbers and times, whose text does not depend on anything else. The package writes all others:
texts of several lines, long texts, escapes. The result is the same to the letter, but for the mark of the end
after a text that ends with empty lines: nothing follows here.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

try:
    from yaml import CSafeDumper as SafeDumper
except ImportError:
    from yaml import SafeDumper  # type: ignore[assignment]

from otel_flyte.recording.cells import DIRECTIONS

_WIDTH = 120
_LONGEST_KEY = 100
"""YAML writes longer keys in another form."""

_ESCAPES = {ord(each): f"\\u{ord(each):04X}" for each in DIRECTIONS}
"""A terminal would act on these characters, and YAML's writer does not escape them."""

_END = "..."
_FOLLOWING = -0.5
"""A key that no entry has."""

_INSIDE = r"[A-Za-z0-9_./@+=()%-]"
_is_plain = re.compile(rf"[A-Za-z/_]{_INSIDE}*(?:[: ]{_INSIDE}+|:/+{_INSIDE}+)*").fullmatch
_is_hexadecimal = re.compile(r"[0-9]+[a-f][0-9a-f]*").fullmatch
_is_time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?\+00:00").fullmatch
_WORDS = frozenset(("yes", "no", "true", "false", "on", "off", "null", "y", "n"))
"""Other types than texts where they have no quotes."""


def written(document: Mapping[Any, Any]) -> str:
    """Return a document of dictionaries, lists and scalars, in the order of its keys."""
    # The package has a text of its own for an empty document.
    text = "".join(_entries(document, 0)) if document else _by_package(document)
    return text if text.isascii() else text.translate(_ESCAPES)


def _entries(entries: Mapping[Any, Any], indent: int) -> list[str]:
    blank = " " * indent
    lines: list[str] = []
    for key, value in entries.items():
        name = _key(key)
        if name is None:
            lines.append(_entry_by_package(key, value, indent))
        elif isinstance(value, dict) and value:
            lines.append(f"{blank}{name}:\n")
            lines += _entries(value, indent + 2)
        elif isinstance(value, list) and value and all(isinstance(item, dict) and item for item in value):
            lines.append(f"{blank}{name}:\n")
            for item in value:
                first, *others = _entries(item, indent + 2)
                lines += (f"{blank}- {first[indent + 2 :]}", *others)
        else:
            text = _scalar(value)
            # The package breaks a long line at a blank.
            is_long = text is not None and " " in text and indent + len(name) + 2 + len(text) > _WIDTH
            is_known = text is not None and not is_long
            lines.append(f"{blank}{name}: {text}\n" if is_known else _entry_by_package(key, value, indent))
    return lines


def _key(key: Any) -> str | None:
    if type(key) is int:
        return str(key)
    return _text(key) if type(key) is str and len(key) <= _LONGEST_KEY else None


def _scalar(value: Any) -> str | None:
    """Return the text of a scalar, ``None`` where only the package knows it."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int:
        return str(value)
    if kind is float:
        text = repr(value)
        return text if text.replace(".", "", 1).lstrip("-").isdecimal() else None
    if value is None:
        return "null"
    return ("true" if value else "false") if kind is bool else None


@lru_cache(10_000)
def _text(text: str) -> str | None:
    if _is_plain(text):
        return None if text.lower() in _WORDS else text
    if _is_time(text):
        return f"'{text}'"
    return text if _is_hexadecimal(text) else None


def _entry_by_package(key: Any, value: Any, indent: int) -> str:
    """Return the lines of an entry at its place: lines break by their width, and texts of several lines are indented.

    The entry after it keeps the mark of the end of a document away.
    """
    nested: dict[Any, Any] = {key: value, _FOLLOWING: 0}
    for _ in range(indent // 2):
        nested = {"above": nested}
    lines = _by_package(nested).removesuffix(f"{_END}\n").split("\n")
    return "\n".join([*lines[indent // 2 : -2], ""])


def _by_package(document: Any) -> str:
    text: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return text


class Dumper(SafeDumper):
    """YAML without anchors, with texts of several lines as blocks and numbers side by side."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002, D102  # of the package
        return True


def _represented_text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    # No encoding has halves of surrogate pairs, and the writer fails at them.
    text = text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    style = "|" if "\n" in text else None
    # Only a text in quotes can have escapes.
    style = '"' if not text.isascii() and not _ESCAPES.keys().isdisjoint(map(ord, text)) else style
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represented_list(dumper: Dumper, items: list[Any]) -> yaml.SequenceNode:
    is_numeric = all(isinstance(item, (int, float)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=is_numeric or None)


Dumper.add_representer(str, _represented_text)
Dumper.add_representer(list, _represented_list)
