"""Record the spans of this process into a file, and show its progress."""

import os
import re
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from otel_flyte import providers, semconv
from otel_flyte.export import pending_spans
from otel_flyte.export.file_exporter import FileSpanExporter
from otel_flyte.metrics import handover
from otel_flyte.report.terminal import Terminal
from otel_flyte.run.progress import ProgressProcessor
from otel_flyte.runtime import forks
from otel_flyte.sdk import arguments, traces, user_tracers, watching
from otel_flyte.sdk.once import Once
from otel_flyte.sdk.processors import Processor, ReadableSpan
from otel_flyte.stdio_capture import capture
from otel_flyte.tasks import state

if TYPE_CHECKING:
    from otel_flyte.tasks.open_task import OpenTask

FOLDER = ".otel-flyte"
BATCH_SECONDS = 0.1
"""Spans that end sooner after a write are written together."""

_LONGEST_NAME = 160
"""Bytes: a file system has 255 for a file's name, with the time, a number and the suffix."""

_TASK = semconv.SPAN_TASK.format(name="")


class RecordingProcessor(Processor):
    """Write spans to a file as they end, those of a loop in batches, so that recording costs little.

    However the process ends, the spans that ended more than a moment earlier are in the file. A forked child, whose end
    nothing announces, writes each span at once. Tasks that run have a pending span there from their first written
    sign on, and one more for each new phase: a run that is killed shows what it was in.
    """

    def __init__(self, exporter: FileSpanExporter) -> None:
        self._exporter = exporter
        self._batch: list[ReadableSpan] = []
        self._written_at = 0.0
        self._is_unbatched = False
        self._running: dict[int, tuple[OpenTask, str]] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        forks.register(after_in_child=self._reset)
        threading.Thread(target=self._watch, name="otel-flyte-recording", daemon=True).start()

    def on_end(self, span: ReadableSpan) -> None:
        """Write a span now or in a moment."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            self._batch.append(span)
            is_due = time.monotonic() - self._written_at >= BATCH_SECONDS
            if is_due or self._is_unbatched or span.name.startswith(_TASK) or self._has_new_task():
                self._write()

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Write the batch."""
        with self._lock:
            self._write()
        return True

    def shutdown(self) -> None:
        """Write the batch, and from now on each span at once."""
        self._done.set()
        self._is_unbatched = True
        self.force_flush()

    def _watch(self) -> None:
        while not self._done.wait(BATCH_SECONDS):
            self.force_flush()

    def _write(self) -> None:
        spans, self._batch = self._batch, []
        if spans:
            self._written_at = time.monotonic()
        if not self._is_unbatched:
            spans += self._new_signs()
        if spans:
            self._exporter.export(spans)

    def _has_new_task(self) -> bool:
        """Return whether a task runs that has no sign yet: it may be killed in its first moment."""
        return any(key not in self._running for key in list(state.open_tasks))

    def _new_signs(self) -> list[ReadableSpan]:
        """Return pending spans of the tasks that are new, or in a new phase, since the last call."""
        # A copy: other threads may open and close theirs meanwhile.
        now = {id(task): (task, task.phase_name) for task in list(state.open_tasks.values())}
        before, self._running = self._running, now
        fresh = [task for key, (task, phase) in now.items() if before.get(key) != (task, phase)]
        return [span for span in map(pending_spans.of_now, fresh) if span is not None]

    def _reset(self) -> None:
        """In a forked child: the parent writes the batch."""
        self._lock = threading.Lock()
        self._batch = []
        self._is_unbatched = True


class NoPlaceError(Exception):
    """No file can be written. The message is the problem."""


def open_file(name: str, output: Path | None = None) -> tuple[FileSpanExporter, str]:
    """Open the file of a run, and return it with one line where it is not in its usual place.

    The usual place is ``.otel-flyte/<UTC time>-<name>.jsonl`` under the current folder. A folder that can't be written
    is no reason not to run: the file is in a temporary one then.

    Args:
        name: the name of the workflow or task.
        output: the file, a ``*.jsonl`` that does not exist yet, or the folder for it.

    Raises:
        NoPlaceError: the output, or any folder, can't be written.
    """
    if output is not None:
        try:
            return _open_output(output, name), ""
        except OSError as error:
            raise NoPlaceError(f"{output} can't be written ({error.strerror or error})") from None
    try:
        return _open_usual(name), ""
    except OSError as error:
        problem = f"{FOLDER}/ can't be written ({error.strerror or error})"
    try:
        exporter = _open_in(Path(tempfile.mkdtemp(prefix="otel-flyte-")), name)
    except OSError:
        raise NoPlaceError(problem) from None
    return exporter, f"{problem}: the run is recorded in {exporter.path.parent}, choose another place by --output"


def _open_output(output: Path, name: str) -> FileSpanExporter:
    if output.suffix != ".jsonl" or output.is_dir():
        output.mkdir(parents=True, exist_ok=True)
        return _open_in(output, name)
    # A second run in the same file would be shown together with the first.
    output.touch(exist_ok=False)
    return FileSpanExporter(output)


def _open_usual(name: str) -> FileSpanExporter:
    folder = Path(FOLDER)
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        try:
            ignore.write_text("*\n", encoding="ascii")
        except OSError:  # A full disk is no reason not to run.
            with suppress(OSError):
                ignore.unlink(missing_ok=True)
    return _open_in(folder, name)


def _open_in(folder: Path, name: str) -> FileSpanExporter:
    stem = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{file_name(name)}"
    paths = (folder / f"{stem}{suffix}.jsonl" for suffix in ("", *map("-{}".format, range(2, 1000))))
    return FileSpanExporter(next(path for path in paths if not path.exists()))


def file_name(name: str) -> str:
    """Return a name as a part of a file's: letters of all scripts, as many as fit, and ``_`` for what is no letter."""
    kept = "".join(each if each in "_.-" or unicodedata.category(each)[0] in "LMN" else "_" for each in name)
    try:
        encoded = os.fsencode(kept)
    except UnicodeEncodeError:  # The locale has no such letters.
        return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:_LONGEST_NAME]
    return encoded[:_LONGEST_NAME].decode(sys.getfilesystemencoding(), "ignore")


@contextmanager
def to(exporter: FileSpanExporter, stream: TextIO, terminal: Terminal) -> Iterator[None]:
    """Record the spans of this process while the context lasts, with its progress on ``stream``.

    They are also exported as the environment configures. A provider that exists, such as that of
    ``opentelemetry-instrument``, is used.
    """
    capture.record_to(str(exporter.path.absolute()))
    # Whoever kills the run, or finds it killed, sees no last line.
    progress = ProgressProcessor(capture.beside(stream), terminal, f"recording in {exporter.path}")
    recording = RecordingProcessor(exporter)
    traces.set_provider()
    for processor in (recording, progress):
        watching.watch(processor)
    user_tracers.share_context_with_threads()
    # What runs is in the file before it ends, with a provider of another package, too.
    pending_spans.begin()
    meters = Once(lambda: _created("metrics", exporter.write_line))
    providers.recorded_meter_provider = meters
    providers.recorded_logger_provider = Once(lambda: _created("logs", exporter.write_line))
    try:
        yield
    finally:
        providers.recorded_meter_provider = providers.recorded_logger_provider = None
        capture.finish()
        handover.record_waiting()
        if meters.is_made:
            meters().force_flush()
        recording.force_flush()
        progress.shutdown()


def _created(signal: str, write: Callable[[bytes], None]) -> Any:
    """Create the provider of a signal. Its SDK is imported with the first record: most runs have none."""
    with arguments.usable_environment() as values:
        return import_module(f"otel_flyte.sdk.recorded_{signal}").create_provider(values, write)


def discard_if_empty(exporter: FileSpanExporter) -> bool:
    """Remove a file without a span, even if it has log records; return whether it was removed."""
    if exporter.written:
        return False
    exporter.shutdown()
    exporter.path.unlink()
    return True
