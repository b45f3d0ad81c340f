"""SIGTERM, by which Kubernetes ends a pod: every open span has an event, and the process ends as without otel-flyte."""

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from otel_flyte import semconv
from support import pods, programs, runs
from support.admin import Admin
from support.receiver import Event, Receiver, Span
from support.runs import Result, Run, Runs, Scenario

pytestmark = [pytest.mark.newest_only, pytest.mark.slow]

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
SECONDS = 60
"""The time that a task waits without a signal."""
CHECKPOINTS = ("finish early", "finish early, handler of the module")
EXITS = ("leave early", "leave early, handler of the module")
DEATHS = ("sync", "async", "fast-execute", "beside asyncio's handler", "handler that restores the previous one")


@dataclass
class Terminated:
    """A pod that receives SIGTERM once its user code runs; with ``bare`` the same pod without otel-flyte."""

    task: str
    inputs: Mapping[str, object] = field(default_factory=lambda: {"seconds": SECONDS})
    entrypoint: pods.Entrypoint = "execute"
    env: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, root: Path, receiver: Receiver, *, bare: bool = False) -> Result:
        root.mkdir(parents=True)
        env = {**receiver.environment(), **programs.RAISE, **self.env}
        with Admin() as admin:
            pod = pods.prepare(
                self.entrypoint,
                root / "pod",
                self.task,
                self.inputs,
                env={**env, **admin.environment()},
                bare=bare,
            )
            process = pod.start(forked=True)
            pods.wait_until((pod.directory / "ready").exists, process)
            process.send_signal(signal.SIGTERM)
            return pod.finish(process, timeout=SECONDS)

    def without_otel_flyte(self, root: Path, receiver: Receiver) -> Result:
        return self(root, receiver, bare=True)


def handled(way: str, task: str = "traced_handlers.wait") -> Terminated:
    return Terminated(task, {"seconds": float(SECONDS)}, env={"HANDLER": way})


TERMINATED: dict[str, Terminated] = {
    "sync": Terminated("traced_signals.wait"),
    "async": Terminated("traced_signals.wait_async"),
    "fast-execute": Terminated("traced_signals.wait", entrypoint="fast"),
    "eager": Terminated("traced_signals.wait_eager"),
    "beside asyncio's handler": Terminated("traced_signals.wait_with_asyncios_handler"),
    "handler that restores the previous one": Terminated("traced_signals.restore_and_repeat"),
    "finish early": Terminated("traced_signals.finish_early"),
    "finish early, handler of the module": handled("finish"),
    "leave early": Terminated("traced_signals.leave_early"),
    "leave early, handler of the module": handled("leave"),
    "skip early": Terminated("traced_signals.skip_early"),
    "ignored": Terminated("traced_handlers.wait", {"seconds": 2.0}, env={"HANDLER": "ignore"}),
}
SCENARIOS: dict[str, Scenario] = {
    **TERMINATED,
    **{f"{name}, bare": scenario.without_otel_flyte for name, scenario in TERMINATED.items()},
    "skip": runs.pod("traced_signals.skip", {"rank": 1}),
    "a child": runs.pod("traced_signals.terminate_a_child", {"seconds": SECONDS}),
    **{
        f"dispositions, {way}": runs.pod("traced_handlers.find_dispositions", env={"HANDLER": way})
        for way in ("ignore", "wakeup")
    },
    "left": runs.pod("traced_handlers.find_dispositions", env={"HANDLER": "tell"}),
}


ran = runs.fixture(SCENARIOS)


def attempt(run: Run) -> Span:
    """Return the span of the task, the root of all others."""
    [found] = [span for span in run.tasks if not span.name.endswith("-execute")]
    return found


def signal_events(span: Span) -> list[Event]:
    return [event for event in span.events if event.name == semconv.EVENT_SIGNAL]


@pytest.mark.parametrize("name", TERMINATED)
def test_a_signal_ends_a_process_in_the_same_way_as_without_otel_flyte(name: str, ran: Runs) -> None:
    traced, without = ran(name).pod, ran(f"{name}, bare").pod

    assert traced.returncode == without.returncode, traced.stderr
    assert traced.files.keys() == without.files.keys()
    assert traced.outputs == without.outputs
    assert traced.stdout == without.stdout
    assert programs.our_lines(traced.stderr) == []


@pytest.mark.parametrize("name", [name for name in TERMINATED if name != "ignored"])
def test_every_open_span_has_an_event_with_the_signal_and_the_phase(name: str, ran: Runs) -> None:
    run = ran(name)
    [phase] = [span for span in run.phases(attempt(run)) if span.name == semconv.PHASE_USER_CODE]

    for span in (attempt(run), phase):
        assert [event.attributes for event in signal_events(span)[:1]] == [
            {semconv.SIGNAL_NAME: "SIGTERM", semconv.PHASE: semconv.PHASE_USER_CODE}
        ]


@pytest.mark.quick
@pytest.mark.parametrize("name", DEATHS)
def test_a_task_killed_by_a_signal_has_failed(name: str, ran: Runs) -> None:
    run = ran(name)
    open_spans = [span for span in run.spans if signal_events(span)]

    assert {span.name for span in open_spans} == {attempt(run).name, semconv.PHASE_USER_CODE}
    assert {(span.status, span.status_message) for span in open_spans} == {("ERROR", "ended by SIGTERM")}
    assert {span.attributes[semconv.ERROR_TYPE] for span in open_spans} == {"SIGTERM"}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_task_that_finishes_after_a_signal_has_not_failed(name: str, ran: Runs) -> None:
    run = ran(name)

    assert run.pod.outputs is not None
    assert run.pod.outputs.literals["o0"].scalar.primitive.integer == 1
    assert {span.status for span in run.spans} == {"UNSET"}
    assert len(signal_events(attempt(run))) == 1


@pytest.mark.parametrize("name", EXITS)
def test_a_task_that_exits_in_a_handler_has_failed(name: str, ran: Runs) -> None:
    run = ran(name)

    assert attempt(run).status == "ERROR"
    assert attempt(run).attributes[semconv.ERROR_TYPE] == "SystemExit"


def test_an_eager_task_with_the_handler_of_flytekit_has_failed(ran: Runs) -> None:
    assert attempt(ran("eager")).status == "ERROR"


def test_missing_outputs_after_a_signal_are_a_failure(ran: Runs) -> None:
    run = ran("skip early")

    assert attempt(run).status == "ERROR"
    assert attempt(run).attributes[semconv.ERROR_TYPE].endswith("IgnoreOutputs")


def test_missing_outputs_without_a_signal_are_not_a_failure(ran: Runs) -> None:
    run = ran("skip")

    assert {span.status for span in run.spans} == {"UNSET"}
    assert attempt(run).attributes[semconv.RESULT] == semconv.RESULT_SKIP


def test_an_ignored_signal_has_no_effect(ran: Runs) -> None:
    run = ran("ignored")

    assert run.pod.returncode == 0
    assert {span.status for span in run.spans} == {"UNSET"}


def outputs(run: Run) -> list[int]:
    assert run.pod.outputs is not None, run.pod.stderr
    values = [item.scalar.primitive for item in run.pod.outputs.literals["o0"].collection.literals]
    return [value.boolean if value.WhichOneof("value") == "boolean" else value.integer for value in values]


def test_a_forked_child_has_the_default_action_and_ends_when_terminated(ran: Runs) -> None:
    run = ran("a child")

    assert outputs(run) == [True, -1, -signal.SIGTERM]
    assert {span.status for span in run.spans} == {"UNSET"}
    assert [span for span in run.spans if signal_events(span)] == []


FORKING = """
import flytekit
from otel_flyte.process import signals

def blocked():
    states = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
    masks = [int(state.partition("SigBlk:")[2].split()[0], 16) for state in states]
    return sum(mask >> signal.SIGTERM - 1 & 1 for mask in masks)

@flytekit.task
def fork() -> int:
    child = os.fork()
    if not child:
        signal.alarm(20)
        IN_CHILD
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

ended = fork()
time.sleep(0.5)
print(json.dumps([ended, blocked()]))
"""


def forking(prepare: str, in_child: str) -> str:
    """Return a program that forks; it prints the child's exit status and the number of threads with SIGTERM blocked."""
    imports = "import json, os, signal, time\nfrom pathlib import Path\n"
    return programs.joined(imports, prepare, FORKING.replace("IN_CHILD", in_child))


# Hooks of a user, registered before all others.
PREPARED = {
    "terminated": ("os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))", "pass"),
    "terminated later": ("", "os.kill(os.getpid(), signal.SIGTERM)"),
    "terminated, while another hook forks": (
        """
        import concurrent.futures.thread  # Its own hook, which takes a lock, runs later.

        def fork_too():
            if not done:
                done.append(True)
                os.waitpid(os.fork() or os._exit(0), 0)

        done = []
        os.register_at_fork(before=fork_too)
        """,
        "os.kill(os.getpid(), signal.SIGTERM)",
    ),
}


@LINUX
@pytest.mark.parametrize("way", PREPARED)
def test_a_child_terminated_at_any_time_ends_without_its_parent(way: str, tmp_path: Path, receiver: Receiver) -> None:
    ended = programs.run(forking(*PREPARED[way]), tmp_path, receiver.environment() | programs.RAISE)

    assert ended.printed == [-signal.SIGTERM, 0]
    assert [span for span in receiver.spans() if signal_events(span)] == []


@LINUX
def test_signals_blocked_by_a_users_hook_in_a_child_stay_blocked(tmp_path: Path, receiver: Receiver) -> None:
    block = "os.register_at_fork(after_in_child=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}))"
    say = "os._exit(signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGUSR1})"
    ended = programs.run(forking(block, say), tmp_path, receiver.environment() | programs.RAISE)

    assert ended.printed == [True, 0]


@LINUX
def test_a_child_interrupted_at_its_start_can_be_terminated(tmp_path: Path, receiver: Receiver) -> None:
    interrupt = """
        def interrupt():
            signals._restore_default = lambda: os.kill(os.getpid(), signal.SIGINT) or time.sleep(1)

        os.register_at_fork(after_in_child=interrupt)
        """
    say = "os._exit(blocked())"
    ended = programs.run(forking(interrupt, say), tmp_path, receiver.environment())

    assert ended.printed == [0, 0]


@pytest.mark.parametrize(("way", "expected"), [("ignore", [False, True, False]), ("wakeup", [True, False, True])])
def test_earlier_signal_settings_of_the_user_are_kept(way: str, expected: list[bool], ran: Runs) -> None:
    assert outputs(ran(f"dispositions, {way}")) == expected


def test_signal_settings_are_restored_at_the_end(ran: Runs) -> None:
    run = ran("left")

    assert outputs(run) == [False, False, False]
    assert run.pod.stdout.split() == ["True", "-1"]


def test_a_task_in_another_thread_does_not_change_signal_settings(tmp_path: Path, receiver: Receiver) -> None:
    ended = programs.run(
        """
        import json, signal, threading
        import traced_signals

        def call():
            traced_signals.wait(seconds=0)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        print(json.dumps([signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.set_wakeup_fd(-1)]))
        """,
        tmp_path,
        receiver.environment() | programs.RAISE,
    )

    assert ended.printed == [True, -1]
    assert receiver.spans("task traced_signals.wait")


BROKEN_HELPERS = (
    "process.signals._phases",
    "tracing.open_spans.tell",
    "tracing.open_spans.end_all",
    "process.shutdown.end",
    "process.shutdown.kick",
    "export.dropped.report",
)


@pytest.mark.parametrize("name", BROKEN_HELPERS)
def test_a_signal_ends_the_process_when_any_one_of_our_functions_raises(
    name: str, tmp_path: Path, receiver: Receiver
) -> None:
    room, module, function = name.split(".")
    ended = programs.run(
        f"""
        import os, signal, time
        import traced_signals
        from flytekit import task
        from otel_flyte.{room} import {module}

        def fail(*args, **kwargs):
            raise RuntimeError("broken")

        {module}.{function} = fail

        @task
        def terminate() -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
            return 0

        terminate()
        """,
        tmp_path,
        receiver.environment(),
    )

    assert ended.returncode == -signal.SIGTERM, ended.stderr
