"""Asks Tempo for traces by id, as OTLP, and for the traces that match a query."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from otel_flyte.export import otlp_requests
from otel_flyte.server.remote.client import Client
from otel_flyte.server.store.batches import LATEST_NS

SPANS_OF_TRACE = 100
"""Spans of a trace in the answer to a search: Tempo's default limit."""


class FoundSpan(NamedTuple):
    """A span in the answer to a search; attributes without a value are left out."""

    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str]


class FoundTrace(NamedTuple):
    """A trace in the answer to a search.

    Attributes:
        start_ns: the start of its first span.
        end_ns: the end of its last span, exact to a millisecond.
        total: the number of its spans, 0 where Tempo does not return it.
        errors: likewise, of its failed spans.
        matched: the number of its spans that match.
        spans: some of those.
    """

    trace_id: str
    start_ns: int
    end_ns: int
    total: int
    errors: int
    matched: int
    spans: Sequence[FoundSpan]


class Tempo:
    """Asks Tempo. All methods raise :class:`otel_flyte.server.source.UnavailableError`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def search(self, query: str, begin_ns: int, end_ns: int, limit: int) -> list[FoundTrace]:
        """Return the traces that match, and have a part between two times."""
        parameters: dict[str, str | int] = {
            "q": query,
            "start": max(0, begin_ns // 10**9),
            "end": -(-end_ns // 10**9),
            "limit": limit,
            "spss": SPANS_OF_TRACE,
        }
        document = self._client.json("/api/search", parameters)
        try:
            return [_trace(each) for each in document.get("traces") or ()]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._client.nonsense() from None

    def trace(self, trace_id: str) -> Any | None:
        """Return a trace as a request of OTLP, ``None`` where there is none."""
        content = self._client.content(f"/api/traces/{trace_id}", {}, "application/protobuf")
        if not content:
            return None
        # The messages have the same fields.
        request = otlp_requests.request("traces")
        try:
            request.ParseFromString(content)
        except DecodeError:
            raise self._client.nonsense() from None
        return request


def _trace(found: Mapping[str, Any]) -> FoundTrace:
    sets = found.get("spanSets") or [found[name] for name in ("spanSet",) if found.get(name)]
    stats = (found.get("serviceStats") or {}).values()
    start_ns = _number(found.get("startTimeUnixNano"))
    return FoundTrace(
        # Tempo omits leading zeros.
        trace_id=_plain(found["traceID"]).zfill(32),
        start_ns=start_ns,
        end_ns=_number(start_ns + _number(found.get("durationMs")) * 10**6),
        total=_number(sum(_number(each.get("spanCount")) for each in stats)),
        errors=_number(sum(_number(each.get("errorCount")) for each in stats)),
        matched=_number(sum(_number(each.get("matched")) for each in sets)),
        spans=[_span(span) for each in sets for span in each.get("spans") or ()],
    )


def _span(found: Mapping[str, Any]) -> FoundSpan:
    attributes = {_plain(each["key"]): _text(each.get("value") or {}) for each in found.get("attributes") or ()}
    start_ns = _number(found.get("startTimeUnixNano"))
    end_ns = _number(start_ns + _number(found.get("durationNanos")))
    name = _plain(found.get("name") or attributes.get("name") or "")
    return FoundSpan(name, start_ns, end_ns, {key: value for key, value in attributes.items() if value})


def _text(value: Mapping[str, Any]) -> str:
    found = next(iter(value.values()), "")
    return str(found).lower() if isinstance(found, bool) else _plain(found)


def _plain(value: object) -> str:
    """Return a text without halves of surrogate pairs, which are no characters of UTF-8."""
    return str(value).encode("utf-8", "replace").decode()


def _number(value: Any) -> int:
    """Return a time or a number of spans as the database can keep it."""
    return max(0, min(int(value or 0), LATEST_NS))
