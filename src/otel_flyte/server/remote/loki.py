"""Log records of Loki as OTLP: https://grafana.com/docs/loki/latest/reference/loki-http-api/."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from otel_flyte import semconv
from otel_flyte.export import otlp_requests
from otel_flyte.server.remote import names, processes
from otel_flyte.server.remote.client import Client
from otel_flyte.server.remote.processes import Processes
from otel_flyte.server.store.batches import digest

AT_ONCE = 5000
"""Records of an answer: Loki's default limit."""

_LATEST_NS = 2**63 - 1
_FIELDS = frozenset(
    {
        *("trace_id", "span_id", "severity_number", "severity_text", "observed_timestamp", "flags"),
        *(
            "scope_name",
            "scope_version",
            "dropped_attributes_count",
            "detected_level",
            "__error__",
            "__error_details__",
        ),
    }
)
"""Labels that Loki makes of other things than attributes."""


Key: TypeAlias = tuple[int, bytes]


class Entry(NamedTuple):
    """A line with its labels: those of its stream and its structured metadata."""

    time_ns: int
    line: str
    labels: Mapping[str, str]


def key(entry: Entry) -> Key:
    """Return what tells an entry from others: its time, and a digest of the rest."""
    parts = (entry.line, *(part for pair in sorted(entry.labels.items()) for part in pair))
    return entry.time_ns, digest(*(part.encode("utf-8", "surrogatepass") for part in parts))


class Loki:
    """Asks Loki. Its method raises :class:`otel_flyte.server.source.UnavailableError`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def entries(self, query: str, begin_ns: int, end_ns: int, most: int) -> Iterator[list[Entry]]:
        """Return the entries between two times, the oldest first, until there are as many as wanted."""
        seen: set[Key] = set()
        count = 0
        while count < most and begin_ns < end_ns:
            answer = sorted(self._some(query, begin_ns, end_ns), key=lambda each: each.time_ns)
            new = [each for each in answer if key(each) not in seen]
            count += len(new)
            if new:
                yield new
            if len(answer) < AT_ONCE:
                return
            # The last nanosecond may have more.
            last_ns = answer[-1].time_ns
            seen = {key(each) for each in answer if each.time_ns == last_ns}
            begin_ns = last_ns if new and last_ns > begin_ns else last_ns + 1

    def _some(self, query: str, begin_ns: int, end_ns: int) -> list[Entry]:
        parameters: dict[str, str | int] = {
            "query": query,
            "start": begin_ns,
            "end": end_ns,
            "limit": AT_ONCE,
            "direction": "forward",
        }
        document = self._client.json("/loki/api/v1/query_range", parameters)
        try:
            return [
                Entry(int(value[0]), str(value[1]), {str(name): str(each) for name, each in stream["stream"].items()})
                for stream in document["data"]["result"]
                for value in stream["values"]
                if 0 < int(value[0]) <= _LATEST_NS
            ]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise self._client.nonsense() from None


def request(entries: list[Entry], known: Processes) -> Any:
    """Return log records as a request of OTLP."""
    made = otlp_requests.request("logs")
    groups: dict[tuple[bytes, str, str], Any] = {}
    for entry in entries:
        resource = type(made)().resource_logs.add().resource
        own = known.of(entry.labels, resource)
        scope = entry.labels.get("scope_name", ""), entry.labels.get("scope_version", "")
        key = (resource.SerializeToString(deterministic=True), *scope)
        if key not in groups:
            in_resource = made.resource_logs.add(resource=resource)
            groups[key] = in_resource.scope_logs.add()
            groups[key].scope.name, groups[key].scope.version = scope
        _write(groups[key].log_records.add(), entry, own)
    return made


def _write(record: Any, entry: Entry, own: Mapping[str, str]) -> None:
    record.time_unix_nano = entry.time_ns
    record.trace_id = _identifier(entry.labels.get("trace_id", ""), 16)
    record.span_id = _identifier(entry.labels.get("span_id", ""), 8)
    record.severity_text = entry.labels.get("severity_text", "")
    record.severity_number = _number(entry.labels.get("severity_number", ""), 24)
    record.observed_time_unix_nano = _number(entry.labels.get("observed_timestamp", ""), _LATEST_NS)
    record.flags = _number(entry.labels.get("flags", ""), 2**32 - 1)
    for label, value in own.items():
        if label not in _FIELDS:
            processes.put(record.attributes.add(), names.KNOWN.get(label, label), value)
    if entry.line or names.label(semconv.EVENT_NAME) not in own:
        record.body.string_value = entry.line


def _identifier(digits: str, size: int) -> bytes:
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        return b""
    return found if len(found) == size else b""


def _number(digits: str, most: int) -> int:
    return min(int(digits), most) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else 0
