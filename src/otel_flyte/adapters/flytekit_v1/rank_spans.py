"""Ranks of a torch elastic task: worker processes that never dispatch.

The context is passed on with the entrypoint: by pickle to a spawned worker, by memory to a forked one.
"""

import os
from collections.abc import Callable
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.trace import NonRecordingSpan, get_current_span, set_span_in_context

from otel_flyte import semconv
from otel_flyte.adapters import patching, switch
from otel_flyte.adapters.around import Around
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import identity, propagation, state
from otel_flyte.tasks.open_task import OpenTask


@guarded
def observed(entrypoint: Callable[..., Any]) -> "RankEntrypoint":
    """Return an entrypoint for workers that records its rank as a child of the current span."""
    return RankEntrypoint(entrypoint, propagation.variables(get_current_span()))


class RankEntrypoint:
    """The entrypoint of a worker, inside a span."""

    def __init__(self, entrypoint: Callable[..., Any], parent: dict[str, str]) -> None:
        self.entrypoint = entrypoint
        self.parent = parent
        self.__name__ = getattr(entrypoint, "__name__", type(entrypoint).__name__)
        self.__qualname__ = getattr(entrypoint, "__qualname__", self.__name__)

    def __call__(self, *args: Any) -> Any:
        """Run the worker."""
        with Around(self._begin(), _end):
            return self.entrypoint(*args)

    @guarded
    def _begin(self) -> OpenTask | None:
        patching.install_pending()
        if not switch.records():
            return None
        state.current.set(None)
        parent = set_span_in_context(NonRecordingSpan(propagation.parse(self.parent)), context_api.get_current())
        rank = {semconv.REPLICA: identity.first(os.environ, semconv.FLYTE_REPLICA)}
        return OpenTask(semconv.SPAN_RANK, parent, self, semconv.SPAN_ROLE_PHASE, attributes=rank)


@guarded
def _end(rank: OpenTask, error: BaseException | None) -> None:
    if error is not None:
        rank.finish(error)
    rank.close()
    from otel_flyte.process import shutdown

    shutdown.flush()
