"""URLs of links, with every variable of the target dashboard.

Grafana fills in ``${…}``, and Flyte fills in ``{{.…}}`` in its log links, whose templates are
https://github.com/flyteorg/flyte/blob/master/flyteplugins/go/tasks/pluginmachinery/tasklog/template.go.
"""

from collections.abc import Iterable, Mapping

from grafana.generate.names import label

from otel_flyte import semconv

TASK_UID = "flyte-task"

ANY = "$__all"
"""The value of *All* in a URL."""

VARIABLES = {
    "project": semconv.PROJECT,
    "domain": semconv.DOMAIN,
    "workflow": semconv.WORKFLOW_NAME,
    "execution": semconv.RUN_NAME,
    "node": semconv.ACTION_NAME,
    "attempt": semconv.ATTEMPT,
    "index": semconv.ARRAY_INDEX,
}
"""The variables of ``flyte-task``, and the resource attributes with their values."""


def task(values: Mapping[str, str], *, since: str = "${__from}", until: str = "${__to}") -> str:
    """Return the URL of ``flyte-task``, without the address of Grafana.

    Args:
        values: The values of its variables; the others are copied from the dashboard with the link.
        since: A Unix time in ms, or an expression of Grafana such as ``now-1h``.
        until: The same.
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
    given = [
        f"var-{name}={values[name]}" if name in values else f"${{{name}:queryparam}}"  # It brings its own `var-`.
        for name in variables
    ]
    return f"/d/{uid}?{'&'.join(given)}&from={since}&to={until}"


def _field(column: str) -> str:
    return f'${{__data.fields["{column}"]}}'


_OF_FLYTE = {
    "project": "{{.executionProject}}",
    "domain": "{{.executionDomain}}",
    # Flyte's templates do not have the workflow's name; the execution has only one workflow.
    "workflow": ANY,
    "execution": "{{.executionName}}",
    "node": "{{.nodeID}}",
}

UTILIZATION = task(
    {**_OF_FLYTE, "attempt": "{{.taskRetryAttempt}}", "index": ANY}, since="{{.podUnixStartTime}}000", until="now"
)
"""Flyte's log link *Utilization* of a task's attempt, without the address of Grafana.

Its time range ends now: Flyte fills in the time of the last event, which for a running task is about its start.
"""

UTILIZATION_SUBTASK = task(
    {**_OF_FLYTE, "attempt": "{{.subtaskRetryAttempt}}", "index": "{{.subtaskExecutionIndex}}"},
    since="now-2d",
    until="now",
)
"""The same for a subtask of a map task.

Flyte fills in the node of the map task, not of the subtask, and no times:
https://github.com/flyteorg/flyte/blob/master/flytepropeller/pkg/controller/nodes/array/event_recorder.go.
"""
