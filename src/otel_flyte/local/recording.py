"""Record what runs in this process into a file, and tell of it while it runs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_flyte.lifecycle.file_exporter import FileSpanExporter
from otel_flyte.lifecycle.providers import build_tracer_provider
from otel_flyte.local.progress import ProgressProcessor
from otel_flyte.report.text import Look

FOLDER = ".otel-flyte"


def open_file(name: str) -> FileSpanExporter:
    """Open ``.otel-flyte/<UTC time>-<name>.jsonl`` under the current folder.

    The folder keeps itself out of version control.

    Raises:
        OSError: it can't be written.
    """
    folder = Path(FOLDER)
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")
    stem = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
    free = (folder / f"{stem}{suffix}.jsonl" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
    return FileSpanExporter(next(path for path in free if not path.exists()))


@contextmanager
def to(exporter: FileSpanExporter, stream: TextIO, look: Look) -> Iterator[None]:
    """Record the spans of this process while the context lasts, and tell of them on ``stream``.

    They also go wherever the environment sends them. A provider that is there already, such as that of
    ``opentelemetry-instrument``, is used.
    """
    progress = ProgressProcessor(stream, look)
    processors = (SimpleSpanProcessor(exporter), progress)
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        for processor in processors:
            provider.add_span_processor(processor)
    else:
        trace.set_tracer_provider(build_tracer_provider(extra_processors=processors))
    try:
        yield
    finally:
        progress.shutdown()


def discard_if_empty(exporter: FileSpanExporter) -> bool:
    """Remove the file where no span was written to it, and say so."""
    if exporter.path.stat().st_size:
        return False
    exporter.shutdown()
    exporter.path.unlink()
    return True
