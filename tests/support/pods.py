"""Flyte's own entrypoints, run as in a pod, without a cluster.

Files replace the control plane's data for a pod: an argument list, identity variables, ``inputs.pb``, prefixes in a
bucket. The process is the real one: the console scripts of flytekit, with their own environment. ``bare`` runs the same
pod as if this project were not installed. ``forked`` saves time, see ``support.fork_server``.
"""

import functools
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import flytekit.bin.entrypoint
import psutil
from flyteidl.core import dynamic_job_pb2, errors_pb2, literals_pb2
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.python_customized_container_task import PythonCustomizedContainerTask
from flytekit.core.type_engine import TypeEngine
from typing_extensions import Unpack

from support import fork_server

BARE = Path(__file__).parent / "bare"
WORKFLOWS = Path(__file__).parent.parent / "workflows"
SCRIPTS = Path(sys.executable).parent
DEFAULT_RESOLVER = "flytekit.core.python_auto_container.default_task_resolver"
MAP_RESOLVER = "flytekit.core.array_node_map_task.ArrayNodeMapTaskResolver"
TEMPLATE_RESOLVER = "flytekit.core.python_customized_container_task.default_task_template_resolver"
ENVIRONMENT = {
    "PATH": os.pathsep.join([str(SCRIPTS), os.defpath]),
    "PYTHONPATH": str(WORKFLOWS),
    "LANG": "C.UTF-8",
    # flytekit's own images set it.
    "FLYTE_SDK_RICH_TRACEBACKS": "0",
}
"""The variables of every process of a user."""
ARRAY_INDEX_VARIABLE = "FLYTE_K8S_ARRAY_INDEX"

Process = subprocess.Popen[str] | fork_server.Forked

Entrypoint = Literal["execute", "map", "fast", "script"]
Inputs = Mapping[str, Any] | bytes | None
"""Python values, the bytes of an ``inputs.pb``, or ``None`` for a missing file."""


@dataclass(frozen=True)
class Template:
    """A task defined by its template, such as ``SQLite3Task``: the pod loads no module of the user."""

    name: str
    content: bytes
    executor: str


@dataclass(frozen=True)
class Attempt:
    """The identity of a pod: its execution, node and attempt."""

    project: str = "proj"
    domain: str = "development"
    execution: str = "f1c0ffee0123456789ab"
    workflow: str = "pipelines.main"
    launch_plan: str = "pipelines.main_plan"
    task_version: str = "v1"
    nodes: tuple[tuple[str, int], ...] = (("n0", 0),)
    """Node ids from the outermost to this one, each with its attempt: more than one under a dynamic node."""
    array_index: int | None = None
    subtask_attempt: int = 0
    """The attempt of the subtask that ``array_index`` names."""

    @property
    def number(self) -> int:
        return self.nodes[-1][1] if self.array_index is None else self.subtask_attempt

    @property
    def unique_node(self) -> str:
        """The node's id in flyteadmin, which hashes it beyond 20 characters; none here is that long."""
        nodes = self.nodes
        if self.array_index is not None:
            nodes = (*nodes, (f"n{self.array_index}", self.subtask_attempt))
        *parents, (name, _) = nodes
        return "-".join([*(f"{parent}-{attempt}" for parent, attempt in parents), name])

    def output_prefix(self, bucket: Path) -> Path:
        (outermost, attempt), *inner = self.nodes
        prefix = bucket / "metadata" / "propeller" / f"{self.project}-{self.domain}-{self.execution}"
        prefix = prefix / outermost / "data" / str(attempt)
        for node, node_attempt in inner:
            prefix = prefix / node / str(node_attempt)
        if self.array_index is not None:
            prefix = prefix / str(self.array_index) / str(self.subtask_attempt)
        return prefix

    def raw_output_prefix(self, bucket: Path) -> Path:
        return bucket / "data" / "k7" / f"{self.execution}-{self.unique_node}-{self.number}"

    def environment(self, task_name: str) -> dict[str, str]:
        identity = {
            "FLYTE_INTERNAL_EXECUTION_ID": self.execution,
            "FLYTE_INTERNAL_EXECUTION_PROJECT": self.project,
            "FLYTE_INTERNAL_EXECUTION_DOMAIN": self.domain,
            "FLYTE_INTERNAL_EXECUTION_WORKFLOW": f"{self.project}:{self.domain}:{self.workflow}",
            "FLYTE_INTERNAL_EXECUTION_LAUNCHPLAN": f"{self.project}:{self.domain}:{self.launch_plan}",
            "FLYTE_ATTEMPT_NUMBER": str(self.number),
        }
        for name, value in (
            ("PROJECT", self.project),
            ("DOMAIN", self.domain),
            ("NAME", task_name),
            ("VERSION", self.task_version),
        ):
            identity[f"FLYTE_INTERNAL_TASK_{name}"] = value
            identity[f"FLYTE_INTERNAL_{name}"] = value
        if self.array_index is not None:
            identity["BATCH_JOB_ARRAY_INDEX_VAR_NAME"] = ARRAY_INDEX_VARIABLE
            identity[ARRAY_INDEX_VARIABLE] = str(self.array_index)
        return identity


@dataclass(frozen=True)
class Result:
    """The exit status of a pod, and its files in the bucket."""

    returncode: int
    stdout: str
    stderr: str
    files: dict[str, bytes]
    """The files below the output prefix, by their relative paths."""
    raw_files: dict[str, bytes]
    """The files below the raw output prefix."""

    @property
    def outputs(self) -> literals_pb2.LiteralMap | None:
        return self._parsed("outputs.pb", literals_pb2.LiteralMap)

    @property
    def error(self) -> errors_pb2.ErrorDocument | None:
        return self._parsed("error.pb", errors_pb2.ErrorDocument)

    @property
    def futures(self) -> dynamic_job_pb2.DynamicJobSpec | None:
        return self._parsed("futures.pb", dynamic_job_pb2.DynamicJobSpec)

    @property
    def deck(self) -> str | None:
        content = self.files.get("deck.html")
        return None if content is None else content.decode()

    def _parsed(self, name: str, kind: Any) -> Any:
        content = self.files.get(name)
        return None if content is None else kind.FromString(content)


@dataclass(frozen=True)
class Pod:
    """A process that has not been started yet."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    directory: Path
    output_prefix: Path
    raw_output_prefix: Path

    def start(self, *, forked: bool = False) -> Process:
        """Start the process, or fork it where ``fork_server.can_fork`` permits that."""
        if forked and fork_server.can_fork(self.arguments, self.environment, ENVIRONMENT):
            server = fork_server.server(ENVIRONMENT, self.environment)
            return server.start(self.arguments, self.environment, self.directory)
        return subprocess.Popen(
            self.arguments,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def finish(self, process: Process, timeout: float = 120.0) -> Result:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            if isinstance(process, fork_server.Forked):
                left = process.kill_session()
            else:
                left = _kill_all(self.output_prefix)
            stdout, stderr = process.communicate(timeout=10)
            raise AssertionError("\n".join([f"{self.arguments} has not ended:", *left, stdout, stderr])) from None
        assert process.returncode is not None
        return Result(
            returncode=process.returncode,
            stdout=stdout,
            stderr=stderr,
            files=_files(self.output_prefix),
            raw_files=_files(self.raw_output_prefix),
        )

    def run(self, timeout: float = 120.0, *, forked: bool = False) -> Result:
        """Run to the end; see ``start``."""
        return self.finish(self.start(forked=forked), timeout)


@contextmanager
def started(pod: Pod) -> Iterator[Process]:
    process = pod.start(forked=True)
    try:
        yield process
    finally:
        process.kill()


def wait_until(condition: Callable[[], object], process: Process, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


class Options(TypedDict, total=False):
    types: Mapping[str, Any]
    """The types of inputs that do not follow from their values, such as empty lists."""
    attempt: Attempt
    env: Mapping[str, str]
    bare: bool


def execute(root: Path, task: str | Template, inputs: Inputs, **options: Unpack[Options]) -> Result:
    """Run ``pyflyte-execute``; the pod is forked where possible."""
    return prepare("execute", root, task, inputs, **options).run(forked=True)


def prepare(
    entrypoint: Entrypoint,
    root: Path,
    task: str | Template,
    inputs: Inputs,
    *,
    types: Mapping[str, Any] | None = None,
    attempt: Attempt | None = None,
    env: Mapping[str, str] | None = None,
    bare: bool = False,
) -> Pod:
    """Write everything that a pod has at its start to ``root``, which must not exist yet.

    ``task`` is ``module.name`` of a module in the workflows folder.
    """
    attempt = attempt or Attempt()
    bucket = root / "bucket"
    work = root / "work"
    for directory in (bucket, work, root / "home", root / "tmp"):
        directory.mkdir(parents=True)
    if inputs is not None:
        content = inputs if isinstance(inputs, bytes) else inputs_pb(inputs, types)
        (bucket / "inputs.pb").write_bytes(content)

    output_prefix = attempt.output_prefix(bucket)
    raw_output_prefix = attempt.raw_output_prefix(bucket)
    data = _data_arguments(bucket / "inputs.pb", output_prefix, raw_output_prefix)
    return Pod(
        arguments=_command(entrypoint, data, _loader(entrypoint, task, bucket), bucket, work),
        environment=_environment(root, entrypoint, attempt, task, bare) | dict(env or {}),
        directory=work,
        output_prefix=output_prefix,
        raw_output_prefix=raw_output_prefix,
    )


def inputs_pb(values: Mapping[str, Any], types: Mapping[str, Any] | None = None) -> bytes:
    """Return propeller's file for these inputs; ``types`` are those that do not follow from the values."""
    known = types or {}
    all_types = {name: known.get(name) or _type_of(value) for name, value in values.items()}
    literals = TypeEngine.dict_to_literal_map(FlyteContextManager.current_context(), dict(values), all_types)
    content: bytes = literals.to_flyte_idl().SerializeToString(deterministic=True)
    return content


def template(task: PythonCustomizedContainerTask[Any]) -> Template:
    """Return the template that the control plane stores when such a task is registered."""
    model = task.serialize_to_model(serialization_settings())
    executor = task.executor_type
    return Template(
        name=task.name,
        content=model.to_flyte_idl().SerializeToString(deterministic=True),
        executor=f"{executor.__module__}.{executor.__name__}",
    )


def serialization_settings() -> SerializationSettings:
    return SerializationSettings(
        image_config=ImageConfig.auto(img_name="registry.example/tasks:v1"),
        project="proj",
        domain="development",
        version="v1",
    )


# --- the command line ------------------------------------------------------------------------------------------------


def _command(entrypoint: Entrypoint, data: list[str], loader: list[str], bucket: Path, work: Path) -> tuple[str, ...]:
    execute_command = [str(SCRIPTS / "pyflyte-execute"), *data, *loader]
    match entrypoint:
        case "execute":
            command = execute_command
        case "map":
            command = [str(SCRIPTS / "pyflyte-map-execute"), *data, *loader]
        case "script":
            command = [sys.executable, flytekit.bin.entrypoint.__file__, "pyflyte-execute", *data, *loader]
        case "fast":
            distribution = ["--additional-distribution", str(_distribution(bucket)), "--dest-dir", str(work)]
            # Propeller writes the bare name here, which is looked up on the PATH.
            child = ["pyflyte-execute", *data, *loader]
            command = [str(SCRIPTS / "pyflyte-fast-execute"), *distribution, "--", *child]
    return tuple(command)


def _data_arguments(inputs: Path, output_prefix: Path, raw_output_prefix: Path) -> list[str]:
    return [
        *("--inputs", str(inputs)),
        *("--output-prefix", str(output_prefix)),
        *("--raw-output-data-prefix", str(raw_output_prefix)),
        *("--checkpoint-path", str(raw_output_prefix / "_flytecheckpoints")),
        *("--prev-checkpoint", '""'),
    ]


def _loader(entrypoint: Entrypoint, task: str | Template, bucket: Path) -> list[str]:
    if isinstance(task, Template):
        template = bucket / "task.pb"
        template.write_bytes(task.content)
        return ["--resolver", TEMPLATE_RESOLVER, "--", str(template), task.executor]
    module, _, name = task.rpartition(".")
    arguments = ["task-module", module, "task-name", name]
    if entrypoint == "map":
        return ["--resolver", MAP_RESOLVER, "--", "vars", "", "resolver", DEFAULT_RESOLVER, *arguments]
    return ["--resolver", DEFAULT_RESOLVER, "--", *arguments]


def _distribution(bucket: Path) -> Path:
    path = bucket / "fast0123456789abcdef.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for module in sorted(WORKFLOWS.glob("*.py")):
            archive.add(module, arcname=module.name)
    return path


# --- the environment -------------------------------------------------------------------------------------------------


def _environment(
    root: Path, entrypoint: Entrypoint, attempt: Attempt, task: str | Template, bare: bool
) -> dict[str, str]:
    path = [] if entrypoint == "fast" else [str(WORKFLOWS)]
    if bare:
        path.insert(0, str(BARE))
    return {
        **ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join(path),
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "_F_SS_C": _serialized_settings(),
        **attempt.environment(task.name if isinstance(task, Template) else task),
    }


@functools.cache
def _serialized_settings() -> str:
    return str(serialization_settings().serialized_context)


# --- files -----------------------------------------------------------------------------------------------------------


def _type_of(value: Any) -> Any:
    return list[_type_of(value[0])] if isinstance(value, list) else type(value)  # type: ignore[misc]


def _kill_all(output_prefix: Path) -> list[str]:
    """Kill all processes of a pod and describe them: a hanging child without its parent keeps the pipes open.

    A forked child has its parent's command line, which names the output prefix.
    """
    killed = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(output_prefix) in process.cmdline():
                killed.append(f"{process.pid}, child of {process.ppid()}, {process.status()}")
                process.kill()
    return killed


def _files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }
