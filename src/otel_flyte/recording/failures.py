"""The errors of spans."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from otel_flyte import semconv
from otel_flyte.recording.model import Span

_FRAME = re.compile(r'^ *File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)
_PREFIX = re.compile(r"(Error encountered while executing '[^']*':\s*)+")
_LIBRARY = re.compile(r"[/\\](site|dist)-packages[/\\]|/lib/python3\.\d+/|\\Lib\\|^<frozen ")


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
        first_line = self.message.strip().partition("\n")[0]
        return ": ".join(part for part in (self.type, first_line) if part)

    @property
    def text(self) -> str:
        """The type and the message."""
        return f"{self.type}: {self.message}" if self.message else self.type

    @property
    def frame(self) -> str:
        """The innermost frame of the user's own code, ``file:line in function``; empty without a stack trace."""
        frames = list(_FRAME.finditer(self.stacktrace))
        users = [frame for frame in frames if not _LIBRARY.search(frame["file"])]
        chosen = (users or frames)[-1:]
        return "".join(f"{frame['file']}:{frame['line']} in {frame['function']}" for frame in chosen)


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


def _is_same(inner: Error, outer: Error) -> bool:
    return inner.message in outer.message if inner.message else inner.type == outer.type
