"""Executions of the source compared, one pair at a time, and the last results kept."""

import threading
from collections import OrderedDict

from otel_flyte.recording.compare import Comparison, compare
from otel_flyte.recording.span_tree import Execution
from otel_flyte.server.analyses import Analyses
from otel_flyte.server.problems import NotFoundError
from otel_flyte.server.source import Source

KEPT = 16
"""Comparisons, which hold numbers and texts of nodes but no spans."""


class Comparisons:
    """Compares executions, from any thread. Two large executions need much memory: one pair is compared at a time."""

    def __init__(self, source: Source, analyses: Analyses) -> None:
        self._source = source
        self._analyses = analyses
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[tuple[str, int], ...], Comparison] = OrderedDict()

    def of(self, a: str, b: str) -> Comparison:
        """Compare two executions by their keys.

        Raises:
            UnknownExecutionError: one of them is not kept.
            NotFoundError: one of them has no spans yet.
        """
        wanted = tuple((key, self._source.version(key)) for key in (a, b))
        with self._lock:
            found = self._known.pop(wanted, None) or compare(self._execution(a), self._execution(b))
            self._known[wanted] = found
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    def _execution(self, key: str) -> Execution:
        executions = self._analyses.of(key).tree.executions
        if not executions:
            raise NotFoundError(f"{key} has no spans yet: compare it once a task of it has begun")
        return executions[0]
