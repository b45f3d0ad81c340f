"""Record what runs in this process into a file, and tell of it while it runs."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from opentelemetry import trace

from otel_flyte import semconv
from otel_flyte.export.file_exporter import FileSpanExporter
from otel_flyte.report.text import Look
from otel_flyte.run.progress import ProgressProcessor
from otel_flyte.runtime import forks
from otel_flyte.sdk import traces
from otel_flyte.sdk.processors import Processor, ReadableSpan, TracerProvider
from otel_flyte.stdio_capture import capture

FOLDER = ".otel-flyte"
PAUSE_SECONDS = 0.1
"""Spans that end sooner after one that was written are written together."""

_TASK = semconv.SPAN_TASK.format(name="")


class RecordingProcessor(Processor):
    """Write spans to a file as they end; those of a loop together, so that recording it costs little.

    Whatever ends the process, what ended more than a moment before it is in the file. A forked child, which ends when
    it likes, writes each span at once.
    """

    def __init__(self, exporter: FileSpanExporter) -> None:
        self._exporter = exporter
        self._waiting: list[ReadableSpan] = []
        self._written_at = 0.0
        self._is_at_once = False
        self._lock = threading.Lock()
        self._done = threading.Event()
        forks.register(after_in_child=self._leave_to_the_parent)
        threading.Thread(target=self._watch, name="otel-flyte-recording", daemon=True).start()

    def on_end(self, span: ReadableSpan) -> None:
        """Write a span now or in a moment."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            self._waiting.append(span)
            is_due = time.monotonic() - self._written_at >= PAUSE_SECONDS
            if is_due or self._is_at_once or span.name.startswith(_TASK):
                self._write()

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Write what waits."""
        with self._lock:
            self._write()
        return True

    def shutdown(self) -> None:
        """Write what waits, and each span that is yet to come at once."""
        self._done.set()
        self._is_at_once = True
        self.force_flush()

    def _watch(self) -> None:
        while not self._done.wait(PAUSE_SECONDS):
            self.force_flush()

    def _write(self) -> None:
        spans, self._waiting = self._waiting, []
        if spans:
            self._exporter.export(spans)
            self._written_at = time.monotonic()

    def _leave_to_the_parent(self) -> None:
        self._lock = threading.Lock()
        self._waiting = []
        self._is_at_once = True


def open_file(name: str) -> FileSpanExporter:
    """Open ``.otel-flyte/<UTC time>-<name>.jsonl`` under the current folder.

    The folder keeps itself out of version control.

    Raises:
        OSError: it can't be written.
    """
    folder = Path(FOLDER)
    folder.mkdir(exist_ok=True)
    _keep_out_of_version_control(folder)
    stem = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
    free = (folder / f"{stem}{suffix}.jsonl" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
    return FileSpanExporter(next(path for path in free if not path.exists()))


def _keep_out_of_version_control(folder: Path) -> None:
    """Have git ignore the folder; a disk that is too full for that is no reason not to run."""
    ignore = folder / ".gitignore"
    if ignore.exists():
        return
    try:
        ignore.write_text("*\n", encoding="ascii")
    except OSError:
        ignore.unlink(missing_ok=True)


@contextmanager
def to(exporter: FileSpanExporter, stream: TextIO, look: Look) -> Iterator[None]:
    """Record the spans of this process while the context lasts, and tell of them on ``stream``.

    They also go wherever the environment sends them. A provider that is there already, such as that of
    ``opentelemetry-instrument``, is used.
    """
    capture.record_to(str(exporter.path.absolute()))
    progress = ProgressProcessor(capture.beside(stream), look)
    recording = RecordingProcessor(exporter)
    processors = (recording, progress)
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        for processor in processors:
            provider.add_span_processor(processor)
    else:
        trace.set_tracer_provider(traces.build_provider(extra_processors=processors))
    try:
        yield
    finally:
        capture.finish()
        recording.force_flush()
        progress.shutdown()


def discard_if_empty(exporter: FileSpanExporter) -> bool:
    """Remove the file where no span was written to it, and say so; lines of output alone are no recording."""
    if exporter.written:
        return False
    exporter.shutdown()
    exporter.path.unlink()
    return True
