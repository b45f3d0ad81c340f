"""The modules that import OpenTelemetry, imported with the first span: a task without telemetry pays nothing."""

from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any

from otel_flyte import providers
from otel_flyte.adapters import switch
from otel_flyte.adapters.flytekit_v1 import pod_attempt
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.guard import guarded, report


class SpanModules:
    """The modules, each by its purpose. Those that few tasks need are imported when they are first used.

    Attributes:
        tasks: spans of tasks and workflows.
        data: transfers, lineage and metadata of data.
        values: properties of inputs and outputs.
        logs: records of ``logging``.
        stats: metrics of ``current_context().stats``.
    """

    def __init__(self) -> None:
        self.tasks = _imported("task_spans")
        self.data = _imported("data_spans")
        self.values = _imported("data_values")
        self.logs = _imported("task_logs")
        self.stats = _imported("user_stats")

    @cached_property
    def submissions(self) -> Any:
        """Submissions of other executions."""
        return _imported_or_nothing("submission_spans")

    @cached_property
    def ranks(self) -> Any:
        """Ranks of torch elastic."""
        return _imported_or_nothing("rank_spans")


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
    loaded = SpanModules()
    return loaded


def _imported(name: str) -> Any:
    return import_module(f"otel_flyte.adapters.flytekit_v1.{name}")


def _imported_or_nothing(name: str) -> Any:
    with importing:
        return guarded(_imported)(name) or _Nothing()


class _Nothing:
    """Stands for a module that can't be imported: its functions do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None
