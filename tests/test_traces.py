"""Complete traces of Flyte's real entrypoints, as they arrive at a receiver.

Only environment variables are set. A scenario is one or more processes, see ``support.runs``. A complete trace is
compared as text, see ``support.trees``.
"""

import inspect
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import task_templates
import traced_data
from flytekit import task
from flytekit.core.base_task import TaskMetadata
from inline_snapshot import snapshot

from otel_flyte import semconv
from support import pods
from support.admin import Admin
from support.receiver import Receiver, Span
from support.runs import Result, Run, Runs, Scenario, cleanup, local, pod, where, with_loader, without_file
from support.stored import by_name, inputs, raw_output, several, stored, web_server
from support.trees import Forest, derived_ids

pytestmark = pytest.mark.quick

PAGE = Path(__file__).parent.parent / "docs" / "phases.md"

CALLER_TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER_SPAN = "b7ad6b7169203331"
CALLER = f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"
CALLER_UNSAMPLED = f"00-{CALLER_TRACE}-{CALLER_SPAN}-00"

A_KIB_OF_X = "x" * 1021 + "…"
REGISTERED_MAP = "pipelines.map_as_registered-arraynode"
"""Flyte's name of every map task here; flytekit computes another one in the pod."""
FIVE = {"value": 5}
RETRY = pods.Attempt(nodes=(("n0", 1),))
CHILD_OF_DYNAMIC = pods.Attempt(nodes=(("n0", 1), ("dn3", 2)))


HAS_LABELS = "labels" in TaskMetadata.__dataclass_fields__
HAS_RANGES = "resources" in inspect.signature(task).parameters

OLDER_MAP = with_loader(
    "flytekit.core.legacy_map_task.MapTaskResolver",
    *("--", "vars", "", "resolver", pods.DEFAULT_RESOLVER, "task-module", "traced_kinds", "task-name", "double"),
)


# --- pods that need more than inputs ---------------------------------------------------------------------------------


def subtask(
    task: str,
    inputs: pods.Inputs,
    index: int,
    *,
    attempt: int = 0,
    change: Callable[[pods.Pod], pods.Pod] | None = None,
    **env: str,
) -> Scenario:
    """A pod of a map task."""
    return pod(
        task,
        inputs,
        entrypoint="map",
        attempt=pods.Attempt(nodes=(("n1", 0),), array_index=index, subtask_attempt=attempt),
        env={"FLYTE_INTERNAL_TASK_NAME": REGISTERED_MAP, **env},
        change=change,
    )


def shim(base: int) -> Scenario:
    """A pod whose task is defined by its template."""
    return pod(pods.template(task_templates.square), {"base": base})


def query(root: Path, receiver: Receiver) -> Result:
    """A SQL query in a pod, which is also defined by its template."""
    database = root.with_name(f"{root.name}.db")
    with sqlite3.connect(database) as connection:
        connection.execute("create table tracks (name text)")
    return pod(pods.template(task_templates.query(str(database))), {"limit": 1})(root, receiver)


def cleanup_of_two(root: Path, receiver: Receiver) -> Result:
    with Admin(running=["e-one", "e-other"]) as admin:
        result = cleanup(admin.environment())(root, receiver)
    assert admin.terminated == ["e-one", "e-other"]
    return result


def on_the_web(task: str, variable: str, file: str, *, kind: str = "") -> Scenario:
    """A pod whose input is a file on a web server on loopback."""

    def run(root: Path, receiver: Receiver) -> Result:
        served = root.with_name(f"{root.name}-served")
        served.mkdir()
        (served / "words.txt").write_text("spam")
        (served / "opaque").write_bytes(pickle.dumps(traced_data.Opaque(5)))
        with web_server(served) as address:
            return pod(task, inputs(**{variable: stored(f"{address}/{file}", kind=kind)}))(root, receiver)

    return run


# --- the scenarios ---------------------------------------------------------------------------------------------------

KINDS_IN_A_POD: dict[str, Scenario] = {
    "sync": pod("traced_kinds.double", FIVE),
    "async": pod("traced_kinds.double_async", FIVE, protocol="grpc"),
    "map, index 0": subtask("traced_kinds.double", {"value": [5, 6]}, 0),
    "map, index 1": subtask("traced_kinds.double", {"value": [5, 6]}, 1, attempt=2),
    "legacy map task": subtask("traced_kinds.double", {"value": [5, 6]}, 1, change=OLDER_MAP),
    "dynamic": pod("traced_kinds.double_each", {"count": 2}),
    "dynamic without nodes": pod("task_kinds.fan_out_to_nothing", {"count": 2}),
    "eager": pod("task_kinds.orchestrate", FIVE),
    "eager cleanup": cleanup_of_two,
    "shim": shim(3),
    "query": query,
    "shell": pod("task_kinds.greet", {"name": "Ada"}),
    "plugin": pod("traced_plugin.compute", FIVE),
    "plugin without a setup": pod("traced_plugin.compute_later", FIVE),
    "deck": pod("traced_kinds.report", {"value": 1}),
    "deck of a failure in user code": pod("traced_kinds.report", {"value": 0}),
    "deck of a failure after it": pod("traced_kinds.report_on_something_else", {"value": 1}),
    "fast": pod("traced_kinds.double", FIVE, entrypoint="fast"),
    "fast, without its code": pod("traced_kinds.double", FIVE, entrypoint="fast", change=without_file("*.tar.gz")),
    "script": pod("traced_kinds.double", FIVE, entrypoint="script"),
}

LOCAL_KINDS: dict[str, Scenario] = {
    "local workflow": local("traced_kinds.py", "sync", value=5),
    "local async": local("traced_kinds.py", "double_async", value=5),
    "local sub-workflow": local("traced_kinds.py", "outer", value=5),
    "local launch plan": local("traced_kinds.py", "inner_plan", value=5),
    "local map": local("traced_kinds.py", "mapped", values="[5, 6]"),
    "local map with a bound input": local("traced_kinds.py", "mapped_with_bound_input", values="[5, 6]"),
    "local map with a failure": local("traced_kinds.py", "mapped_with_a_failure", values="[5, 0, 6]"),
    "local map that fails": local("traced_kinds.py", "mapped_in_vain", values="[5, 0, 6]"),
    "local legacy map task": local("traced_kinds.py", "mapped_by_older_code", values="[5, 6]"),
    "local dynamic": local("traced_kinds.py", "spread", count=2),
    "local eager": local("traced_kinds.py", "orchestrate", value=5),
    "local shell": local("traced_kinds.py", "shell", name="Ada"),
    "local SQL": local("traced_kinds.py", "sql", limit=5),
    "local query": local("traced_query.py", "tracks", limit=1),
    "local shim": local("task_templates.py", "square", base=3),
    "local plugin": local("traced_plugin.py", "compute", value=5),
    "local deck": local("traced_kinds.py", "report", value=1),
    "local failure": local("traced_kinds.py", "failing", value=0),
    "local cache": local("traced_cache.py", "squares", value=5),
}

WHAT_USERS_ADD: dict[str, Scenario] = {
    "user spans": pod("traced_user_code.train", {"epochs": 2}),
    "user span that fails": pod("traced_user_code.train_and_fail", {"epochs": 2}),
    "seeded": pod("traced_user_code.train_seeded", {"epochs": 20}),
    "seeded, again": pod("traced_user_code.train_seeded", {"epochs": 20}, attempt=RETRY),
    "metadata": pod("traced_declarations.with_metadata", {"value": 5, "note": "quick"}),
    "timeout as timedelta": pod("traced_declarations.with_timedelta", FIVE),
    "labels": where(HAS_LABELS, "labels", pod("traced_new_declarations.with_labels", FIVE)),
    "resources": pod("traced_declarations.with_resources", FIVE),
    "resource ranges": where(HAS_RANGES, "ranges", pod("traced_new_declarations.with_resource_ranges", FIVE)),
    "long text": pod("traced_declarations.with_too_long_a_text", FIVE),
    "many labels": where(HAS_LABELS, "labels", pod("traced_new_declarations.with_too_many_labels", FIVE)),
}

DATA: dict[str, Scenario] = {
    "file that user code opens": on_the_web("traced_data.read_and_write", "source", "words.txt"),
    "pickle": on_the_web("traced_data.unpickle", "opaque", "opaque", kind="PythonPickle"),
    "missing file": on_the_web("traced_data.read_and_write", "source", "no-words.txt"),
    "output metadata": pod("traced_data.measure", FIVE),
    "long output metadata": pod("traced_data.annotate", FIVE),
    "input of the same execution": pod(
        "traced_data.read", inputs(source=stored(raw_output("n0-1"))), attempt=pods.Attempt(nodes=(("n2", 0),))
    ),
    "input of another execution": pod("traced_data.read", inputs(source=stored(raw_output("n1-0", execution="other")))),
    "input below a hashed prefix": pod("traced_data.read", inputs(source=stored("s3://bucket/data/k7/fo2u3kji/x.txt"))),
    "inputs in collections": pod(
        "traced_data.read_all",
        inputs(
            by_name=by_name(first=stored(raw_output("n1-0-n1-2"))),
            sources=several(stored(raw_output("n0-0-dn4-0")), stored(raw_output("n1-2"))),
            folder=stored("s3://elsewhere/folder", folder=True),
        ),
        attempt=pods.Attempt(nodes=(("n2", 0),)),
    ),
    "input of a map's element": subtask(
        "traced_data.read", inputs(source=several(stored(raw_output("n0-0")), stored(raw_output("n0-1")))), 1
    ),
}

CONTEXT: dict[str, Scenario] = {
    "retry": pod("traced_kinds.double", FIVE, attempt=RETRY),
    "node below a dynamic one": pod("traced_kinds.double", FIVE, attempt=CHILD_OF_DYNAMIC),
    "replica by Flyte's variable": pod("traced_kinds.double", FIVE, env={"_F_WN": "worker-0", "RANK": "7"}),
    "replica by torch's": pod("traced_kinds.double", FIVE, env={"RANK": "1"}),
    "replica by MPI's": pod("traced_kinds.double", FIVE, env={"OMPI_COMM_WORLD_RANK": "2"}),
    "replica below the control plane": pod(
        "traced_kinds.double", FIVE, env={"RANK": "1", "OTEL_FLYTE_CONTROL_PLANE": "true"}
    ),
    "parent": pod("traced_kinds.double", FIVE, env={"TRACEPARENT": CALLER}),
    "parent, not sampled": pod("traced_kinds.double", FIVE, env={"TRACEPARENT": CALLER_UNSAMPLED}),
    "parent and control plane": pod(
        "traced_kinds.double", FIVE, env={"TRACEPARENT": CALLER, "OTEL_FLYTE_CONTROL_PLANE": "true"}
    ),
    "launched": pod("traced_kinds.double", FIVE, env={"OTEL_FLYTE_LAUNCHED_BY": CALLER}),
    "control plane": pod("traced_kinds.double", FIVE, env={"OTEL_FLYTE_CONTROL_PLANE": "true"}),
    "map, last index in the trace": subtask("traced_kinds.double", {"value": [5, 6, 7]}, 1, OTEL_FLYTE_MAP_NESTED="2"),
    "map, first index with its own trace": subtask(
        "traced_kinds.double", {"value": [5, 6, 7]}, 2, OTEL_FLYTE_MAP_NESTED="2"
    ),
    "map, index with its own trace below a parent": subtask(
        "traced_kinds.double", {"value": [5, 6, 7]}, 2, OTEL_FLYTE_MAP_NESTED="2", TRACEPARENT=CALLER
    ),
    "local run with a parent": local("traced_kinds.py", "sync", value=5, env={"TRACEPARENT": CALLER}),
    "local run with a parent, not sampled": local(
        "traced_kinds.py", "sync", value=5, env={"TRACEPARENT": CALLER_UNSAMPLED}
    ),
    "pyflyte run in a pod": pod("traced_processes.double_in_pyflyte_run", FIVE),
    "pyflyte-execute in a pod": pod("traced_processes.double_in_pyflyte_execute", FIVE),
    "spawned process in a pod": pod("traced_processes.double_in_spawned_process", FIVE),
}


Verdict = tuple[str, str]
"""Flyte's decision on an error: its origin, and whether the task is retried."""

ATTEMPT = ""
"""The span of the attempt, which has a different name in each scenario."""

USER: Verdict = ("USER", "NON_RECOVERABLE")
USER_RETRIED: Verdict = ("USER", "RECOVERABLE")
SYSTEM: Verdict = ("SYSTEM", "NON_RECOVERABLE")
SYSTEM_RETRIED: Verdict = ("SYSTEM", "RECOVERABLE")


@dataclass(frozen=True)
class Failure:
    """A way to fail, and its effect on the trace.

    Attributes:
        scenario: a pod.
        recorded_on: the innermost failed span, the only one with the exception.
        exception: its type.
        verdict: the decision that Flyte writes, ``None`` if it writes none.
        result: the attribute ``flyte.result`` of the attempt.
    """

    scenario: Scenario
    recorded_on: str
    exception: str
    verdict: Verdict | None = USER
    result: str = semconv.RESULT_FAILURE


def failing(task: str, variable: str = "value") -> Scenario:
    return pod(f"task_failures.{task}", {variable: 5})


FAILURES: dict[str, Failure] = {
    "value error": Failure(failing("value_error"), "user code", "ValueError"),
    "value error that fails the pod": Failure(
        pod("task_failures.value_error", FIVE, env={"FLYTE_FAIL_ON_ERROR": "true"}), "user code", "ValueError"
    ),
    "value error in async": Failure(failing("value_error_async"), "user code", "ValueError"),
    "value error in dynamic": Failure(failing("value_error_dynamic"), "user code", "ValueError"),
    "value error in eager": Failure(failing("value_error_eager"), "user code", "ValueError"),
    "value error in map": Failure(
        subtask("task_failures.value_error", {"value": [0, 5]}, 1),
        "user code",
        "ValueError",
    ),
    "value error in shim": Failure(shim(-3), "user code", "ValueError", SYSTEM_RETRIED),
    "value error in a script": Failure(
        pod("task_failures.value_error", FIVE, entrypoint="script"), "user code", "ValueError"
    ),
    "value error in downloaded code": Failure(
        pod("task_failures.value_error", FIVE, entrypoint="fast"), "user code", "ValueError"
    ),
    "recoverable": Failure(
        failing("recoverable"),
        "user code",
        "flytekit.exceptions.user.FlyteRecoverableException",
        USER_RETRIED,
    ),
    "error with a code": Failure(failing("coded"), "user code", "task_failures.CodedError"),
    "chained error": Failure(failing("chained"), "user code", "RuntimeError"),
    "error while handling another": Failure(failing("while_handling"), "user code", "KeyError"),
    "error without a message": Failure(failing("without_message"), "user code", "AssertionError"),
    "out of memory": Failure(failing("out_of_memory"), "user code", "MemoryError"),
    "cancelled in async": Failure(
        failing("cancelled_async"),
        "user code",
        "concurrent.futures._base.CancelledError",
        result=semconv.RESULT_CANCELLATION,
    ),
    "cancelled": Failure(
        failing("cancelled"), "user code", "asyncio.exceptions.CancelledError", None, semconv.RESULT_CANCELLATION
    ),
    "keyboard interrupt": Failure(
        failing("keyboard_interrupt"), "user code", "KeyboardInterrupt", None, semconv.RESULT_CANCELLATION
    ),
    "exit": Failure(failing("leave", "code"), "user code", "SystemExit", None),
    "exit with code 0": Failure(pod("task_failures.leave", {"code": 0}), "user code", "SystemExit", None),
    "wrong output type": Failure(
        failing("wrong_output_type"),
        "output translation",
        "flytekit.core.type_engine.TypeTransformerFailedError",
        SYSTEM,
    ),
    "missing output file": Failure(
        failing("missing_output_file"), "put data", "flytekit.exceptions.user.FlyteAssertion", SYSTEM
    ),
    "input of a wrong type": Failure(
        pod("task_kinds.increment", {"value": "text"}),
        "input translation",
        "flytekit.core.type_engine.TypeTransformerFailedError",
        SYSTEM,
    ),
    "index out of range": Failure(
        subtask("task_kinds.increment", {"value": [5]}, 1),
        "input translation",
        "IndexError",
        SYSTEM,
    ),
    "missing inputs": Failure(
        pod("task_kinds.increment", FIVE, change=without_file("inputs.pb")),
        "download",
        "flytekit.exceptions.user.FlyteDataNotFoundException",
        SYSTEM_RETRIED,
    ),
    "undecodable inputs": Failure(
        pod("task_kinds.increment", b"\xff"), ATTEMPT, "google.protobuf.message.DecodeError", SYSTEM_RETRIED
    ),
    "no such task": Failure(pod("task_kinds.nope", FIVE), "load", "AttributeError"),
    "no such module": Failure(pod("no_such_module.nope", FIVE), "load", "ModuleNotFoundError"),
    "module that can't be imported": Failure(pod("module_that_fails.unreachable", FIVE), "load", "ImportError"),
    "setup that fails": Failure(pod("traced_plugin.compute_in_vain", FIVE), "setup", "ConnectionError", SYSTEM_RETRIED),
    "cleanup without a control plane": Failure(
        cleanup({"FLYTE_PLATFORM_URL": "127.0.0.1:1", "FLYTE_PLATFORM_INSECURE": "true"}),
        ATTEMPT,
        "flytekit.exceptions.system.FlyteSystemUnavailableException",
        SYSTEM_RETRIED,
    ),
}

OTHER_ENDS: dict[str, Scenario] = {
    "ignored outputs": failing("ignore_outputs"),
}

SCENARIOS: dict[str, Scenario] = {
    **KINDS_IN_A_POD,
    **LOCAL_KINDS,
    **WHAT_USERS_ADD,
    **DATA,
    **CONTEXT,
    **{name: failure.scenario for name, failure in FAILURES.items()},
    **OTHER_ENDS,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    runs = Runs(SCENARIOS, tmp_path_factory.mktemp("runs"))
    yield runs
    runs.close()


def one_trace(*of_runs: Run) -> str:
    """Return the spans of several pods as one text."""
    return str(Forest(*(run.spans for run in of_runs)))


# --- kinds of tasks in a pod -----------------------------------------------------------------------------------------


def test_an_attempt_has_its_identity_and_a_span_for_each_phase(runs: Runs) -> None:
    assert runs("sync").tree(full=True) == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double  [3727dabdffa50ff8]
      code.file.path = (workflows)/traced_kinds.py
      code.function.name = traced_kinds.double
      code.line.number = 15
      flyte.action_name = n0
      flyte.attempt = 0
      flyte.domain = development
      flyte.input.value.type = int
      flyte.launch_plan_name = proj:development:pipelines.main_plan
      flyte.node_path = n0
      flyte.output.o0.type = int
      flyte.project = proj
      flyte.run_name = f1c0ffee0123456789ab
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
      flyte.task_name = traced_kinds.double
      flyte.task_version = v1
      flyte.workflow_name = proj:development:pipelines.main
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_an_async_task_has_the_phases_of_a_sync_one(runs: Runs) -> None:
    assert runs("async").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double_async  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = async
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")
    assert {request.protocol for request in runs("async").requests} == {"grpc"}


def test_each_subtask_of_a_map_is_an_attempt_in_the_trace_of_its_execution(runs: Runs) -> None:
    assert one_trace(runs("map, index 0"), runs("map, index 1")) == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task pipelines.map_as_registered-arraynode  [32f1e7934b9bd632]
      flyte.array_index = 0
      flyte.span.role = attempt
      flyte.task.kind = map
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
  task pipelines.map_as_registered-arraynode  [16442c94f93ecf79]
      flyte.array_index = 1
      flyte.span.role = attempt
      flyte.task.kind = map
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_the_legacy_map_task_is_traced(runs: Runs) -> None:
    assert runs("legacy map task").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task pipelines.map_as_registered-arraynode  [1eae90fd45a1f1b3]
      flyte.array_index = 1
      flyte.span.role = attempt
      flyte.task.kind = map
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_dynamic_task_in_a_pod_compiles_its_nodes_and_runs_none(runs: Runs) -> None:
    assert runs("dynamic").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double_each  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = dynamic
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")
    assert runs("dynamic").pod.futures is not None


def test_an_eager_task_has_a_deck_by_default(runs: Runs) -> None:
    assert runs("eager").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task task_kinds.orchestrate  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.is_eager = True
      flyte.task.kind = eager
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    deck
        flyte.span.role = phase
    upload
        flyte.span.role = phase
    deck upload
        flyte.span.role = phase
      put data
          flyte.data.uri = (root)/bucket/metadata/propeller/proj-…c0ffee0123456789ab/n0/data/0/deck.html
          flyte.span.role = transfer
""")


def test_the_cleanup_of_an_eager_task_is_an_attempt_without_user_code(runs: Runs) -> None:
    assert runs("eager cleanup").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_launches.orchestrate-cleanup  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = eager cleanup
      flyte.task.type = eager_failure_handler_task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_task_defined_by_its_template_has_the_usual_phases(runs: Runs) -> None:
    assert runs("shim").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task task_templates.square  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = shim
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_shell_task_has_a_setup_and_uploads_its_files_during_output_translation(runs: Runs) -> None:
    assert runs("shell").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task task_kinds.greet  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = plugin
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    setup
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
      put data
          flyte.data.uri = (root)/bucket/data/k7/f1c0ffee0123456789ab-n0-0/(random)/greeting.txt
          flyte.span.role = transfer
    upload
        flyte.span.role = phase
""")


def test_a_plugin_task_with_pre_execute_has_a_setup(runs: Runs) -> None:
    assert runs("plugin").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_plugin.compute  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = plugin
      flyte.task.type = cluster
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    setup
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_deck_is_rendered_before_and_uploaded_after_the_outputs(runs: Runs) -> None:
    assert runs("deck").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.report  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    deck
        flyte.span.role = phase
    upload
        flyte.span.role = phase
    deck upload
        flyte.span.role = phase
      put data
          flyte.data.uri = (root)/bucket/metadata/propeller/proj-…c0ffee0123456789ab/n0/data/0/deck.html
          flyte.span.role = transfer
""")


def test_the_deck_of_a_failed_task_is_uploaded_but_not_rendered(runs: Runs) -> None:
    assert runs("deck of a failure in user code").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.report  [3727dabdffa50ff8]
      ERROR: division by zero
      error.type = ZeroDivisionError
      flyte.error.kind = NON_RECOVERABLE
      flyte.error.origin = USER
      flyte.result = failure
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        ERROR: division by zero
        error.type = ZeroDivisionError
        flyte.span.role = phase
        ! exception
            exception.message = division by zero
            exception.type = ZeroDivisionError
    upload
        flyte.span.role = phase
    deck upload
        flyte.span.role = phase
      put data
          flyte.data.uri = (root)/bucket/metadata/propeller/proj-…c0ffee0123456789ab/n0/data/0/deck.html
          flyte.span.role = transfer
""")


def test_the_deck_of_a_task_with_invalid_outputs_is_uploaded(runs: Runs) -> None:
    assert runs("deck of a failure after it").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.report_on_something_else  [3727dabdffa50ff8]
      ERROR: Failed to convert outputs of task 'tra…got 'no number' of type <class 'str'>.
      error.type = flytekit.core.type_engine.TypeTransformerFailedError
      flyte.error.kind = NON_RECOVERABLE
      flyte.error.origin = SYSTEM
      flyte.result = failure
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        ERROR: Failed to convert outputs of task 'tra…got 'no number' of type <class 'str'>.
        error.type = flytekit.core.type_engine.TypeTransformerFailedError
        flyte.span.role = phase
        ! exception
            exception.message = Failed to convert outputs of task 'tra…got 'no number' of type <class 'str'>.
            exception.type = flytekit.core.type_engine.TypeTransformerFailedError
    upload
        flyte.span.role = phase
    deck upload
        flyte.span.role = phase
      put data
          flyte.data.uri = (root)/bucket/metadata/propeller/proj-…c0ffee0123456789ab/n0/data/0/deck.html
          flyte.span.role = transfer
""")


def test_the_code_download_of_another_process_is_the_first_phase_of_the_attempt(runs: Runs) -> None:
    assert runs("fast").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    code download
        flyte.span.role = phase
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")
    assert runs("fast").attempt.start_ns == runs("fast").named("code download").start_ns


def test_a_failed_code_download_is_recorded_as_an_attempt(runs: Runs) -> None:
    assert runs("fast, without its code").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double  [3727dabdffa50ff8]
      ERROR: task execution code was not found
      error.type = RuntimeError
      flyte.result = failure
      flyte.span.role = attempt
    code download
        ERROR: task execution code was not found
        error.type = RuntimeError
        flyte.span.role = phase
        ! exception
            exception.message = task execution code was not found
            exception.type = RuntimeError
""")


def test_an_entrypoint_run_as_a_script_records_the_same_as_a_command(runs: Runs) -> None:
    assert runs("script").tree() == runs("sync").tree()


@pytest.mark.parametrize("name", ["sync", "local workflow"])
def test_the_service_name_of_every_span_is_flyte_by_default(runs: Runs, name: str) -> None:
    assert {span.resource["service.name"] for span in runs(name).spans} == {"flyte"}


def test_the_resource_of_a_pod_identifies_its_attempt(runs: Runs) -> None:
    resource = runs("sync").attempt.resource
    identity = {name: value for name, value in resource.items() if name.startswith("flyte.")}
    assert identity == snapshot(
        {
            "flyte.project": "proj",
            "flyte.domain": "development",
            "flyte.run_name": "f1c0ffee0123456789ab",
            "flyte.workflow_name": "proj:development:pipelines.main",
            "flyte.launch_plan_name": "proj:development:pipelines.main_plan",
            "flyte.task_name": "traced_kinds.double",
            "flyte.node_path": "n0",
            "flyte.action_name": "n0",
            "flyte.attempt": 0,
        }
    )


def test_an_endpoint_on_port_4317_is_used_over_grpc(tmp_path: Path) -> None:
    try:
        # Another loopback address, because a collector on the developer's machine may use this port on 127.0.0.1.
        receiver = Receiver(grpc_address=("127.0.0.17", 4317))
    except OSError:
        pytest.skip("127.0.0.17:4317 cannot be bound here")
    with receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.17:4317"}
        pods.execute(tmp_path / "pod", "traced_kinds.double", FIVE, env=env)

    assert [span.name for span in receiver.spans() if not span.parent_span_id] == ["task traced_kinds.double"]
    assert {request.protocol for request in receiver.requests()} == {"grpc"}


# --- the documented phases of each kind of task ----------------------------------------------------------------------

ON = "●"

FIRST, LAST = 0, -1

TASK_OF_ROW = {
    ("In a pod", "`sync`: a function"): ("sync", FIRST),
    ("In a pod", "`async`: an `async` function"): ("async", FIRST),
    ("In a pod", "`map`: each subtask"): ("map, index 0", FIRST),
    ("In a pod", "`dynamic`"): ("dynamic", FIRST),
    ("In a pod", "`eager`; its deck is enabled by default"): ("eager", FIRST),
    ("In a pod", "`eager cleanup`: terminates the children of a failed eager task"): ("eager cleanup", FIRST),
    ("In a pod", "`shim`: defined by its template, such as `SQLite3Task`"): ("shim", FIRST),
    ("In a pod", "`plugin` without a setup"): ("plugin without a setup", FIRST),
    ("In a pod", "`plugin` with a setup: shell, Spark, Ray"): ("plugin", FIRST),
    ("In a pod", "any, fast-registered"): ("fast", FIRST),
    ("In a pod", "any, with `enable_deck=True`"): ("deck", FIRST),
    ("On your machine", "`sync`"): ("local workflow", FIRST),
    ("On your machine", "`async`"): ("local async", FIRST),
    ("On your machine", "`map`, with a `map item` for each item"): ("local map", FIRST),
    ("On your machine", "`dynamic`, with its tasks below `user code`"): ("local dynamic", FIRST),
    ("On your machine", "`eager`, with its tasks below `user code`"): ("local eager", FIRST),
    ("On your machine", "`shim`"): ("local shim", FIRST),
    ("On your machine", "`plugin` without a setup, such as SQL"): ("local SQL", FIRST),
    ("On your machine", "`plugin` with a setup"): ("local plugin", FIRST),
    ("On your machine", "any, with `enable_deck=True`"): ("local deck", FIRST),
    ("On your machine", "any, found in the local cache"): ("local cache", LAST),
}


def documented() -> dict[tuple[str, str], list[str]]:
    """Return the documented phases by section and kind of task."""
    promised = {}
    section, columns = "", []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("#"):
            section = line.strip("# ")
        elif cells[0] == "kind of task":
            columns = [cell.strip("`") for cell in cells[1:]]
        elif line.startswith("| ") and section in ("In a pod", "On your machine"):
            promised[section, cells[0]] = [phase for phase, cell in zip(columns, cells[1:], strict=True) if cell == ON]
    return promised


def test_the_documentation_of_phases_names_every_kind_and_every_phase() -> None:
    page = PAGE.read_text()
    kinds = [value for name, value in vars(semconv).items() if name.startswith("KIND_")]

    assert documented().keys() == TASK_OF_ROW.keys()
    assert [kind for kind in kinds if not any(f"`{kind}`" in row for section, row in documented())] == []
    assert [phase for phase in semconv.PHASES if f"| `{phase}` |" not in page] == []


@pytest.mark.parametrize(("section", "row"), documented())
def test_a_task_has_exactly_the_documented_phases_of_its_kind(runs: Runs, section: str, row: str) -> None:
    """Each phase is there once, in the documented order."""
    name, place = TASK_OF_ROW[section, row]

    assert phases(runs(name), place) == documented()[section, row]
    if not row.startswith("any"):
        assert row.startswith(f"`{runs(name).tasks[place].attributes['flyte.task.kind']}`")


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_task_has_no_later_phases_except_uploads(runs: Runs, name: str) -> None:
    run = runs(name)
    names = [phase.name for phase in run.phases(run.attempt)]
    failed = [place for place, phase in enumerate(run.phases(run.attempt)) if phase.status == "ERROR"]

    assert set(names[failed[0] + 1 :] if failed else ()) <= {"upload", "deck upload"}
    assert ("upload" in names) == (FAILURES[name].verdict is not None)


# --- local runs ------------------------------------------------------------------------------------------------------


def test_a_local_workflow_has_a_span_with_its_tasks_below(runs: Runs) -> None:
    assert runs("local workflow").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.sync
      flyte.span.role = execution
    task traced_kinds.double
        flyte.span.role = attempt
        flyte.task.kind = sync
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
      output translation
          flyte.span.role = phase
""")


def test_a_local_task_without_a_workflow_is_the_root_of_its_trace(runs: Runs) -> None:
    assert runs("local async").tree() == snapshot("""\
trace (random)
  task traced_kinds.double_async
      flyte.span.role = attempt
      flyte.task.kind = async
      flyte.task.type = python-task
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
""")


def test_local_sub_workflows_and_launch_plans_nest(runs: Runs) -> None:
    assert runs("local sub-workflow").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.outer
      flyte.span.role = execution
    workflow traced_kinds.inner
        flyte.span.role = execution
      task traced_kinds.double
          flyte.span.role = attempt
          flyte.task.kind = sync
          flyte.task.type = python-task
        input translation
            flyte.span.role = phase
        user code
            flyte.span.role = phase
        output translation
            flyte.span.role = phase
    workflow traced_kinds.inner
        flyte.span.role = execution
      task traced_kinds.double
          flyte.span.role = attempt
          flyte.task.kind = sync
          flyte.task.type = python-task
        input translation
            flyte.span.role = phase
        user code
            flyte.span.role = phase
        output translation
            flyte.span.role = phase
    task traced_kinds.double
        flyte.span.role = attempt
        flyte.task.kind = sync
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
      output translation
          flyte.span.role = phase
""")


def test_a_local_launch_plan_is_recorded_as_its_workflow(runs: Runs) -> None:
    assert runs("local launch plan").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.inner
      flyte.span.role = execution
    task traced_kinds.double
        flyte.span.role = attempt
        flyte.task.kind = sync
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
      output translation
          flyte.span.role = phase
""")


def test_a_local_map_is_one_task_with_a_span_for_each_item(runs: Runs) -> None:
    assert runs("local map").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.mapped
      flyte.span.role = execution
    task traced_kinds.map_double_6b3bd0353da5de6e84d7982921ead2b3-arraynode
        flyte.span.role = attempt
        flyte.task.kind = map
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
        map item
            flyte.array_index = 0
            flyte.span.role = item
        map item
            flyte.array_index = 1
            flyte.span.role = item
      output translation
          flyte.span.role = phase
""")


def test_a_bound_input_of_a_local_map_is_not_an_item(runs: Runs) -> None:
    items = [span for span in runs("local map with a bound input").spans if span.name == "map item"]
    assert [item.attributes for item in items] == [
        {"flyte.array_index": index, "flyte.span.role": "item"} for index in (0, 1)
    ]


def test_a_local_map_can_succeed_with_a_failed_item(runs: Runs) -> None:
    assert runs("local map with a failure").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.mapped_with_a_failure
      flyte.span.role = execution
    task traced_kinds.map_invert_1f2210850ffce76071ffac74a263152a-arraynode
        flyte.span.role = attempt
        flyte.task.kind = map
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
        map item
            flyte.array_index = 0
            flyte.span.role = item
        map item
            ERROR: division by zero
            error.type = ZeroDivisionError
            flyte.array_index = 1
            flyte.span.role = item
            ! exception
                exception.message = division by zero
                exception.type = ZeroDivisionError
        map item
            flyte.array_index = 2
            flyte.span.role = item
      output translation
          flyte.span.role = phase
""")


def test_only_the_item_that_fails_its_local_map_has_the_exception(runs: Runs) -> None:
    assert runs("local map that fails").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.mapped_in_vain
      ERROR: Error encountered while executing 'tra…1ead2b3-arraynode': /   division by zero
      error.type = ZeroDivisionError
      flyte.result = failure
      flyte.span.role = execution
    task traced_kinds.map_invert_6b3bd0353da5de6e84d7982921ead2b3-arraynode
        ERROR: Error encountered while executing 'tra…1ead2b3-arraynode': /   division by zero
        error.type = ZeroDivisionError
        flyte.result = failure
        flyte.span.role = attempt
        flyte.task.kind = map
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          ERROR: Error encountered while executing 'tra…1ead2b3-arraynode': /   division by zero
          error.type = ZeroDivisionError
          flyte.span.role = phase
        map item
            flyte.array_index = 0
            flyte.span.role = item
        map item
            ERROR: division by zero
            error.type = ZeroDivisionError
            flyte.array_index = 1
            flyte.span.role = item
            ! exception
                exception.message = division by zero
                exception.type = ZeroDivisionError
""")


def test_the_local_legacy_map_task_has_a_span_for_each_item(runs: Runs) -> None:
    assert runs("local legacy map task").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.mapped_by_older_code
      flyte.span.role = execution
    task traced_kinds.map_double_d41d8cd98f00b204e9800998ecf8427e
        flyte.span.role = attempt
        flyte.task.kind = map
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
        map item
            flyte.array_index = 0
            flyte.span.role = item
        map item
            flyte.array_index = 1
            flyte.span.role = item
      output translation
          flyte.span.role = phase
""")


def test_a_local_dynamic_task_has_the_tasks_that_it_starts_below_its_user_code(runs: Runs) -> None:
    assert runs("local dynamic").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.spread
      flyte.span.role = execution
    task traced_kinds.double_each
        flyte.span.role = attempt
        flyte.task.kind = dynamic
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
        task traced_kinds.double
            flyte.span.role = attempt
            flyte.task.kind = sync
            flyte.task.type = python-task
          input translation
              flyte.span.role = phase
          user code
              flyte.span.role = phase
          output translation
              flyte.span.role = phase
        task traced_kinds.double
            flyte.span.role = attempt
            flyte.task.kind = sync
            flyte.task.type = python-task
          input translation
              flyte.span.role = phase
          user code
              flyte.span.role = phase
          output translation
              flyte.span.role = phase
    task traced_kinds.total
        flyte.span.role = attempt
        flyte.task.kind = sync
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
      output translation
          flyte.span.role = phase
""")


def test_a_local_eager_task_has_the_tasks_that_it_awaits_below_its_user_code(runs: Runs) -> None:
    assert runs("local eager").tree() == snapshot("""\
trace (random)
  task traced_kinds.orchestrate
      flyte.span.role = attempt
      flyte.task.is_eager = True
      flyte.task.kind = eager
      flyte.task.type = python-task
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
      task traced_kinds.double
          flyte.span.role = attempt
          flyte.task.kind = sync
          flyte.task.type = python-task
        input translation
            flyte.span.role = phase
        user code
            flyte.span.role = phase
        output translation
            flyte.span.role = phase
      task traced_kinds.double_async
          flyte.span.role = attempt
          flyte.task.kind = async
          flyte.task.type = python-task
        input translation
            flyte.span.role = phase
        user code
            flyte.span.role = phase
        output translation
            flyte.span.role = phase
    output translation
        flyte.span.role = phase
    deck
        flyte.span.role = phase
""")


def test_a_local_shell_task_has_a_setup(runs: Runs) -> None:
    assert runs("local shell").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.shell
      flyte.span.role = execution
    task traced_kinds.greet
        flyte.span.role = attempt
        flyte.task.kind = plugin
        flyte.task.type = python-task
      setup
          flyte.span.role = phase
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
      output translation
          flyte.span.role = phase
""")


def test_a_local_sql_task_has_the_usual_phases(runs: Runs) -> None:
    assert runs("local SQL").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.sql
      flyte.span.role = execution
    task traced_kinds.query
        flyte.span.role = attempt
        flyte.task.kind = plugin
        flyte.task.type = sql_task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
      output translation
          flyte.span.role = phase
""")


def test_a_local_task_defined_by_its_template_has_the_usual_phases(runs: Runs) -> None:
    assert runs("local shim").tree() == snapshot("""\
trace (random)
  task task_templates.square
      flyte.span.role = attempt
      flyte.task.kind = shim
      flyte.task.type = python-task
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
""")


def test_a_local_deck_has_a_phase_for_rendering_but_none_for_uploading(runs: Runs) -> None:
    assert runs("local deck").tree() == snapshot("""\
trace (random)
  task traced_kinds.report
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    deck
        flyte.span.role = phase
""")


def test_a_local_failure_is_recorded_once_and_fails_all_spans_around_it(runs: Runs) -> None:
    assert runs("local failure").tree() == snapshot("""\
trace (random)
  workflow traced_kinds.failing
      ERROR: Error encountered while executing 'traced_kinds.invert': /   division by zero
      error.type = ZeroDivisionError
      flyte.result = failure
      flyte.span.role = execution
    task traced_kinds.invert
        ERROR: Error encountered while executing 'traced_kinds.invert': /   division by zero
        error.type = ZeroDivisionError
        flyte.result = failure
        flyte.span.role = attempt
        flyte.task.kind = sync
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          ERROR: Error encountered while executing 'traced_kinds.invert': /   division by zero
          error.type = ZeroDivisionError
          flyte.span.role = phase
          ! exception
              exception.message = Error encountered while executing 'traced_kinds.invert': /   division by zero
              exception.type = ZeroDivisionError
""")


def test_a_cached_call_is_a_task_span_with_the_result_of_the_cache_lookup(runs: Runs) -> None:
    assert runs("local cache").tree() == snapshot("""\
trace (random)
  workflow traced_cache.squares
      flyte.span.role = execution
    task traced_cache.slow_square
        flyte.cache.status = miss
        flyte.span.role = attempt
        flyte.task.cache = True
        flyte.task.cache_version = 1
        flyte.task.kind = sync
        flyte.task.type = python-task
      input translation
          flyte.span.role = phase
      user code
          flyte.span.role = phase
      output translation
          flyte.span.role = phase
    task traced_cache.slow_square
        flyte.cache.status = hit
        flyte.span.role = attempt
""")


def test_flytekits_own_sql_task_is_defined_by_its_template(runs: Runs) -> None:
    assert runs("query").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task task_templates.query  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = shim
      flyte.task.type = sqlite
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
      get data
          flyte.data.uri = (root).db
          flyte.span.role = transfer
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")
    assert runs("local query").tree() == snapshot("""\
trace (random)
  task traced_query.tracks
      flyte.span.role = attempt
      flyte.task.kind = shim
      flyte.task.type = sqlite
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
      get data
          flyte.data.uri = (root)/tmp/(random)/tracks.db
          flyte.span.role = transfer
    output translation
        flyte.span.role = phase
""")


def phases(run: Run, task: int = 0) -> list[str]:
    """Return the names of the phases of a task, by default of the first one."""
    return [phase.name for phase in run.phases(run.tasks[task])]


# --- spans and attributes of users -----------------------------------------------------------------------------------


def test_spans_of_users_are_below_user_code(runs: Runs) -> None:
    assert runs("user spans").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_user_code.train  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
      train
          epochs = 2
          ! loss
              value = 1.0
          ! loss
              value = 0.5
        epoch
            epoch = 0
        epoch
            epoch = 1
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_failure_is_recorded_once_even_if_a_user_span_has_recorded_it(runs: Runs) -> None:
    assert runs("user span that fails").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_user_code.train_and_fail  [3727dabdffa50ff8]
      ERROR: the loss diverged after 2 epochs
      error.type = ArithmeticError
      flyte.error.kind = NON_RECOVERABLE
      flyte.error.origin = USER
      flyte.result = failure
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        ERROR: the loss diverged after 2 epochs
        error.type = ArithmeticError
        flyte.span.role = phase
        ! exception
            exception.message = the loss diverged after 2 epochs
            exception.type = ArithmeticError
      train
          ERROR: ArithmeticError: the loss diverged after 2 epochs
          ! exception
              exception.escaped = False
              exception.message = the loss diverged after 2 epochs
              exception.type = ArithmeticError
    upload
        flyte.span.role = phase
""")


def test_a_task_that_seeds_the_random_generator_has_unique_span_ids(runs: Runs) -> None:
    one, other = ({span.span_id for span in runs(name).spans} for name in ("seeded", "seeded, again"))

    assert len(one) == len(other) == 1 + 6 + 20
    assert not one & other


def test_the_declared_metadata_of_a_task_is_on_its_span(runs: Runs) -> None:
    assert declared(runs("metadata")) == snapshot(
        {
            "flyte.task.kind": "sync",
            "flyte.task.type": "python-task",
            "flyte.task.cache": True,
            "flyte.task.cache_serialize": True,
            "flyte.task.cache_version": "7",
            "flyte.task.cache_ignore_input_vars": ("note",),
            "flyte.task.interruptible": True,
            "flyte.task.deprecated": "use fit_all",
            "flyte.task.retries": 3,
            "flyte.task.timeout": 90.0,
            "flyte.task.pod_template_name": "gpu-pods",
        }
    )
    assert runs("timeout as timedelta").attempt.attributes["flyte.task.timeout"] == 120.5


def test_the_declared_labels_and_annotations_of_a_task_are_on_its_span(runs: Runs) -> None:
    assert declared(runs("labels")) == snapshot(
        {
            "flyte.task.kind": "sync",
            "flyte.task.type": "python-task",
            "flyte.task.label.team": "vision",
            "flyte.task.annotation.owner/mail": "ada@example.com",
        }
    )


def test_the_declared_resources_of_a_task_are_on_its_span_as_written(runs: Runs) -> None:
    assert declared(runs("resources")) == snapshot(
        {
            "flyte.task.kind": "sync",
            "flyte.task.type": "python-task",
            "flyte.resources.request.cpu": "500m",
            "flyte.resources.request.mem": "1Gi",
            "flyte.resources.request.ephemeral_storage": "2Gi",
            "flyte.resources.limit.cpu": "2",
            "flyte.resources.limit.mem": "2Gi",
            "flyte.resources.limit.gpu": "1",
            "flyte.resources.accelerator": "nvidia-tesla-a100",
            "flyte.resources.shared_memory": "1Gi",
        }
    )


def test_a_range_of_resources_is_a_request_and_a_limit(runs: Runs) -> None:
    assert declared(runs("resource ranges")) == snapshot(
        {
            "flyte.task.kind": "sync",
            "flyte.task.type": "python-task",
            "flyte.resources.request.cpu": "1",
            "flyte.resources.request.mem": "1Gi",
            "flyte.resources.limit.cpu": "2",
            "flyte.resources.accelerator": "nvidia-tesla-t4",
            "flyte.resources.shared_memory": True,
        }
    )


def declared(run: Run) -> dict[str, Any]:
    return {
        name: value
        for name, value in run.attempt.attributes.items()
        if name.startswith(("flyte.task.", "flyte.resources."))
    }


def test_labels_are_cut_to_24_entries_of_1_kib(runs: Runs) -> None:
    attributes = runs("many labels").attempt.attributes

    assert len([name for name in attributes if name.startswith("flyte.task.label.")]) == 24
    assert attributes["flyte.task.annotation.note"] == A_KIB_OF_X
    assert f"flyte.task.annotation.{A_KIB_OF_X}" in attributes


def test_texts_are_cut_to_1_kib(runs: Runs) -> None:
    run = runs("long text")
    user_code = run.named("user code")
    [exception] = user_code.events

    for text in (
        run.attempt.attributes["flyte.task.deprecated"],
        run.attempt.status_message,
        user_code.status_message,
        exception.attributes["exception.message"],
    ):
        assert text == A_KIB_OF_X


# --- data ------------------------------------------------------------------------------------------------------------


def test_a_transfer_is_a_span_below_its_phase(runs: Runs) -> None:
    assert runs("file that user code opens").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_data.read_and_write  [3727dabdffa50ff8]
      flyte.input.source.uri = http://127.0.0.1:(random)/words.txt
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
      get data
          flyte.data.uri = http://127.0.0.1:(random)/words.txt
          flyte.span.role = transfer
    output translation
        flyte.span.role = phase
      put data
          flyte.data.uri = (root)/bucket/data/k7/f1c0ffee0123456789ab-n0-0/(random)/copy.txt
          flyte.span.role = transfer
    upload
        flyte.span.role = phase
""")
    assert runs("pickle").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_data.unpickle  [3727dabdffa50ff8]
      flyte.input.opaque.uri = http://127.0.0.1:(random)/opaque
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
      get data
          flyte.data.uri = http://127.0.0.1:(random)/opaque
          flyte.span.role = transfer
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_failed_transfer_has_the_exception(runs: Runs) -> None:
    assert runs("missing file").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_data.read_and_write  [3727dabdffa50ff8]
      ERROR: USER:ValueError: error=Value error!  R…:(random)/no-words.txt. File not found
      error.type = flytekit.exceptions.user.FlyteDataNotFoundException
      flyte.error.kind = NON_RECOVERABLE
      flyte.error.origin = USER
      flyte.input.source.uri = http://127.0.0.1:(random)/no-words.txt
      flyte.result = failure
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        ERROR: USER:ValueError: error=Value error!  R…:(random)/no-words.txt. File not found
        error.type = flytekit.exceptions.user.FlyteDataNotFoundException
        flyte.span.role = phase
      get data
          ERROR: USER:ValueError: error=Value error!  R…:(random)/no-words.txt. File not found
          error.type = flytekit.exceptions.user.FlyteDataNotFoundException
          flyte.data.uri = http://127.0.0.1:(random)/no-words.txt
          flyte.span.role = transfer
          ! exception
              exception.message = USER:ValueError: error=Value error!  R…:(random)/no-words.txt. File not found
              exception.type = flytekit.exceptions.user.FlyteDataNotFoundException
    upload
        flyte.span.role = phase
""")


def test_the_users_metadata_of_an_output_is_on_the_output_translation(runs: Runs) -> None:
    """The card counts its serialisations, because code of users may have side effects."""
    assert runs("output metadata").named("output translation").attributes == snapshot(
        {
            "flyte.span.role": "phase",
            "flyte.output.o0.artifact": "measurement",
            "flyte.output.o0.time_partition": "2026-05-28T00:00:00+00:00",
            "flyte.output.o0.partition.region": "eu",
            "flyte.output.o0.item.card-o0": "as measured (1)",
        }
    )


def test_long_metadata_of_an_output_is_cut(runs: Runs) -> None:
    attributes = runs("long output metadata").named("output translation").attributes

    assert len([name for name in attributes if name.startswith("flyte.output.o1.partition.")]) == 24
    assert attributes["flyte.output.o1.partition.key-00"] == A_KIB_OF_X.replace("x", "y")
    assert attributes["flyte.output.o1.item.card-o1"] == A_KIB_OF_X


def test_an_input_written_by_the_same_execution_is_a_link_to_its_writer(runs: Runs) -> None:
    assert runs("input of the same execution").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_data.read  [cf63f4408c440594]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
      -> input: [0f6c55d3722d2424] in trace 5139f3437a93d360a3a54e16296acba6
          flyte.data.uri = s3://bucket/data/k7/f1c0ffee0123456789ab-n0-1/0123456789abcdef/x.txt
          flyte.link.variable = source
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_the_link_of_an_input_leads_to_the_span_of_its_writer(runs: Runs) -> None:
    [written_by_a_retry] = links(runs("input of the same execution"), "source")
    [written_by_a_subtask] = links(runs("inputs in collections"), "by_name")

    assert written_by_a_retry == ids(runs("retry"))
    assert written_by_a_subtask == ids(runs("map, index 1"))


def links(run: Run, variable: str) -> list[tuple[str, str]]:
    found = (link for link in run.attempt.links if link.attributes["flyte.link.variable"] == variable)
    return [(link.trace_id, link.span_id) for link in found]


def ids(run: Run) -> tuple[str, str]:
    return run.attempt.trace_id, run.attempt.span_id


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("input of another execution", "s3://bucket/data/k7/other-n1-0/0123456789abcdef/x.txt"),
        ("input below a hashed prefix", "s3://bucket/data/k7/fo2u3kji/x.txt"),
    ],
)
def test_an_input_of_an_unknown_writer_is_an_attribute(runs: Runs, name: str, uri: str) -> None:
    assert runs(name).attempt.attributes["flyte.input.source.uri"] == uri
    assert runs(name).attempt.links == ()


def test_inputs_in_lists_and_maps_are_links(runs: Runs) -> None:
    assert runs("inputs in collections").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_data.read_all  [cf63f4408c440594]
      flyte.input.folder.uri = s3://elsewhere/folder
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
      -> input: [c4b5b31f8f5f0d3a] in trace 5139f3437a93d360a3a54e16296acba6
          flyte.data.uri = s3://bucket/data/k7/f1c0ffee0123456789ab-n0-0-dn4-0/0123456789abcdef/x.txt
          flyte.link.variable = sources
      -> input: [16442c94f93ecf79] in trace 5139f3437a93d360a3a54e16296acba6
          flyte.data.uri = s3://bucket/data/k7/f1c0ffee0123456789ab-n1-0-n1-2/0123456789abcdef/x.txt
          flyte.link.variable = by_name
      -> input: [dc658c99b8ba101a] in trace 5139f3437a93d360a3a54e16296acba6
          flyte.data.uri = s3://bucket/data/k7/f1c0ffee0123456789ab-n1-2/0123456789abcdef/x.txt
          flyte.link.variable = sources
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_map_subtask_links_only_to_the_writer_of_its_own_element(runs: Runs) -> None:
    assert runs("input of a map's element").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task pipelines.map_as_registered-arraynode  [1eae90fd45a1f1b3]
      flyte.array_index = 1
      flyte.span.role = attempt
      flyte.task.kind = map
      flyte.task.type = python-task
      -> input: [0f6c55d3722d2424] in trace 5139f3437a93d360a3a54e16296acba6
          flyte.data.uri = s3://bucket/data/k7/f1c0ffee0123456789ab-n0-1/0123456789abcdef/x.txt
          flyte.link.variable = source
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_recorded_once_on_the_innermost_failed_span(runs: Runs, name: str) -> None:
    failure = FAILURES[name]
    spans = runs(name).spans
    recorded = [(span, event) for span in spans for event in span.events if event.name == "exception"]

    [(span, event)] = recorded
    assert span.name == (failure.recorded_on or runs(name).attempt.name)
    assert event.attributes["exception.type"] == failure.exception
    assert failure.exception.rpartition(".")[2] in event.attributes["exception.stacktrace"]
    assert "otel_flyte" not in event.attributes["exception.stacktrace"]
    assert [span for span in spans if span.status == "ERROR"] == above(span, spans)


def above(span: Span, spans: list[Span]) -> list[Span]:
    """Return a span and its ancestors, in the order of ``spans``."""
    path = {span.span_id}
    while span.parent_span_id:
        [span] = (outer for outer in spans if outer.span_id == span.parent_span_id)
        path.add(span.span_id)
    return [each for each in spans if each.span_id in path]


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_attempt_has_the_decision_of_flyte(runs: Runs, name: str) -> None:
    failure, run = FAILURES[name], runs(name)
    attributes = run.attempt.attributes
    verdict = {field: attributes[f"flyte.error.{field}"] for field in FIELDS if f"flyte.error.{field}" in attributes}

    if failure.verdict is None:
        assert (verdict, run.pod.error) == ({}, None)
    else:
        assert run.pod.error is not None
        assert verdict == dict(zip(FIELDS, (*failure.verdict, run.pod.error.error.code), strict=True))
    assert (attributes["error.type"], attributes["flyte.result"]) == (failure.exception, failure.result)


FIELDS = ("origin", "kind", "code")


def test_the_stack_trace_of_a_failure_begins_in_flytekit_and_ends_in_user_code(runs: Runs) -> None:
    [exception] = runs("value error").named("user code").events
    lines = exception.attributes["exception.stacktrace"].splitlines()
    frames = [line.split('"')[1] for line in lines if line.startswith("  File ")]

    assert lines[0] == "Traceback (most recent call last):"
    assert "flytekit" in frames[0]
    assert frames[-1].endswith("task_failures.py")
    assert lines[-1] == "ValueError: bad value 5"


def test_a_task_that_raises_ignore_outputs_has_not_failed(runs: Runs) -> None:
    assert runs("ignored outputs").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task task_failures.ignore_outputs  [3727dabdffa50ff8]
      flyte.result = skip
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
""")


# --- parents and ids -------------------------------------------------------------------------------------------------


def test_attempts_of_an_execution_are_separate_spans_of_one_trace(runs: Runs) -> None:
    assert one_trace(runs("sync"), runs("retry"), runs("node below a dynamic one")) == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
  task traced_kinds.double  [0f6c55d3722d2424]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
  task traced_kinds.double  [63f80ad8327b0ee9]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_replicas_of_an_attempt_are_separate_spans_of_one_trace(runs: Runs) -> None:
    names = "sync", "replica by Flyte's variable", "replica by torch's", "replica by MPI's"
    attempts = [runs(name).attempt for name in names]

    assert [attempt.attributes.get("flyte.replica") for attempt in attempts] == [None, "worker-0", "1", "2"]
    assert len({attempt.span_id for attempt in attempts}) == 4
    assert len({attempt.trace_id for attempt in attempts}) == 1


def test_an_attempt_continues_the_trace_of_its_environment(runs: Runs) -> None:
    run = runs("parent")
    assert str(Forest(run.spans, given={CALLER_TRACE})) == snapshot("""\
trace 0af7651916cd43dd8448eb211c80319c
  task traced_kinds.double  CONSUMER  [3727dabdffa50ff8]  below [b7ad6b7169203331]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_an_attempt_with_an_unsampled_parent_is_recorded(runs: Runs) -> None:
    assert runs("parent, not sampled").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
      -> traceparent: [b7ad6b7169203331] in trace 0af7651916cd43dd8448eb211c80319c
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_parent_from_the_environment_overrides_that_of_the_control_plane(runs: Runs) -> None:
    assert runs("parent and control plane").attempt.parent_span_id == CALLER_SPAN


def test_an_attempt_links_to_the_launcher_of_its_execution(runs: Runs) -> None:
    assert runs("launched").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double  [3727dabdffa50ff8]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
      -> launched_by: [b7ad6b7169203331] in trace 0af7651916cd43dd8448eb211c80319c
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_the_control_planes_attempt_is_the_parent_if_the_control_plane_is_exported(runs: Runs) -> None:
    assert runs("control plane").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_kinds.double  CONSUMER  [3727dabdffa50ff8]  below [6cec4edc979b3a86]
      flyte.span.role = attempt
      flyte.task.kind = sync
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_replicas_of_an_attempt_have_the_same_parent_in_the_control_plane(runs: Runs) -> None:
    replica, attempt = runs("replica below the control plane").attempt, runs("control plane").attempt
    assert replica.parent_span_id == attempt.parent_span_id


def test_subtasks_of_a_wide_map_have_separate_traces_beyond_a_limit(runs: Runs) -> None:
    inside, outside = runs("map, last index in the trace"), runs("map, first index with its own trace")
    assert one_trace(inside, outside) == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task pipelines.map_as_registered-arraynode  [1eae90fd45a1f1b3]
      flyte.array_index = 1
      flyte.span.role = attempt
      flyte.task.kind = map
      flyte.task.type = python-task
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
trace 792d2964cad5d5535b6350fc92b3b1e0
  task pipelines.map_as_registered-arraynode  [8e9bc83e21a1da70]
      flyte.array_index = 2
      flyte.span.role = attempt
      flyte.task.kind = map
      flyte.task.type = python-task
      -> execution: [588cdcb71e2e5b60] in trace 5139f3437a93d360a3a54e16296acba6
    load
        flyte.span.role = phase
    download
        flyte.span.role = phase
    input translation
        flyte.span.role = phase
    user code
        flyte.span.role = phase
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_a_subtask_with_its_own_trace_links_to_its_usual_parent(runs: Runs) -> None:
    run = runs("map, index with its own trace below a parent")
    [link] = run.attempt.links

    assert run.attempt.trace_id == runs("map, first index with its own trace").attempt.trace_id
    assert not run.attempt.parent_span_id
    assert (link.trace_id, link.span_id, link.attributes) == (CALLER_TRACE, CALLER_SPAN, {"flyte.link": "execution"})


def test_a_map_has_its_registered_name(runs: Runs) -> None:
    """flytekit computes another name in the pod, from options that the pod does not have."""
    attempt = runs("map, index 0").attempt
    assert (attempt.name, attempt.attributes["flyte.task_name"]) == (f"task {REGISTERED_MAP}", REGISTERED_MAP)


def test_the_cleanup_has_its_registered_name(runs: Runs) -> None:
    """flytekit uses the same name for every cleanup in the pod."""
    assert runs("eager cleanup").attempt.name == "task traced_launches.orchestrate-cleanup"


def test_a_local_run_continues_the_trace_of_its_environment(runs: Runs) -> None:
    workflow = runs("local run with a parent").named("workflow traced_kinds.sync")
    assert (workflow.trace_id, workflow.parent_span_id) == (CALLER_TRACE, CALLER_SPAN)


def test_a_local_run_with_an_unsampled_parent_is_recorded(runs: Runs) -> None:
    workflow = runs("local run with a parent, not sampled").named("workflow traced_kinds.sync")
    [link] = workflow.links

    assert not workflow.parent_span_id
    assert (link.trace_id, link.span_id, link.attributes) == (CALLER_TRACE, CALLER_SPAN, {"flyte.link": "traceparent"})


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("pyflyte run in a pod", "double_in_pyflyte_run"),
        ("pyflyte-execute in a pod", "double_in_pyflyte_execute"),
        ("spawned process in a pod", "double_in_spawned_process"),
    ],
)
def test_a_task_in_another_process_of_a_pod_is_a_child_of_the_attempt(runs: Runs, name: str, task: str) -> None:
    """It has its own name and id, although it has the same environment as the attempt."""
    attempt, inner = runs(name).tasks

    assert (attempt.name, inner.name) == (f"task traced_processes.{task}", "task traced_processes.double")
    assert inner.parent_span_id == attempt.span_id
    assert inner.span_id not in set(derived_ids(attempt))
    assert "user code" in phases(runs(name), 1)


# --- properties of every trace ---------------------------------------------------------------------------------------


def test_span_ids_of_a_trace_are_unique(runs: Runs) -> None:
    for name, run in runs.all():
        ids = [span.span_id for span in run.spans]
        assert len(ids) == len(set(ids)), name


def test_random_ids_are_unique(runs: Runs) -> None:
    spans = [span for _, run in runs.all() for span in run.spans]
    derived = set(chain.from_iterable(map(derived_ids, spans)))
    random_ids = [span.span_id for span in spans if span.span_id not in derived]

    assert len(random_ids) > 500
    assert len(random_ids) == len(set(random_ids))


def test_values_are_within_the_limits_of_backends(runs: Runs) -> None:
    for name, run in runs.all():
        for attribute, value in chain.from_iterable(map(values, run.spans)):
            limit = 8192 if attribute == "exception.stacktrace" else 1024
            assert len(str(value).encode()) <= limit, (name, attribute)


def values(span: Span) -> Iterator[tuple[str, Any]]:
    """Yield all attribute values of a span, its events and its links."""
    yield "name", span.name
    yield "status", span.status_message
    yield from span.attributes.items()
    for event in span.events:
        yield from event.attributes.items()
    for link in span.links:
        yield from link.attributes.items()


def test_phases_are_in_the_documented_order(runs: Runs) -> None:
    for name, run in runs.all():
        for each in run.tasks:
            phases = run.phases(each)
            places = [semconv.PHASES.index(phase.name) for phase in phases]
            assert places == sorted(set(places)), name
            assert all(phase.end_ns <= next_phase.start_ns for phase, next_phase in pairwise(phases)), name


def test_every_parent_of_a_trace_has_arrived(runs: Runs) -> None:
    """Parents from other processes are exceptions."""
    elsewhere = {CALLER_SPAN, *(runs(name).attempt.parent_span_id for name in CONTEXT if "control plane" in name)}
    for name, run in runs.all():
        ids = {span.span_id for span in run.spans} | elsewhere
        assert [span.name for span in run.spans if span.parent_span_id and span.parent_span_id not in ids] == [], name
