"""The file of a local run: complete lines, few writes, and all spans that ended before the process."""

import json
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otel_flyte.export.file_exporter import FileSpanExporter
from otel_flyte.recording.otlp_file import read
from otel_flyte.report.terminal import Terminal
from otel_flyte.run.progress import ProgressProcessor
from otel_flyte.run.recording import RecordingProcessor

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from opentelemetry.sdk.trace import TracerProvider
from otel_flyte.export.file_exporter import FileSpanExporter
from otel_flyte.run.recording import RecordingProcessor

provider = TracerProvider()
provider.add_span_processor(RecordingProcessor(FileSpanExporter(Path(sys.argv[1]))))
tracer = provider.get_tracer("t")
end = lambda name: tracer.start_span(name).end()
"""


def recorded(folder: Path, program: str) -> tuple[int, list[str], int]:
    """Return the exit status of a program, the names of the spans in its file, and the number of lines."""
    path = folder / "f.jsonl"
    ended = subprocess.run([sys.executable, "-c", PROGRAM + program, str(path)], check=False, timeout=60)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return ended.returncode, [span.name for span in read(path).spans], len(lines)


def test_the_spans_of_a_loop_are_written_together(tmp_path: Path) -> None:
    code, spans, lines = recorded(tmp_path, "for number in range(5000): end(f'step {number}')")
    assert (code, spans) == (0, [f"step {number}" for number in range(5000)])
    assert lines < 500


def test_a_span_ended_just_before_a_kill_is_recorded(tmp_path: Path) -> None:
    program = "end('a'); end('b'); time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)"
    assert recorded(tmp_path, program)[:2] == (-signal.SIGKILL, ["a", "b"])


def test_the_end_of_a_task_is_written_at_once(tmp_path: Path) -> None:
    assert recorded(tmp_path, "end('a'); end('b'); end('task t'); os._exit(3)")[:2] == (3, ["a", "b", "task t"])


def test_forked_children_write_only_their_own_spans(tmp_path: Path) -> None:
    program = """
end("first")
end("waits")
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        for step in range(50): end(f"child {number} {step}")
        os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
end("last")
"""
    code, spans, _ = recorded(tmp_path, program)
    expected = ["first", "waits", "last", *(f"child {number} {step}" for number in range(3) for step in range(50))]
    assert (code, sorted(spans)) == (0, sorted(expected))


def test_a_flush_includes_later_processors(tmp_path: Path) -> None:
    asked = []

    class Last(SpanProcessor):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            asked.append(timeout_millis)
            return True

    provider = TracerProvider(shutdown_on_exit=False)
    recording = RecordingProcessor(FileSpanExporter(tmp_path / "f.jsonl"))
    progress = ProgressProcessor(StringIO(), Terminal())
    for processor in (recording, progress, Last()):
        provider.add_span_processor(processor)
    assert provider.force_flush()
    assert len(asked) == 1
    provider.shutdown()


def test_spans_ended_after_the_shutdown_are_recorded(tmp_path: Path) -> None:
    assert recorded(tmp_path, "end('a'); end('b'); provider.shutdown(); end('late')")[:2] == (0, ["a", "b", "late"])
