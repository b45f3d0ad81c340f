"""Wrappers of the entrypoint of a pod."""

import sys
import time
from contextlib import nullcontext
from typing import Any

from otel_flyte import semconv
from otel_flyte.adapters import patching, switch
from otel_flyte.adapters.around import Around
from otel_flyte.adapters.flytekit_v1 import pod_attempt, pods
from otel_flyte.adapters.flytekit_v1.pod_attempt import in_step
from otel_flyte.adapters.patching import Function
from otel_flyte.runtime import tracebacks
from otel_flyte.runtime.guard import guarded

ENTRYPOINT = "flytekit.bin.entrypoint"
"""It runs as a module, by its console scripts, and as a script, by Spark and MPI."""

_COMMAND = "fast_execute_task_cmd"
"""A name that the entrypoint alone defines."""


def run_attempt(wrapped: Function) -> Function:
    """Record the attempt of a pod, from the load of the task to the upload of its outputs."""

    def call(ctx: Any, load_task: Any, inputs_path: Any, output_prefix: Any, *args: Any, **kwargs: Any) -> Any:
        attempt = pods.begin(output_prefix) if switch.is_on() else None
        if attempt is None:
            return wrapped(ctx, load_task, inputs_path, output_prefix, *args, **kwargs)

        def load(*args: Any, **kwargs: Any) -> Any:
            with in_step(semconv.PHASE_LOAD) or nullcontext():
                return load_task(*args, **kwargs)

        with Around(attempt, pods.end):
            return wrapped(ctx, load, inputs_path, output_prefix, *args, **kwargs)

    return call


def upload_deck(wrapped: Function) -> Function:
    """Record the upload of a pod's deck."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with in_step(semconv.PHASE_DECK_UPLOAD) or nullcontext():
            return wrapped(*args, **kwargs)

    return call


def write_proto(wrapped: Function) -> Function:
    """Keep the error message that Flyte writes."""

    def call(proto: Any, *args: Any, **kwargs: Any) -> Any:
        attempt = pod_attempt.current.get()
        if attempt is not None and type(proto).__name__ == "ErrorDocument":
            attempt.message = proto.error
        return wrapped(proto, *args, **kwargs)

    return call


def format_traceback(wrapped: Function) -> Function:
    """Keep our frames out of error.pb; a failure between the phases is seen here alone."""

    def call(e: Any) -> Any:
        attempt = pod_attempt.current.get()
        if attempt is not None and attempt.error is None:
            attempt.error = e
        guarded(tracebacks.hide_our_frames)(e)
        return wrapped(e)

    return call


def download_code(wrapped: Function) -> Function:
    """Time the code download for the process that will run the task, whose own begins after it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not switch.is_on() or _COMMAND not in sys._getframe(1).f_globals:
            return wrapped(*args, **kwargs)
        with Around(time.time_ns(), pods.end_code_download):
            return wrapped(*args, **kwargs)

    return call


def load_object(wrapped: Function) -> Function:
    """Install the hooks of the entrypoint in the module in which it runs, which is the caller's."""

    def call(*args: Any, **kwargs: Any) -> Any:
        _install_late_hooks(sys._getframe(1).f_globals)
        return wrapped(*args, **kwargs)

    return call


@guarded
def _install_late_hooks(namespace: dict[str, Any]) -> None:
    name = namespace.get("__name__")
    if name in (ENTRYPOINT, "__main__") and _COMMAND in namespace:
        patching.install_pending({ENTRYPOINT: name})
    else:
        patching.install_pending()
