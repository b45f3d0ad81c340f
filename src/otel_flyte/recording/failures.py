"""The errors of spans."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from otel_flyte import semconv
from otel_flyte.recording import causes
from otel_flyte.recording.model import Span

_PREFIX = re.compile(r"((?:[\w.:]+: error=)?Error encountered while executing '[^']*':\s*)+")
"""flytekit's own exceptions have their code before each such prefix once more."""

_EXCEPTION = re.compile(r"(?P<type>[\w.<>]+)(?:: (?P<message>.*))?", re.DOTALL)
_LONGEST_CHAIN = 20


@dataclass(frozen=True, slots=True)
class Cause:
    """An exception that led to an error, or that an error groups.

    Attributes:
        relation: ``caused by``, ``while handling`` or ``in the group``.
        text: its type and message, of one or more lines.
        frame: the innermost frame of the user's own code; empty where it was not raised.
        depth: the number of groups that it is in.
    """

    relation: str
    text: str
    frame: str
    depth: int = 0

    @property
    def summary(self) -> str:
        """The relation, the type and the first line of the message."""
        return f"{self.relation} {self.text.partition(chr(10))[0]}"


@dataclass(frozen=True, slots=True)
class Error:
    """An error of a span.

    Attributes:
        type: class of the exception, else the value of ``error.type``.
        message: the exception's message, of one or more lines.
        stacktrace: as Python prints it, empty where none was recorded.
    """

    type: str
    message: str
    stacktrace: str = ""

    @property
    def summary(self) -> str:
        """The type and the first line of the message."""
        return self.text.strip().partition("\n")[0]

    @property
    def text(self) -> str:
        """The type and the message."""
        message = self.message.strip().removeprefix(f"{self.type}: ")
        return ": ".join(part for part in (self.type, message) if part)

    @property
    def frame(self) -> str:
        """The innermost frame of the user's own code, ``file:line in function``; empty without a stack trace."""
        return causes.chain_of(self.stacktrace)[-1].frame

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The exceptions that led to it, the nearest first, each with the members of its group."""
        others = causes.others_of(causes.chain_of(self.stacktrace))
        named = (
            Cause(relation, _text_of(block.text), block.frame, depth) for relation, block, depth in others if block.text
        )
        return tuple(islice(named, _LONGEST_CHAIN))


def error_of(span: Span, below: Sequence[Error]) -> Error | None:
    """Return the error of a failed span; ``None`` where it is, or wraps, one of the errors below."""
    events = [event for event in span.events if event.name == semconv.EVENT_EXCEPTION]
    if not events:
        kind = span.attributes.get(semconv.ERROR_TYPE) or span.attributes.get(semconv.ERROR_CODE) or ""
        return None if below else Error(str(kind), without_prefix(span.status_message))
    kind, message, stacktrace = (
        str(events[-1].attributes.get(name, ""))
        for name in (semconv.EXCEPTION_TYPE, semconv.EXCEPTION_MESSAGE, semconv.EXCEPTION_STACKTRACE)
    )
    error = Error(kind.removeprefix("builtins."), without_prefix(message), stacktrace)
    return None if any(_is_same(inner, error) for inner in below) else error


def without_prefix(message: str) -> str:
    """Return an exception's message without the prefix that flytekit adds for each task that the exception passes."""
    return _PREFIX.sub("", message, count=1)


def _text_of(lines: Sequence[str]) -> str:
    """Return the text of an exception, as an error has it."""
    text = "\n".join(lines).strip()
    parts = _EXCEPTION.fullmatch(text)
    return Error(parts["type"], without_prefix(parts["message"] or "")).text if parts else text


def _is_same(inner: Error, outer: Error) -> bool:
    return inner.message in outer.message if inner.message else inner.type == outer.type
