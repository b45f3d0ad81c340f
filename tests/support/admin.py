"""A stand-in for flyteadmin: a real gRPC server with its protocol, on loopback.

Registered entities can be fetched. Launched executions do not run: they end at once with the result that the test has
set. Tests check the requests of clients.
"""
# ruff: noqa: N802 - the methods are named by the protocol

from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple

import grpc
from flyteidl.admin import execution_pb2, launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2
from flyteidl.core.execution_pb2 import WorkflowExecution
from flyteidl.service import admin_pb2_grpc
from typing_extensions import Self

Kind = Literal["task", "workflow", "launch plan"]

_KINDS: dict[int, Kind] = {
    identifier_pb2.TASK: "task",
    identifier_pb2.WORKFLOW: "workflow",
    identifier_pb2.LAUNCH_PLAN: "launch plan",
}


class Key(NamedTuple):
    """The identifier of an entity."""

    kind: Kind
    project: str
    domain: str
    name: str
    version: str


@dataclass(frozen=True)
class Launch:
    """An execution that a client has launched."""

    name: str
    entity: str
    envs: dict[str, str]
    """The environment variables of its pods."""
    has_envs: bool
    """Whether the request had environment variables, even an empty set."""
    labels: dict[str, str]
    inputs: literals_pb2.LiteralMap
    request: Any


@dataclass
class Admin(admin_pb2_grpc.AdminServiceServicer):  # type: ignore[misc]
    """Serves while its ``with`` block runs.

    Attributes:
        outputs: the outputs of executions by the names of their entities; others have none.
        errors: the error messages of executions that fail instead.
        running: names of executions that are running when the test begins.
    """

    outputs: Mapping[str, literals_pb2.LiteralMap] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list, init=False)
    launches: list[Launch] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._specs: dict[Key, Any] = {}
        # SO_REUSEPORT would let a second server share the port.
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait()

    def environment(self) -> dict[str, str]:
        """Return the variables with which a client uses this server."""
        return {"FLYTE_PLATFORM_URL": f"127.0.0.1:{self._port}", "FLYTE_PLATFORM_INSECURE": "true"}

    def registered(self) -> list[Key]:
        return list(self._specs)

    # --- entities ----------------------------------------------------------------------------------------------------

    def CreateTask(self, request: Any, context: Any) -> Any:
        return self._create(request, context, task_pb2.TaskCreateResponse())

    def CreateWorkflow(self, request: Any, context: Any) -> Any:
        return self._create(request, context, workflow_pb2.WorkflowCreateResponse())

    def CreateLaunchPlan(self, request: Any, context: Any) -> Any:
        return self._create(request, context, launch_plan_pb2.LaunchPlanCreateResponse())

    def GetTask(self, request: Any, context: Any) -> Any:
        spec = self._get(request.id, context)
        closure = task_pb2.TaskClosure(compiled_task=compiler_pb2.CompiledTask(template=spec.template))
        return task_pb2.Task(id=request.id, closure=closure)

    def GetWorkflow(self, request: Any, context: Any) -> Any:
        spec = self._get(request.id, context)
        tasks = [stored.template for key, stored in self._specs.items() if key.kind == "task"]
        compiled = compiler_pb2.CompiledWorkflowClosure(
            primary=compiler_pb2.CompiledWorkflow(template=spec.template),
            sub_workflows=[compiler_pb2.CompiledWorkflow(template=template) for template in spec.sub_workflows],
            tasks=[compiler_pb2.CompiledTask(template=template) for template in tasks],
        )
        return workflow_pb2.Workflow(id=request.id, closure=workflow_pb2.WorkflowClosure(compiled_workflow=compiled))

    def GetLaunchPlan(self, request: Any, context: Any) -> Any:
        return launch_plan_pb2.LaunchPlan(id=request.id, spec=self._get(request.id, context))

    def _create(self, request: Any, context: Any, response: Any) -> Any:
        key = _key(request.id)
        if key in self._specs:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{key} is there already")
        self._specs[key] = request.spec
        return response

    def _get(self, identifier: Any, context: Any) -> Any:
        key = _key(identifier)
        if key not in self._specs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {key}")
        return self._specs[key]

    # --- executions --------------------------------------------------------------------------------------------------

    def CreateExecution(self, request: Any, context: Any) -> Any:
        name = request.name or f"f{len(self.launches):019d}"
        self.launches.append(
            Launch(
                name=name,
                entity=request.spec.launch_plan.name,
                envs={pair.key: pair.value for pair in request.spec.envs.values},
                has_envs=request.spec.HasField("envs"),
                labels=dict(request.spec.labels.values),
                inputs=request.inputs,
                request=request,
            )
        )
        identifier = identifier_pb2.WorkflowExecutionIdentifier(
            project=request.project, domain=request.domain, name=name
        )
        return execution_pb2.ExecutionCreateResponse(id=identifier)

    def GetExecution(self, request: Any, context: Any) -> Any:
        launch = self._launch(request.id, context)
        closure = execution_pb2.ExecutionClosure(
            phase=WorkflowExecution.SUCCEEDED, workflow_id=launch.request.spec.launch_plan
        )
        if launch.entity in self.errors:
            closure.phase = WorkflowExecution.FAILED
            closure.error.code = "USER:Refused"
            closure.error.message = self.errors[launch.entity]
        return execution_pb2.Execution(id=request.id, spec=launch.request.spec, closure=closure)

    def GetExecutionData(self, request: Any, context: Any) -> Any:
        launch = self._launch(request.id, context)
        return execution_pb2.WorkflowExecutionGetDataResponse(
            full_inputs=launch.inputs, full_outputs=self.outputs.get(launch.entity)
        )

    def ListExecutions(self, request: Any, context: Any) -> Any:
        identifiers = (
            identifier_pb2.WorkflowExecutionIdentifier(project=request.id.project, domain=request.id.domain, name=name)
            for name in self.running
        )
        closure = execution_pb2.ExecutionClosure(phase=WorkflowExecution.RUNNING)
        return execution_pb2.ExecutionList(
            executions=[execution_pb2.Execution(id=identifier, closure=closure) for identifier in identifiers]
        )

    def TerminateExecution(self, request: Any, context: Any) -> Any:
        self.running.remove(request.id.name)
        self.terminated.append(request.id.name)
        return execution_pb2.ExecutionTerminateResponse()

    def _launch(self, identifier: Any, context: Any) -> Launch:
        found = next((launch for launch in self.launches if launch.name == identifier.name), None)
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no execution {identifier.name}")
        assert found
        return found


def _key(identifier: Any) -> Key:
    kind = _KINDS[identifier.resource_type]
    return Key(kind, identifier.project, identifier.domain, identifier.name, identifier.version)
