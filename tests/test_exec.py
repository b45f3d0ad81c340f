"""``otel-flyte exec``: the supervisor ends the span of a dead task, and has no other effect."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from otel_flyte.supervisor import cgroup, protocol
from support import pods, programs, runs
from support.programs import Ended
from support.receiver import Receiver, Span
from support.runs import Runs, Scenario
from support.trees import derived_ids

pytestmark = pytest.mark.newest_only

OTEL_FLYTE = str(pods.SCRIPTS / "otel-flyte")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

TASK = """
    import os, signal, subprocess, sys, time
    from opentelemetry.sdk.trace import TracerProvider
    from otel_flyte.supervisor import client as child

    def start(name="task program.main", **attributes):
        return TracerProvider().get_tracer("program").start_span(name, attributes=attributes)

    span = start(**{"flyte.task_name": "program.main"})
    child.opened(span)
"""
"""A program with the span of a task; each test appends its own end."""


def supervised(folder: Path, *parts: str, env: Mapping[str, str] | None = None) -> Ended:
    programs.module(folder, "program", programs.joined(*parts))
    return run("exec", "--", sys.executable, str(folder / "program.py"), folder=folder, env=env)


def run(*arguments: str, folder: Path, env: Mapping[str, str] | None = None) -> Ended:
    return programs.run_command([OTEL_FLYTE, *arguments], folder, {**programs.RAISE, **(env or {})})


@contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a supervised command in its own process group, until the end of the ``with`` block."""
    process = subprocess.Popen(
        [OTEL_FLYTE, "exec", "--", *command], stdout=subprocess.PIPE, text=True, **options or {"preexec_fn": os.setpgrp}
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)


def only(spans: list[Span]) -> Span:
    assert len(spans) == 1, spans
    return spans[0]


def wait_for(condition: Callable[[], object], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- a task that dies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("death", "code", "error", "attributes"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            -9,
            "SIGKILL",
            {"flyte.signal.name": "SIGKILL", "process.exit.code": 137},
        ),
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            -11,
            "SIGSEGV",
            {"flyte.signal.name": "SIGSEGV", "process.exit.code": 139},
        ),
        ("os.abort()", -6, "SIGABRT", {"flyte.signal.name": "SIGABRT", "process.exit.code": 134}),
        ("os._exit(3)", 3, "exit 3", {"process.exit.code": 3}),
        ("os._exit(0)", 0, "exit 0", {"process.exit.code": 0}),
        # `pyflyte-fast-execute` and a shell end like this when their own child was killed.
        ("sys.exit(-9)", 247, "SIGKILL", {"flyte.signal.name": "SIGKILL", "process.exit.code": 247}),
        ("sys.exit(137)", 137, "SIGKILL", {"flyte.signal.name": "SIGKILL", "process.exit.code": 137}),
    ],
    ids=["SIGKILL", "segfault", "abort", "os._exit", "os._exit 0", "child of a parent", "child of a shell"],
)
def test_the_span_of_a_dead_task_is_ended_with_the_exit_status_of_the_process(
    tmp_path: Path, receiver: Receiver, *, death: str, code: int, error: str, attributes: dict[str, object]
) -> None:
    before = time.time_ns()
    ended = supervised(
        tmp_path, TASK, f"print(format(span.context.span_id, '016x'), flush=True)\n{death}", env=receiver.environment()
    )

    assert ended.returncode == code, ended.stderr
    span = only(receiver.spans())
    assert span.name == "task program.main"
    assert span.span_id == ended.stdout.strip()
    assert before < span.start_ns < span.end_ns < time.time_ns()
    assert span.status == "ERROR"
    assert span.status_message
    assert span.attributes == {
        "flyte.task_name": "program.main",
        "error.type": error,
        "flyte.result": "failure",
        **attributes,
    }
    assert span.resource["telemetry.sdk.name"] == "opentelemetry"
    assert ended.our_lines == []


def test_an_acknowledged_span_is_not_sent_again(tmp_path: Path, receiver: Receiver) -> None:
    ended = supervised(tmp_path, TASK, "child.done(span.context.span_id); os._exit(3)", env=receiver.environment())

    assert ended.returncode == 3
    assert receiver.requests() == []


def test_an_ended_but_unacknowledged_span_is_sent_unchanged(tmp_path: Path, receiver: Receiver) -> None:
    ended = supervised(
        tmp_path,
        TASK,
        """
        span.set_attribute("late", True)
        span.end()
        child.ended(span)
        print(span.end_time, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        env=receiver.environment(),
    )

    span = only(receiver.spans())
    assert span.end_ns == int(ended.stdout)
    assert span.status == "UNSET"
    assert span.attributes == {"flyte.task_name": "program.main", "late": True}


def test_a_span_counted_as_dropped_is_not_sent(tmp_path: Path, receiver: Receiver) -> None:
    rest = (
        "other = start('task other'); child.opened(other); span.end(); child.ended(span); "
        "child.end_delivery(); os._exit(1)"
    )
    supervised(tmp_path, TASK, rest, env=receiver.environment())

    assert [span.name for span in receiver.spans()] == ["task other"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_span_is_sent_by_the_configured_protocol_and_headers(
    protocol: str, tmp_path: Path, receiver: Receiver
) -> None:
    env = {**receiver.environment(protocol), "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret"}  # type: ignore[arg-type]
    supervised(tmp_path, TASK, "os._exit(1)", env=env)

    request = receiver.requests("traces")[0]
    assert request.protocol == protocol
    assert request.headers["authorization"] == "secret"


def test_an_undeliverable_span_is_spooled_and_can_be_replayed(tmp_path: Path, receiver: Receiver) -> None:
    spool = tmp_path / "spool"
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_FLYTE_SPOOL": str(spool)}
    ended = supervised(tmp_path, TASK, "os._exit(1)", env=nowhere)

    assert ended.returncode == 1
    assert "kept in" in "".join(ended.our_lines)
    assert run("replay", str(spool), folder=tmp_path, env=receiver.environment()).returncode == 0
    assert only(receiver.spans()).attributes["error.type"] == "exit 1"


def test_a_sent_span_is_removed_from_the_spool(tmp_path: Path, receiver: Receiver) -> None:
    spool = tmp_path / "spool"
    ended = supervised(tmp_path, TASK, "os._exit(1)", env={**receiver.environment(), "OTEL_FLYTE_SPOOL": str(spool)})

    assert ended.our_lines == []
    only(receiver.spans())
    assert list(spool.iterdir()) == []


def test_a_missing_collector_is_reported_and_delays_the_end_within_the_bound(tmp_path: Path) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    ended = supervised(tmp_path, TASK, "print(time.monotonic(), flush=True); os._exit(1)", env=env)
    delay = time.monotonic() - float(ended.stdout)

    assert ended.returncode == 1
    assert delay < 2 + 1.5
    assert "1 span was dropped (1 connection refused" in "".join(ended.our_lines)


# --- messages to the supervisor --------------------------------------------------------------------------------------


@LINUX
def test_a_process_without_the_inherited_pipe_finds_it(tmp_path: Path, receiver: Receiver) -> None:
    """``pyflyte-fast-execute`` closes all descriptors of the process that it starts."""
    programs.module(tmp_path, "program", programs.joined(TASK, "os._exit(1)"))
    parent = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, 'program.py']).returncode)"
    ended = run("exec", "--", sys.executable, "-c", parent, folder=tmp_path, env=receiver.environment())

    assert ended.returncode == 1
    assert only(receiver.spans()).attributes["error.type"] == "exit 1"


def test_a_reused_number_of_the_inherited_descriptor_is_not_touched(tmp_path: Path, receiver: Receiver) -> None:
    taken = """
    descriptor = int(os.environ["_OTEL_FLYTE_EXEC"].split(":")[1])
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.dup2(writer, descriptor)
    child.opened(start("task program.other"))
    try:
        print(os.read(reader, 100))
    except BlockingIOError:
        print("nothing", flush=True)
    os._exit(1)
    """
    ended = supervised(tmp_path, TASK, taken, env=receiver.environment())

    assert ended.stdout == "nothing\n"
    assert "task program.main" in {span.name for span in receiver.spans()}


def test_long_spans_of_several_processes_arrive_complete(tmp_path: Path, receiver: Receiver) -> None:
    several = """
    for index in range(6):
        if os.fork() == 0:
            for number in range(2):
                long = {f"key{each}": chr(97 + index) * 1000 for each in range(20)}
                child.opened(start(f"task {index} {number}", **long))
            os._exit(0)
    for index in range(6):
        os.wait()
    child.done(span.context.span_id)
    """
    supervised(tmp_path, TASK, several, env=receiver.environment())

    received = {span.name: span for span in receiver.spans()}
    assert sorted(received) == [f"task {index} {number}" for index in range(6) for number in range(2)]
    for name, span in received.items():
        letter = chr(97 + int(name.split()[1]))
        assert [span.attributes[f"key{each}"] for each in range(20)] == [letter * 1000] * 20


def test_a_stopped_or_killed_supervisor_neither_delays_nor_harms_the_task(tmp_path: Path) -> None:
    task = """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getppid(), getattr(signal, sys.argv[1]))
    long = start(**{f"key{each}": "x" * 1000 for each in range(20)})
    began = time.monotonic()
    for _ in range(20):
        child.opened(long)
    child.done(span.context.span_id)
    assert time.monotonic() - began < 5
    os.kill(os.getppid(), signal.SIGCONT) if sys.argv[1] == "SIGSTOP" else None
    open("done", "w").close()
    """
    programs.module(tmp_path, "program", programs.joined(TASK, task))
    for name, code in (("SIGSTOP", 0), ("SIGKILL", -9)):
        ended = run("exec", "--", sys.executable, "program.py", name, folder=tmp_path)
        assert ended.returncode == code, ended.stderr
        wait_for((tmp_path / "done").exists)
        (tmp_path / "done").unlink()


def test_a_span_too_long_for_the_pipe_is_ignored(tmp_path: Path, receiver: Receiver) -> None:
    ended = supervised(
        tmp_path,
        TASK,
        "child.opened(start('too long', key='x' * 100_000)); os._exit(1)",
        env=receiver.environment(),
    )

    assert ended.returncode == 1
    assert [span.name for span in receiver.spans()] == ["task program.main"]


def test_interleaved_parts_of_messages_are_reassembled() -> None:
    long, short = b"a" * 5000, b"done 1"
    first, *rest = protocol.pieces(long)
    torn = [*protocol.pieces(b"b" * 2000)][:-1]
    stream = b"".join([first, *torn, *protocol.pieces(short), *rest])

    messages = protocol.Messages()
    found = [message for byte in stream for message in messages.feed(bytes([byte]))]

    assert found == [short, long]
    assert all(len(piece) <= 512 for piece in protocol.pieces(long))


# --- out of memory ---------------------------------------------------------------------------------------------------

MEMORY_V1 = Path("/sys/fs/cgroup/memory")
MEMORY_V2 = Path("/sys/fs/cgroup")


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup of 64 MiB. The test is skipped if this user cannot create one."""
    top, limit = (MEMORY_V1, "memory.limit_in_bytes") if MEMORY_V1.exists() else (MEMORY_V2, "memory.max")
    group = top / f"otel-flyte-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be created here: {error}")
    try:
        try:
            (group / limit).write_text(str(64 * 2**20))
        except OSError as error:
            pytest.skip(f"this cgroup has no memory limit: {error}")
        with suppress(OSError):
            (group / "memory.swap.max").write_text("0")
        yield group
    finally:
        group.rmdir()


@LINUX
def test_an_oom_killed_task_has_that_error(small_cgroup: Path, tmp_path: Path, receiver: Receiver) -> None:
    programs.module(tmp_path, "program", programs.joined(TASK, "hog = [bytes(2**20) + b'x' for _ in range(4096)]"))
    enter = f'echo $$ > {small_cgroup}/cgroup.procs && exec "$@"'
    command = [OTEL_FLYTE, "exec", "--", sys.executable, str(tmp_path / "program.py")]
    ended = programs.run_command(["sh", "-c", enter, "sh", *command], tmp_path, receiver.environment())

    assert ended.returncode == -9, ended.stderr
    attributes = only(receiver.spans()).attributes
    assert attributes["error.type"] == "OOMKilled"
    assert attributes["flyte.signal.name"] == "SIGKILL"


CGROUP_V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
OF_HOST = "/kubepods.slice/pod1/cri-1.scope"
CGROUPS = {
    "version 2 in a container": (["0::/"], [CGROUP_V2], "sys/fs/cgroup/memory.events"),
    "version 2 on a host": (["0::/user.slice/a"], [CGROUP_V2], "sys/fs/cgroup/user.slice/a/memory.events"),
    "version 2 with the host's paths": (
        [f"0::{OF_HOST}"],
        [f"31 23 0:28 {OF_HOST} /sys/fs/cgroup ro - cgroup2 cgroup rw"],
        "sys/fs/cgroup/memory.events",
    ),
    "version 1": (
        [f"12:cpu,cpuacct:{OF_HOST}", f"4:memory:{OF_HOST}"],
        [
            "1 2 0:3 / /sys/fs/cgroup rw - tmpfs tmpfs rw",
            f"4 1 0:30 {OF_HOST} /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct",
            f"5 1 0:31 {OF_HOST} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory",
        ],
        "sys/fs/cgroup/memory/memory.oom_control",
    ),
    "both": (
        ["4:memory:/a", "0::/"],
        [
            "5 1 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            "6 1 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        ],
        "sys/fs/cgroup/memory/a/memory.oom_control",
    ),
}


@pytest.mark.parametrize(("groups", "mounts", "file"), CGROUPS.values(), ids=CGROUPS)
def test_out_of_memory_kills_are_read_from_the_cgroup_of_the_process(
    groups: list[str], mounts: list[str], file: str, tmp_path: Path
) -> None:
    for name, lines in (
        ("proc/self/cgroup", groups),
        ("proc/self/mountinfo", mounts),
        (file, ["low 0", "oom 5", "oom_kill 3", "oom_group_kill 1"]),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))

    assert cgroup.oom_kills(f"{tmp_path}/") == 3


def test_the_count_of_oom_kills_is_none_without_a_counter(tmp_path: Path) -> None:
    assert cgroup.oom_kills(f"{tmp_path}/") is None


# --- pods ------------------------------------------------------------------------------------------------------------


def pod(task: str, inputs: pods.Inputs, *, entrypoint: pods.Entrypoint = "execute") -> Scenario:
    """A pod whose image has ``otel-flyte exec`` as its entrypoint."""

    def supervise(prepared: pods.Pod) -> pods.Pod:
        return replace(prepared, arguments=(OTEL_FLYTE, "exec", "--", *prepared.arguments))

    return runs.pod(task, inputs, entrypoint=entrypoint, env=programs.RAISE, change=supervise)


PODS: dict[str, Scenario] = {
    "killed": pod("traced_deaths.be_killed", {"name": "SIGKILL"}),
    "crashed": pod("traced_deaths.crash", {}),
    "left": pod("traced_deaths.leave", {"code": 4}),
    "killed below fast-execute": pod("traced_deaths.be_killed", {"name": "SIGKILL"}, entrypoint="fast"),
    "succeeded": pod("traced_deaths.succeed", {"value": 1}),
    "failed": pod("traced_deaths.fail", {}),
    "succeeded below fast-execute": pod("traced_deaths.succeed", {"value": 1}, entrypoint="fast"),
    "succeeded with a provider of the user's": pod("task_own_provider.train", {"epochs": 1}),
}


@pytest.fixture(scope="module")
def in_pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    pods.inputs_pb({"value": 1})  # flytekit imports pandas for it, which is not thread-safe.
    found = Runs(PODS, tmp_path_factory.mktemp("pods"))
    yield found
    found.close()


@pytest.mark.parametrize(
    ("name", "code", "error"),
    [
        ("killed", -9, "SIGKILL"),
        ("crashed", -11, "SIGSEGV"),
        ("left", 4, "exit 4"),
        ("killed below fast-execute", 247, "SIGKILL"),
    ],
)
def test_the_attempt_of_a_dead_pod_has_its_derived_ids(in_pods: Runs, name: str, code: int, error: str) -> None:
    run = in_pods(name)

    assert run.pod.returncode == code, run.pod.stderr
    [attempt] = [span for span in run.tasks if span.name.startswith("task traced_deaths.")]
    assert [attempt.trace_id, attempt.span_id] == list(derived_ids(attempt))[1:]
    assert attempt.status == "ERROR"
    assert attempt.attributes["error.type"] == error
    assert attempt.attributes["flyte.result"] == "failure"
    assert attempt.resource["flyte.run_name"] == "f1c0ffee0123456789ab"


@pytest.mark.parametrize(
    "name", ["succeeded", "failed", "succeeded below fast-execute", "succeeded with a provider of the user's"]
)
def test_a_normal_attempt_is_sent_once_and_is_the_same_as_without_supervision(in_pods: Runs, name: str) -> None:
    run = in_pods(name)

    [attempt] = run.tasks
    assert attempt.attributes.get("error.type") == ("ValueError" if name == "failed" else None)
    assert "process.exit.code" not in attempt.attributes
    assert run.pod.returncode == 0
    assert programs.our_lines(run.pod.stderr) == []


# --- no other differences --------------------------------------------------------------------------------------------


def test_streams_arguments_and_exit_codes_are_those_of_the_command(tmp_path: Path) -> None:
    command = 'cat; echo "$@"; echo problem >&2; exit 7'
    for separator in (["--"], []):
        ended = subprocess.run(
            [OTEL_FLYTE, "exec", *separator, "sh", "-c", command, "sh", "--", "-x", "é"],
            input="in\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (7, "in\n-- -x é\n", "problem\n")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGSEGV", "SIGPIPE", "SIGUSR1", "SIGQUIT"])
def test_a_command_killed_by_a_signal_has_that_exit_status(name: str, tmp_path: Path) -> None:
    ended = run("exec", "--", "sh", "-c", f"ulimit -c unlimited; kill -{name[3:]} $$", folder=tmp_path)

    assert ended.returncode == -signal.Signals[name]
    assert ended.stderr == ""


@LINUX
def test_the_command_has_the_same_signals_limits_and_descriptors_as_without_supervision(tmp_path: Path) -> None:
    look = r"""
    grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status; ulimit -c; nice; cat /proc/$$/oom_score_adj
    for fd in /proc/$$/fd/*; do target=$(readlink $fd) && echo $fd $target; done | grep -v pipe: | sed s:/proc/$$::
    env | grep -v -e ^_ -e ^PWD -e ^SHLVL | sort
    """
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as file:
        states = [
            subprocess.run(
                [*command, "sh", "-c", dedent(look)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                pass_fds=[file.fileno()],
            ).stdout
            for command in ([], [OTEL_FLYTE, "exec", "--"])
        ]

    assert "SigBlk" in states[0]
    # posix_spawn of the C library ignores two signals of its own, and sets them again.
    assert states[0] == re.sub(
        r"(?<=SigIgn:\t)\w+", lambda found: f"{int(found[0], 16) & ~0x180000000:016x}", states[1]
    )


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([], 2, "otel-flyte: no command is given: use otel-flyte exec -- COMMAND [ARGUMENT]...\n"),
        (
            ["--bad", "--", "true"],
            2,
            "otel-flyte: unknown option --bad: use otel-flyte exec -- COMMAND [ARGUMENT]...\n",
        ),
        (["--", ""], 2, "otel-flyte: no command is given: use otel-flyte exec -- COMMAND [ARGUMENT]...\n"),
        (["--"], 2, "otel-flyte: no command is given: use otel-flyte exec -- COMMAND [ARGUMENT]...\n"),
        (
            ["--", "no-such-command"],
            127,
            (
                "otel-flyte: no-such-command can't be run (No such file or directory): "
                "check the command and its permissions\n"
            ),
        ),
        (
            ["--", "/etc/passwd"],
            126,
            "otel-flyte: /etc/passwd can't be run (Permission denied): check the command and its permissions\n",
        ),
    ],
    ids=["nothing", "an option", "an empty command", "nothing but dashes", "not found", "not executable"],
)
def test_a_command_that_cannot_be_started_is_reported_in_one_line(
    arguments: list[str], code: int, line: str, tmp_path: Path
) -> None:
    ended = run("exec", *arguments, folder=tmp_path)

    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", line)


@pytest.mark.parametrize("limit", [6, 11])
def test_the_command_runs_unsupervised_if_no_pipe_can_be_created(limit: int, tmp_path: Path) -> None:
    def start(command: str) -> Ended:
        script = f"ulimit -n {limit}; exec {OTEL_FLYTE} exec -- {command}"
        return programs.run_command(["sh", "-c", script], tmp_path, programs.RAISE)

    message = (
        r"otel-flyte: no pipe can be created \(.*; the limit of open files is {}\): the command runs unsupervised\n"
    )
    ran = start("sh -c 'echo hi; exit 5'")
    assert (ran.returncode, ran.stdout) == (5, "hi\n")
    assert re.fullmatch(message.format(limit), ran.stderr)
    missing = start("no-such-command")
    assert missing.returncode == 127
    assert missing.stderr.endswith(
        "otel-flyte: no-such-command can't be run (No such file or directory): check the command and its permissions\n"
    )


def test_exec_is_a_subcommand(tmp_path: Path) -> None:
    assert re.search(r"^ +exec ", run("--help", folder=tmp_path).stdout, re.MULTILINE)
    assert "otel-flyte exec -- COMMAND" in run("exec", "--help", folder=tmp_path).stdout
    module = [sys.executable, "-m", "otel_flyte", "exec", "--", "sh", "-c", "exit 5"]
    assert programs.run_command(module, tmp_path).returncode == 5


# --- signals ---------------------------------------------------------------------------------------------------------

COUNTS = """
    import os, signal, time
    def count(number, _):
        os.write(1, f"{signal.Signals(number).name}\\n".encode())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, count)
    print("ready", flush=True)
    while True:
        time.sleep(0.1)
"""


@pytest.mark.parametrize(
    "name",
    [
        "SIGTERM",
        "SIGINT",
        "SIGHUP",
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "SIGCONT",
        "SIGTSTP",
        "SIGWINCH",
        "SIGALRM",
        "SIGURG",
        "SIGPIPE",
        "SIGRTMIN",
    ],
)
def test_signals_are_forwarded(name: str) -> None:
    if not hasattr(signal, name):
        pytest.skip(f"no {name} here")
    with running(sys.executable, "-c", dedent(COUNTS)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.Signals[name])
        assert process.stdout.readline() == f"{name}\n"


@contextmanager
def in_terminal(*command: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a command in the foreground of its own terminal; yield both, the terminal by its other end."""
    ours, theirs = pty.openpty()

    def use_terminal() -> None:
        ioctl(theirs, termios.TIOCSCTTY, 0)

    try:
        options = {"stdin": theirs, "preexec_fn": use_terminal, "pass_fds": [theirs], "start_new_session": True}
        with running(*command, **options) as process:
            yield process, ours
    finally:
        os.close(theirs)
        os.close(ours)


def test_a_signal_from_the_terminal_reaches_the_command_once() -> None:
    with in_terminal(sys.executable, "-c", dedent(COUNTS)) as (process, terminal):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.write(terminal, b"\x03")
        assert process.stdout.readline() == "SIGINT\n"
        os.write(terminal, b"\x1c")
        assert process.stdout.readline() == "SIGQUIT\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "SIGTERM\n"


@LINUX
def test_a_stopped_command_is_visible_as_stopped_and_can_be_continued() -> None:
    with running("sh", "-c", "echo ready; kill -TSTP $$; echo again") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_for(lambda: _state(process.pid) == "T")
        os.killpg(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "again\n"
        assert process.wait(20) == 0


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def _as_pid_1(folder: Path, *command: str, env: Mapping[str, str] | None = None) -> Ended:
    unshare = [shutil.which("unshare") or "unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    try:
        possible = subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("no PID namespace can be created here")
    return programs.run_command([*unshare, OTEL_FLYTE, "exec", "--", *command], folder, env)


def test_pid_1_exits_with_128_plus_the_number_of_the_signal(tmp_path: Path, receiver: Receiver) -> None:
    programs.module(tmp_path, "program", programs.joined(TASK, "os.kill(os.getpid(), signal.SIGKILL)"))
    ended = _as_pid_1(tmp_path, sys.executable, "program.py", env=receiver.environment())

    assert ended.returncode == 137
    assert only(receiver.spans()).attributes["error.type"] == "SIGKILL"


def test_pid_1_reaps_orphans_and_forwards_signals(tmp_path: Path) -> None:
    orphan = """
    (sleep 0 & echo $! > orphan)
    while [ -d /proc/$(cat orphan) ]; do sleep 0.01; done
    trap 'echo told; exit 3' TERM
    kill -TERM 1
    while :; do sleep 0.01; done
    """
    ended = _as_pid_1(tmp_path, "sh", "-c", dedent(orphan))

    assert (ended.returncode, ended.stdout) == (3, "told\n")


# --- cost ------------------------------------------------------------------------------------------------------------


@LINUX
def test_the_supervisor_uses_less_than_10_mib_of_private_memory(
    tmp_path: Path,
) -> None:
    programs.module(tmp_path, "program", programs.joined(TASK, "print('open', flush=True); time.sleep(60)"))
    with running(sys.executable, str(tmp_path / "program.py")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
    private = sum(int(size) for size in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", rollup, re.MULTILINE))

    sys.stdout.write(f"private memory of the supervisor: {private} KiB\n")
    assert private < 10 * 1024


def test_modules_for_exporting_are_not_loaded_before_they_are_needed(tmp_path: Path) -> None:
    script = [sys.executable, "-X", "importtime", OTEL_FLYTE, "exec", "--", "true"]
    ended = programs.run_command(script, tmp_path)

    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert "otel_flyte.supervisor.process" in loaded
    heavy = {"click", "opentelemetry", "google", "requests", "grpc", "flytekit", "json", "logging", "subprocess"}
    assert loaded & heavy == set()
    ours = {module for module in loaded if module.startswith("otel_flyte")}
    assert ours == {
        "otel_flyte",
        "otel_flyte._version",
        "otel_flyte.cli",
        "otel_flyte.cli.entry",
        "otel_flyte.semconv",
        "otel_flyte.supervisor",
        *(f"otel_flyte.runtime{name}" for name in ("", ".cgroups", ".descriptors")),
        *(f"otel_flyte.supervisor.{name}" for name in ("cgroup", "command", "listener", "process", "protocol")),
    }


def test_is_supervised_is_true_only_under_exec(tmp_path: Path) -> None:
    ask = "import json; from otel_flyte.supervisor import client as child; print(json.dumps(child.is_supervised()))"

    assert programs.run(ask, tmp_path).printed is False
    ended = run("exec", "--", sys.executable, "-c", ask, folder=tmp_path)
    assert json.loads(ended.stdout) is True
