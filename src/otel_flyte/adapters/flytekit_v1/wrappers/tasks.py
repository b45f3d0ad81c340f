"""Wrappers of the dispatch of tasks, their phases and decks, and of local workflows."""

import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from otel_flyte import semconv
from otel_flyte.adapters.around import Around
from otel_flyte.adapters.flytekit_v1 import span_modules
from otel_flyte.adapters.flytekit_v1.span_modules import if_recording
from otel_flyte.adapters.patching import Function
from otel_flyte.config import settings
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import state

TIMED_PHASES = {"Execute user level code": semconv.PHASE_USER_CODE, "dispatch execute": semconv.PHASE_OUTPUT}
"""Labels of flytekit's ``timeit`` that mark a phase. The second surrounds the whole output translation."""


def dispatch(wrapped: Function) -> Function:
    """Record the dispatch of a task as its span."""

    def call(self: Any, ctx: Any, input_literal_map: Any) -> Any:
        spans = if_recording()
        if spans is None:
            return wrapped(self, ctx, input_literal_map)
        deck = _begin_deck(ctx) if getattr(self, "enable_deck", False) else None
        before = copy_context()
        try:
            with Around(spans.tasks.begin_task(self, input_literal_map), spans.tasks.end_task) as task:
                if deck is None:
                    return wrapped(self, ctx, input_literal_map)
                deck.follow(task)
                with Around(deck, _end_deck):
                    return wrapped(self, ctx, input_literal_map)
        except BaseException:
            spans.tasks.abandon(before)
            raise

    return call


def dispatch_shim(wrapped: Function) -> Function:
    """Record the dispatch of a shim task, whose code marks no phases: the first is the input translation."""

    def dispatch_from_input(self: Any, ctx: Any, input_literal_map: Any) -> Any:
        _next_phase(self, None, semconv.PHASE_INPUT)
        return wrapped(self, ctx, input_literal_map)

    return dispatch(dispatch_from_input)


def execute_shim(wrapped: Function) -> Function:
    """Record the user code of a shim task, and the output translation that follows it."""

    def call(self: Any, **kwargs: Any) -> Any:
        _next_phase(self, semconv.PHASE_INPUT, semconv.PHASE_USER_CODE)
        result = wrapped(self, **kwargs)
        _next_phase(self, semconv.PHASE_USER_CODE, semconv.PHASE_OUTPUT)
        return result

    return call


def translate_input(wrapped: Function) -> Function:
    """Record the input translation, which ends the set-up of tasks that have one."""

    def call(self: Any, literal_map: Any, ctx: Any) -> Any:
        task = state.current.get()
        if task is None or task.owner is not self or not (task.phase is None or task.phase_owner is self):
            return wrapped(self, literal_map, ctx)
        task.close_phase()
        task.open_phase(semconv.PHASE_INPUT, self)
        with Around(task, _close_phase):
            result = wrapped(self, literal_map, ctx)
            if task.phase is not None and span_modules.loaded is not None:
                span_modules.loaded.values.add_inputs(task.phase, result)
            return result

    return call


def enter_timeit(wrapped: Function) -> Function:
    """Open the phase that a label of ``timeit`` marks."""

    def call(self: Any) -> Any:
        result = wrapped(self)
        phase = TIMED_PHASES.get(self._name)
        if phase is not None:
            task = state.current.get()
            if task is not None and task.phase is None:
                task.open_phase(phase, self)
        return result

    return call


def leave_timeit(wrapped: Function) -> Function:
    """Close the phase that this ``timeit`` opened: as a decorator, one instance serves all calls."""

    def call(self: Any, exc_type: Any, exc_val: Any, exc_tb: Any) -> Any:
        if self._name in TIMED_PHASES:
            task = state.current.get()
            if task is not None and task.phase_owner is self:
                task.close_phase(exc_val)
        return wrapped(self, exc_type, exc_val, exc_tb)

    return call


def translate_output(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Record the properties of outputs, and their metadata once flytekit has serialised it."""

    async def call(self: Any, native_outputs: Any, ctx: Any) -> Any:
        result = await wrapped(self, native_outputs, ctx)
        task, spans = state.current.get(), span_modules.loaded
        if task is not None and task.phase is not None and spans is not None:
            spans.values.add_outputs(task.phase, result[1])
            tracker = ctx.output_metadata_tracker
            if tracker is not None and tracker.output_metadata:
                spans.data.add_output_metadata(task.phase, result, tracker)
        return result

    return call


def write_decks(wrapped: Function) -> Function:
    """Record the rendering of decks once: the function task's method calls the base's."""

    def call(self: Any, native_inputs: Any, native_outputs_as_map: Any, ctx: Any, new_user_params: Any) -> Any:
        task = state.current.get()
        if task is None or not self.enable_deck or task.owner is not self or task.phase is not None:
            return wrapped(self, native_inputs, native_outputs_as_map, ctx, new_user_params)
        task.open_phase(semconv.PHASE_DECK, self)
        with Around(task, _close_phase):
            return wrapped(self, native_inputs, native_outputs_as_map, ctx, new_user_params)

    return call


def render_decks(wrapped: Function) -> Function:
    """Render the deck of a task's telemetry with those of the user."""

    def call(new_user_params: Any, *args: Any, **kwargs: Any) -> Any:
        with Around(_show_deck(new_user_params), _hide_deck):
            return wrapped(new_user_params, *args, **kwargs)

    return call


def execute_items(wrapped: Function) -> Function:
    """Record each item of a local map, by a copy of the map task with an observed mapped task."""

    def call(self: Any, **kwargs: Any) -> Any:
        spans = span_modules.loaded
        if spans is None or state.current.get() is None:
            return wrapped(self, **kwargs)
        return wrapped(spans.tasks.with_observed_items(self) or self, **kwargs)

    return call


def execute_workflow(wrapped: Function) -> Function:
    """Record a local workflow as a span."""

    def call(self: Any, ctx: Any, **kwargs: Any) -> Any:
        spans = if_recording()
        if spans is None:
            return wrapped(self, ctx, **kwargs)
        before = copy_context()
        try:
            with Around(spans.tasks.begin_workflow(self), spans.tasks.end_task):
                return wrapped(self, ctx, **kwargs)
        except BaseException:
            spans.tasks.abandon(before)
            raise

    return call


def get_cached(wrapped: Function) -> Function:
    """Record a cached call, which is not dispatched."""

    def call(task_name: str, *args: Any, **kwargs: Any) -> Any:
        start_time = time.time_ns()
        result = wrapped(task_name, *args, **kwargs)
        spans = if_recording(create_providers=False)
        if spans is not None:
            spans.tasks.record_cache(task_name, hit=result is not None, start_time=start_time)
        return result

    return call


def _close_phase(task: Any, error: BaseException | None) -> None:
    task.close_phase(error)


@guarded
def _begin_deck(ctx: Any) -> Any:
    if not settings.current().deck:
        return None
    from otel_flyte.adapters.flytekit_v1 import decks

    return decks.begin(ctx.user_space_params)


@guarded
def _show_deck(params: Any) -> Any:
    # Without this module no deck has begun.
    decks = sys.modules.get("otel_flyte.adapters.flytekit_v1.decks")
    return None if decks is None else decks.show(params)


def _hide_deck(hide: Callable[[], None], _: BaseException | None) -> None:
    hide()


def _end_deck(deck: Any, error: BaseException | None) -> None:
    deck.end(error)


@guarded
def _next_phase(owner: object, expected: str | None, name: str) -> None:
    """Begin the next phase of a task whose code marks none."""
    task = state.current.get()
    if task is not None and task.owner is owner and task.phase_owner == expected:
        task.close_phase()
        task.open_phase(name, name)
