"""The fixture with a server: it starts, takes a recording, and ends by SIGTERM."""

from pathlib import Path

import pytest

from support import traces
from support.server import Served, serving

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]


def test_a_recording_that_is_sent_is_listed(served: Served, tmp_path: Path) -> None:
    traces.local_run(traces.Recorder.of_file(tmp_path / "run.jsonl"))
    served.send_file(tmp_path / "run.jsonl")
    assert served.get("/api/v1/executions").status_code == 200


def test_sigterm_ends_it_without_a_word(tmp_path: Path) -> None:
    with serving(tmp_path / "serve") as ready:
        pass
    assert (ready.process.returncode, (ready.folder / "stderr").read_text()) in ((0, ""), (-15, ""))
