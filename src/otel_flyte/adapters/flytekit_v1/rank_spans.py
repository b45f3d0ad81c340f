"""Ranks of a torch elastic task: processes that never dispatch.

Whatever starts them, the context travels with what they call: by pickle to a spawned worker, by memory to a forked one.
"""

import os
from collections.abc import Callable
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.trace import get_current_span, set_span_in_context

from otel_flyte import semconv
from otel_flyte.adapters import patching, switch
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import identity, propagation, state
from otel_flyte.tasks.open_task import OpenTask


@guarded
def watched(entrypoint: Callable[..., Any]) -> "RankEntrypoint":
    """Return an entrypoint for workers that records its rank as a child of what is current here."""
    return RankEntrypoint(entrypoint, propagation.variables(get_current_span()))


class RankEntrypoint:
    """What a worker calls: the entrypoint itself, inside a span."""

    def __init__(self, entrypoint: Callable[..., Any], parent: dict[str, str]) -> None:
        self.entrypoint = entrypoint
        self.parent = parent
        self.__name__ = getattr(entrypoint, "__name__", type(entrypoint).__name__)
        self.__qualname__ = getattr(entrypoint, "__qualname__", self.__name__)

    def __call__(self, *args: Any) -> Any:
        """Run the worker."""
        scope = self._begin()
        try:
            result = self.entrypoint(*args)
        except BaseException as error:
            self._end(scope, error)
            raise
        self._end(scope)
        return result

    @guarded
    def _begin(self) -> OpenTask | None:
        patching.install_pending()
        if not switch.records():
            return None
        state.current.set(None)
        parent = set_span_in_context(propagation.remote(propagation.parse(self.parent)), context_api.get_current())
        rank = identity.first(os.environ, semconv.FLYTE_REPLICA)
        return OpenTask(semconv.SPAN_RANK, parent, self, attributes={semconv.REPLICA: rank})

    @guarded
    def _end(self, scope: OpenTask | None, error: BaseException | None = None) -> None:
        if scope is None:
            return
        scope.finish(error)
        scope.close()
        from otel_flyte.process import shutdown

        shutdown.flush()
