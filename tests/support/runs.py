"""Scenarios: processes that Flyte runs, each with its own receiver.

A test file has a table of its scenarios. They run two at a time, ahead of the tests that use them, and each runs only
once for all tests.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from flytekit.core import python_function_task

from otel_flyte import semconv
from support import fork_server, pods
from support.receiver import Protocol, Receiver, Request, Span, children
from support.trees import Forest

AHEAD = 4
TIMEOUT = 120.0


@dataclass(frozen=True)
class Ended:
    """The end of a process that is not a pod."""

    returncode: int
    stdout: str
    stderr: str


Result = pods.Result | Ended
Scenario = Callable[[Path, Receiver], Result]
"""A function that runs in a folder that does not exist yet, and exports to a receiver."""


@dataclass(frozen=True)
class Run:
    """The telemetry and the outcome of a scenario; pending spans are separate from the other spans."""

    result: Result
    spans: list[Span]
    requests: list[Request]
    root: Path
    pending: list[Span]

    def tree(self, *, full: bool = False) -> str:
        return str(Forest(self.spans, root=self.root, full=full))

    @property
    def attempt(self) -> Span:
        """Return the span of the only attempt."""
        return self._only([span for span in self.spans if semconv.ATTEMPT in span.attributes])

    def named(self, name: str) -> Span:
        """Return the only span of that name."""
        return self._only([span for span in self.spans if span.name == name])

    def _only(self, found: list[Span]) -> Span:
        ended = f"{self.result.returncode}\n{self.result.stdout}\n{self.result.stderr}"
        assert len(found) == 1, f"{found} in {[span.name for span in self.spans]}; the process ended with {ended}"
        return found[0]

    @property
    def tasks(self) -> list[Span]:
        """Return the spans of tasks in the order of their starts."""
        found = [span for span in self.spans if span.name.startswith("task ")]
        return sorted(found, key=lambda span: span.start_ns)

    def phases(self, task: Span) -> list[Span]:
        """Return the phases of a task in the order of their starts."""
        return [span for span in children(self.spans, task) if span.name in semconv.PHASES]

    @property
    def pod(self) -> pods.Result:
        assert isinstance(self.result, pods.Result)
        return self.result


@dataclass
class Runs:
    """Runs a scenario on request, and ahead of time those after it in the table."""

    scenarios: Mapping[str, Scenario]
    folder: Path
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=2))
    _started: dict[str, Future[Run]] = field(default_factory=dict)

    def __call__(self, name: str) -> Run:
        names = list(self.scenarios)
        at = names.index(name)
        for each in names[at : at + AHEAD]:
            if each not in self._started:
                self._started[each] = self._pool.submit(self._run, each)
        return self._started[name].result()

    def all(self) -> Iterator[tuple[str, Run]]:
        """Return every scenario that this version of flytekit supports."""
        for name in self.scenarios:
            with contextlib.suppress(pytest.skip.Exception):
                yield name, self(name)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _run(self, name: str) -> Run:
        root = self.folder / str(list(self.scenarios).index(name))
        with Receiver() as receiver:
            result = self.scenarios[name](root, receiver)
            arrived = receiver.spans()
            return Run(
                result,
                [span for span in arrived if span.attributes.get(semconv.SPAN_ROLE) != semconv.SPAN_ROLE_PENDING],
                receiver.requests(),
                root,
                [span for span in arrived if span.attributes.get(semconv.SPAN_ROLE) == semconv.SPAN_ROLE_PENDING],
            )


def fixture(scenarios: Mapping[str, Scenario]) -> Callable[..., Any]:
    """Return a fixture that runs scenarios once for all tests of a file, and yields their ``Runs``."""

    @pytest.fixture(scope="module")
    def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
        # flytekit loads its type transformers with the first inputs, which is not thread-safe.
        pods.inputs_pb({"value": 1})
        all_runs = Runs(scenarios, tmp_path_factory.mktemp("runs"))
        yield all_runs
        all_runs.close()

    return ran


def pod(
    task: str | pods.Template | Callable[[], pods.Template],
    inputs: pods.Inputs | Callable[[], pods.Inputs] = None,
    *,
    entrypoint: pods.Entrypoint = "execute",
    attempt: pods.Attempt | None = None,
    env: Mapping[str, str] | None = None,
    protocol: Protocol = "http/protobuf",
    change: Callable[[pods.Pod], pods.Pod] | None = None,
    forked: bool = True,
) -> Scenario:
    """Return a pod; it is forked unless the test is about its start. ``change`` is applied last."""

    def run(root: Path, receiver: Receiver) -> Result:
        prepared = pods.prepare(
            entrypoint,
            root,
            task if isinstance(task, str | pods.Template) else task(),
            inputs() if callable(inputs) else {} if inputs is None else inputs,
            attempt=attempt,
            env={**_environment(receiver, protocol), **(env or {})},
        )
        return (change(prepared) if change else prepared).run(forked=forked)

    return run


def cleanup(env: Mapping[str, str]) -> Scenario:
    """Run the cleanup of a failed eager task in a pod."""
    resolver = "flytekit.core.python_function_task.eager_failure_task_resolver"
    change = with_loader(resolver, "--", "eager", "failure", "handler")
    scenario = pod("traced_launches.orchestrate-cleanup", {"value": 5}, env=env, change=change)
    return where(
        hasattr(python_function_task, "EagerFailureHandlerTask"), "cleanup after a failed eager task", scenario
    )


def with_loader(*arguments: str) -> Callable[[pods.Pod], pods.Pod]:
    """A pod that loads its task with another resolver."""

    def change(prepared: pods.Pod) -> pods.Pod:
        until = prepared.arguments.index("--resolver") + 1
        return replace(prepared, arguments=(*prepared.arguments[:until], *arguments))

    return change


def without_file(name: str) -> Callable[[pods.Pod], pods.Pod]:
    """A pod with a missing file in its bucket."""

    def change(prepared: pods.Pod) -> pods.Pod:
        [bucket] = (parent for parent in prepared.output_prefix.parents if parent.name == "bucket")
        [file] = bucket.glob(name)
        file.unlink()
        return prepared

    return change


def where(available: bool, lacking: str, scenario: Scenario) -> Scenario:
    """A scenario that not every supported flytekit has; without it its tests are skipped."""

    def leave_out(root: Path, receiver: Receiver) -> Result:
        pytest.skip(f"this flytekit has no {lacking}")

    return scenario if available else leave_out


def local(
    file: str,
    entity: str,
    *,
    env: Mapping[str, str] | None = None,
    times: int = 1,
    forked: bool = True,
    **inputs: Any,
) -> Scenario:
    """``pyflyte run`` of an entity in a file of the workflows folder, with its own home folder."""
    options = [text for name, value in inputs.items() for text in (f"--{name}", str(value))]
    command = [str(pods.SCRIPTS / "pyflyte"), "run", str(pods.WORKFLOWS / file), entity, *options]
    return program(*command, env=env, times=times, forked=forked)


def program(*command: str, env: Mapping[str, str] | None = None, times: int = 1, forked: bool = False) -> Scenario:
    """Any program of a user; it runs ``times`` in a row, in the same folder."""

    def run(root: Path, receiver: Receiver) -> Result:
        for folder in ("home", "tmp", "work"):
            (root / folder).mkdir(parents=True)
        environment = {
            **pods.ENVIRONMENT,
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            **_environment(receiver, "http/protobuf"),
            **(env or {}),
        }
        for _ in range(times):
            ended = _ended(command, environment, root / "work", forked=forked)
        return ended

    return run


def _ended(command: Sequence[str], environment: Mapping[str, str], directory: Path, *, forked: bool) -> Ended:
    arguments = fork_server.script_of(command)
    if forked and fork_server.can_fork(arguments, environment, pods.ENVIRONMENT):
        server = fork_server.server(pods.ENVIRONMENT, environment)
        return Ended(*server.run(arguments, environment, directory, TIMEOUT))
    ended = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def python(script: str, *arguments: str, env: Mapping[str, str] | None = None) -> Scenario:
    """A script in the workflows folder."""
    return program(sys.executable, str(pods.WORKFLOWS / script), *arguments, env=env, forked=True)


def _environment(receiver: Receiver, protocol: Protocol) -> dict[str, str]:
    return {**receiver.environment(protocol), semconv.RAISE_INTERNAL_ERRORS: "1"}
