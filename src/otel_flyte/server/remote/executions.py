"""The list of executions: searches in Tempo, from the newest time back, until a page is full."""

import time
from collections.abc import Iterator

from otel_flyte.server.remote import listed, traceql
from otel_flyte.server.remote.found import Group, groups
from otel_flyte.server.remote.tempo import FoundTrace, Tempo
from otel_flyte.server.store.reader import Filter, Listed

_HOUR_NS = 3600 * 10**9
_DAY_NS = 24 * _HOUR_NS
DAYS = 30
"""How far back a list without a beginning goes."""

_WINDOWS_NS = (_HOUR_NS, 6 * _HOUR_NS, _DAY_NS, 6 * _DAY_NS)
"""The lengths of the searches, of which the last repeats: Tempo's default limit is a week."""
_TRACES, _MOST_TRACES = 200, 3200
"""Traces in the answer to the first search, and to later ones where there are more: it doubles each time."""
_MOST_SEARCHES = 30
_SECONDS = 20.0
"""After which a list ends where it is."""
_MOST_OWN_TRACES = 20
"""Executions of a page whose own trace is asked for by itself."""


class Executions:
    """Lists executions. Its method raises :class:`otel_flyte.server.source.UnavailableError`."""

    def __init__(self, tempo: Tempo) -> None:
        self._tempo = tempo

    def page(self, wanted: Filter, limit: int) -> list[Listed]:
        """Return the newest executions; fewer where the limits of a list are reached before."""
        if not all(map(traceql.can_be_searched, wanted.attributes)):
            return []
        traces: dict[str, FoundTrace] = {}
        asked: set[str] = set()
        complete: list[Listed] = []
        for floor_ns in self._walk(wanted, traces):
            found = listed.matching(self._groups(traces, asked), wanted)
            # What began before the time that is searched may be older than what the next search finds.
            complete = [each for each in found if each.start_ns >= floor_ns]
            if len(complete) >= limit:
                break
        return complete[:limit]

    def _walk(self, wanted: Filter, traces: dict[str, FoundTrace]) -> Iterator[int]:
        """Search back in time, add traces, and return the time after whose begin all are found; 0 at the end."""
        query, deadline = traceql.executions(wanted), time.monotonic() + _SECONDS
        now_ns = time.time_ns() + 60 * 10**9
        # The start of an execution is what its conditions are about, and a trace is found by any part.
        newest_ns = min(now_ns, wanted.until_ns or now_ns)
        last_ns = wanted.since_ns or max(0, newest_ns - DAYS * _DAY_NS)
        end_ns = min(newest_ns, wanted.after[0] + 1) if wanted.after else newest_ns
        limit = _TRACES
        for number in range(_MOST_SEARCHES):
            if end_ns <= last_ns or time.monotonic() > deadline:
                break
            begin_ns = max(last_ns, end_ns - _WINDOWS_NS[min(number, len(_WINDOWS_NS) - 1)])
            answer = self._tempo.search(query, begin_ns, end_ns, limit)
            traces.update((each.trace_id, each) for each in answer)
            if len(answer) >= limit:
                # The newest of more: the next search begins where they end, in the same second at first.
                oldest_ns = min(each.start_ns for each in answer)
                begin_ns = max(begin_ns, min(oldest_ns, end_ns - (10**9 if limit == _MOST_TRACES else 0)))
                limit = min(2 * limit, _MOST_TRACES)
            end_ns = begin_ns
            yield begin_ns
        yield 0

    def _groups(self, traces: dict[str, FoundTrace], asked: set[str]) -> list[Group]:
        """Return the executions of traces, to which own traces of executions are added; those asked for are noted."""
        for group in groups(traces.values()):
            trace_id = group.owner.trace_id
            if group.lacks_own_trace and trace_id not in asked and len(asked) < _MOST_OWN_TRACES:
                asked.add(trace_id)
                begin_ns = min(each.start_ns for each in group.traces.values())
                # It began before its map subtasks, maybe long before.
                answer = self._tempo.search(traceql.of_trace(trace_id), begin_ns - 6 * _DAY_NS, begin_ns + 10**9, 1)
                traces.update((each.trace_id, each) for each in answer)
        return groups(traces.values())
