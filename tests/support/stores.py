"""Stand-ins for Tempo and Loki at the level of their HTTP APIs. Both are licensed under the AGPL and never run here.

    with stores.tempo() as tempo, stores.loki() as loki:
        tempo.send(line)   # OTLP JSON
        requests.get(f"{tempo.url}/api/search", ...)

Shapes of requests and answers, limits and errors are those of the documentation of Tempo 3.0 and Loki 3.7.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from otel_flyte.export import otlp_json, otlp_requests
from otel_flyte.recording import otlp_messages
from support import queries

LONGEST_SEARCH = 168 * 3600
MOST_SPANS = 100


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """A request that a store has answered."""

    path: str
    parameters: dict[str, str]
    headers: dict[str, str]


@dataclass
class Store:
    """A running store.

    Attributes:
        asked: the requests so far.
        instead: what it answers instead of what it holds; ``None`` from it means the latter.
        delay: seconds before each answer.
    """

    answer: Callable[[str, dict[str, str], dict[str, str]], Reply]
    take: Callable[[Any], object]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    instead: Callable[[Asked], Reply | None] = lambda _: None
    delay: float = 0.0

    def send(self, line: str) -> None:
        """Store a request of OTLP JSON."""
        self.take(otlp_json.request_of(line.encode())[1])

    def paths(self, part: str = "") -> list[str]:
        return [each.path for each in self.asked if part in each.path]


@contextlib.contextmanager
def running(store: Store, port: int = 0) -> Iterator[Store]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name in the base class
            parts = urlsplit(self.path)
            parameters = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            asked = Asked(parts.path, parameters, {name.lower(): value for name, value in self.headers.items()})
            store.asked.append(asked)
            time.sleep(store.delay)
            reply = store.instead(asked) or store.answer(*asked)
            with contextlib.suppress(ConnectionError):
                self.send_response(reply.status)
                usual = {"Content-Type": reply.kind, "Content-Length": str(len(reply.body))}
                for name, value in {**usual, **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # likewise
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        store.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


def tempo(port: int = 0) -> contextlib.AbstractContextManager[Store]:
    """Run a stand-in for Tempo: what it holds is found by search at once."""
    held = _Traces()
    return running(Store(held.answer, held.take), port)


def loki() -> contextlib.AbstractContextManager[Store]:
    """Run a stand-in for Loki, with the labels of ``backends/loki.yaml``."""
    held = _Lines()
    return running(Store(held.answer, held.take))


_SET = r'\{(?:"(?:[^"\\]|\\.)*"|[^{}"])*\}'
"""A set of spans; a brace within a literal does not end it."""
_SEARCH = re.compile(
    rf"(?P<sets>{_SET}(?: && {_SET})*)(?: \| select\((?P<names>[^()]*)\))?(?: with \(most_recent=true\))?", re.DOTALL
)

# --- Tempo -----------------------------------------------------------------------------------------------------------


@dataclass
class _Traces:
    groups: list[tuple[Any, Any, Any]] = field(default_factory=list)
    """Resource, scope and span."""

    def take(self, request: Any) -> None:
        for in_resource in getattr(request, "resource_spans", ()):
            for in_scope in in_resource.scope_spans:
                self.groups += [(in_resource.resource, in_scope.scope, span) for span in in_scope.spans]

    def answer(self, path: str, parameters: dict[str, str], headers: dict[str, str]) -> Reply:
        if path == "/api/search":
            return self._search(parameters)
        if match := re.fullmatch(r"/api/traces/([0-9a-f]{1,32})", path):
            return self._trace(match[1].zfill(32), headers.get("accept", ""))
        return Reply(404, b"404 page not found\n", "text/plain")

    def _trace(self, trace_id: str, accept: str) -> Reply:
        assert accept == "application/protobuf"
        made = otlp_requests.request("traces")
        for resource, scope, span in self.groups:
            if span.trace_id.hex() == trace_id:
                in_scope = made.resource_spans.add(resource=resource).scope_spans.add(scope=scope)
                in_scope.spans.add().CopyFrom(span)
        if not made.resource_spans:
            return Reply(404, b"trace not found", "text/plain")
        return Reply(200, made.SerializeToString(), "application/protobuf")

    def _search(self, parameters: dict[str, str]) -> Reply:
        begin, end = int(parameters["start"]), int(parameters["end"])
        if not 0 < end - begin <= LONGEST_SEARCH:
            return Reply(400, b"range specified by start and end exceeds 168h0m0s", "text/plain")
        if int(parameters.get("spss", 3)) > MOST_SPANS:
            return Reply(400, b"spans per span set exceeds 100", "text/plain")
        match = _SEARCH.fullmatch(parameters["q"])
        if match is None:
            return Reply(400, b"invalid TraceQL query: parse error", "text/plain")
        try:
            conditions = [queries.condition(each[1:-1]) for each in re.findall(_SET, match["sets"])]
        except queries.QueryError as error:
            return Reply(400, f"invalid TraceQL query: {error}".encode(), "text/plain")
        names = [each.strip().strip('."').replace('\\"', '"') for each in (match["names"] or "").split(",") if each]
        names += re.findall(r"\.([a-z_.]+) ", match["sets"])
        found = [
            each
            for trace in self._by_id().values()
            if (each := _found(trace, conditions, names, int(parameters.get("spss", 3))))
            and int(each["startTimeUnixNano"]) / 1e9 <= end
            and int(each["startTimeUnixNano"]) / 1e9 + each["durationMs"] / 1e3 >= begin
        ]
        found.sort(key=lambda each: int(each["startTimeUnixNano"]), reverse="most_recent" in parameters["q"])
        return _json({"traces": found[: int(parameters.get("limit", 20))], "metrics": {"totalBlocks": 1}})

    def _by_id(self) -> dict[bytes, list[tuple[Any, Any, Any]]]:
        traces: dict[bytes, list[tuple[Any, Any, Any]]] = {}
        for group in list(self.groups):
            traces.setdefault(group[2].trace_id, []).append(group)
        return traces


def _found(trace: Any, conditions: Any, names: list[str], most: int) -> dict[str, Any] | None:
    """Return what a search answers about a trace, ``None`` where not all conditions hold for any of its spans."""
    facts = [(span, {**_attributes(resource), **_attributes(span), "name": span.name}) for resource, _, span in trace]
    for span, own in facts:
        own["trace:id"], own["status"] = span.trace_id.hex(), ("unset", "ok", "error")[span.status.code]
    if not all(any(condition(own) for _, own in facts) for condition in conditions):
        return None
    matched = [(span, own) for span, own in facts if any(condition(own) for condition in conditions)]
    stats: dict[str, dict[str, int]] = {}
    for _, own in facts:
        of_service = stats.setdefault(str(own.get("service.name", "")), {"spanCount": 0})
        of_service["spanCount"] += 1
        if own["status"] == "error":
            of_service["errorCount"] = of_service.get("errorCount", 0) + 1
    begin = min(span.start_time_unix_nano for span, _ in facts)
    end = max(span.end_time_unix_nano for span, _ in facts)
    spans = [_span(span, own, names) for span, own in matched[:most]]
    return {
        "traceID": facts[0][0].trace_id.hex().lstrip("0"),
        "rootServiceName": next(iter(stats)),
        "rootTraceName": facts[0][0].name,
        "startTimeUnixNano": str(begin),
        "durationMs": (end - begin) // 10**6,
        "spanSet": {"spans": spans, "matched": len(matched)},
        "spanSets": [{"spans": spans, "matched": len(matched)}],
        "serviceStats": stats,
    }


def _span(span: Any, own: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {
        "spanID": span.span_id.hex().lstrip("0"),
        "name": span.name if "name" in names else "",
        "startTimeUnixNano": str(span.start_time_unix_nano),
        "durationNanos": str(max(0, span.end_time_unix_nano - span.start_time_unix_nano)),
        "attributes": [{"key": name, "value": _typed(own[name])} for name in names if name in own and name != "name"],
    }


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": str(value)}


def _attributes(message: Any) -> dict[str, Any]:
    return dict(otlp_messages.attributes(message.attributes))


# --- Loki ------------------------------------------------------------------------------------------------------------

_INDEXED = (
    "service.name",
    "k8s.namespace.name",
    "flyte.project",
    "flyte.domain",
    "flyte.workflow_name",
    "flyte.task_name",
)
MOST_LINES = 5000


@dataclass
class _Lines:
    entries: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)

    def take(self, request: Any) -> None:
        for in_resource in getattr(request, "resource_logs", ()):
            of_resource = _labels(in_resource.resource)
            for in_scope in in_resource.scope_logs:
                scope = {"scope_name": in_scope.scope.name, "scope_version": in_scope.scope.version}
                for record in in_scope.log_records:
                    labels = {**of_resource, **scope, **_labels(record), **_fields(record)}
                    labels = {name: value for name, value in labels.items() if value}
                    body = otlp_messages.log(record)
                    line = (body.body or "") if body is not None else ""
                    self.entries.append((record.time_unix_nano or record.observed_time_unix_nano, line, labels))

    def answer(self, path: str, parameters: dict[str, str], headers: dict[str, str]) -> Reply:
        if path == "/loki/api/v1/labels":
            return _json({"status": "success", "data": [_label(name) for name in _INDEXED]})
        if path != "/loki/api/v1/query_range":
            return Reply(404, b"404 page not found\n", "text/plain")
        assert parameters["direction"] == "forward"
        if int(parameters["limit"]) > MOST_LINES:
            return Reply(400, b"max entries limit per query exceeded, limit > max_entries_limit", "text/plain")
        match = re.fullmatch(r'\{(?P<stream>(?:"(?:[^"\\]|\\.)*"|[^{}"])*)\} \| (?P<filter>.*)', parameters["query"])
        if match is None:
            return Reply(400, b"parse error", "text/plain")
        stream, labels = queries.condition(match["stream"]), queries.condition(match["filter"])
        begin, end = int(parameters["start"]), int(parameters["end"])
        chosen = [
            each
            for each in sorted(self.entries, key=lambda each: each[0])
            if begin <= each[0] < end and stream(_stream(each[2])) and labels(each[2])
        ]
        streams: dict[str, dict[str, Any]] = {}
        for time_ns, line, own in chosen[: int(parameters["limit"])]:
            shown = {**own, "detected_level": "unknown"}
            key = json.dumps(shown, sort_keys=True)
            streams.setdefault(key, {"stream": shown, "values": []})["values"].append([str(time_ns), line])
        return _json(
            {"status": "success", "data": {"resultType": "streams", "result": list(streams.values()), "stats": {}}}
        )


def _stream(labels: dict[str, str]) -> dict[str, str]:
    return {name: labels[name] for name in map(_label, _INDEXED) if name in labels}


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def _labels(message: Any) -> dict[str, str]:
    return {_label(name): _go(value) for name, value in _attributes(message).items()}


def _go(value: Any) -> str:
    """Return a value as Go writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value.is_integer() else repr(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _fields(record: Any) -> dict[str, str]:
    return {
        "trace_id": record.trace_id.hex(),
        "span_id": record.span_id.hex(),
        "severity_text": record.severity_text,
        "severity_number": str(record.severity_number or ""),
        "observed_timestamp": str(record.observed_time_unix_nano or "") if record.time_unix_nano else "",
        "flags": str(record.flags or ""),
    }


def _json(document: Any) -> Reply:
    return Reply(200, json.dumps(document).encode())
