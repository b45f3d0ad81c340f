"""What a filter of TraceQL or LogQL selects: for stand-ins of Tempo and Loki, which are never run here."""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

Condition = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<path>\.?[A-Za-z_][\w.:]*|\."(?:[^"\\]|\\["\\])*")
    | (?P<literal>"(?:[^"\\\n\x00-\x1f]|\\(?:["\\]|u[0-9a-f]{4}|U[0-9a-f]{8}))*")
    | (?P<number>-?\d+)
    | (?P<sign>=~|!=|&&|\|\||=|\(|\)|,)
    )""",
    re.VERBOSE,
)
_AND, _OR = ("&&", "and", ","), ("||", "or")


class QueryError(ValueError):
    """The query is not in the part of the language that is known here."""


def condition(text: str) -> Condition:
    """Return the condition of a filter, on the attributes or labels of a record."""
    tokens = _tokens(text)
    if not tokens:
        return lambda _: True
    parsed, rest = _either(tokens)
    if rest:
        raise QueryError(f"{rest} is left of {text}")
    return parsed


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise QueryError(f"unknown from here on: {text[at:]}")
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        at = match.end()
    return found


def _either(tokens: list[tuple[str, str]]) -> tuple[Condition, list[tuple[str, str]]]:
    return _joined(tokens, _OR, _all, any)


def _all(tokens: list[tuple[str, str]]) -> tuple[Condition, list[tuple[str, str]]]:
    return _joined(tokens, _AND, _one, all)


def _joined(tokens: Any, signs: Any, part: Any, how: Any) -> tuple[Condition, Any]:
    first, tokens = part(tokens)
    parts = [first]
    while tokens and tokens[0][1] in signs:
        following, tokens = part(tokens[1:])
        parts.append(following)
    return (lambda record: how(each(record) for each in parts)), tokens


def _one(tokens: Any) -> tuple[Condition, Any]:
    if tokens[0][1] == "(":
        inner, tokens = _either(tokens[1:])
        if not tokens or tokens[0][1] != ")":
            raise QueryError("a parenthesis is not closed")
        return inner, tokens[1:]
    if len(tokens) < 3 or tokens[0][0] != "path":
        raise QueryError(f"no comparison: {tokens}")
    (_, path), (_, sign), (kind, text), *rest = tokens
    name = re.sub(r"\\(.)", r"\1", path[2:-1]) if path.startswith('."') else path.removeprefix(".")
    value = _value(kind, text)
    if sign == "=~":
        return (lambda record: re.fullmatch(value, str(record.get(name, ""))) is not None), rest
    if sign not in ("=", "!="):
        raise QueryError(f"{sign} is no comparison")
    return (lambda record: _equal(record.get(name), value) == (sign == "=")), rest


def _value(kind: str, text: str) -> Any:
    if kind == "literal":
        return ast.literal_eval(text)
    if kind == "number":
        return int(text)
    if text in ("true", "false"):
        return text == "true"
    raise QueryError(f"{text} is no value")


def _equal(found: Any, value: Any) -> bool:
    """Compare as both languages do: other types differ, and a label that is not there is empty."""
    if found is None:
        return bool(value == "")
    return type(found) is type(value) and bool(found == value)
