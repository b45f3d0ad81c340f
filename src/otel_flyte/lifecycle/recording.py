"""Record what runs in this process into a file, and tell of it while it runs."""

import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_flyte.lifecycle.file_exporter import FileSpanExporter
from otel_flyte.lifecycle.progress import ProgressProcessor
from otel_flyte.lifecycle.providers import build_tracer_provider
from otel_flyte.report.text import Look

FOLDER = ".otel-flyte"


def record(name: str, run: Callable[[], int], stream: TextIO, look: Look) -> tuple[int, Path | None]:
    """Run something, and give what it returned and the file that its spans are in, ``None`` where there were none.

    Progress goes to ``stream``. Spans also go wherever the environment sends them. A provider that is there already,
    of ``opentelemetry-instrument`` for one, is used.

    Raises:
        OSError: the file can't be written.
    """
    path = _new_file(name)
    progress = ProgressProcessor(stream, look)
    processors = (SimpleSpanProcessor(FileSpanExporter(path)), progress)
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        for processor in processors:
            provider.add_span_processor(processor)
    else:
        trace.set_tracer_provider(build_tracer_provider(extra_processors=processors))
    code = run()
    progress.shutdown()
    if path.stat().st_size:
        return code, path
    path.unlink()
    return code, None


def _new_file(name: str) -> Path:
    """Choose ``.otel-flyte/<UTC time>-<name>.jsonl``, in a folder that keeps itself out of version control."""
    folder = Path(FOLDER)
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")
    stem = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
    path, number = folder / f"{stem}.jsonl", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.jsonl", number + 1
    return path
