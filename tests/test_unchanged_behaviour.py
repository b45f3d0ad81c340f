"""A task ends as it would without us: the same exit code, the same output, the same bytes in the bucket.

Each case runs twice in fresh folders, once as if this project were not installed. What is compared is everything that a
pod leaves behind, but for what differs between any two runs: the time, and the names of temporary folders.
"""

import functools
import importlib.util
import re
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import task_kinds
import task_templates
from flyteidl.core import dynamic_job_pb2, errors_pb2, literals_pb2
from flytekit.types.file import FlyteFile
from google.protobuf import text_format

from support import pods
from support.receiver import Protocol, Receiver

Picture = dict[str, Any]
BothWays = Callable[[str, Mapping[str, str]], tuple[Picture, Picture]]
"""From a case's name and the environment of the run with us, to what the runs with and without us left behind."""

OUTPUTS = {"outputs.pb"}
ERROR = {"error.pb"}
NOTHING: set[str] = set()


@dataclass(frozen=True)
class Case:
    """A pod, and how flytekit alone ends it, so that two runs that are broken alike don't pass for a proof."""

    task: str | Callable[[Path], pods.Template]
    inputs: pods.Inputs | Callable[[Path], Mapping[str, Any]] = field(default_factory=dict)
    """What depends on a file gets a folder for it."""
    leaves: set[str] = field(default_factory=lambda: OUTPUTS)
    exit_code: int = 0
    error: str = ""
    """How the message in ``error.pb`` ends."""
    entrypoint: pods.Entrypoint = "execute"
    index: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""
    """A module that this project can do without."""
    traced: bool = True
    """Whether the process gets a chance to export."""

    @property
    def can_run(self) -> bool:
        return not self.needs or importlib.util.find_spec(self.needs) is not None


# --- what is given ---------------------------------------------------------------------------------------------------


def a_text_file(folder: Path) -> dict[str, Any]:
    source = folder / "source.txt"
    source.write_text("spam")
    return {"source": FlyteFile(str(source))}


def a_frame(folder: Path) -> dict[str, Any]:
    import pandas as pd

    return {"frame": pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})}


def the_square_task(folder: Path) -> pods.Template:
    return pods.template(task_templates.square)


def a_query_task(folder: Path) -> pods.Template:
    database = folder / "tracks.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table tracks (name text)")
        connection.execute("insert into tracks values ('Solveig')")
    connection.close()
    query = pods.template(task_templates.query(str(database)))
    return replace(query, executor="task_templates.QueryExecutor")


# --- the cases -------------------------------------------------------------------------------------------------------

SUCCESSES = {
    "sync": Case("task_kinds.increment", {"value": 5}),
    "async": Case("task_kinds.increment_async", {"value": 5}),
    "no interface": Case("task_kinds.no_interface"),
    "several outputs": Case("task_kinds.summarise", {"values": [1, 2, 3], "name": "some"}),
    "dataclass": Case("task_kinds.move", {"point": task_kinds.Point(1, 2.5, "here")}),
    "dynamic": Case("task_kinds.fan_out", {"count": 3}, leaves={"futures.pb"}),
    "dynamic without children": Case("task_kinds.fan_out_to_nothing", {"count": 3}),
    "eager": Case("task_kinds.orchestrate", {"value": 3}, leaves=OUTPUTS | {"deck.html"}),
    "shell": Case("task_kinds.greet", {"name": "Ada"}),
    "shim": Case(the_square_task, {"base": 3}),
    "sqlite": Case(a_query_task, {"limit": 1}, needs="pandas"),
    "output and logs": Case("task_kinds.talk", {"name": "Ada"}),
    "seeded random numbers": Case("task_kinds.draw_after_seeding", {"count": 5}),
    "random numbers seeded in the module": Case("task_kinds.draw_after_seeding_the_module", {"count": 5}),
    "file": Case("task_data.copy_file", a_text_file),
    "directory": Case("task_data.write_directory", {"count": 2}),
    "list of files": Case("task_data.write_files", {"count": 3}),
    "pickle": Case("task_data.pickle_one", {"value": 2}),
    "artifact": Case("task_data.measure", {"region": "eu"}),
    "output metadata": Case("task_data.annotate", {"value": 2}),
    "checkpoint": Case("task_data.save_checkpoint", {"value": 2}),
    "offloaded literal": Case(
        "task_data.long_text",
        {"length": 2000},
        leaves=OUTPUTS | {"o0_offloaded_metadata.pb"},
        env={"_F_L_MIN_SIZE_MB": "0"},
    ),
    "frame": Case("task_dataframes.double_frame", a_frame, needs="pandas"),
    "frame in a deck": Case(
        "task_dataframes.double_frame_with_deck", a_frame, leaves=OUTPUTS | {"deck.html"}, needs="pandas"
    ),
    "deck": Case("task_decks.report", {"value": 5}, leaves=OUTPUTS | {"deck.html"}),
    "deck published early": Case("task_decks.report_early", {"value": 5}, leaves=OUTPUTS | {"deck.html"}),
    "surroundings": Case("task_processes.surroundings"),
    "fork": Case("task_processes.fork_pool", {"value": 3}),
    "fork that leaves": Case("task_processes.fork_and_leave", {"code": 3}),
    "spawn": Case("task_processes.spawn_pool", {"value": 3}),
    "subprocess": Case("task_processes.call_python", {"code": "import flytekit, sys; print(sys.argv)"}),
    "thread that outlives the task": Case("task_processes.outlive", {"value": 1}),
    "own signal handler": Case("task_processes.handle_own_signal", {"number": int(signal.SIGTERM)}),
}

FAILURES = {
    "value error": Case("task_failures.value_error", {"value": 5}, ERROR, error="ValueError: bad value 5"),
    "value error that fails the pod": Case(
        "task_failures.value_error",
        {"value": 5},
        ERROR,
        exit_code=1,
        error="ValueError: bad value 5",
        env={"FLYTE_FAIL_ON_ERROR": "true"},
    ),
    "value error in async": Case(
        "task_failures.value_error_async", {"value": 5}, ERROR, error="ValueError: bad value 5"
    ),
    "value error in dynamic": Case(
        "task_failures.value_error_dynamic", {"value": 5}, ERROR, error="ValueError: bad value 5"
    ),
    "value error in eager": Case(
        "task_failures.value_error_eager", {"value": 5}, ERROR | {"deck.html"}, error="ValueError: bad value 5"
    ),
    "value error in shim": Case(the_square_task, {"base": -3}, ERROR, error="ValueError: a negative base"),
    "value error with a deck": Case(
        "task_decks.report_failure", {"value": 5}, ERROR | {"deck.html"}, error="ValueError: no result"
    ),
    "recoverable": Case("task_failures.recoverable", {"value": 5}, ERROR, error="error=try again 5"),
    "ignored outputs": Case("task_failures.ignore_outputs", {"value": 5}, NOTHING),
    "wrong output type": Case(
        "task_failures.wrong_output_type", {"value": 5}, ERROR, error="got 'text 5' of type <class 'str'>."
    ),
    "missing output file": Case(
        "task_failures.missing_output_file", {"value": 5}, ERROR, error="File no-such-5.txt does not exist."
    ),
    "chained error": Case("task_failures.chained", {"value": 5}, ERROR, error="RuntimeError: the computation failed"),
    "error while handling another": Case(
        "task_failures.while_handling", {"value": 5}, ERROR, error="KeyError: 'missing'"
    ),
    "error with a code": Case("task_failures.coded", {"value": 5}, ERROR, error="CodedError: code 5"),
    "error that can't be printed": Case(
        "task_failures.unprintable", {"value": 5}, ERROR, error="RuntimeError: no words for it"
    ),
    "error without a message": Case("task_failures.without_message", {"value": 5}, ERROR, error="AssertionError: "),
    "out of memory": Case("task_failures.out_of_memory", {"value": 5}, ERROR, error="MemoryError: "),
    "exit": Case("task_failures.leave", {"code": 3}, NOTHING, exit_code=3),
    "exit that claims success": Case("task_failures.leave", {"code": 0}, NOTHING),
    "exit at once": Case("task_failures.leave_at_once", {"code": 4}, NOTHING, exit_code=4, traced=False),
    "keyboard interrupt": Case("task_failures.keyboard_interrupt", {"value": 5}, NOTHING, exit_code=1),
    "cancelled": Case("task_failures.cancelled", {"value": 5}, NOTHING, exit_code=1),
    "cancelled in async": Case("task_failures.cancelled_async", {"value": 5}, ERROR, error="CancelledError: "),
    "terminated": Case(
        "task_processes.signal_itself", {"number": int(signal.SIGTERM)}, NOTHING, exit_code=-15, traced=False
    ),
    "interrupted": Case("task_processes.signal_itself", {"number": int(signal.SIGINT)}, NOTHING, exit_code=1),
    "killed": Case(
        "task_processes.signal_itself", {"number": int(signal.SIGKILL)}, NOTHING, exit_code=-9, traced=False
    ),
    "input of a wrong type": Case("task_kinds.increment", {"value": "text"}, ERROR, error="string_value: text to int"),
    "inputs that can't be decoded": Case("task_kinds.increment", b"\xff", ERROR, error="DecodeError: "),
    "inputs that are not there": Case("task_kinds.increment", None, ERROR, error="inputs.pb. File not found"),
    "no such task": Case("task_kinds.nope", {"value": 1}, ERROR, error="has no attribute 'nope'"),
    "no such module": Case("no_such_module.nope", {"value": 1}, ERROR, error="No module named 'no_such_module'"),
    "module that can't be imported": Case(
        "module_that_fails.unreachable", {"value": 1}, ERROR, error="ImportError: a dependency is missing"
    ),
}

OTHER_ENTRYPOINTS = {
    "map: sync": Case("task_kinds.increment", {"value": [1, 2, 3]}, entrypoint="map", index=2),
    "map: async": Case("task_kinds.increment_async", {"value": [1, 2, 3]}, entrypoint="map", index=0),
    "map: pickle": Case("task_data.pickle_one", {"value": [1, 2, 3]}, entrypoint="map", index=1),
    "map: value error": Case(
        "task_failures.value_error",
        {"value": [1, 2, 3]},
        ERROR,
        error="ValueError: bad value 3",
        entrypoint="map",
        index=2,
    ),
    "map: index out of range": Case(
        "task_kinds.increment",
        {"value": [1, 2, 3]},
        ERROR,
        error="IndexError: list index out of range",
        entrypoint="map",
        index=3,
    ),
    "map: exit": Case("task_failures.leave", {"code": [1, 2, 3]}, NOTHING, exit_code=3, entrypoint="map", index=2),
    "fast: sync": Case("task_kinds.increment", {"value": 5}, entrypoint="fast"),
    "fast: dynamic": Case("task_kinds.fan_out", {"count": 3}, leaves={"futures.pb"}, entrypoint="fast"),
    "fast: value error that fails the pod": replace(FAILURES["value error that fails the pod"], entrypoint="fast"),
    "fast: exit": replace(FAILURES["exit"], entrypoint="fast"),
    "fast: module that can't be imported": replace(FAILURES["module that can't be imported"], entrypoint="fast"),
    "fast: child terminated": replace(FAILURES["terminated"], entrypoint="fast", exit_code=241),
    "fast: parent terminated": Case(
        "task_processes.signal_parent",
        {"number": int(signal.SIGTERM)},
        NOTHING,
        exit_code=241,
        entrypoint="fast",
        traced=False,
    ),
    "script: sync": Case("task_kinds.increment", {"value": 5}, entrypoint="script"),
    "script: async": Case("task_kinds.increment_async", {"value": 5}, entrypoint="script"),
    "script: shim": Case(the_square_task, {"base": 3}, entrypoint="script"),
    "script: deck": Case("task_decks.report", {"value": 5}, leaves=OUTPUTS | {"deck.html"}, entrypoint="script"),
    "script: value error": replace(FAILURES["value error"], entrypoint="script"),
    "script: exit": replace(FAILURES["exit"], entrypoint="script"),
    "script: module that can't be imported": replace(FAILURES["module that can't be imported"], entrypoint="script"),
}

CASES = {**SUCCESSES, **FAILURES, **OTHER_ENTRYPOINTS}


# --- running a case both ways ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """What both runs of a case are given, to the byte."""

    case: Case
    task: str | pods.Template
    inputs: bytes | None

    def run(self, root: Path, *, bare: bool = False, env: Mapping[str, str] | None = None) -> Picture:
        result = pods.prepare(
            self.case.entrypoint,
            root,
            self.task,
            self.inputs,
            attempt=pods.Attempt(array_index=self.case.index),
            env={**self.case.env, **(env or {})},
            bare=bare,
        ).run()
        return picture(result, root)


@pytest.fixture(scope="session")
def both_ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothWays]:
    """Runs a case with us and, beside that, without: what happens without us is found out once per case."""

    @functools.cache
    def given(name: str) -> Given:
        return give(CASES[name], tmp_path_factory.mktemp("given"))

    @functools.cache
    def without_us(name: str) -> Future[Picture]:
        return beside.submit(given(name).run, tmp_path_factory.mktemp("bare") / "pod", bare=True)

    def run(name: str, env: Mapping[str, str]) -> tuple[Picture, Picture]:
        bare = without_us(name)
        with_us = given(name).run(tmp_path_factory.mktemp("ours") / "pod", env=env)
        return with_us, bare.result()

    beside = ThreadPoolExecutor(max_workers=1)
    # Begun for all tests that will ask, so that a second processor is never idle.
    for name in cases_of(request.session.items):
        without_us(name)
    yield run
    beside.shutdown(cancel_futures=True)


def cases_of(items: Iterable[pytest.Item]) -> Iterator[str]:
    for item in items:
        if "both_ways" in getattr(item, "fixturenames", ()):
            name = item.callspec.params.get("name")  # type: ignore[attr-defined]
            if name in CASES and CASES[name].can_run:
                yield name


def give(case: Case, folder: Path) -> Given:
    values = case.inputs(folder) if callable(case.inputs) else case.inputs
    return Given(
        case=case,
        task=case.task(folder) if callable(case.task) else case.task,
        inputs=pods.inputs_pb(values) if isinstance(values, Mapping) else values,
    )


# --- what is compared ------------------------------------------------------------------------------------------------

TIME_OF_A_LOG_LINE = re.compile(r'(?<="asctime": ")[^"]+')
# flytekit's JSON lines gain the ids of their span, which `test_logs.py` looks at.
IDS_OF_A_LOG_LINE = re.compile(r', "trace_id": "[0-9a-f]{32}", "span_id": "[0-9a-f]{16}"(?=})')
# The one deck that is there with us only, which `test_deck.py` looks at.
DECK_OF_OURS = re.compile(
    r"<li onclick=\"handleLinkClick\(this\)\">Telemetry</li>|<div><!-- otel-flyte -->.*?<!-- /otel-flyte --></div>",
    re.DOTALL,
)
TIME_IN_A_DECK = re.compile(r"(?<=<td>)\d+\.\d{6}(?=</td>)")
TEMPORARY_FOLDER = re.compile(r"(?<=/tmp/)(flyte-?|tmp)\w{8}")
LOCAL_FOLDER_OF_A_PROCESS = re.compile(r"(?<=local_flytekit/)[0-9a-f]{32}")
# Whether the thread that waits for a future comes before or after its result.
LINE_OF_A_RACE = re.compile(r'(?<=futures/_base\.py)(\\*", line )\d+(?=, in result)')
# A log may show that an error went through us, where nobody can keep it from that; what is in the bucket may not.
OUR_FRAME = re.compile(r'^( *)File "[^"\n]*/otel_flyte/[^"\n]*", line .*\n(?:\1  .*\n)*', re.MULTILINE)
CHANGING = (TIME_OF_A_LOG_LINE, TIME_IN_A_DECK, TEMPORARY_FOLDER, LOCAL_FOLDER_OF_A_PROCESS, LINE_OF_A_RACE)

MESSAGES: dict[str, Any] = {
    "outputs.pb": literals_pb2.LiteralMap,
    "futures.pb": dynamic_job_pb2.DynamicJobSpec,
    "error.pb": errors_pb2.ErrorDocument,
    "o0_offloaded_metadata.pb": literals_pb2.Literal,
}


def picture(result: pods.Result, root: Path) -> Picture:
    return {
        "exit code": result.returncode,
        "stdout": normalised(result.stdout, root),
        "stderr": OUR_FRAME.sub("", unescaped(normalised(result.stderr, root))),
        "files": {name: normalised(readable(name, content), root) for name, content in result.files.items()},
        "raw files": result.raw_files,
    }


def readable(name: str, content: bytes) -> str:
    """The whole content; protobuf keeps maps in an order that differs from process to process."""
    if name not in MESSAGES:
        return content.decode()
    message = MESSAGES[name].FromString(content)
    if isinstance(message, errors_pb2.ErrorDocument):
        message.error.ClearField("timestamp")
    return text_format.MessageToString(message, as_utf8=True, print_unknown_fields=True)


def unescaped(log: str) -> str:
    """A log whose lines are JSON, with the line breaks that it stands for."""
    return log.replace("\\n", "\n").replace('\\"', '"')


def normalised(text: str, root: Path) -> str:
    text = IDS_OF_A_LOG_LINE.sub("", text.replace(str(root), "(root)"))
    text = DECK_OF_OURS.sub("", text)
    for changing in CHANGING:
        text = changing.sub("(changes)", text)
    return text


def assert_as_flytekit_alone_is_known_to_end(case: Case, bare: Picture) -> None:
    assert (bare["exit code"], bare["files"].keys()) == (case.exit_code, case.leaves), bare
    if case.error:
        message = text_format.Parse(bare["files"]["error.pb"], errors_pb2.ErrorDocument()).error.message
        assert case.error in message


def task_spans(receiver: Receiver) -> list[str]:
    return [span.name for span in receiver.spans() if span.name.startswith("task ")]


# --- the tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(not case.can_run, reason=f"needs {case.needs}"))
        for name, case in CASES.items()
    ],
)
def test_a_task_that_is_exported_ends_as_it_would_without_us(
    name: str, both_ways: BothWays, receiver: Receiver
) -> None:
    with_us, bare = both_ways(name, receiver.environment("http/protobuf"))

    assert_as_flytekit_alone_is_known_to_end(CASES[name], bare)
    assert with_us == bare
    if CASES[name].traced:
        assert task_spans(receiver)


@pytest.mark.parametrize("name", ["sync", "dynamic", "fork", "value error", "exit", "map: sync"])
def test_a_task_that_is_exported_over_grpc_ends_as_it_would_without_us(
    name: str, both_ways: BothWays, receiver: Receiver
) -> None:
    with_us, bare = both_ways(name, receiver.environment("grpc"))

    assert with_us == bare
    assert {request.protocol for request in receiver.requests()} == {"grpc"}
    assert task_spans(receiver)


@pytest.mark.parametrize(
    "name", ["sync", "shell", "surroundings", "deck", "value error", "terminated", "map: sync", "fast: sync"]
)
def test_a_task_that_is_not_exported_ends_as_it_would_without_us(name: str, both_ways: BothWays) -> None:
    with_us, bare = both_ways(name, {})

    assert with_us == bare


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"OTEL_FLYTE_ENABLED": "false"}, id="by us"),
        pytest.param({"OTEL_SDK_DISABLED": "true"}, id="by OpenTelemetry"),
        pytest.param({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flyte"}, id="among instrumentations"),
    ],
)
def test_a_task_whose_telemetry_is_switched_off_ends_as_it_would_without_us(
    env: dict[str, str], both_ways: BothWays, receiver: Receiver
) -> None:
    with_us, bare = both_ways("value error", receiver.environment() | env)

    assert with_us == bare
    assert receiver.requests() == []


@pytest.fixture(params=["absent", "silent", "refusing"])
def failing_endpoint(request: pytest.FixtureRequest, receiver: Receiver) -> Iterator[str]:
    """Where a collector should be: nobody listens, nobody answers, or every export is refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if request.param == "absent":
            server.close()
        yield f"{receiver.endpoint()}/nowhere" if request.param == "refusing" else address


@pytest.mark.parametrize(("name", "protocol"), [("sync", "grpc"), ("value error", "http/protobuf")])
def test_a_collector_that_fails_changes_no_task(
    name: str, protocol: Protocol, failing_endpoint: str, both_ways: BothWays
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": failing_endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    with_us, bare = both_ways(name, env)

    assert but_for_stderr(with_us) == but_for_stderr(bare)


def but_for_stderr(all_of_it: Picture) -> Picture:
    """OpenTelemetry's exporters log that they fail."""
    return {part: content for part, content in all_of_it.items() if part != "stderr"}


def test_a_task_whose_outputs_cannot_be_uploaded_ends_as_it_would_without_us(
    receiver: Receiver, tmp_path: Path
) -> None:
    def run(root: Path, *, bare: bool) -> Picture:
        pod = pods.prepare("execute", root, "task_kinds.increment", {"value": 5}, env=receiver.environment(), bare=bare)
        execution = pod.output_prefix.parent.parent
        execution.parent.mkdir(parents=True)
        execution.write_text("no folder can be made here")
        return picture(pod.run(), root)

    bare = run(tmp_path / "bare", bare=True)

    assert bare["exit code"] == 1
    assert "FlyteUploadDataException" in bare["stderr"]
    assert run(tmp_path / "ours", bare=False) == bare
    assert task_spans(receiver)


def test_user_code_finds_nothing_new_in_its_environment_but_the_parent_of_its_processes(
    receiver: Receiver, tmp_path: Path
) -> None:
    task, env = "task_processes.environment", receiver.environment()
    roots = tmp_path / "bare", tmp_path / "ours"

    results = (pods.execute(root, task, {}, env=env, bare=root == roots[0]) for root in roots)
    bare, with_us = (
        {normalised(entry, root) for entry in strings(result)} for root, result in zip(roots, results, strict=True)
    )

    [task_span] = receiver.spans(f"task {task}")
    python_path = f"PYTHONPATH={pods.WORKFLOWS}"
    assert with_us - bare == {python_path, f"TRACEPARENT=00-{task_span.trace_id}-{task_span.span_id}-01"}
    assert len(bare - with_us) == 1


def test_statsd_gets_the_same_datagrams(receiver: Receiver, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        # flytekit reads the section of its statsd settings as "secrets".
        env = {"FLYTE_SECRETS_HOST": "127.0.0.1", "FLYTE_SECRETS_PORT": str(statsd.getsockname()[1])}

        pods.execute(tmp_path / "bare", "task_data.count_metrics", {"value": 2}, bare=True, env=env)
        bare = received_by(statsd)
        pods.execute(tmp_path / "ours", "task_data.count_metrics", {"value": 2}, env=env | receiver.environment())
        with_us = received_by(statsd)

    assert len(bare) == 3
    assert with_us == bare
    assert task_spans(receiver)


def received_by(server: socket.socket) -> list[bytes]:
    """What a process that has ended has sent."""
    server.setblocking(False)
    datagrams = []
    while True:
        try:
            datagrams.append(server.recv(65536))
        except BlockingIOError:
            return datagrams


@pytest.mark.parametrize("entrypoint", ["execute", "fast", "script"])
def test_a_bare_pod_never_imports_us(entrypoint: pods.Entrypoint, tmp_path: Path) -> None:
    task, inputs = "task_processes.modules_of", {"package": "otel_flyte"}

    bare = pods.prepare(entrypoint, tmp_path / "bare", task, inputs, bare=True).run()
    with_us = pods.prepare(entrypoint, tmp_path / "ours", task, inputs).run()

    assert strings(bare) == []
    assert "otel_flyte" in strings(with_us)


def strings(result: pods.Result) -> list[str]:
    assert result.outputs is not None, result.stderr
    return [item.scalar.primitive.string_value for item in result.outputs.literals["o0"].collection.literals]
