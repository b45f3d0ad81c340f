"""Capture of stdout and stderr: the streams are unchanged, and each line is a log record."""

import functools
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from traced_output import LINES

from otel_flyte import semconv
from otel_flyte.stdio_capture import lines, pump
from otel_flyte.stdio_capture.control import Control
from otel_flyte.stdio_capture.journal import FILE_BYTES, Position, Reader, Writer
from support import fork_server, pods, programs
from support.receiver import LogRecord, Receiver

pytestmark = [pytest.mark.newest_only, pytest.mark.slow]

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
OTEL_FLYTE = str(pods.SCRIPTS / "otel-flyte")
ON = {semconv.OTEL_FLYTE_CAPTURE_OUTPUT: "true", semconv.OTEL_FLYTE_EXIT_TIMEOUT: "20", **programs.RAISE}

MANY_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for descriptor in range(3, 1100):
    os.dup2(0, descriptor)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Runs a command with more open descriptors than ``select`` supports."""


@dataclass(frozen=True)
class Written:
    """The stdout and stderr of a pod, as bytes, and its exit status."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> bytes:
        """Stdout without the empty line that flytekit prints first."""
        return self.stdout.lstrip(b"\n")


def pod(folder: Path, way: str, env: Mapping[str, str], *, bare: bool = False, first: tuple[str, ...] = ()) -> pods.Pod:
    prepared = pods.prepare("execute", folder / "pod", "traced_output.write", {"way": way}, env=env, bare=bare)
    return replace(prepared, arguments=(*first, *prepared.arguments))


def written(prepared: pods.Pod) -> Written:
    """Run a pod; it is forked if possible."""
    if fork_server.can_fork(prepared.arguments, prepared.environment, pods.ENVIRONMENT):
        server = fork_server.server(pods.ENVIRONMENT, prepared.environment)
        return Written(*server.run_binary(prepared.arguments, prepared.environment, prepared.directory, 120))
    ended = subprocess.run(
        prepared.arguments, cwd=prepared.directory, env=prepared.environment, capture_output=True, check=False
    )
    return Written(ended.returncode, ended.stdout, ended.stderr)


def run(folder: Path, way: str, receiver: Receiver, **options: Any) -> Written:
    return written(pod(folder, way, {**receiver.environment(), **ON}, **options))


@dataclass(frozen=True)
class Ran:
    """A pod that has ended, its folder, and its receiver."""

    ended: Written
    folder: Path
    receiver: Receiver


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ran]]:
    """Runs each way of writing once for all tests."""
    with ExitStack() as stack:

        @functools.cache
        def run_once(way: str) -> Ran:
            folder = tmp_path_factory.mktemp(way)
            receiver = stack.enter_context(Receiver())
            return Ran(run(folder, way, receiver), folder, receiver)

        yield run_once


@contextmanager
def running(prepared: pods.Pod, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a pod until the end of the block; yield it once it has printed "before"."""
    arguments = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with subprocess.Popen(prepared.arguments, cwd=prepared.directory, env=prepared.environment, **arguments) as process:
        try:
            wait_for((prepared.directory / "ready").exists)
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def captured(receiver: Receiver, stream: str | None = None) -> list[LogRecord]:
    """Return the records of captured lines, without those of ``running`` and of other sources."""
    found = [each for each in receiver.logs() if semconv.EVENT_NAME not in each.attributes]
    return [each for each in found if stream in (None, each.attributes.get("log.iostream"))]


def bodies(receiver: Receiver, stream: str | None = None) -> list[str]:
    return [str(record.body) for record in captured(receiver, stream)]


def pumps_of(folder: Path) -> list[int]:
    """Return the process ids of pumps with a journal in a folder, including ended ones."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_pump = b"otel_flyte.stdio_capture.pump" in (process / "cmdline").read_bytes()
            environ = (process / "environ").read_bytes()
        except OSError:
            continue
        if is_pump and os.fsencode(folder) in environ:
            found.append(int(process.name))
    return found


def leftovers(folder: Path) -> list[Path]:
    return list((folder / "pod" / "tmp").glob("otel-flyte-*"))


# --- records ---------------------------------------------------------------------------------------------------------


def test_every_line_is_a_log_record_with_its_stream_and_the_ids_and_identity_of_the_task(
    ran: Callable[[str], Ran],
) -> None:
    receiver = ran("everything").receiver

    [task] = receiver.spans("task traced_output.write")
    records = captured(receiver)
    assert {(record.trace_id, record.span_id) for record in records} == {(task.trace_id, task.span_id)}
    assert {record.attributes["flyte.run_name"] for record in records} == {task.attributes["flyte.run_name"]}
    assert {record.attributes["flyte.attempt"] for record in records} == {0}
    assert {record.resource["service.name"] for record in records} == {"flyte"}
    assert {record.severity for record in captured(receiver, "stdout")} == {"INFO"}
    assert {record.severity for record in captured(receiver, "stderr")} == {"WARN"}
    times = [record.time_ns for record in captured(receiver, "stdout")]
    assert times == sorted(times)
    assert task.start_ns < times[0] < times[-1] < time.time_ns()


def test_records_of_binary_data_carriage_returns_and_long_lines_are_readable(
    ran: Callable[[str], Ran],
) -> None:
    receiver = ran("everything").receiver

    cut = "x" * lines.LINE_BYTES
    assert bodies(receiver, "stdout") == [
        "printed",
        "\\xff\\xfe is no text, \x00 is none either",
        "windows",
        cut,
        "no end",
    ]
    assert bodies(receiver, "stderr") == ["complained", "step 100%"]
    [long] = [record for record in captured(receiver) if record.body == cut]
    assert long.attributes["flyte.output.truncated"] == 20_000 - lines.LINE_BYTES


def test_stdout_of_child_processes_is_captured(ran: Callable[[str], Ran]) -> None:
    receiver = ran("in_children").receiver

    assert bodies(receiver, "stdout") == ["from a shell", "forked", "spawned", "after them"]
    assert bodies(receiver, "stderr") == ["complaint of a shell"]


def test_a_forked_child_that_exports_by_itself_removes_no_lines_of_its_parent(
    tmp_path: Path, receiver: Receiver
) -> None:
    run(tmp_path, "in_a_child_that_counts", receiver)

    assert bodies(receiver) == ["before", "counted", "after"]


@LINUX
def test_a_task_with_many_open_files_is_captured(tmp_path: Path, receiver: Receiver) -> None:
    ended = run(tmp_path, "in_c", receiver, first=(sys.executable, "-c", MANY_FILES))

    assert (ended.stderr, bodies(receiver)) == (b"", ["from C"])


def test_buffered_text_of_c_code_belongs_to_its_task(tmp_path: Path, receiver: Receiver) -> None:
    run(tmp_path, "in_c", receiver)

    assert bodies(receiver) == ["from C"]


def test_a_million_bytes_written_with_the_gil_held_are_captured_without_a_hang(ran: Callable[[str], Ran]) -> None:
    ended, receiver = ran("under_the_gil").ended, ran("under_the_gil").receiver

    assert ended.returncode == 0
    expected = [f"{number:07}" + "." * 92 for number in range(LINES)]
    assert ended.text.decode().splitlines() == expected
    assert bodies(receiver) == expected


@pytest.mark.parametrize(("way", "code"), [("segfault", -signal.SIGSEGV), ("leave", 3), ("kill", -signal.SIGKILL)])
def test_the_last_line_before_a_crash_arrives_and_the_exit_status_is_unchanged(
    ran: Callable[[str], Ran], *, way: str, code: int
) -> None:
    ended, receiver = ran(way).ended, ran(way).receiver

    assert (ended.returncode, ended.text) == (code, b"last words\n")
    receiver.wait_for(lambda _: bodies(receiver) == ["last words"])


def test_the_last_line_before_a_crash_is_spooled_if_no_receiver_answers(tmp_path: Path, receiver: Receiver) -> None:
    receiver.down()
    env = {
        **ON,
        semconv.OTEL_FLYTE_SPOOL: str(tmp_path / "spool"),
        semconv.OTEL_FLYTE_EXIT_TIMEOUT: "2",
        **receiver.environment(),
    }
    assert written(pod(tmp_path, "segfault", env)).returncode == -signal.SIGSEGV

    wait_for(lambda: not leftovers(tmp_path))
    spooled = b"".join(path.read_bytes() for path in (tmp_path / "spool").glob("*-logs-*.jsonl"))
    assert b"last words" in spooled


def test_the_supervisor_waits_until_the_last_lines_are_sent(tmp_path: Path, receiver: Receiver) -> None:
    ended = run(tmp_path, "segfault", receiver, first=(OTEL_FLYTE, "exec", "--"))

    assert (ended.returncode, ended.text) == (-signal.SIGSEGV, b"last words\n")
    assert bodies(receiver) == ["last words"]


def test_lines_beyond_the_limit_are_reported_as_dropped_and_still_reach_the_stream(
    tmp_path: Path, receiver: Receiver
) -> None:
    ended = run(tmp_path, "too_much", receiver)

    assert len(ended.text.splitlines()) == 30_000
    arrived = len(bodies(receiver))
    assert lines.BURST_LINES <= arrived < 30_000
    reports = [each for each in receiver.logs() if each.attributes.get("event.name") == "flyte.output.limit"]
    assert sum(int(each.attributes["flyte.output.left_out"]) for each in reports) == 30_000 - arrived
    (line,) = programs.our_lines(ended.stderr.decode())
    assert f"{30_000 - arrived} log records were dropped" in line
    assert lines.TOO_FAST in line


# --- the original streams --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["everything", "in_children", "segfault", "in_background", "descriptors_of_a_child"])
def test_stdout_and_stderr_are_unchanged_to_the_byte(
    tmp_path: Path, receiver: Receiver, ran: Callable[[str], Ran], *, way: str
) -> None:
    assert ran(way).ended == run(tmp_path, way, receiver, bare=True)


def test_a_redirected_file_is_complete_at_the_end_of_the_process(tmp_path: Path, receiver: Receiver) -> None:
    prepared = pod(tmp_path, "under_the_gil", {**receiver.environment(), **ON})
    with (tmp_path / "both").open("wb") as both:
        subprocess.run(
            prepared.arguments,
            cwd=prepared.directory,
            env=prepared.environment,
            stdout=both,
            stderr=both,
            check=True,
        )
        assert (tmp_path / "both").read_bytes().count(b".\n") == LINES
    # Two streams to the same file keep their order, and their records do not name a stream.
    assert {record.attributes.get("log.iostream") for record in captured(receiver)} == {None}


def test_a_line_reaches_the_original_stream_while_the_task_runs(tmp_path: Path, receiver: Receiver) -> None:
    prepared = pod(tmp_path, "meet", {**receiver.environment(), **ON})
    with running(prepared) as process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == [b"\n", b"before\n"]
        receiver.wait_for(lambda _: bodies(receiver) == ["before"])
        assert process.poll() is None
        (prepared.directory / "go").touch()
        process.communicate(timeout=30)


@LINUX
def test_writing_continues_after_the_pump_is_killed(tmp_path: Path, receiver: Receiver) -> None:
    prepared = pod(tmp_path, "meet", {**receiver.environment(), **ON})
    with running(prepared) as process:
        [pump] = pumps_of(tmp_path)
        os.kill(pump, signal.SIGKILL)
        (prepared.directory / "go").touch()
        stdout, stderr = process.communicate(timeout=30)

    assert process.returncode == 0
    assert stdout.split() == [b"before", b"y" * 300_000, b"child", b"after", b"after"]
    assert b"are no longer recorded" in stderr
    assert bodies(receiver) in ([], ["before"])
    assert leftovers(tmp_path) == []


def test_lines_written_after_ctrl_c_are_captured(tmp_path: Path, receiver: Receiver) -> None:
    with running(pod(tmp_path, "be_interrupted", {**receiver.environment(), **ON}), start_new_session=True) as process:
        os.killpg(process.pid, signal.SIGINT)
        stdout, _ = process.communicate(timeout=30)

    assert stdout.startswith(b"\nbefore\nlast words\n")
    receiver.wait_for(lambda _: "last words" in bodies(receiver))


def test_a_task_still_gets_a_broken_pipe_error(tmp_path: Path, receiver: Receiver) -> None:
    ended = {}
    for name, bare in (("ours", False), ("bare", True)):
        prepared = pod(tmp_path / name, "write_until_told", {**receiver.environment(), **ON}, bare=bare)
        with running(prepared) as process:
            assert process.stdout is not None
            process.stdout.close()
            (prepared.directory / "go").touch()
            process.wait(30)
            ended[name] = process.returncode
        assert b"BrokenPipeError" in (prepared.output_prefix / "error.pb").read_bytes()
    assert ended["ours"] == ended["bare"]


def test_each_task_of_a_local_run_gets_a_broken_pipe_error(tmp_path: Path) -> None:
    programs.module(tmp_path, "traced_output", (pods.WORKFLOWS / "traced_output.py").read_text())
    arguments = (OTEL_FLYTE, "run", "traced_output.py", "write_to_nobody")
    with subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.readline() != b"a line\n":
            pass
        process.stdout.close()
        process.stdout = None
        _, stderr = process.communicate(timeout=60)

    assert b"broken, still broken\n" in stderr


@LINUX
@pytest.mark.parametrize("way", ["everything", "segfault", "in_children"])
def test_no_processes_or_files_are_left_behind(ran: Callable[[str], Ran], *, way: str) -> None:
    folder = ran(way).folder

    wait_for(lambda: not pumps_of(folder))
    assert leftovers(folder) == []


def test_a_task_that_waits_for_all_children_does_not_wait_for_the_pump(tmp_path: Path, receiver: Receiver) -> None:
    ended = run(tmp_path, "wait_for_all_children", receiver)

    assert ended.text == b"no children\n"


def test_a_program_that_closes_all_descriptors_can_still_write(tmp_path: Path, receiver: Receiver) -> None:
    ended = run(tmp_path, "close_everything", receiver)

    assert (ended.returncode, ended.text) == (0, b"before\nafter\n")
    receiver.wait_for(lambda _: bodies(receiver) == ["before", "after"])


@pytest.mark.parametrize("bare", [False, True], ids=["captured", "bare"])
def test_a_terminal_is_still_a_terminal_of_the_same_size(tmp_path: Path, receiver: Receiver, *, bare: bool) -> None:
    prepared = pod(tmp_path, "find_terminal", {**receiver.environment(), **ON}, bare=bare)
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 123, 0, 0))
    process = subprocess.Popen(
        prepared.arguments,
        cwd=prepared.directory,
        env=prepared.environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b"".join(_chunks(ours))
    os.close(ours)

    assert process.wait(30) == 0
    assert b"[False, True, True] 123\r\n" in shown
    if not bare:
        assert bodies(receiver) == ["[False, True, True] 123"]


def _chunks(terminal: int) -> Iterator[bytes]:
    """Yield the output of a terminal until no process has it open."""
    while select.select([terminal], [], [], 60)[0]:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # On Linux this is the end of the output.
            return
        if not chunk:
            return
        yield chunk


# --- activation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [{}, {semconv.OTEL_FLYTE_CAPTURE_OUTPUT: "false"}], ids=["default", "disabled"])
def test_stdout_capture_is_disabled_in_a_pod_by_default(
    tmp_path: Path, receiver: Receiver, env: dict[str, str]
) -> None:
    written(pod(tmp_path, "everything", {**receiver.environment(), **programs.RAISE, **env}))

    assert receiver.spans("task traced_output.write")
    assert captured(receiver) == []


def test_a_local_run_records_stdout_and_still_prints_it(tmp_path: Path) -> None:
    programs.module(tmp_path, "traced_output", (pods.WORKFLOWS / "traced_output.py").read_text())
    ended = programs.run_command([OTEL_FLYTE, "run", "traced_output.py", "say_twice"], tmp_path, programs.RAISE)

    assert ended.returncode == 0, ended.stderr
    [file] = (tmp_path / ".otel-flyte").glob("*.jsonl")
    recorded = re.findall(r'"body":\{"stringValue":"(.*?)"\}.*?"spanId":"(\w+)"', file.read_text())
    assert [body for body, _ in recorded] == ["first", "second"]
    assert len({span for _, span in recorded}) == 2
    assert ended.stdout.startswith("Running Execution on local.\nfirst\nsecond\n")
    assert "▶" not in "".join(body for body, _ in recorded)


def test_lines_printed_by_pyflyte_after_a_task_are_not_captured(tmp_path: Path) -> None:
    (tmp_path / "quick.py").write_text(
        "from flytekit import task\n\n\n@task\ndef quick() -> str:\n    print('of the task')\n    return 'a result'\n"
    )
    for _ in range(3):
        subprocess.run([str(pods.SCRIPTS / "otel-flyte"), "run", "quick.py", "quick"], cwd=tmp_path, check=True)
    written = [path.read_text() for path in (tmp_path / ".otel-flyte").glob("*.jsonl")]

    assert len(written) == 3
    assert all('"of the task"' in text and '"a result"' not in text for text in written)


def test_stdout_capture_can_be_disabled_for_local_runs(tmp_path: Path) -> None:
    programs.module(tmp_path, "traced_output", (pods.WORKFLOWS / "traced_output.py").read_text())
    env = {**programs.RAISE, semconv.OTEL_FLYTE_CAPTURE_OUTPUT: "false"}
    programs.run_command([OTEL_FLYTE, "run", "traced_output.py", "say_twice"], tmp_path, env)

    [file] = (tmp_path / ".otel-flyte").glob("*.jsonl")
    assert "resourceLogs" not in file.read_text()


@LINUX
def test_the_pump_uses_less_than_15_mib_of_private_memory(tmp_path: Path, receiver: Receiver) -> None:
    prepared = pod(tmp_path, "meet", {**receiver.environment(), **ON})
    with running(prepared) as process:
        wait_for(lambda: bodies(receiver))
        [pump] = pumps_of(tmp_path)
        rollup = Path(f"/proc/{pump}/smaps_rollup").read_text()
        (prepared.directory / "go").touch()
        process.communicate(timeout=30)
    private = sum(int(size) for size in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", rollup, re.MULTILINE))

    sys.stdout.write(f"private memory of the pump: {private} KiB\n")
    assert private < 15 * 1024


# --- lines -----------------------------------------------------------------------------------------------------------


def test_lines_are_reassembled_from_arbitrary_parts() -> None:
    for size in (1, 3, 1000):
        data = b"one\r\ntwo\n\n\r 1%\r 2%\r100%\nlast"
        assembler = lines.Assembler()
        found = [line for at in range(0, len(data), size) for line in assembler.feed(data[at : at + size])]
        assert [line.body for line in [*found, *assembler.end()]] == [b"one", b"two", b"100%", b"last"]


def test_a_progress_bar_is_recorded_once_a_second_and_at_its_end() -> None:
    assembler = lines.Assembler()
    recorded = []
    for tick in range(30):
        assert list(assembler.feed(b"\rstep %d" % tick)) == []
        recorded += list(assembler.state(tick / 10))
    recorded += list(assembler.feed(b"\n"))
    assert [line.body for line in recorded] == [b"step 0", b"step 10", b"step 20", b"step 29"]


def test_a_journal_is_read_completely_from_several_files(tmp_path: Path) -> None:
    writer, reader = Writer(str(tmp_path)), Reader(str(tmp_path))
    writer.begin("one")
    body = "z" * 2**20
    for number in range(10):
        writer.append([{"time": number, "stream": "", "body": body}])
        if number == 7:
            writer.begin("two")
    assert writer.position.file == 1 + 10 * len(body) // FILE_BYTES

    found = []
    while entries := reader.read():
        found += entries
    assert [entry.content["time"] for entry in found] == list(range(10))
    assert [entry.template for entry in found] == ["one"] * 8 + ["two"] * 2
    assert reader.position == writer.position
    assert Reader(str(tmp_path)).skip() == len(found)
    writer.remove_before(writer.position.file)
    assert [path.name for path in tmp_path.iterdir()] == [f"lines-{writer.position.file}.jsonl"]
    assert Position(1, 5) < Position(2, 0)


def test_the_memory_of_a_pump_with_a_stuck_reader_is_bounded(tmp_path: Path) -> None:
    """Before each message the pump reads the earlier lines, so their number must be bounded."""
    task, control = socket.socketpair()
    reading, writing = os.pipe()
    stuck, target = os.pipe()
    os.set_blocking(writing, False)
    configuration = {
        "task": os.getpid(),
        "folder": str(tmp_path),
        "recording": "",
        "exit_timeout": 1,
        "destinations": ["sent"],
    }
    made = pump.Pump(Control(control), {**configuration, "streams": [["stdout", reading, target]], "template": ""})

    taken = 0
    with suppress(BlockingIOError):
        while taken < 2 * 2**24:
            taken += os.write(writing, b"x" * 2**12)
            made._receive("sent", ["sent", 1, 0])

    assert taken < 2**23
    for descriptor in (writing, stuck):
        os.close(descriptor)
    task.close()


def test_a_terminated_process_ends_as_soon_as_without_capture(tmp_path: Path) -> None:
    """The thread that reads the pump's messages also ends the process: it must not wait for itself."""
    (tmp_path / "ticking.py").write_text(
        "import time\nfrom flytekit import task\n\n\n@task\ndef tick() -> None:\n"
        "    for number in range(600):\n        print('tick', number, flush=True)\n        time.sleep(0.1)\n"
    )
    process = subprocess.Popen(
        [str(pods.SCRIPTS / "otel-flyte"), "run", "ticking.py", "tick"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "tick 3\n":
            break
    process.terminate()
    left = process.stdout.read().splitlines()

    assert process.wait() == -signal.SIGTERM
    assert len(left) < 6, "it has gone on for longer than half a second"
