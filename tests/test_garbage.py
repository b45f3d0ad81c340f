"""The search for garbage is paused while a recording is shown, and goes on afterwards."""

import gc
from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_flyte.cli import main as cli
from otel_flyte.runtime import garbage
from support.traces import Recorder, local_run

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def _enabled() -> None:
    assert gc.isenabled()


@pytest.mark.parametrize("command", ["show", "explain", "dump", "metrics", "rightsize", "report"])
@pytest.mark.parametrize("is_readable", [True, False])
def test_a_command_leaves_the_search_enabled(tmp_path: Path, command: str, *, is_readable: bool) -> None:
    path = tmp_path / "run.jsonl"
    if is_readable:
        local_run(Recorder.of_file(path))
    output = ["-o", str(tmp_path / "page.html")] if command == "report" else []
    result = CliRunner().invoke(cli.main, [command, str(path), *output])
    assert (result.exit_code == 0) is is_readable
    assert gc.isenabled()


def test_it_stays_paused_where_it_was() -> None:
    with garbage.paused():
        assert not gc.isenabled()
        with garbage.paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError, match="broken"), garbage.paused():
        raise ValueError("broken")
    assert gc.isenabled()
