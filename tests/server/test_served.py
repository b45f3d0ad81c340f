"""The fixture with a server: it starts, takes a recording, and ends by SIGTERM."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import traces
from support.server import Served, command, environment, serving

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]


def test_a_recording_that_is_sent_is_listed(served: Served, tmp_path: Path) -> None:
    traces.local_run(traces.Recorder.of_file(tmp_path / "run.jsonl"))
    served.send_file(tmp_path / "run.jsonl")
    assert served.get("/api/v1/executions").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_without_a_word_and_closes_the_database(tmp_path: Path, number: signal.Signals) -> None:
    traces.local_run(traces.Recorder.of_file(tmp_path / "run.jsonl"))
    with serving(tmp_path / "serve") as ready:
        ready.send_file(tmp_path / "run.jsonl")
        assert ready.executions()
        ready.process.send_signal(number)
        ready.process.wait(60)
    assert (ready.process.returncode, (ready.folder / "stderr").read_text()) == (0, "")
    assert {path.name for path in (ready.folder / ".otel-flyte").iterdir()} == {"telemetry.db", "telemetry.db.lock"}


def test_a_file_without_otlp_is_one_line_and_no_server(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A file\n\nof some lines\n")
    ended = subprocess.run(
        command("README.md"), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("otel-flyte: README.md has no line of OTLP JSON (the first one: ")
    assert line.endswith(": use a file written by otel-flyte or an OTLP file exporter")


def test_a_line_that_cannot_be_read_is_one_line_while_the_others_are_served(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    traces.local_run(traces.Recorder.of_file(recordings / "run.jsonl"))
    (recordings / "other.jsonl").write_text("no OTLP\n")
    with serving(tmp_path / "serve", str(recordings), receives=False) as ready:
        assert len(ready.executions()) == 1
        shutil.rmtree(recordings)
        time.sleep(2)
    lines = (ready.folder / "stderr").read_text().splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        f"otel-flyte: {recordings}/other.jsonl, line 1 is not OTLP",
        f"otel-flyte: {recordings} can't be read",
    ]
