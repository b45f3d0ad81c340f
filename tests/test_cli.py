"""The command line as a user calls it, in a separate process if the outcome depends on the process."""

import contextlib
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import grpc
import pytest
import yaml
from click.testing import CliRunner, Result
from inline_snapshot import snapshot
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from otel_flyte import semconv
from otel_flyte.cli import main as cli
from otel_flyte.export.file_exporter import FileSpanExporter
from otel_flyte.recording import otlp_file
from otel_flyte.recording.roles import Role
from otel_flyte.recording.tree import ExecutionTree
from otel_flyte.report.terminal import Terminal
from otel_flyte.run import recording
from otel_flyte.run.progress import ProgressProcessor
from support import fork_server, traces
from support.receiver import Protocol, Receiver

pytestmark = [pytest.mark.newest_only, pytest.mark.slow]

SCRIPTS = Path(sys.executable).parent
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "FLYTE", "PYTEST_"))},
    "COLUMNS": "100",
}
"""The variables before flytekit is imported here, which sets some."""

WORKFLOW = '''
import os
import sys
from flytekit import task, workflow

print("module loaded")

@task
def invert(number: float) -> float:
    """Divide one by a number."""
    if number < 0:
        os._exit(7)
    return 1 / number

@task
def leave(code: int) -> int:
    if code:
        sys.exit(code)
    return code

@workflow
def main(number: float = 4.0) -> float:
    return invert(number=number)
'''


KILLED = """
import os
import signal
import time
from flytekit import dynamic, task, workflow

@task
def die(seconds: float) -> int:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
    return 1

@task
def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds

@task
def interrupt() -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return sum(range(1000))

@workflow
def run(seconds: float) -> int:
    return die(seconds=seconds)

@dynamic
def grow(seconds: float) -> int:
    return die(seconds=seconds)

@workflow
def second(seconds: float) -> int:
    return die(seconds=pause(seconds=seconds))

@workflow
def interrupted() -> int:
    return interrupt()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a workflow, which is the current folder."""
    (tmp_path / "wf.py").write_text(WORKFLOW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    traces.local_run(traces.Recorder.of_file(tmp_path / "run.jsonl"))
    return str(tmp_path / "run.jsonl")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def process(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a console script; it is forked from a process that has imported flytekit if its variables allow this."""
    arguments = [str(SCRIPTS / command[0]), *command[1:]]
    env = {**ENVIRONMENT, **environment}
    if fork_server.can_fork(arguments, env, ENVIRONMENT):
        ended = fork_server.server(ENVIRONMENT, env).run(arguments, env, Path.cwd(), 120)
        return subprocess.CompletedProcess(arguments, *ended)
    return subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=120, check=False)


def recordings(project: Path) -> list[Path]:
    return sorted((project / ".otel-flyte").glob("*.jsonl"))


@pytest.mark.quick
class TestRecordedTraces:
    def test_explain_prints_the_table(self, recorded: str) -> None:
        result = call("explain", recorded)
        assert (result.exit_code, result.stdout) == (0, f"{ExecutionTree.from_file(recorded).explain()}\n")

    def test_dump_prints_yaml(self, recorded: str) -> None:
        result = call("dump", recorded)
        assert result.exit_code == 0
        assert list(yaml.safe_load(result.stdout)) == ["shop.main"]

    def test_show_prints_the_tree(self, recorded: str) -> None:
        result = call("show", recorded)
        assert result.exit_code == 0
        assert "└─ ✗ task shop.train" in result.stdout

    def test_several_files_and_folders_are_combined(self, recorded: str, tmp_path: Path) -> None:
        assert call("explain", recorded, str(tmp_path)).stdout == call("explain", recorded).stdout

    @pytest.mark.parametrize("command", ["explain", "dump", "show"])
    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (None, "does not exist"),
            ("", "is empty"),
            ("{", "is not JSON"),
            ('{"spans": []}', "is JSON but not OTLP"),
            ('{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}', "lacks 'traceId'"),
        ],
    )
    def test_a_file_that_is_not_a_trace_is_reported_in_one_line_with_exit_code_2(
        self, tmp_path: Path, command: str, content: str | None, complaint: str
    ) -> None:
        path = tmp_path / "f.jsonl"
        if content is not None:
            path.write_text(content)
        result = call(command, str(path))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"otel-flyte: {path}")
        assert complaint in result.stderr

    @pytest.mark.parametrize("control", ["\u202e", "\x1b[2J", "\u2067"])
    def test_an_error_line_has_no_control_characters_of_names(self, tmp_path: Path, control: str) -> None:
        result = call("explain", str(tmp_path / f"a{control}live"))
        assert result.exit_code == 2
        assert control not in result.stderr
        assert "live does not exist: check the path" in result.stderr

    @pytest.mark.parametrize("command", ["explain", "dump", "show"])
    def test_a_part_that_is_ignored_is_reported_beside_the_result(self, recorded: str, command: str) -> None:
        whole = call(command, recorded)
        with Path(recorded).open("a") as file:
            file.write('{"resource')
        result = call(command, recorded)
        assert (result.exit_code, result.stdout) == (0, whole.stdout)
        problem = "line 16 is incomplete because its writer was interrupted: the line is ignored"
        assert result.stderr == f"otel-flyte: {recorded}, {problem}\n"

    def test_neither_flytekit_nor_the_sdk_is_imported(self, recorded: str) -> None:
        program = f"""
import sys
from click.testing import CliRunner
from otel_flyte.cli.main import main
for command in ("explain", "dump", "show"):
    assert CliRunner().invoke(main, [command, {recorded!r}]).exit_code == 0
print({{name.split(".")[0] for name in sys.modules}} & {{"flytekit", "opentelemetry", "google", "grpc"}})
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"

    def test_commands_succeed_on_an_ascii_terminal(self, recorded: str) -> None:
        for command in ("explain", "dump", "show"):
            done = process("otel-flyte", command, recorded, PYTHONIOENCODING="ascii")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.isascii()

    def test_a_closed_pipe_causes_no_traceback(self, recorded: str) -> None:
        done = process("otel-flyte", "dump", *[recorded] * 2)
        assert len(done.stdout) > 1000
        piped = subprocess.run(
            f"{SCRIPTS}/otel-flyte dump {recorded} | head -1", shell=True, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in piped.stderr

    @pytest.mark.parametrize(
        ("target", "why"), [(">&-", "standard output is closed"), ("> /dev/full", "No space left on device")]
    )
    @pytest.mark.parametrize("command", ["explain", "dump", "show"])
    def test_an_unwritable_stdout_is_reported_in_one_line(
        self, recorded: str, command: str, target: str, why: str
    ) -> None:
        if "full" in target and not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        done = subprocess.run(
            f"{SCRIPTS}/otel-flyte {command} {recorded} {target}",
            shell=True,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (
            1,
            f"otel-flyte: the output can't be printed ({why}): redirect standard output\n",
        )

    def test_the_package_can_be_run_as_a_module(self, recorded: str) -> None:
        command = [sys.executable, "-m", "otel_flyte", "explain", recorded]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == call("explain", recorded).stdout


class TestUsageErrors:
    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["show", "--bad", "f.jsonl"], "No such option '--bad': see `main show --help`"),
            (["show"], "Missing argument 'FILE...': see `main show --help`"),
            (["shw"], "No such command 'shw' (did you mean 'show'?): see `main --help`"),
            (["spool", "pul"], "No such command 'pul'"),
            (["--nope"], "No such option '--nope': see `main --help`"),
            (["rightsize", "f", "--last", "x"], "Invalid value for '--last': 'x' is not a valid integer: see"),
            (["rightsize", "f", "--margin", "x"], "Invalid value for '--margin': 'x' is not a valid number: see"),
            (["rightsize", "f", "--margin", "nan"], "Invalid value for '--margin': nan is not a number: see"),
            (["doctor", "extra"], "Got unexpected extra argument (extra): see `main doctor --help`"),
            (["stack", "up", "--compose", "--native"], "--compose and --native exclude each other: see"),
            (["stack", "up", "--timeout", "nan"], "Invalid value for '--timeout': 'nan' is not a valid integer: see"),
        ],
    )
    def test_one_line_names_the_problem_and_the_help(self, arguments: list[str], problem: str) -> None:
        result = call(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"otel-flyte: {problem}")
        assert result.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            [""],
            ["show", ""],
            ["metrics", "f.jsonl", ""],
            ["report", "f.jsonl", "-o", ""],
            ["replay", ""],
            ["replay", "f.jsonl", "--endpoint", ""],
            ["replay", "f.jsonl", "--endpoint="],
            ["spool", "push", "folder", ""],
            ["run", ""],
        ],
    )
    def test_an_empty_argument_is_one_line(self, project: Path, arguments: list[str]) -> None:
        result = call(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "otel-flyte: an argument is empty: give it a value, or omit it\n"

    def test_a_workflow_may_have_an_empty_input(self, project: Path) -> None:
        (project / "text.py").write_text(
            "from flytekit import task\n\n\n@task\ndef size(text: str) -> int:\n    return len(text)\n"
        )
        done = process("otel-flyte", "run", "text.py", "size", "--text", "")
        assert done.returncode == 0, done.stderr

    def test_a_folder_is_no_output(self, recorded: str, tmp_path: Path) -> None:
        result = call("report", recorded, "-o", str(tmp_path))
        assert (result.exit_code, result.stdout) == (2, "")
        problem = f"{tmp_path} can't be written (Is a directory): check the path and its permissions"
        assert result.stderr == f"otel-flyte: {problem}\n"

    @pytest.mark.parametrize("command", cli.main.commands.values(), ids=lambda command: command.name)
    def test_the_list_of_commands_has_whole_sentences(self, command: click.Command) -> None:
        assert not command.get_short_help_str(63).endswith("...")


class TestRun:
    def test_a_program_runs_as_with_pyflyte_and_prints_its_tree_and_its_recording(self, project: Path) -> None:
        bare = process("pyflyte", "run", "wf.py", "main", "--number", "8")
        done = process("otel-flyte", "run", "wf.py", "main", "--number", "8")
        assert done.returncode == bare.returncode == 0
        assert done.stdout.startswith(bare.stdout)
        (file,) = recordings(project)
        assert re.fullmatch(r"\d{8}T\d{6}Z-main\.jsonl", file.name)
        expected = f"recorded in .otel-flyte/{file.name}\npage: .otel-flyte/{file.stem}.html"
        assert done.stdout.endswith(f"\n{expected}\n")
        assert file.with_suffix(".html").exists()
        tree = ExecutionTree.from_file(file)
        assert [span.span.name for span in tree.walk()] == snapshot(
            ["workflow wf.main", "task wf.invert", "input translation", "user code", "output translation"]
        )
        assert "✓ workflow wf.main" in done.stdout
        assert (project / ".otel-flyte" / ".gitignore").read_text() == "*\n"

    def test_progress_is_printed_on_stderr(self, project: Path) -> None:
        done = process("otel-flyte", "run", "wf.py", "main")
        expected = re.sub(r"\d[\d.]* (µs|ms|s)", "#", done.stderr)
        entities_and_ends = re.findall(r".*(?:✓|▶ task|▶ workflow).*\n", expected)
        assert "".join(entities_and_ends) == snapshot("""\
    #  ▶ workflow wf.main
    #    ▶ task wf.invert
    #      ✓ input translation  #
    #      ✓ user code  #
    #      ✓ output translation  #
    #    ✓ task wf.invert  #
    #  ✓ workflow wf.main  #
""")

    def test_a_failure_has_the_output_of_pyflyte_and_is_in_the_tree(self, project: Path) -> None:
        command, wide = ("run", "wf.py", "main", "--number", "0"), {"COLUMNS": "200"}
        bare, done = process("pyflyte", *command, **wide), process("otel-flyte", *command, **wide)
        assert done.returncode == bare.returncode == 1
        assert done.stdout.startswith(bare.stdout)
        assert "ZeroDivisionError: float division by zero\n" in done.stdout
        assert f"at {project / 'wf.py'}:13 in invert\n" in done.stdout

    @pytest.mark.parametrize(
        "arguments",
        [
            ["wf.py", "main", "--number", "many"],
            ["wf.py", "main", "--unknown", "1"],
            ["--unknown", "wf.py", "main"],
            ["wf.py", "leave", "--code", "5"],
            ["wf.py"],
            ["broken.py", "main"],
        ],
    )
    def test_other_failures_have_the_output_of_pyflyte(self, project: Path, arguments: list[str]) -> None:
        (project / "broken.py").write_text("def main(:\n")
        bare = process("pyflyte", "run", *arguments)
        done = process("otel-flyte", "run", *arguments)
        assert bare.returncode != 0
        assert done.returncode == bare.returncode
        assert done.stdout.startswith(bare.stdout)

    def test_options_of_pyflyte_can_precede_the_file(self, project: Path) -> None:
        done = process("otel-flyte", "run", "--project", "p", "--copy", "all", "wf.py", "main", "--number", "2")
        assert done.returncode == 0
        assert len(recordings(project)) == 1

    def test_help_is_that_of_pyflyte_only_after_a_file(self, project: Path) -> None:
        ours = process("otel-flyte", "run", "--help")
        assert ours.returncode == 0
        assert "pyflyte run --help" in ours.stdout
        inputs = process("otel-flyte", "run", "wf.py", "main", "--help")
        assert inputs.stdout == process("pyflyte", "run", "wf.py", "main", "--help").stdout
        assert inputs.returncode == 0
        assert not (project / ".otel-flyte").exists()

    def test_a_run_without_arguments_is_a_usage_error(self) -> None:
        result = call("run")
        assert result.exit_code == 2
        assert "Usage: main run" in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["nothing.py", "main"], "nothing.py does not exist: check the path"),
            (["--project", "p", "nothing.py", "main"], "nothing.py does not exist: check the path"),
            ([".", "main"], ". is a folder: name a Python file"),
            (
                ["wf.py", "mian"],
                "wf.py has no workflow or task mian (did you mean main?): choose one of invert, leave, main",
            ),
            (["wf.py", "zzz"], "wf.py has no workflow or task zzz: choose one of invert, leave, main"),
        ],
    )
    def test_a_missing_file_or_entity_is_reported_in_one_line_before_the_run(
        self, project: Path, arguments: list[str], complaint: str
    ) -> None:
        result = call("run", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"otel-flyte: {complaint}\n"
        assert not (project / ".otel-flyte").exists()

    def test_a_dynamically_bound_name_is_passed_to_pyflyte(self, project: Path) -> None:
        (project / "late.py").write_text("from wf import *\n")
        (project / "later.py").write_text("import wf\nglobals()['entry'] = wf.main\n")
        for arguments in (["late.py", "main"], ["later.py", "entry"]):
            assert process("otel-flyte", "run", *arguments).returncode == 0

    def test_missing_flytekit_is_reported_in_one_line(self, project: Path) -> None:
        program = """
import sys
sys.modules["flytekit"] = None
from otel_flyte.cli.main import main
main(["run", "wf.py", "main"])
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "otel-flyte: flytekit is not installed: run pip install 'flytekit>=1.15,<2'\n"

    def test_a_run_in_an_unwritable_folder_is_recorded_elsewhere(self, project: Path) -> None:
        (project / ".otel-flyte").touch()
        done = process("otel-flyte", "run", "wf.py", "main")
        assert done.returncode == 0
        (line,) = (line for line in done.stderr.splitlines() if "can't be written" in line)
        begin = "otel-flyte: .otel-flyte/ can't be written (File exists): the run is recorded in "
        assert line.startswith(begin)
        folder, _, remedy = line.removeprefix(begin).partition(", ")
        assert remedy == "choose another place by --output"
        assert [path.suffix for path in sorted(Path(folder).iterdir())] == [".html", ".jsonl"]
        assert f"recorded in {folder}/" in done.stdout

    @pytest.mark.parametrize("output", ["new/folder", "there", "file.jsonl"])
    def test_the_output_is_the_place_of_the_recording(self, project: Path, output: str) -> None:
        (project / "there").mkdir()
        done = process("otel-flyte", "run", "--output", output, "wf.py", "main")
        assert done.returncode == 0
        (path,) = (line.partition(" in ")[2] for line in done.stdout.splitlines() if line.startswith("recorded in "))
        assert path.startswith(output)
        assert len(otlp_file.read(project / path).spans) > 1
        assert not (project / ".otel-flyte").exists()

    @pytest.mark.parametrize(
        ("output", "reason"), [("wf.py", "File exists"), ("old.jsonl", "File exists"), ("wf.py/x", "Not a directory")]
    )
    def test_an_unwritable_output_is_reported_before_the_run(self, project: Path, output: str, reason: str) -> None:
        (project / "old.jsonl").touch()
        done = process("otel-flyte", "run", "--output", output, "wf.py", "main")
        assert (done.returncode, done.stdout) == (2, "")
        remedy = "name a new file, or a folder that can be written, by --output"
        assert done.stderr == f"otel-flyte: {output} can't be written ({reason}): {remedy}\n"

    @pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
    @pytest.mark.parametrize(("number", "code"), [("8", 0), ("0", 1)])
    def test_a_program_with_closed_streams_ends_as_with_pyflyte(
        self, project: Path, closed: str, number: str, code: int
    ) -> None:
        command = f"{SCRIPTS}/otel-flyte run wf.py main --number {number} {closed}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code
        (file,) = recordings(project)
        assert "task wf.invert" in [span.span.name for span in ExecutionTree.from_file(file).walk()]
        if closed == ">&-":
            last_line = done.stderr.splitlines()[-1]
            assert last_line == (
                f"otel-flyte: recorded in .otel-flyte/{file.name}, but the output can't be printed "
                "(standard output is closed): redirect standard output"
            )

    def test_a_closed_pipe_does_not_change_the_exit_code(self, project: Path) -> None:
        program = """
import os, sys
from otel_flyte.cli import main as cli
from otel_flyte.run import pyflyte_run

def invoke(arguments, run=pyflyte_run.invoke):
    code = run(arguments)
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    return code

pyflyte_run.invoke = invoke
sys.argv[1:] = ["run", "wf.py", "main"]
cli.main()
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "Broken pipe" not in done.stderr

    @pytest.mark.parametrize(("number", "code"), [("8", 0), ("0", 1)])
    @pytest.mark.parametrize(("size", "some"), [(64, False), (3000, True)])
    def test_a_full_disk_is_reported_and_does_not_change_the_exit_code(
        self, project: Path, *, number: str, code: int, size: int, some: bool
    ) -> None:
        done = subprocess.run(
            [str(SCRIPTS / "otel-flyte"), "run", "wf.py", "main", "--number", number],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        assert done.returncode == code
        incomplete = (
            r"otel-flyte: the recording lacks \d+ spans? that can't be written \(File too large\): check the disk"
        )
        assert any(re.fullmatch(incomplete, line) for line in done.stderr.splitlines())
        assert "nothing was recorded" not in done.stderr
        assert bool(recordings(project)) is some
        assert ("recorded in" in done.stdout) is some

    def test_a_disabled_instrumentation_is_reported_and_the_program_runs(self, project: Path) -> None:
        done = process("otel-flyte", "run", "wf.py", "main", OTEL_FLYTE_ENABLED="false")
        assert done.returncode == 0
        assert done.stdout == process("pyflyte", "run", "wf.py", "main").stdout
        assert done.stderr.endswith(
            "otel-flyte: nothing was recorded, OTEL_FLYTE_ENABLED disables the instrumentation: unset it\n"
        )
        assert recordings(project) == []

    def test_a_task_that_changes_the_working_directory_is_recorded(self, project: Path) -> None:
        (project / "away.py").write_text(
            "import os\nfrom flytekit import task\n\n\n@task\ndef go() -> None:\n    os.chdir('/')\n"
        )
        done = process("otel-flyte", "run", "away.py", "go")
        assert "✓ task away.go" in done.stdout
        assert len(recordings(project)) == 1

    def test_a_sampler_that_records_nothing_is_reported(self, project: Path) -> None:
        done = process("otel-flyte", "run", "wf.py", "main", OTEL_TRACES_SAMPLER="always_off")
        assert done.returncode == 0
        assert done.stderr.endswith(
            "otel-flyte: nothing was recorded, "
            "OTEL_TRACES_SAMPLER=always_off records no spans: choose another sampler\n"
        )
        assert recordings(project) == []

    def test_invalid_settings_are_reported_and_the_run_is_recorded(self, project: Path) -> None:
        wrong = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "lots", "OTEL_CONFIG_FILE": "otel.yaml"}
        done = process("otel-flyte", "run", "wf.py", "main", **wrong)
        assert done.returncode == 0
        assert [line for line in done.stderr.splitlines() if line.startswith("otel-flyte:")] == [
            "otel-flyte: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=lots must be a non-negative integer: 128 is used",
            "otel-flyte: otel-flyte run ignores OTEL_CONFIG_FILE: set OTEL_EXPORTER_OTLP_ENDPOINT to export the run",
        ]
        assert len(recordings(project)) == 1

    def test_recorded_spans_survive_an_abrupt_end_of_the_process(self, project: Path) -> None:
        done = process("otel-flyte", "run", "wf.py", "main", "--number", "-1")
        assert done.returncode == 7
        (file,) = recordings(project)
        spans = [(span.span.name, span.result) for span in ExecutionTree.from_file(file).walk()]
        assert spans == [
            ("workflow wf.main", "never ended"),
            ("task wf.invert", "never ended"),
            ("input translation", "success"),
        ]

    @pytest.mark.parametrize("seconds", [0, 0.3, 1.5])
    @pytest.mark.parametrize("outer", ["run", "grow"])
    def test_a_killed_run_names_its_recording_and_shows_what_it_was_in(
        self, project: Path, outer: str, seconds: float
    ) -> None:
        (project / "killed.py").write_text(KILLED)
        done = process("otel-flyte", "run", "killed.py", outer, "--seconds", str(seconds))
        assert done.returncode == -signal.SIGKILL
        (file,) = recordings(project)
        assert f"recording in {file.relative_to(project)}\n" in done.stderr
        [execution] = ExecutionTree.from_file(file).executions
        [top] = execution.roots
        (task,) = [span for span in top.children if span.role is Role.ATTEMPT]
        assert (top.span.name.split(".")[-1], task.span.name) == (outer, "task killed.die")
        assert (top.result, task.result) == ("never ended", "never ended")
        assert top.start_ns <= task.start_ns
        assert all(task.start_ns <= child.start_ns for child in task.children)
        if seconds:
            assert str(task.last_seen) == "last seen in user code"

    def test_a_task_that_is_killed_after_others_has_its_name(self, project: Path) -> None:
        (project / "killed.py").write_text(KILLED)
        process("otel-flyte", "run", "killed.py", "second", "--seconds", "0.3")
        (file,) = recordings(project)
        [top] = ExecutionTree.from_file(file).executions[0].roots
        assert [(span.span.name, span.result) for span in top.children] == [
            ("task killed.pause", "success"),
            ("task killed.die", "never ended"),
        ]

    def test_an_interrupt_is_recorded_at_the_line_of_the_user(self, project: Path) -> None:
        (project / "killed.py").write_text(KILLED)
        assert process("otel-flyte", "run", "killed.py", "interrupted").returncode == 1
        (file,) = recordings(project)
        tree = ExecutionTree.from_file(file)
        [(span, error)] = tree.errors()
        line = KILLED.splitlines().index("    os.kill(os.getpid(), signal.SIGINT)") + 1
        assert (span.span.name, error.text) == ("user code", "KeyboardInterrupt")
        assert error.frame.endswith(f"killed.py:{line} in interrupt")
        assert {span.result for span in tree.walk() if span.role is Role.ATTEMPT} == {"cancellation"}

    def test_spans_are_also_exported_to_the_configured_endpoint(self, project: Path, receiver: Receiver) -> None:
        assert process("otel-flyte", "run", "wf.py", "main", **receiver.environment()).returncode == 0
        (file,) = recordings(project)
        written = {span.span.span_id for span in ExecutionTree.from_file(file).walk()}
        assert {span.span_id for span in receiver.spans()} == written

    @pytest.mark.parametrize(("number", "mark", "result"), [("8", "✓", "success"), ("0", "✗", "failure")])
    def test_an_exported_run_has_its_result(
        self, project: Path, receiver: Receiver, number: str, mark: str, result: str
    ) -> None:
        done = process("otel-flyte", "run", "wf.py", "main", "--number", number, **receiver.environment())
        assert f"\n{mark} execution main-" in done.stdout
        (file,) = recordings(project)
        compared = json.loads(call("compare", str(file), str(file), "--json").stdout)
        assert (compared["a"]["result"], compared["b"]["result"]) == (result, result)
        assert "unknown" not in call("explain", str(file)).stdout

    def test_an_existing_provider_is_used(self, project: Path) -> None:
        program = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
from otel_flyte.cli.main import main
main(["run", "wf.py", "main"])
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert len(recordings(project)) == 1

    def test_runs_within_one_second_have_separate_files(self, project: Path) -> None:
        assert len({recording.open_file("a b/c")[0].path for _ in range(3)}) == 3
        assert all("-a_b_c" in file.name for file in recordings(project))


class TestProgress:
    def test_a_phase_is_printed_when_a_span_starts_inside_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("otel_flyte.run.progress.START_DELAY", 3600)
        stream = io.StringIO()
        progress = ProgressProcessor(stream, Terminal())
        recorder = traces.Recorder(traces.Kept())
        recorder.add(progress)
        with recorder.span("task t", 0, 3):
            recorder.leaf(semconv.PHASE_INPUT, 0, 0.01)
            with recorder.span(semconv.PHASE_USER_CODE, 1, 2), recorder.span("mine", 1, 2, scope="me"):
                recorder.leaf("workflow sub", 1, 2, error=("E", "boom\nat length"))
        progress.shutdown()
        assert stream.getvalue() == snapshot("""\
    0.000 s  ▶ task t
    0.010 s    ✓ input translation  10.0 ms
    1.000 s    ▶ user code
    1.000 s      ▶ workflow sub
    2.000 s      ✗ workflow sub  1.00 s  E: boom
    2.000 s    ✓ user code  1.00 s
    3.000 s  ✓ task t  3.00 s
""")

    def test_a_long_phase_is_printed_while_it_runs(self) -> None:
        stream = io.StringIO()
        recorder = traces.Recorder(traces.Kept())
        progress = ProgressProcessor(stream, Terminal())
        recorder.add(progress)
        with recorder.span(semconv.PHASE_USER_CODE, 0, 1):
            deadline = time.monotonic() + 30
            while not stream.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert stream.getvalue() == "    0.000 s  ▶ user code\n"
        progress.shutdown()

    def test_a_closed_stream_raises_nothing(self) -> None:
        stream = io.StringIO()
        recorder = traces.Recorder(traces.Kept())
        recorder.add(ProgressProcessor(stream, Terminal()))
        stream.close()
        recorder.leaf("task t", 0, 1)


class TestDemo:
    def test_the_demo_prints_a_tree_with_every_kind_of_task_and_the_next_steps(self, project: Path) -> None:
        done = process("otel-flyte", "demo")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        (file,) = recordings(project)
        tree = ExecutionTree.from_file(file)
        kinds = {span.attribute(semconv.TASK_KIND) for span in tree.walk()} - {None}
        assert kinds == {"eager", "sync", "async", "dynamic", "map", "plugin"}
        assert {span.attribute(semconv.CACHE_STATUS) for span in tree.walk()} >= {"hit", "miss"}
        assert sum(span.span.name == semconv.SPAN_MAP_ITEM for span in tree.walk()) == 6
        assert [span.result for span in tree.walk() if span.span.name == "task demo.register"] == ["failure", "success"]
        assert "RegistryUnavailableError: 503 for" in done.stdout
        assert f"otel-flyte explain .otel-flyte/{file.name}  every operation in a table" in done.stdout
        assert done.stdout.splitlines()[-1] == f"Open {file.with_suffix('.html').resolve().as_uri()}"
        assert file.with_suffix(".html").exists()

    @pytest.mark.parametrize("variable", ["OTEL_FLYTE_ENABLED=false", "OTEL_SDK_DISABLED=true"])
    def test_it_records_nothing_where_the_instrumentation_is_disabled(self, project: Path, variable: str) -> None:
        name, _, value = variable.partition("=")
        done = process("otel-flyte", "demo", **{name: value})
        problem = f"nothing was recorded, {name} disables the instrumentation: unset it"
        assert (done.returncode, done.stderr.splitlines()[-1]) == (0, f"otel-flyte: {problem}")
        assert recordings(project) == []


class Answers(BaseHTTPRequestHandler):
    """A server with the same answer to every request."""

    status = 200
    content_type = "application/x-protobuf"
    body = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Type", self.content_type)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: Any) -> None:
        """Write nothing, so that the output of a test is its own."""


@contextlib.contextmanager
def http_server(**answer: Any) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (Answers,), answer))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def grpc_server(export: Any) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(SimpleNamespace(Export=export), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()


def traces_only(endpoint: str, protocol: Protocol = "http/protobuf") -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}


def diagnosed(environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """Return the exit code, and the lines below the one about flytekit."""
    done = process("otel-flyte", "doctor", **environment)
    assert done.stderr == ""
    first, *lines = done.stdout.splitlines()
    assert re.fullmatch(r"ok    the instrumentation is on: flytekit [\d.]+, (\d+) of \1 hooks found", first)
    return done.returncode, [re.sub(r"127\.0\.0\.1:\d+", "HOST", line) for line in lines]


PARTIAL = trace_service_pb2.ExportTraceServiceResponse(
    partial_success=trace_service_pb2.ExportTracePartialSuccess(rejected_spans=1, error_message="quota")
)


class TestDoctor:
    @pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
    def test_doctor_succeeds_if_the_receiver_accepts_every_signal(self, receiver: Receiver, protocol: Protocol) -> None:
        assert diagnosed(receiver.environment(protocol)) == (
            0,
            [
                f"ok    {signal} by {protocol} to http://HOST{path} (OTEL_EXPORTER_OTLP_ENDPOINT): accepted"
                for signal in ("traces", "metrics", "logs")
                for path in ("" if protocol == "grpc" else f"/v1/{signal}",)
            ],
        )
        assert [span.name for span in receiver.spans()] == [semconv.SPAN_DOCTOR]

    def test_headers_and_compression_are_the_same_as_for_tasks(self, receiver: Receiver) -> None:
        environment = {"OTEL_EXPORTER_OTLP_HEADERS": "x-token=abc", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
        assert diagnosed({**receiver.environment(), **environment})[0] == 0
        assert {request.headers["x-token"] for request in receiver.requests()} == {"abc"}
        assert {request.headers["content-encoding"] for request in receiver.requests()} == {"gzip"}

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (
                {"status": 404},
                "404 Not Found, no traces are received at this path, correct the endpoint or set OTEL_TRACES_EXPORTER=",
            ),
            ({"status": 401}, "401 Unauthorized, check OTEL_EXPORTER_OTLP_HEADERS"),
            ({"status": 503}, "503 Service Unavailable"),
            ({"body": PARTIAL.SerializeToString()}, "partial: 1 rejected (quota)"),
            (
                {"content_type": "text/html", "body": b"<html>"},
                "answered 200 with a web page, it is no OTLP receiver",
            ),
        ],
    )
    def test_an_undeliverable_signal_is_a_failure(self, answer: dict[str, Any], expected: str) -> None:
        with http_server(**answer) as endpoint:
            code, (line, *_) = diagnosed(traces_only(f"{endpoint}/v1/traces"))
        assert code == 1
        assert line.startswith(
            f"FAIL  traces by http/protobuf to http://HOST/v1/traces (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT): {expected}"
        )

    @pytest.mark.parametrize("status", [404, 405])
    def test_the_path_of_a_signal_in_a_common_endpoint_is_reported(self, status: int) -> None:
        with http_server(status=status) as endpoint:
            code, (line, *_) = diagnosed({"OTEL_EXPORTER_OTLP_ENDPOINT": f"{endpoint}/v1/traces"})
        assert code == 1
        assert "to http://HOST/v1/traces/v1/traces (OTEL_EXPORTER_OTLP_ENDPOINT): " in line
        assert line.endswith(" at /v1/traces/v1/traces, remove /v1/traces from the endpoint")

    @pytest.mark.parametrize("path", ["", "/"])
    def test_a_missing_path_in_an_endpoint_of_one_signal_is_reported(self, path: str) -> None:
        with http_server(status=404) as endpoint:
            code, (line, *_) = diagnosed(traces_only(f"{endpoint}{path}"))
        assert code == 1
        assert line.endswith(": 404 Not Found, add /v1/traces to the endpoint")

    def test_a_long_message_of_a_receiver_is_cut_to_one_line(self) -> None:
        message = "over\nquota " * 200
        partial = trace_service_pb2.ExportTracePartialSuccess(rejected_spans=1, error_message=message)
        body = trace_service_pb2.ExportTraceServiceResponse(partial_success=partial).SerializeToString()
        with http_server(body=body) as endpoint:
            over_http = diagnosed(traces_only(endpoint))[1][0]
        with grpc_server(lambda request, context: context.abort(grpc.StatusCode.INTERNAL, message)) as endpoint:
            over_grpc = diagnosed(traces_only(endpoint, "grpc"))[1][0]
        assert "(over quota over quota " in over_http
        assert "(over quota over quota " in over_grpc
        assert over_http.endswith("…)")
        assert over_grpc.endswith("…)")
        assert max(len(over_http), len(over_grpc)) < 400

    def test_a_json_answer_with_status_200_is_accepted(self) -> None:
        with http_server(content_type="application/json", body=b"{}") as endpoint:
            assert diagnosed(traces_only(endpoint))[0] == 0

    def test_a_partial_success_over_grpc_is_a_failure(self) -> None:
        with grpc_server(lambda request, context: PARTIAL) as endpoint:
            code, (line, *_) = diagnosed(traces_only(endpoint, "grpc"))
        assert code == 1
        assert line.endswith("partial: 1 rejected (quota)")

    def test_a_refusal_over_grpc_is_a_failure(self) -> None:
        def refuse(request: Any, context: Any) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")

        with grpc_server(refuse) as endpoint:
            code, (line, *_) = diagnosed(traces_only(endpoint, "grpc"))
        assert code == 1
        assert line.endswith("UNAUTHENTICATED (no token), check OTEL_EXPORTER_OTLP_HEADERS")

    @pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
    def test_a_port_where_nothing_listens_is_a_failure(self, protocol: Protocol) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            code, (line, *_) = diagnosed(traces_only(f"http://127.0.0.1:{unused.getsockname()[1]}", protocol))
        assert code == 1
        assert line.endswith("connection refused, nothing listens there: check the receiver and the endpoint")

    @pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
    def test_doctor_waits_for_an_answer_no_longer_than_the_timeout(self, protocol: Protocol) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            code, (line, *_) = diagnosed(traces_only(f"http://127.0.0.1:{silent.getsockname()[1]}", protocol))
        assert code == 1
        assert "timed out" in line

    @pytest.mark.parametrize(("protocol", "other"), [("http/protobuf", "grpc"), ("grpc", "http/protobuf")])
    def test_a_wrong_protocol_is_reported_with_the_right_one(
        self, receiver: Receiver, protocol: Protocol, other: Protocol
    ) -> None:
        code, (line, *_) = diagnosed(traces_only(receiver.endpoint(other), protocol))
        assert code == 1
        assert line.endswith(f"try OTEL_EXPORTER_OTLP_PROTOCOL={other}")

    def test_a_missing_configuration_is_a_failure_that_names_the_variable(self) -> None:
        assert diagnosed({}) == (
            1,
            ["FAIL  no signal is exported: set OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4318"],
        )

    def test_a_misspelt_variable_or_exporter_is_reported_with_its_replacement(self, receiver: Receiver) -> None:
        environment = {"OTEL_FLYTE_MAP_NESTD": "3", "OTEL_LOGS_EXPORTER": "consol", "OTEL_METRICS_EXPORTER": "none"}
        code, (misspelt, _, metrics, no_exporter, logs) = diagnosed({**receiver.environment(), **environment})
        assert code == 0
        assert "OTEL_FLYTE_MAP_NESTD is not a variable of otel-flyte (did you mean OTEL_FLYTE_MAP_NESTED?)" in misspelt
        assert metrics == "note  metrics are not exported (OTEL_METRICS_EXPORTER)"
        assert no_exporter.startswith("note  OTEL_LOGS_EXPORTER=consol is not installed (installed exporters: ")
        assert no_exporter.endswith("otlp is used instead")
        assert logs == "ok    logs by http/protobuf to http://HOST/v1/logs (OTEL_EXPORTER_OTLP_ENDPOINT): accepted"

    def test_an_invalid_value_for_the_sdk_is_reported_with_its_replacement(self, receiver: Receiver) -> None:
        code, (note, *signals) = diagnosed({**receiver.environment(), "OTEL_BSP_SCHEDULE_DELAY": "soon"})
        assert code == 0
        assert note == "note  OTEL_BSP_SCHEDULE_DELAY=soon must be a positive integer: 1000 is used"
        assert len(signals) == 3

    def test_an_endpoint_that_is_not_a_url_is_reported_once_and_is_a_failure(self) -> None:
        assert diagnosed({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}) == (
            1,
            [
                (
                    "note  OTEL_EXPORTER_OTLP_ENDPOINT=http:// must be a URL such as http://host:4318: "
                    "nothing is sent there"
                ),
                "FAIL  no signal is exported: correct OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4318",
            ],
        )

    def test_a_sampler_that_records_nothing_is_a_failure(self, receiver: Receiver) -> None:
        code, (sampler, *_) = diagnosed({**receiver.environment(), "OTEL_TRACES_SAMPLER": "always_off"})
        assert (code, sampler) == (1, "FAIL  OTEL_TRACES_SAMPLER=always_off records no spans: choose another sampler")

    def test_an_exporter_other_than_otlp_is_listed_and_not_tried(self) -> None:
        assert diagnosed({"OTEL_TRACES_EXPORTER": "console"}) == snapshot(
            (
                0,
                [
                    "ok    traces by console (OTEL_TRACES_EXPORTER): installed, delivery is not tested",
                    "note  metrics are not exported",
                    "note  logs are not exported",
                ],
            )
        )

    def test_a_password_in_the_endpoint_is_not_printed(self) -> None:
        _, (line, *_) = diagnosed(traces_only("http://user:secret@127.0.0.1:1"))
        assert "secret" not in line

    def test_the_variable_that_disables_the_instrumentation_is_reported(self) -> None:
        done = process("otel-flyte", "doctor", OTEL_SDK_DISABLED="true")
        assert done.returncode == 1
        assert done.stdout == "FAIL  OTEL_SDK_DISABLED=true disables the instrumentation: unset it\n"

    def test_an_invalid_configuration_file_is_a_failure(self, tmp_path: Path) -> None:
        code, (line,) = diagnosed({"OTEL_CONFIG_FILE": str(tmp_path / "otel.yaml")})
        assert code == 1
        assert line.startswith(f"FAIL  OTEL_CONFIG_FILE={tmp_path / 'otel.yaml'} ")

    @pytest.mark.parametrize(
        ("spool", "code", "expected"),
        [
            ("there", 0, "ok    OTEL_FLYTE_SPOOL=there can be written"),
            ("file://there", 0, "ok    OTEL_FLYTE_SPOOL=file://there can be written"),
            ("new/folder", 0, "ok    OTEL_FLYTE_SPOOL=new/folder can be created and written"),
            ("file", 1, "FAIL  OTEL_FLYTE_SPOOL=file is not a folder: name a folder"),
            (
                "file/folder",
                1,
                "FAIL  OTEL_FLYTE_SPOOL=file/folder can't be created, {here}/file is not a folder: name a folder",
            ),
            (
                "nope://user:secret@x",
                1,
                "FAIL  OTEL_FLYTE_SPOOL: nope://x can't be used (Protocol not known: nope): check",
            ),
            ("memory://x", 1, "FAIL  OTEL_FLYTE_SPOOL: memory://x can't be used (this process's memory"),
            ("local://x", 0, "ok    OTEL_FLYTE_SPOOL=local://x can be opened: writing is not tested"),
        ],
    )
    def test_the_check_for_a_writable_spool_leaves_no_files(
        self, project: Path, receiver: Receiver, *, spool: str, code: int, expected: str
    ) -> None:
        (project / "there").mkdir()
        (project / "file").touch()
        before = sorted(project.rglob("*"))
        found, (*_, line) = diagnosed({**receiver.environment(), "OTEL_FLYTE_SPOOL": spool})
        assert found == code
        assert line.startswith(expected.format(here=project))
        assert sorted(project.rglob("*")) == before

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
    def test_an_unwritable_spool_is_a_failure(self, project: Path, receiver: Receiver) -> None:
        (project / "there").mkdir(mode=0o500)
        code, (*_, line) = diagnosed({**receiver.environment(), "OTEL_FLYTE_SPOOL": "there"})
        assert (code, line) == (
            1,
            "FAIL  OTEL_FLYTE_SPOOL=there can't be written (Permission denied): check its permissions",
        )

    def test_unsent_records_in_the_spool_are_counted(self, project: Path, receiver: Receiver) -> None:
        for name in ("a b/1.jsonl", "a b/2.spool.jsonl", "a b/3.jsonl.rejected.jsonl"):
            (project / name).parent.mkdir(exist_ok=True)
            (project / name).write_text("{}\n")
        _, (*_, line) = diagnosed({**receiver.environment(), "OTEL_FLYTE_SPOOL": "a b"})
        assert line.endswith("a b can be written: 2 undelivered files, to send with `otel-flyte replay 'a b'`")

    def test_an_argument_is_a_usage_error(self) -> None:
        assert call("doctor", "everything").exit_code == 2


def test_the_exporters_file_is_closed_once(tmp_path: Path) -> None:
    exporter = FileSpanExporter(tmp_path / "f.jsonl")
    exporter.shutdown()
    exporter.shutdown()
    assert exporter.force_flush()
