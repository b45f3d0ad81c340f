"""What runs right now, line by line, while it runs."""

import threading
import time
from typing import TextIO

from opentelemetry.context import Context

from otel_flyte import semconv
from otel_flyte.recording.cells import duration, printable
from otel_flyte.recording.tree import own_words, short_name
from otel_flyte.report.text import Look, Tone
from otel_flyte.runtime import forks
from otel_flyte.sdk.processors import Processor, ReadableSpan, Span

PATIENCE_SECONDS = 0.1
"""A phase that ends before this has one line, others have two."""

_MARKS = {True: ("✓", Tone.GREEN), False: ("✗", Tone.RED)}
_ENTITIES = (semconv.SPAN_TASK.format(name=""), semconv.SPAN_WORKFLOW.format(name=""))


class ProgressProcessor(Processor):
    """Tell of each workflow, task and phase when it starts and when it ends, and of whatever else of ours fails.

    The start of a phase is held back for a moment, because most phases are over by then.
    """

    def __init__(self, stream: TextIO, look: Look) -> None:
        self._stream = stream
        self._look = look
        self._begin_ns = 0
        self._told: str | None = None
        self._depths: dict[int, int] = {}
        self._held_back: Span | None = None
        self._done = threading.Event()
        self._lock = threading.RLock()
        forks.register(after_in_child=self._renew_lock)
        threading.Thread(target=self._watch, name="otel-flyte-progress", daemon=True).start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Announce a workflow or task; hold back a phase."""
        ours = _is_ours(span)
        with self._lock:
            self._begin_ns = self._begin_ns or span.start_time or 0
            outer = self._depths.get(span.parent.span_id, 0) if span.parent else 0
            self._depths[_id(span)] = outer + ours
            if ours:
                self._announce()
            if ours and span.name.startswith(_ENTITIES):
                self._write(span, outer)
            elif ours and span.name in semconv.PHASES:
                self._held_back = span

    def on_end(self, span: ReadableSpan) -> None:
        """Say how a span went and how long it took."""
        with self._lock:
            depth = self._depths.pop(_id(span), 1) - 1
            if not _is_ours(span):
                return
            if self._held_back is not None and _id(self._held_back) == _id(span):
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
            self._write(span, self._depths.get(_id(span), 1) - 1)

    def _write(self, span: ReadableSpan, depth: int) -> None:
        """Write one line; a stream that is gone must not fail the task that would have been told of."""
        look, started = self._look, span.start_time or 0
        mark, tone = ("▶", Tone.DIM) if span.end_time is None else _MARKS[span.status.is_ok]
        clock = look.paint(f"{((span.end_time or started) - self._begin_ns) / 1e9:9.3f} s", Tone.DIM)
        name = look.paint(f"{mark} {short_name(printable(span.name))}", tone)
        took = "" if span.end_time is None else look.paint(f"  {duration((span.end_time - started) / 1e9)}", Tone.DIM)
        line = f"{clock}  {'  ' * depth}{name}{took}{self._why(span)}"
        try:
            self._stream.write(look.written(line) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._done.set()

    def _why(self, span: ReadableSpan) -> str:
        """Give the type and the first line of what failed a span, unless the line before has said so."""
        if span.status.is_ok:
            return ""
        why = own_words(span.status.description or "").strip().partition("\n")[0]
        kind = str((span.attributes or {}).get(semconv.ERROR_TYPE, "")).removeprefix("builtins.")
        if why == self._told or not (why or kind):
            return ""
        self._told = why
        return f"  {printable(': '.join(filter(None, (kind, why.removeprefix(f'{kind}: ')))))}"

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()


def _is_ours(span: ReadableSpan) -> bool:
    return span.instrumentation_scope is not None and span.instrumentation_scope.name == semconv.SCOPE


def _id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    return context.span_id if context else 0
