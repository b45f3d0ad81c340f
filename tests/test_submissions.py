"""Executions launched by eager tasks in a pod, and by tasks and programs with ``FlyteRemote``.

flyteadmin is a real gRPC server on loopback, see ``support.admin``; its clients are those of flytekit.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flyteidl.core import literals_pb2
from inline_snapshot import snapshot

from otel_flyte import semconv
from support import pods
from support.admin import Admin, Key, Launch
from support.receiver import Receiver, Span, children
from support.runs import Result, Run, Runs, Scenario, cleanup, pod, python
from support.trees import Forest

FIVE = {"value": 5}
PROGRAM = "traced_launch_program.py"
ALL_ENTITIES = ("task", "workflow", "launch plan", "reference")


def number(value: int) -> literals_pb2.LiteralMap:
    return literals_pb2.LiteralMap.FromString(pods.inputs_pb({"o0": value}))


@dataclass
class Submitter:
    """A scenario with its own flyteadmin."""

    scenario: Callable[[Mapping[str, str]], Scenario]
    running: tuple[str, ...] = ()
    admin: Admin = field(init=False)

    def __call__(self, root: Path, receiver: Receiver) -> Result:
        self.admin = Admin(
            outputs={"traced_launches.double": number(22), "traced_launches.double_async": number(11)},
            errors={"traced_launches.refuse": "no capacity"},
            running=list(self.running),
        )
        with self.admin:
            return self.scenario(self.admin.environment())(root, receiver)

    @property
    def launches(self) -> list[Launch]:
        return self.admin.launches


SCENARIOS: dict[str, Submitter] = {
    "eager": Submitter(lambda env: pod("traced_launches.orchestrate", FIVE, env=env)),
    "eager that fails": Submitter(lambda env: pod("traced_launches.orchestrate_in_vain", FIVE, env=env)),
    "eager that handles a failure": Submitter(lambda env: pod("traced_launches.orchestrate_in_spite", FIVE, env=env)),
    "launch from a task": Submitter(lambda env: pod("traced_launches.launch", FIVE, env=env)),
    "traced program": Submitter(lambda env: python(PROGRAM, "traced", *ALL_ENTITIES, env=env)),
    "traced program with envs": Submitter(
        lambda env: python(PROGRAM, "traced", "empty envs", "own envs", "own launcher", env=env)
    ),
    "traced program with a refused launch": Submitter(lambda env: python(PROGRAM, "traced", "refused", env=env)),
    "program": Submitter(
        lambda env: python(PROGRAM, *ALL_ENTITIES, "empty envs", "own envs", "own launcher", "refused", env=env)
    ),
    "cleanup": Submitter(cleanup, running=("e-one", "e-other")),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    runs = Runs(SCENARIOS, tmp_path_factory.mktemp("runs"))
    yield runs
    runs.close()


def submissions(run: Run) -> list[Span]:
    """Return the submissions in the order of their starts."""
    found = [span for span in run.spans if span.name.startswith("submit ")]
    return sorted(found, key=lambda span: span.start_ns)


def traceparent(span: Span) -> str:
    return f"00-{span.trace_id}-{span.span_id}-01"


# --- eager tasks in a pod --------------------------------------------------------------------------------------------


def test_each_child_of_an_eager_task_is_a_submission_below_the_calling_span(runs: Runs) -> None:
    assert runs("eager").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_launches.orchestrate  [3727dabdffa50ff8]
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
      my plan
        submit traced_launches.double_async  PRODUCER
            flyte.span.role = submission
            flyte.submitted.name = traced_launches.double_async
            flyte.submitted.run_name = e-orchestr-f1c0f-double-a-3b0bd11765f78fad
        submit traced_launches.double_async  PRODUCER
            flyte.span.role = submission
            flyte.submitted.name = traced_launches.double_async
            flyte.submitted.run_name = e-orchestr-f1c0f-double-a-75050ce84f8564a5
      submit traced_launches.double  PRODUCER
          flyte.span.role = submission
          flyte.submitted.name = traced_launches.double
          flyte.submitted.run_name = e-orchestr-f1c0f-double-f7cec93d5babfbf0
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


def test_the_submission_is_the_parent_of_the_pods_of_an_eager_tasks_child(runs: Runs) -> None:
    run, launches = runs("eager"), SCENARIOS["eager"].launches
    expected = {span.attributes["flyte.submitted.run_name"]: traceparent(span) for span in submissions(run)}

    assert {launch.name: launch.envs["TRACEPARENT"] for launch in launches} == expected
    assert len(expected) == 3


def test_flytekits_variables_for_the_child_of_an_eager_task_are_kept(runs: Runs) -> None:
    runs("eager")
    for launch in SCENARIOS["eager"].launches:
        assert launch.envs.keys() == {"_F_EE_ROOT", "TRACEPARENT"}
        assert launch.labels["eager-exec"] == pods.Attempt().execution


def test_a_child_of_an_eager_task_continues_its_trace(runs: Runs, receiver: Receiver, tmp_path: Path) -> None:
    run, [launch, *_] = runs("eager"), SCENARIOS["eager"].launches
    [submission] = (span for span in submissions(run) if traceparent(span) == launch.envs["TRACEPARENT"])

    pods.execute(
        tmp_path / "child",
        launch.entity,
        launch.inputs.SerializeToString(),
        attempt=pods.Attempt(execution=launch.name),
        env={**receiver.environment(), **launch.envs},
    )

    [child] = children(receiver.spans(), submission)
    assert (child.name, child.kind) == (f"task {launch.entity}", "CONSUMER")
    assert child.attributes[semconv.RUN_NAME] == launch.name


def test_a_failed_child_is_recorded_once_on_its_submission(runs: Runs) -> None:
    assert runs("eager that fails").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_launches.orchestrate_in_vain  [3727dabdffa50ff8]
      ERROR: Error executing traced_launches.refuse…e: USER:Refused /   message: no capacity
      error.type = flytekit.exceptions.eager.EagerException
      flyte.error.kind = NON_RECOVERABLE
      flyte.error.origin = USER
      flyte.result = failure
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
        ERROR: Error executing traced_launches.refuse…e: USER:Refused /   message: no capacity
        error.type = flytekit.exceptions.eager.EagerException
        flyte.span.role = phase
      submit traced_launches.refuse  PRODUCER
          ERROR: Error executing traced_launches.refuse…e: USER:Refused /   message: no capacity
          error.type = flytekit.exceptions.eager.EagerException
          flyte.span.role = submission
          flyte.submitted.name = traced_launches.refuse
          flyte.submitted.run_name = e-orchestr-f1c0f-refuse-4a8f7868b44ce593
          ! exception
              exception.message = Error executing traced_launches.refuse…e: USER:Refused /   message: no capacity
              exception.type = flytekit.exceptions.eager.EagerException
    upload
        flyte.span.role = phase
    deck upload
        flyte.span.role = phase
      put data
          flyte.data.uri = (root)/bucket/metadata/propeller/proj-…c0ffee0123456789ab/n0/data/0/deck.html
          flyte.span.role = transfer
""")


def test_an_eager_task_that_handles_the_failure_of_a_child_has_not_failed(runs: Runs) -> None:
    assert runs("eager that handles a failure").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_launches.orchestrate_in_spite  [3727dabdffa50ff8]
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
      submit traced_launches.refuse  PRODUCER
          ERROR: Error executing traced_launches.refuse…e: USER:Refused /   message: no capacity
          error.type = flytekit.exceptions.eager.EagerException
          flyte.span.role = submission
          flyte.submitted.name = traced_launches.refuse
          flyte.submitted.run_name = e-orchestr-f1c0f-refuse-4a8f7868b44ce593
          ! exception
              exception.message = Error executing traced_launches.refuse…e: USER:Refused /   message: no capacity
              exception.type = flytekit.exceptions.eager.EagerException
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


def test_the_cleanup_of_an_eager_task_terminates_children_without_submissions(runs: Runs) -> None:
    run = runs("cleanup")
    assert SCENARIOS["cleanup"].admin.terminated == ["e-one", "e-other"]
    assert submissions(run) == []
    assert run.attempt.attributes[semconv.TASK_KIND] == semconv.KIND_EAGER_CLEANUP


# --- launches by FlyteRemote -----------------------------------------------------------------------------------------


def test_a_task_that_launches_an_execution_has_its_submission_below_user_code(runs: Runs) -> None:
    assert runs("launch from a task").tree() == snapshot("""\
trace 5139f3437a93d360a3a54e16296acba6
  task traced_launches.launch  [3727dabdffa50ff8]
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
      submit traced_launches.double  PRODUCER
          flyte.span.role = submission
          flyte.submitted.name = traced_launches.double
          flyte.submitted.run_name = f0000000000000000000
          -> launched: [cca1862f0371694f] in trace 666d8eae3ee2e3d5e8e212685d9a9d3f
    output translation
        flyte.span.role = phase
    upload
        flyte.span.role = phase
""")


def test_an_execution_launched_by_a_task_has_its_own_trace_with_a_link_to_the_submission(
    runs: Runs, receiver: Receiver, tmp_path: Path
) -> None:
    run, [launch] = runs("launch from a task"), SCENARIOS["launch from a task"].launches
    [submission] = submissions(run)

    pods.execute(
        tmp_path / "launched",
        launch.entity,
        launch.inputs.SerializeToString(),
        attempt=pods.Attempt(execution=launch.name),
        env={**receiver.environment(), **launch.envs},
    )

    [launched] = (span for span in receiver.spans() if span.name == f"task {launch.entity}")
    [link] = launched.links
    assert (link.trace_id, link.span_id) == (submission.trace_id, submission.span_id)
    assert link.attributes == {semconv.LINK: semconv.LINK_LAUNCHED_BY}
    assert launched.trace_id == submission.links[0].trace_id != submission.trace_id


def test_a_traced_program_has_a_submission_for_each_launched_execution(runs: Runs) -> None:
    """flytekit makes the same call for every kind of entity."""
    run = runs("traced program")
    assert str(Forest(run.spans)) == snapshot("""\
trace (random)
  request
    submit traced_launches.double  PRODUCER
        flyte.span.role = submission
        flyte.submitted.name = traced_launches.double
        flyte.submitted.run_name = f0000000000000000000
        -> launched: [cca1862f0371694f] in trace 666d8eae3ee2e3d5e8e212685d9a9d3f
    submit traced_launches.doubled  PRODUCER
        flyte.span.role = submission
        flyte.submitted.name = traced_launches.doubled
        flyte.submitted.run_name = f0000000000000000001
        -> launched: [5f4a86a912d57552] in trace 741e1c6a95f7c1268ef3f802e893de0f
    submit traced_launches.doubled_plan  PRODUCER
        flyte.span.role = submission
        flyte.submitted.name = traced_launches.doubled_plan
        flyte.submitted.run_name = f0000000000000000002
        -> launched: [5315fce285dafe2e] in trace b34d8bd7204fbe4b1fca8136d08e33db
    submit traced_launches.double  PRODUCER
        flyte.span.role = submission
        flyte.submitted.name = traced_launches.double
        flyte.submitted.run_name = f0000000000000000003
        -> launched: [43cb015d50402175] in trace 12cfa5a3206ae435ad7ff75387c12dc2
""")


def test_a_launched_execution_receives_its_launcher(runs: Runs) -> None:
    variables = [launch.envs for launch in launches(runs, "traced program")]
    assert variables == [{"OTEL_FLYTE_LAUNCHED_BY": traceparent(span)} for span in submissions(runs("traced program"))]
    assert len(variables) == len(ALL_ENTITIES)


def launches(runs: Runs, name: str) -> list[Launch]:
    assert runs(name).result.returncode == 0, runs(name).result.stderr
    return SCENARIOS[name].launches


def test_variables_that_a_program_sets_for_an_execution_are_kept(runs: Runs) -> None:
    name = "traced program with envs"
    without, own, own_launcher = launches(runs, name)
    parents = [traceparent(span) for span in submissions(runs(name))]

    assert without.envs == {"OTEL_FLYTE_LAUNCHED_BY": parents[0]}
    assert own.envs == {"MODE": "fast", "OTEL_FLYTE_LAUNCHED_BY": parents[1]}
    assert own_launcher.envs == {"OTEL_FLYTE_LAUNCHED_BY": "mine"}
    assert json.loads(runs(name).result.stdout)["own envs"] == {}


def test_a_failed_launch_is_recorded_once_on_its_submission(runs: Runs) -> None:
    assert runs("traced program with a refused launch").tree() == snapshot("""\
trace (random)
  request
    submit traced_launches.double  PRODUCER
        ERROR: Expected value of type <class 'int'> but got 'three' of type <class 'str'>
        error.type = flytekit.core.type_engine.TypeTransformerFailedError
        flyte.span.role = submission
        flyte.submitted.name = traced_launches.double
        ! exception
            exception.message = Expected value of type <class 'int'> but got 'three' of type <class 'str'>
            exception.type = flytekit.core.type_engine.TypeTransformerFailedError
""")
    assert launches(runs, "traced program with a refused launch") == []


def test_launches_of_a_program_without_a_provider_are_unchanged(runs: Runs) -> None:
    """An endpoint is configured, but only processes that Flyte runs create providers."""
    *plain, empty, own, own_launcher = launches(runs, "program")

    assert [launch.has_envs for launch in (*plain, empty)] == [False] * (len(ALL_ENTITIES) + 1)
    assert own.envs == {"MODE": "fast"}
    assert own_launcher.envs == {"OTEL_FLYTE_LAUNCHED_BY": "mine"}
    assert json.loads(runs("program").result.stdout) == {"provider": "ProxyTracerProvider", "own envs": {}}
    assert runs("program").requests == []


@pytest.mark.parametrize("name", ["program", "traced program"])
def test_each_entity_is_registered_and_launched_once_as_its_own_kind(runs: Runs, name: str) -> None:
    launched = [launch.entity for launch in launches(runs, name)]

    assert launched[: len(ALL_ENTITIES)] == [
        "traced_launches.double",
        "traced_launches.doubled",
        "traced_launches.doubled_plan",
        "traced_launches.double",
    ]
    assert SCENARIOS[name].admin.registered() == [
        Key(kind, "proj", "development", f"traced_launches.{entity}", "v1")  # type: ignore[arg-type]
        for kind, entity in (
            ("task", "double"),
            ("workflow", "doubled"),
            ("launch plan", "doubled"),
            ("launch plan", "doubled_plan"),
        )
    ]
