"""Items of a local map task, which runs them all in one dispatch."""

import copy
from typing import Any

from otel_flyte import semconv
from otel_flyte.adapters.around import Around
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks.open_task import close_span, open_span
from otel_flyte.tracing.spans import OpenSpan


@guarded
def observed(map_task: Any) -> Any:
    """Return a copy of a map task that records each item as a span."""
    copied = copy.copy(map_task)
    copied._run_task = ObservedTask(map_task._run_task)
    return copied


class ObservedTask:
    """The mapped task of a map task, each of whose executions is a span."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._index = 0

    def execute(self, **kwargs: Any) -> Any:
        """Execute the mapped task for one item."""
        with Around(self._begin_item(), close_span):
            return self._task.execute(**kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    @guarded
    def _begin_item(self) -> OpenSpan:
        index, self._index = self._index, self._index + 1
        return open_span(semconv.SPAN_MAP_ITEM, semconv.SPAN_ROLE_ITEM, {semconv.ARRAY_INDEX: index})
