"""Where links lead, with every variable of the target filled in.

Two readers fill in what these URLs leave open: Grafana (``${…}``), and Flyte's log links (``{{.…}}``), whose
templates are https://github.com/flyteorg/flyte/blob/master/flyteplugins/go/tasks/pluginmachinery/tasklog/template.go.
"""

from collections.abc import Iterable, Mapping

from grafana.generate.names import label

from otel_flyte import semconv

TASK_UID = "flyte-task"

ANY = "$__all"
"""What a URL says for *All*."""

VARIABLES = {
    "project": semconv.PROJECT,
    "domain": semconv.DOMAIN,
    "workflow": semconv.WORKFLOW_NAME,
    "execution": semconv.RUN_NAME,
    "node": semconv.ACTION_NAME,
    "attempt": semconv.ATTEMPT,
    "index": semconv.ARRAY_INDEX,
}
"""The variables of ``flyte-task``, and the attributes of the resource that they are values of."""


def task(values: Mapping[str, str], *, since: str = "${__from}", until: str = "${__to}") -> str:
    """Return the URL of ``flyte-task``, without the address of Grafana.

    Args:
        values: of its variables; those that are not here are as they are on the dashboard that the link is on.
        since: Unix time in ms, or what Grafana understands, such as ``now-1h``.
        until: the same.
    """
    return _url(TASK_UID, VARIABLES, values, since, until)


def executions_of_task() -> str:
    """Return the URL of ``flyte-executions`` for a row of a table with tasks."""
    values = {"workflow": ANY, "task": _field(label(semconv.TASK_NAME))}
    return _url("flyte-executions", ("project", "domain", "workflow", "task"), values)


def efficiency_of_task() -> str:
    """Return the URL of ``flyte-efficiency`` for a row of a table with tasks."""
    return _url("flyte-efficiency", ("project", "domain", "task"), {"task": _field(label(semconv.TASK_NAME))})


def of_series(**fixed: str) -> str:
    """Return the URL of ``flyte-task`` for a row of a table whose columns are labels of Prometheus."""
    return task({name: _field(label(attribute)) for name, attribute in VARIABLES.items()} | fixed)


def of_span(**fixed: str) -> str:
    """Return the URL of ``flyte-task`` for a row of a table of task spans, which selects all of ``VARIABLES``."""
    return task({name: _field(attribute) for name, attribute in VARIABLES.items()} | fixed)


def _url(
    uid: str, variables: Iterable[str], values: Mapping[str, str], since: str = "${__from}", until: str = "${__to}"
) -> str:
    said = [
        f"var-{name}={values[name]}" if name in values else f"${{{name}:queryparam}}"  # It brings its own `var-`.
        for name in variables
    ]
    return f"/d/{uid}?{'&'.join(said)}&from={since}&to={until}"


def _field(column: str) -> str:
    return f'${{__data.fields["{column}"]}}'


_OF_FLYTE = {
    "project": "{{.executionProject}}",
    "domain": "{{.executionDomain}}",
    # Flyte's templates know the execution, which has but one, and not the workflow's name.
    "workflow": ANY,
    "execution": "{{.executionName}}",
    "node": "{{.nodeID}}",
}

UTILIZATION = task(
    {**_OF_FLYTE, "attempt": "{{.taskRetryAttempt}}", "index": ANY}, since="{{.podUnixStartTime}}000", until="now"
)
"""Flyte's log link *Utilization* of a task's attempt, behind the address of Grafana.

It ends now, whenever that is: Flyte fills in the time of the last event, which while a task runs is about its start.
"""

UTILIZATION_SUBTASK = task(
    {**_OF_FLYTE, "attempt": "{{.subtaskRetryAttempt}}", "index": "{{.subtaskExecutionIndex}}"},
    since="now-2d",
    until="now",
)
"""The same of a subtask of a map task.

Flyte gives these the node of the map, not of the subtask, and no times:
https://github.com/flyteorg/flyte/blob/master/flytepropeller/pkg/controller/nodes/array/event_recorder.go.
"""
