"""Wrappers of launches: children of eager tasks, executions by a client, workers of torch elastic."""

from collections.abc import Awaitable, Callable
from typing import Any

from otel_flyte.adapters.around import Around
from otel_flyte.adapters.flytekit_v1 import span_modules
from otel_flyte.adapters.flytekit_v1.span_modules import if_recording
from otel_flyte.adapters.patching import Function
from otel_flyte.runtime import tracebacks
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import state


def create_work_item(wrapped: Function) -> Function:
    """Keep the context in which an eager task requests a child."""

    def call(self: Any) -> None:
        wrapped(self)
        spans = if_recording(create_providers=False)
        if spans is not None:
            spans.submissions.keep_context(self)

    return call


def add_child(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Record the submission of an eager task's child, until its result is there."""

    async def call(self: Any, entity: Any, *args: Any, **kwargs: Any) -> Any:
        spans = if_recording(create_providers=False)
        if spans is None:
            return await wrapped(self, entity, *args, **kwargs)
        with Around(spans.submissions.begin(entity), spans.submissions.end):
            return await wrapped(self, entity, *args, **kwargs)

    return call


def launch_child(wrapped: Function) -> Function:
    """Launch a child in the context in which it was requested."""

    def call(self: Any, wi: Any, *args: Any, **kwargs: Any) -> Any:
        spans = if_recording(create_providers=False)
        if spans is None:
            return wrapped(self, wi, *args, **kwargs)
        with Around(spans.submissions.enter_context(wi), spans.submissions.leave_context):
            execution = wrapped(self, wi, *args, **kwargs)
            spans.submissions.name_execution(execution)
            return execution

    return call


def get_child_env(wrapped: Function) -> Function:
    """Make the submission span the parent of the child's pods."""

    def call(self: Any) -> Any:
        environment = wrapped(self)
        spans = if_recording(create_providers=False)
        return environment if spans is None else spans.submissions.with_parent(environment) or environment

    return call


def execute_remote(wrapped: Function) -> Function:
    """Record a launch, and pass its span on to the execution."""

    def call(self: Any, entity: Any, *args: Any, **kwargs: Any) -> Any:
        spans = if_recording(create_providers=False)
        submission = spans.submissions.begin_launch(entity, kwargs) if spans is not None else None
        if spans is None or submission is None:
            return wrapped(self, entity, *args, **kwargs)
        with Around(submission, spans.submissions.end):
            environment = spans.submissions.with_launcher(submission, kwargs.get("envs")) or kwargs.get("envs")
            execution = wrapped(self, entity, *args, **{**kwargs, "envs": environment})
            spans.submissions.link_execution(submission, execution)
            return execution

    return call


def start_ranks(wrapped: Function) -> Function:
    """Make each worker that torch elastic starts for a task record its rank."""

    def call(self: Any, config: Any, entrypoint: Any) -> None:
        if entrypoint is not None and state.current.get() is not None and span_modules.loaded is not None:
            entrypoint = span_modules.loaded.ranks.observed(entrypoint) or entrypoint
        wrapped(self, config, entrypoint)

    return call


def record_rank_error(wrapped: Function) -> Function:
    """Keep our frames out of a worker's failure, whose text Flyte copies into its own error message."""

    def call(self: Any, e: Any) -> Any:
        guarded(tracebacks.hide_our_frames)(e)
        return wrapped(self, e)

    return call
