"""The progress of a local run, line by line."""

import threading
import time
from typing import TextIO

from opentelemetry.context import Context

from otel_flyte import semconv
from otel_flyte.recording.cells import duration, printable
from otel_flyte.recording.failures import without_prefix
from otel_flyte.recording.roles import short_name
from otel_flyte.report.terminal import MARKS, STYLES, Terminal
from otel_flyte.runtime.forks import ForkLock
from otel_flyte.sdk.processors import Processor, ReadableSpan, Span

START_DELAY = 0.1
"""Seconds. A phase that ends earlier has one line, others have two."""

_ENTITIES = (semconv.SPAN_TASK.format(name=""), semconv.SPAN_WORKFLOW.format(name=""))


class ProgressProcessor(Processor):
    """Write a line for the start and the end of each workflow, task and phase, and for each other failure of a span.

    The line for the start of a phase is delayed, because most phases end at once. `rich.progress` has no such lines.
    """

    def __init__(self, stream: TextIO, terminal: Terminal, heading: str = "") -> None:
        """Write to a stream, with a line above all others as soon as there is one."""
        self._stream = stream
        self._terminal = terminal
        self._heading = terminal.paint(printable(heading), "dim") + "\n" if heading else ""
        self._begin_ns = 0
        self._last_reason: str | None = None
        self._depths: dict[int, int] = {}
        self._delayed: Span | None = None
        self._done = threading.Event()
        # A child that is forked while the thread writes to stderr would hang at its first line.
        self._lock = ForkLock(0.5)
        threading.Thread(target=self._watch, name="otel-flyte-progress", daemon=True).start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Write the start of a workflow or task, delay that of a phase."""
        is_ours = _is_ours(span)
        with self._lock:
            self._begin_ns = self._begin_ns or span.start_time or 0
            outer = self._depths.get(span.parent.span_id, 0) if span.parent else 0
            self._depths[_id(span)] = outer + is_ours
            if not is_ours:
                return
            self._write_delayed()
            if span.name.startswith(_ENTITIES):
                self._write(span, outer)
            elif span.name in semconv.PHASES:
                self._delayed = span

    def on_end(self, span: ReadableSpan) -> None:
        """Write the result and the duration of a span."""
        with self._lock:
            depth = self._depths.pop(_id(span), 1) - 1
            if not _is_ours(span):
                return
            if self._delayed is not None and _id(self._delayed) == _id(span):
                self._delayed = None
            self._write_delayed()
            if not span.status.is_ok or span.name.startswith(_ENTITIES) or span.name in semconv.PHASES:
                self._write(span, depth)

    def shutdown(self) -> None:
        """Stop."""
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(START_DELAY / 2):
            with self._lock:
                started = self._delayed.start_time if self._delayed else None
                if started and time.time_ns() - started > START_DELAY * 1e9:
                    self._write_delayed()

    def _write_delayed(self) -> None:
        span, self._delayed = self._delayed, None
        if span is not None:
            self._write(span, self._depths.get(_id(span), 1) - 1)

    def _write(self, span: ReadableSpan, depth: int) -> None:
        """Write one line; a closed stream must not fail the task."""
        terminal, started = self._terminal, span.start_time or 0
        result = semconv.RESULT_SUCCESS if span.status.is_ok else semconv.RESULT_FAILURE
        mark, style = ("▶", "dim") if span.end_time is None else (MARKS[result], STYLES[result])
        clock = terminal.paint(f"{((span.end_time or started) - self._begin_ns) / 1e9:9.3f} s", "dim")
        name = terminal.paint(f"{mark} {short_name(printable(span.name))}", style)
        took = "" if span.end_time is None else terminal.paint(f"  {duration((span.end_time - started) / 1e9)}", "dim")
        heading, self._heading = self._heading, ""
        try:
            self._stream.write(
                terminal.encodable(f"{heading}{clock}  {'  ' * depth}{name}{took}{self._reason(span)}") + "\n"
            )
            self._stream.flush()
        except (OSError, ValueError):
            self._done.set()

    def _reason(self, span: ReadableSpan) -> str:
        """Return the type and the first line of the error of a span, unless the line before has the same."""
        if span.status.is_ok:
            return ""
        reason = without_prefix(span.status.description or "").strip().partition("\n")[0]
        kind = str((span.attributes or {}).get(semconv.ERROR_TYPE, "")).removeprefix("builtins.")
        if reason == self._last_reason or not (reason or kind):
            return ""
        self._last_reason = reason
        return f"  {printable(': '.join(filter(None, (kind, reason.removeprefix(f'{kind}: ')))))}"


def _is_ours(span: ReadableSpan) -> bool:
    return span.instrumentation_scope is not None and span.instrumentation_scope.name == semconv.SCOPE


def _id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    return context.span_id if context else 0
