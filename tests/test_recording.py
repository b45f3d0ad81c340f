"""The file of a local run: complete lines, few writes, and all spans that ended before the process."""

import json
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otel_flyte.export.file_exporter import FileSpanExporter
from otel_flyte.recording.otlp_file import read
from otel_flyte.report.terminal import Terminal
from otel_flyte.run.progress import ProgressProcessor
from otel_flyte.run.recording import RecordingProcessor, file_name

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from opentelemetry.sdk.trace import TracerProvider
from otel_flyte.export.file_exporter import FileSpanExporter
from otel_flyte.run.recording import RecordingProcessor, file_name

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


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("main", "main"),
        ("学習パイプライン", "学習パイプライン"),
        ("हिन्दी", "हिन्दी"),
        ("обучение.модели-2", "обучение.модели-2"),
        ("a/b c\u202ed\n", "a_b_c_d_"),
        ("\udc80x", "_x"),
        ("界" * 100, "界" * 53),
        ("x" * 500, "x" * 160),
    ],
)
def test_the_name_of_a_file_has_the_letters_of_all_scripts(name: str, expected: str, tmp_path: Path) -> None:
    assert file_name(name) == expected
    (tmp_path / f"20260101T000000Z-{file_name(name)}-999.jsonl").touch()


def test_a_running_task_is_recorded_with_a_provider_of_another_program(tmp_path: Path) -> None:
    (tmp_path / "wf.py").write_text(WORKFLOW)
    program = tmp_path / "program.py"
    program.write_text(OTHERS_PROVIDER)
    running = subprocess.Popen(
        [sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            shown = subprocess.run(
                [sys.executable, "-m", "otel_flyte", "explain", ".otel-flyte"],
                cwd=tmp_path,
                check=False,
                capture_output=True,
                text=True,
            )
            if "task wf.slow" in shown.stdout or running.poll() is not None:
                break
            time.sleep(0.1)
        assert "never ended" in shown.stdout
        listed = subprocess.run(
            [sys.executable, "-m", "otel_flyte", "metrics", ".otel-flyte"],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert "wf.slow" in listed.stdout
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()


WORKFLOW = """
import time
from flytekit import task, workflow


@task
def slow() -> int:
    time.sleep(60)
    return 1


@workflow
def main() -> int:
    return slow()
"""

OTHERS_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
from otel_flyte.cli.main import main
main(["run", "wf.py", "main"])
"""
