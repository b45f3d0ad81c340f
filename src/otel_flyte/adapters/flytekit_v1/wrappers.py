"""What stands around flytekit's functions.

Each wrapper calls the wrapped function outside every guard, passes its result and its exceptions on unchanged, and
costs next to nothing where nothing is recorded: OpenTelemetry is imported by :mod:`task_spans` and its neighbours only.
"""

import copy
import functools
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from otel_flyte import providers, semconv
from otel_flyte.adapters import patching, switch
from otel_flyte.adapters.flytekit_v1 import pod
from otel_flyte.runtime import tracebacks
from otel_flyte.runtime.guard import guarded, report
from otel_flyte.tasks import state

Function = Callable[..., Any]

ENTRYPOINT = "flytekit.bin.entrypoint"
"""It runs as a module, by its console scripts, and as a script, by Spark and MPI."""

TIMED_PHASES = {
    "Execute user level code": semconv.PHASE_USER_CODE,
    "dispatch execute": semconv.PHASE_OUTPUT,
}
"""Labels of flytekit's ``timeit`` that mark a phase. The second surrounds the whole output translation."""


class Spans(NamedTuple):
    """The modules that speak OpenTelemetry, imported with the first span."""

    tasks: Any
    data: Any
    values: Any
    submissions: Any
    ranks: Any
    logs: Any
    stats: Any


_spans: Spans | None = None


def dispatch_execute(wrapped: Function) -> Function:
    """Surround the dispatch of a task with its span."""

    def call(self: Any, ctx: Any, input_literal_map: Any) -> Any:
        spans = _recording()
        deck = _begin_deck(ctx) if spans is not None and getattr(self, "enable_deck", False) else None
        scope = spans.tasks.begin_task(self, input_literal_map) if spans is not None else None
        if spans is None or scope is None:
            _drop_deck(deck, ctx)
            return wrapped(self, ctx, input_literal_map)
        if deck is not None:
            deck.follow(scope)
        try:
            result = wrapped(self, ctx, input_literal_map)
        except BaseException as error:
            _end_deck(deck, ctx, error)
            spans.tasks.end_task(scope, error)
            raise
        _end_deck(deck, ctx)
        spans.tasks.end_task(scope)
        return result

    return call


def shim_dispatch_execute(wrapped: Function) -> Function:
    """Surround the dispatch of a shim task, which names none of its phases: input translation comes first."""

    def dispatch(self: Any, ctx: Any, input_literal_map: Any) -> Any:
        _next_phase(self, None, semconv.PHASE_INPUT)
        return wrapped(self, ctx, input_literal_map)

    return dispatch_execute(dispatch)


def shim_execute(wrapped: Function) -> Function:
    """Surround the user code of a shim task; what follows is its output translation."""

    def call(self: Any, **kwargs: Any) -> Any:
        _next_phase(self, semconv.PHASE_INPUT, semconv.PHASE_USER_CODE)
        result = wrapped(self, **kwargs)
        _next_phase(self, semconv.PHASE_USER_CODE, semconv.PHASE_OUTPUT)
        return result

    return call


def literal_map_to_python_input(wrapped: Function) -> Function:
    """Surround the input translation; it ends the set-up of tasks that have one."""

    def call(self: Any, literal_map: Any, ctx: Any) -> Any:
        scope = state.current.get()
        if scope is None or scope.owner is not self or not (scope.phase is None or scope.phase_owner is self):
            return wrapped(self, literal_map, ctx)
        if scope.phase is not None:
            scope.close_phase()
        scope.open_phase(semconv.PHASE_INPUT, self)
        try:
            result = wrapped(self, literal_map, ctx)
        except BaseException as error:
            scope.close_phase(error)
            raise
        if scope.phase is not None and _spans is not None:
            _spans.values.add_inputs(scope.phase, result)
        scope.close_phase()
        return result

    return call


def timeit_enter(wrapped: Function) -> Function:
    """Open the phase that a label of ``timeit`` marks."""

    def call(self: Any) -> Any:
        result = wrapped(self)
        phase = TIMED_PHASES.get(self._name)
        if phase is not None:
            scope = state.current.get()
            if scope is not None and scope.phase is None:
                scope.open_phase(phase, self)
        return result

    return call


def timeit_exit(wrapped: Function) -> Function:
    """Close the phase that this very ``timeit`` opened: a decorator's instance is shared by all its calls."""

    def call(self: Any, exc_type: Any, exc_val: Any, exc_tb: Any) -> Any:
        if self._name in TIMED_PHASES:
            scope = state.current.get()
            if scope is not None and scope.phase_owner is self:
                scope.close_phase(exc_val)
        return wrapped(self, exc_type, exc_val, exc_tb)

    return call


def output_to_literal_map(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Tell what the outputs are, and read their metadata once flytekit has serialised it."""

    async def call(self: Any, native_outputs: Any, ctx: Any) -> Any:
        result = await wrapped(self, native_outputs, ctx)
        scope = state.current.get()
        if scope is not None and scope.phase is not None and _spans is not None:
            _spans.values.add_outputs(scope.phase, result[1])
            tracker = ctx.output_metadata_tracker
            if tracker is not None and tracker.output_metadata:
                _spans.data.add_output_metadata(scope.phase, result, tracker)
        return result

    return call


def write_decks(wrapped: Function) -> Function:
    """Surround the rendering of decks; the function task's method calls the base's."""

    def call(self: Any, native_inputs: Any, native_outputs_as_map: Any, ctx: Any, new_user_params: Any) -> Any:
        scope = state.current.get()
        if scope is None or not self.enable_deck or scope.owner is not self or scope.phase is not None:
            return wrapped(self, native_inputs, native_outputs_as_map, ctx, new_user_params)
        scope.open_phase(semconv.PHASE_DECK, self)
        try:
            result = wrapped(self, native_inputs, native_outputs_as_map, ctx, new_user_params)
        except BaseException as error:
            scope.close_phase(error)
            raise
        scope.close_phase()
        return result

    return call


def raw_execute(wrapped: Function) -> Function:
    """Give each item of a local map a span, by a copy of the map task whose mapped task is watched."""

    def call(self: Any, **kwargs: Any) -> Any:
        scope = state.current.get()
        return wrapped(self if scope is None else _with_watched_items(self) or self, **kwargs)

    return call


def get_data(wrapped: Function) -> Function:
    """Surround the download of the inputs in a pod, else a transfer inside a phase."""

    def call(self: Any, remote_path: Any, *args: Any, **kwargs: Any) -> Any:
        attempt = pod.current.get()
        if attempt is not None and attempt.idle and not attempt.dispatched:
            return _step(attempt, semconv.PHASE_DOWNLOAD, wrapped)(self, remote_path, *args, **kwargs)
        return _transfer(semconv.SPAN_GET_DATA, remote_path, wrapped)(self, remote_path, *args, **kwargs)

    return call


def put_data(wrapped: Function) -> Function:
    """Surround the upload of the outputs in a pod, else a transfer inside a phase."""

    def call(self: Any, local_path: Any, remote_path: Any, *args: Any, **kwargs: Any) -> Any:
        attempt = pod.current.get()
        if attempt is not None and attempt.idle:
            return _step(attempt, semconv.PHASE_UPLOAD, wrapped)(self, local_path, remote_path, *args, **kwargs)
        return _transfer(semconv.SPAN_PUT_DATA, remote_path, wrapped)(self, local_path, remote_path, *args, **kwargs)

    return call


def async_get_data(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Surround a transfer of a type transformer."""

    async def call(self: Any, remote_path: Any, *args: Any, **kwargs: Any) -> Any:
        return await _async_transfer(semconv.SPAN_GET_DATA, remote_path, wrapped, self, remote_path, *args, **kwargs)

    return call


def async_put_data(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Surround a transfer of a type transformer."""

    async def call(self: Any, local_path: Any, remote_path: Any, *args: Any, **kwargs: Any) -> Any:
        return await _async_transfer(
            semconv.SPAN_PUT_DATA, remote_path, wrapped, self, local_path, remote_path, *args, **kwargs
        )

    return call


def async_put_raw_data(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Surround a transfer whose destination flytekit chooses."""

    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await _async_transfer(semconv.SPAN_PUT_DATA, None, wrapped, self, *args, **kwargs)

    return call


def write_proto_to_file(wrapped: Function) -> Function:
    """Read Flyte's verdict from the error document that it writes."""

    def call(proto: Any, *args: Any, **kwargs: Any) -> Any:
        attempt = pod.current.get()
        if attempt is not None and type(proto).__name__ == "ErrorDocument":
            attempt.verdict = proto.error
        return wrapped(proto, *args, **kwargs)

    return call


def workflow_local_execute(wrapped: Function) -> Function:
    """Surround a local workflow with its span."""

    def call(self: Any, ctx: Any, **kwargs: Any) -> Any:
        spans = _recording()
        scope = spans.tasks.begin_workflow(self) if spans is not None else None
        if spans is None or scope is None:
            return wrapped(self, ctx, **kwargs)
        try:
            result = wrapped(self, ctx, **kwargs)
        except BaseException as error:
            spans.tasks.end_task(scope, error)
            raise
        spans.tasks.end_task(scope)
        return result

    return call


def local_cache_get(wrapped: Function) -> Function:
    """Make a cached call visible, though nothing is dispatched."""

    def call(task_name: str, *args: Any, **kwargs: Any) -> Any:
        start_time = time.time_ns()
        result = wrapped(task_name, *args, **kwargs)
        spans = _recording(make_providers=False)
        if spans is not None:
            spans.tasks.note_cache(task_name, hit=result is not None, start_time=start_time)
        return result

    return call


def work_item_post_init(wrapped: Function) -> Function:
    """Keep the context in which an eager task asked for a child."""

    def call(self: Any) -> None:
        wrapped(self)
        spans = _recording(make_providers=False)
        if spans is not None:
            spans.submissions.keep_context(self)

    return call


def controller_add(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Surround the submission of an eager task's child, until its result is there."""

    async def call(self: Any, entity: Any, *args: Any, **kwargs: Any) -> Any:
        spans = _recording(make_providers=False)
        submission = spans.submissions.begin(entity) if spans is not None else None
        if spans is None or submission is None:
            return await wrapped(self, entity, *args, **kwargs)
        try:
            result = await wrapped(self, entity, *args, **kwargs)
        except BaseException as error:
            spans.submissions.end(submission, error)
            raise
        spans.submissions.end(submission)
        return result

    return call


def controller_launch_execution(wrapped: Function) -> Function:
    """Launch a child in the context in which it was asked for."""

    def call(self: Any, wi: Any, *args: Any, **kwargs: Any) -> Any:
        spans = _recording(make_providers=False)
        if spans is None:
            return wrapped(self, wi, *args, **kwargs)
        token = spans.submissions.enter_context(wi)
        try:
            execution = wrapped(self, wi, *args, **kwargs)
            spans.submissions.note_execution(execution)
        finally:
            spans.submissions.leave_context(token)
        return execution

    return call


def controller_get_env(wrapped: Function) -> Function:
    """Make the submission span the parent of the child's pods."""

    def call(self: Any) -> Any:
        environment = wrapped(self)
        spans = _recording(make_providers=False)
        return environment if spans is None else spans.submissions.with_parent(environment) or environment

    return call


def remote_execute(wrapped: Function) -> Function:
    """Surround a launch, and tell the execution who launched it."""

    def call(self: Any, entity: Any, *args: Any, **kwargs: Any) -> Any:
        spans = _recording(make_providers=False)
        submission = spans.submissions.begin_launch(entity, kwargs) if spans is not None else None
        if spans is None or submission is None:
            return wrapped(self, entity, *args, **kwargs)
        environment = spans.submissions.with_launcher(submission, kwargs.get("envs")) or kwargs.get("envs")
        try:
            execution = wrapped(self, entity, *args, **{**kwargs, "envs": environment})
        except BaseException as error:
            spans.submissions.end(submission, error)
            raise
        spans.submissions.end_launch(submission, execution)
        return execution

    return call


def download_distribution(wrapped: Function) -> Function:
    """Time the code download for the process that will run the task, which has none of its own."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not switch.is_on() or "fast_execute_task_cmd" not in sys._getframe(1).f_globals:
            return wrapped(*args, **kwargs)
        start_time = time.time_ns()
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            pod.fail_code_download(start_time, error)
            raise
        pod.leave_code_download(start_time)
        return result

    return call


def load_object_from_module(wrapped: Function) -> Function:
    """Wrap the entrypoint in the namespace that it runs in, which is the caller's."""

    def call(*args: Any, **kwargs: Any) -> Any:
        _wrap_late_imports(sys._getframe(1).f_globals)
        return wrapped(*args, **kwargs)

    return call


def entrypoint_dispatch_execute(wrapped: Function) -> Function:
    """Surround a pod's attempt, from the load of the task to the upload of its outputs."""

    def call(ctx: Any, load_task: Any, inputs_path: Any, output_prefix: Any, *args: Any, **kwargs: Any) -> Any:
        attempt = pod.begin(output_prefix) if switch.is_on() else None
        if attempt is None:
            return wrapped(ctx, load_task, inputs_path, output_prefix, *args, **kwargs)
        load = _step(attempt, semconv.PHASE_LOAD, load_task)
        token = pod.current.set(attempt)
        try:
            result = wrapped(ctx, load, inputs_path, output_prefix, *args, **kwargs)
        except BaseException as error:
            pod.end(attempt, error)
            raise
        finally:
            pod.current.reset(token)
        pod.end(attempt, None)
        return result

    return call


def entrypoint_output_deck(wrapped: Function) -> Function:
    """Surround the upload of a pod's deck."""

    def call(*args: Any, **kwargs: Any) -> Any:
        attempt = pod.current.get()
        if attempt is None or not attempt.idle:
            return wrapped(*args, **kwargs)
        return _step(attempt, semconv.PHASE_DECK_UPLOAD, wrapped)(*args, **kwargs)

    return call


def get_traceback_str(wrapped: Function) -> Function:
    """Have Flyte format a trace without our frames; what failed between the phases is known from here alone."""

    def call(e: Any) -> Any:
        attempt = pod.current.get()
        if attempt is not None and attempt.error is None:
            attempt.error = e
        guarded(tracebacks.hide_our_frames)(e)
        return wrapped(e)

    return call


def elastic_record_exception(wrapped: Function) -> Function:
    """Have torch elastic write down a worker's failure without our frames: Flyte puts that text into its own."""

    def call(self: Any, e: Any) -> Any:
        guarded(tracebacks.hide_our_frames)(e)
        return wrapped(self, e)

    return call


def elastic_launch_init(wrapped: Function) -> Function:
    """Have each worker that torch elastic starts for a task record its rank."""

    def call(self: Any, config: Any, entrypoint: Any) -> None:
        if entrypoint is not None and state.current.get() is not None and _spans is not None:
            entrypoint = _spans.ranks.watched(entrypoint) or entrypoint
        wrapped(self, config, entrypoint)

    return call


def call_handlers(wrapped: Function) -> Function:
    """Deliver a record of ``logging`` that is made while a task is open, before its handlers get it."""

    def call(self: Any, record: Any) -> Any:
        if state.open_tasks and _spans is not None:
            _spans.logs.note(self, record)
        return wrapped(self, record)

    return call


def taggable_stats_init(wrapped: Function) -> Function:
    """Have the methods of a statsd client, which are made with it, tell what they are called with."""

    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        wrapped(self, *args, **kwargs)
        _watch_stats(self)

    return call


def mock_stats_method(wrapped: Function) -> Function:
    """Have a method of what flytekit hands out locally, in place of a statsd client, tell what it is called with."""
    told = _told(wrapped.__name__)

    def call(self: Any, metric: Any, *args: Any, **kwargs: Any) -> Any:
        return told(self, functools.partial(wrapped, self), (metric, *args), kwargs)

    return call


def _recording(*, make_providers: bool = True) -> "Spans | None":
    """Return what records spans, where what begins now is recorded.

    While a pod loads the task's module, no providers are made yet. It holds its own guard, since every dispatch asks.
    """
    if not switch.is_on():
        return None
    attempt = pod.current.get()
    loading = attempt is not None and attempt.step is not None
    try:
        recorded = switch.records() if make_providers and not loading else providers.tracer_provider_is_set()
    except Exception as fault:
        report("activation", fault)
        return None
    return (_spans or _import_spans()) if recorded else None


@guarded
def _begin_deck(ctx: Any) -> Any:
    from otel_flyte.adapters.flytekit_v1 import decks

    return decks.begin(ctx.user_space_params)


def _drop_deck(deck: Any, ctx: Any) -> None:
    if deck is not None:
        from otel_flyte.adapters.flytekit_v1 import decks

        decks.drop(deck, ctx.user_space_params)


def _end_deck(deck: Any, ctx: Any, error: BaseException | None = None) -> None:
    if deck is not None:
        from otel_flyte.adapters.flytekit_v1 import decks

        decks.end(deck, ctx.user_space_params, error)


@guarded
def _wrap_late_imports(namespace: dict[str, Any]) -> None:
    name = namespace.get("__name__")
    if name in (ENTRYPOINT, "__main__") and "fast_execute_task_cmd" in namespace:
        patching.install_pending({ENTRYPOINT: name})
    else:
        patching.install_pending()


@guarded
def _import_spans() -> Spans:
    """Import what speaks OpenTelemetry; an environment in which that fails must still run its tasks."""
    global _spans
    from otel_flyte.adapters.flytekit_v1 import (
        data_spans,
        data_values,
        rank_spans,
        submission_spans,
        task_logs,
        task_spans,
        user_stats,
    )

    _spans = Spans(task_spans, data_spans, data_values, submission_spans, rank_spans, task_logs, user_stats)
    return _spans


def _step(attempt: pod.PodAttempt, name: str, function: Function) -> Function:
    def call(*args: Any, **kwargs: Any) -> Any:
        attempt.begin_step(name)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            attempt.end_step(error)
            raise
        attempt.end_step()
        return result

    return call


def _transfer(name: str, uri: Any, function: Function) -> Function:
    scope = state.current.get()
    if scope is None or scope.phase is None or _spans is None:
        return function
    transfer: Function = _spans.data.transfer(name, uri, function)
    return transfer


async def _async_transfer(name: str, uri: Any, function: Function, *args: Any, **kwargs: Any) -> Any:
    scope = state.current.get()
    if scope is None or scope.phase is None or _spans is None:
        return await function(*args, **kwargs)
    return await _spans.data.async_transfer(name, uri, function, *args, **kwargs)


@guarded
def _watch_stats(stats: Any) -> None:
    for name in ("incr", "decr", "gauge", "timing", "timer", "set"):
        method = vars(stats).get(name)
        if method is not None:
            setattr(stats, name, _watched_method(stats, name, method))


def _watched_method(stats: Any, name: str, method: Function) -> Function:
    told = _told(name)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return told(stats, method, args, kwargs)

    return call


def _told(name: str) -> Function:
    """Call a method of a statsd client, and tell of it once it has accepted what it was called with."""

    def call(stats: Any, method: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _spans is None or not switch.is_on():
            return method(*args, **kwargs)
        given = kwargs.get("tags")
        # flytekit adds its own to the user's.
        said = {**kwargs, "tags": dict(given)} if isinstance(given, dict) else kwargs
        result = method(*args, **kwargs)
        _spans.stats.note(stats, name, args, said, result)
        return result

    return call


@guarded
def _with_watched_items(map_task: Any) -> Any:
    if _spans is None:
        return map_task
    watched = copy.copy(map_task)
    watched._run_task = _spans.tasks.WatchedItems(map_task._run_task)
    return watched


@guarded
def _next_phase(owner: object, expected: str | None, name: str) -> None:
    """Go on to the next phase of a task whose code names none."""
    scope = state.current.get()
    if scope is not None and scope.owner is owner and scope.phase_owner == expected:
        scope.close_phase()
        scope.open_phase(name, name)
