"""Executions of the source compared. What was measured of the last ones is kept, which is little beside their spans."""

import threading
from collections import OrderedDict

from otel_flyte.recording.compare import Comparison, compare_measured
from otel_flyte.recording.execution_measures import Measured, measured
from otel_flyte.runtime import garbage
from otel_flyte.server.api.analyses import Analyses
from otel_flyte.server.problems import NotFoundError
from otel_flyte.server.source import Source

KEPT = 16
"""Executions."""

KEPT_NODES = 100_000
"""Nodes of all kept executions, of which the last two are kept in any case."""


class Comparisons:
    """Compares executions, from any thread. A large execution needs much memory: one is measured at a time."""

    def __init__(self, source: Source, analyses: Analyses) -> None:
        self._source = source
        self._analyses = analyses
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[int, Measured]] = OrderedDict()

    def of(self, a: str, b: str) -> Comparison:
        """Compare two executions by their keys.

        Raises:
            UnknownExecutionError: one of them is not kept.
            NotFoundError: one of them has no spans yet.
        """
        with self._lock, garbage.paused():
            of_a, of_b = self._measured(a), self._measured(b)
        return compare_measured(of_a, of_b)

    def _measured(self, key: str) -> Measured:
        version = self._source.version(key)
        known, found = self._known.pop(key, (None, None))
        if found is None or known != version:
            found = self._measure(key)
        self._known[key] = version, found
        while len(self._known) > KEPT or (len(self._known) > 2 and self._nodes() > KEPT_NODES):
            self._known.popitem(last=False)
        return found

    def _nodes(self) -> int:
        return sum(len(each.nodes) for _, each in self._known.values())

    def _measure(self, key: str) -> Measured:
        executions = self._analyses.of(key).tree.executions
        if not executions:
            raise NotFoundError(f"{key} has no spans yet: compare it once a task of it has begun")
        return measured(executions[0])
