"""The modules that import OpenTelemetry, imported with the first span: a task without telemetry pays nothing."""

from typing import Any, NamedTuple

from otel_flyte import providers
from otel_flyte.adapters import switch
from otel_flyte.adapters.flytekit_v1 import pod_attempt
from otel_flyte.runtime.guard import guarded, report


class SpanModules(NamedTuple):
    """The modules, each by its purpose."""

    tasks: Any
    data: Any
    values: Any
    submissions: Any
    ranks: Any
    logs: Any
    stats: Any


loaded: SpanModules | None = None
"""The modules once they are imported: no span of ours is open before."""


def if_recording(*, create_providers: bool = True) -> SpanModules | None:
    """Return the modules if a task that begins now is recorded.

    Providers are not created while a pod loads the task's module. This function holds its own guard, since every
    dispatch calls it.
    """
    attempt = pod_attempt.current.get()
    is_loading = attempt is not None and attempt.step is not None
    try:
        if create_providers and not is_loading:
            is_recorded = switch.records()
        else:
            is_recorded = switch.is_on() and providers.tracer_provider_is_set()
    except Exception as fault:
        report("activation", fault)
        return None
    return (loaded or _load()) if is_recorded else None


@guarded
def _load() -> SpanModules:
    """Import the modules; an environment in which that fails must still run its tasks."""
    global loaded
    from otel_flyte.adapters.flytekit_v1 import (
        data_spans,
        data_values,
        rank_spans,
        submission_spans,
        task_logs,
        task_spans,
        user_stats,
    )

    loaded = SpanModules(task_spans, data_spans, data_values, submission_spans, rank_spans, task_logs, user_stats)
    return loaded
