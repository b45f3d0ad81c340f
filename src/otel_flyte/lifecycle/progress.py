"""What runs right now, line by line, while it runs."""

import os
import threading
import time
from typing import TextIO

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otel_flyte import semconv
from otel_flyte.query.cells import duration, printable
from otel_flyte.report.text import Look, Tone

PATIENCE_SECONDS = 0.1
"""A phase that ends before this has one line, others have two."""

_ENTITIES = (semconv.SPAN_TASK.format(name=""), semconv.SPAN_WORKFLOW.format(name=""))


class ProgressProcessor(SpanProcessor):
    """Tell of each workflow, task and phase when it starts and when it ends, and of whatever else of ours fails.

    The start of a phase is held back for a moment, because most phases are over by then.
    """

    def __init__(self, stream: TextIO, look: Look) -> None:
        self._stream = stream
        self._look = look
        self._begin_ns = time.time_ns()
        self._depths: dict[int, int] = {}
        self._held_back: Span | None = None
        self._done = threading.Event()
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._renew_lock)
        threading.Thread(target=self._watch, name="otel-flyte-progress", daemon=True).start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Announce a workflow or task; hold back a phase."""
        ours = _is_ours(span)
        with self._lock:
            outer = self._depths.get(span.parent.span_id, 0) if span.parent else 0
            self._depths[span.get_span_context().span_id] = outer + ours
            if ours:
                self._announce()
            if ours and span.name.startswith(_ENTITIES):
                self._write(span, outer)
            elif ours and span.name in semconv.PHASES:
                self._held_back = span

    def on_end(self, span: ReadableSpan) -> None:
        """Say how a span went and how long it took."""
        span_id = span.get_span_context().span_id
        with self._lock:
            depth = self._depths.pop(span_id, 1) - 1
            if not _is_ours(span):
                return
            if self._held_back is not None and self._held_back.get_span_context().span_id == span_id:
                self._held_back = None
            self._announce()
            if not span.status.is_ok or span.name.startswith(_ENTITIES) or span.name in semconv.PHASES:
                self._write(span, depth)

    def shutdown(self) -> None:
        """Stop."""
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(PATIENCE_SECONDS / 2):
            with self._lock:
                started = self._held_back.start_time if self._held_back else None
                if started and time.time_ns() - started > PATIENCE_SECONDS * 1e9:
                    self._announce()

    def _announce(self) -> None:
        span, self._held_back = self._held_back, None
        if span is not None:
            self._write(span, self._depths.get(span.get_span_context().span_id, 1) - 1)

    def _write(self, span: ReadableSpan, depth: int) -> None:
        """Write one line; a stream that is gone must not fail the task that would have been told of."""
        try:
            self._stream.write(self._look.written(_line(span, depth, self._begin_ns, self._look)) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._done.set()

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


def _is_ours(span: ReadableSpan) -> bool:
    return span.instrumentation_scope is not None and span.instrumentation_scope.name == semconv.SCOPE


def _line(span: ReadableSpan, depth: int, begin_ns: int, look: Look) -> str:
    started, ended = span.start_time or begin_ns, span.end_time
    clock = look.paint(f"{((ended or started) - begin_ns) / 1e9:9.3f} s", Tone.DIM)
    name = "  " * depth + "{} " + printable(span.name)
    if ended is None:
        return f"{clock}  {look.paint(name.format('▶'), Tone.DIM)}"
    took = look.paint(duration((ended - started) / 1e9), Tone.DIM)
    if span.status.is_ok:
        return f"{clock}  {look.paint(name.format('✓'), Tone.GREEN)}  {took}"
    why = printable(span.status.description or "").strip()
    return f"{clock}  {look.paint(name.format('✗'), Tone.RED)}  {took}  {why}"
