"""Recordings in their analysed form, kept while they do not change: a page asks several questions about one."""

import threading
from collections import OrderedDict
from concurrent.futures import Future

from otel_flyte.recording.tree import Analysis
from otel_flyte.runtime import garbage
from otel_flyte.server.source import Source

KEPT = 8
KEPT_SPANS = 50_000
"""Spans of all kept analyses, of which the last one is kept in any case."""


class Analyses:
    """Analyses of executions, from any thread; questions that come at once share one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], tuple[Future[Analysis], int]] = OrderedDict()

    def of(self, key: str) -> Analysis:
        """Return the analysis of an execution.

        Raises:
            UnknownExecutionError: there is none.
        """
        spans = self._source.execution(key).spans
        wanted = key, self._source.version(key)
        with self._lock:
            known = self._known.get(wanted)
            future: Future[Analysis] = Future() if known is None else known[0]
            self._known[wanted] = future, spans
            self._known.move_to_end(wanted)
            self._forget(wanted)
        if known is None:
            self._analyse(wanted, future)
        return future.result()

    @garbage.paused()
    def _analyse(self, wanted: tuple[str, int], future: "Future[Analysis]") -> None:
        try:
            future.set_result(Analysis.of(self._source.recording(wanted[0])))
        except BaseException as error:
            future.set_exception(error)
            with self._lock:
                self._known.pop(wanted, None)

    def _forget(self, newest: tuple[str, int]) -> None:
        for each in [each for each in self._known if each[0] == newest[0] and each != newest]:
            del self._known[each]
        while len(self._known) > KEPT or (
            len(self._known) > 1 and sum(spans for _, spans in self._known.values()) > KEPT_SPANS
        ):
            self._known.popitem(last=False)
