"""Wrappers of transfers: a pod's inputs and outputs, and data inside a phase."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from otel_flyte import semconv
from otel_flyte.adapters.around import Around
from otel_flyte.adapters.flytekit_v1 import span_modules
from otel_flyte.adapters.flytekit_v1.pod_attempt import in_step
from otel_flyte.adapters.patching import Function
from otel_flyte.tasks import state

_NOTHING = nullcontext()


def get(wrapped: Function) -> Function:
    """Record the download of a pod's inputs, else a transfer inside a phase."""

    def call(self: Any, remote_path: Any, *args: Any, **kwargs: Any) -> Any:
        step = in_step(semconv.PHASE_DOWNLOAD, before_dispatch=True)
        with step or _transfer(semconv.SPAN_GET_DATA, remote_path):
            return wrapped(self, remote_path, *args, **kwargs)

    return call


def put(wrapped: Function) -> Function:
    """Record the upload of a pod's outputs, else a transfer inside a phase."""

    def call(self: Any, local_path: Any, remote_path: Any, *args: Any, **kwargs: Any) -> Any:
        with in_step(semconv.PHASE_UPLOAD) or _transfer(semconv.SPAN_PUT_DATA, remote_path):
            return wrapped(self, local_path, remote_path, *args, **kwargs)

    return call


def async_get(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Record a transfer of a type transformer."""

    async def call(self: Any, remote_path: Any, *args: Any, **kwargs: Any) -> Any:
        with _transfer(semconv.SPAN_GET_DATA, remote_path):
            return await wrapped(self, remote_path, *args, **kwargs)

    return call


def async_put(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Record a transfer of a type transformer."""

    async def call(self: Any, local_path: Any, remote_path: Any, *args: Any, **kwargs: Any) -> Any:
        with _transfer(semconv.SPAN_PUT_DATA, remote_path):
            return await wrapped(self, local_path, remote_path, *args, **kwargs)

    return call


def async_put_raw(wrapped: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Record a transfer whose destination flytekit chooses."""

    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _transfer(semconv.SPAN_PUT_DATA, None) as transfer:
            destination = await wrapped(self, *args, **kwargs)
            if transfer is not None and span_modules.loaded is not None:
                span_modules.loaded.data.set_destination(transfer, destination)
            return destination

    return call


def _transfer(name: str, uri: Any) -> AbstractContextManager[Any]:
    """Record a block as a transfer, inside a phase only."""
    task, spans = state.current.get(), span_modules.loaded
    if task is None or task.phase is None or spans is None:
        return _NOTHING
    return Around(spans.data.begin_transfer(name, uri), spans.data.end_transfer)
