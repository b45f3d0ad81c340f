"""OTLP JSON, compared with OpenTelemetry's own encoder and protobuf's own JSON mapping of the same records."""

import base64
import json
import random
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_flyte.export import otlp_spans
from otel_flyte.export.otlp_json import line_of, request_of, spans_line
from support.traces import Kept

pytestmark = pytest.mark.quick

SPANS_PER_SEED = 40
VALUES: tuple[Any, ...] = (
    "",
    "text",
    'quotes " and \\ and \n and \x00 and \x7f and \u2028',
    "日本語 🚀",
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    0.0,
    -0.5,
    1e300,
    5.0,
    float("nan"),
    float("inf"),
    float("-inf"),
    np.float64(1.5),
    b"bytes",
    b"\xff\x00",
    (),
    ("a", "b"),
    (1, 2),
    (True, False),
    (0.5, float("nan")),
    {},
    {"k": 1, "nested": {"list": [1, "x", {"deep": 2.5}], "none": None}},
    [1, "mixed"],
    None,
)


def any_attributes(rng: random.Random) -> dict[str, Any]:
    return {f"key {number}": rng.choice(VALUES) for number in range(rng.randrange(6))}


def any_context(rng: random.Random, *, remote: bool) -> SpanContext:
    state = TraceState([("vendor", "a:b"), ("other", "1")][: rng.randrange(3)])
    return SpanContext(rng.getrandbits(128) or 1, rng.getrandbits(64) or 1, remote, TraceFlags(1), state)


def any_spans(seed: int) -> list[ReadableSpan]:
    rng = random.Random(seed)
    kept = Kept()
    resources = [Resource({"service.name": "flyte", **any_attributes(rng)}, url) for url in ("", "https://schema/1")]
    for resource in (*resources, resources[0]):
        provider = TracerProvider(
            resource=resource, shutdown_on_exit=False, span_limits=SpanLimits(3, 2, 2, 3, 2, 2, 1000, 1000)
        )
        provider.add_span_processor(SimpleSpanProcessor(kept))
        tracers = [
            provider.get_tracer("scope"),
            provider.get_tracer("scope", "1.0", "https://schema/2"),
            provider.get_tracer("named", "2", None, any_attributes(rng)),
        ]
        for _ in range(SPANS_PER_SEED):
            parent = NonRecordingSpan(any_context(rng, remote=rng.random() < 0.5)) if rng.random() < 0.6 else None
            span = rng.choice(tracers).start_span(
                rng.choice(("", "a name", "名前 🚀")),
                set_span_in_context(parent) if parent else None,
                kind=rng.choice(list(SpanKind)),
                attributes=any_attributes(rng),
                links=[
                    Link(any_context(rng, remote=rng.random() < 0.5), any_attributes(rng))
                    for _ in range(rng.randrange(4))
                ],
                start_time=rng.randrange(1, 2**62),
            )
            for _ in range(rng.randrange(4)):
                span.add_event(rng.choice(("exception", "")), any_attributes(rng), rng.randrange(1, 2**62))
            code = rng.choice(list(StatusCode))
            span.set_status(Status(code, "why" if code is StatusCode.ERROR and rng.random() < 0.5 else None))
            span.end(rng.randrange(1, 2**62))
    rng.shuffle(kept.spans)
    return kept.spans


def expected(request: Any) -> Any:
    """Return protobuf's own mapping with the two differences of OTLP: hexadecimal ids, and enums as numbers."""
    return with_hexadecimal_ids(MessageToDict(request, use_integers_for_enums=True))


def with_hexadecimal_ids(part: Any) -> Any:
    if isinstance(part, list):
        return [with_hexadecimal_ids(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: base64.b64decode(value).hex()
        if key.lower().endswith(("traceid", "spanid"))
        else with_hexadecimal_ids(value)
        for key, value in part.items()
    }


def as_this_encoder_has_it(document: Any) -> Any:
    """Remove the schema and the attributes of scopes, which encoders before OpenTelemetry 1.28 do not write."""
    provider = TracerProvider(shutdown_on_exit=False)
    span = provider.get_tracer("s", "1", "https://schema").start_span("probe")
    if not encode_spans([span]).resource_spans[0].scope_spans[0].schema_url:
        for resource_spans in document["resourceSpans"]:
            for scope_spans in resource_spans["scopeSpans"]:
                scope_spans.pop("schemaUrl", None)
                scope_spans["scope"].pop("attributes", None)
    return document


def same(left: Any, right: Any) -> bool:
    """Compare bytes, because in some versions of protobuf NaN is not equal to itself."""
    return bool(left.SerializeToString(deterministic=True) == right.SerializeToString(deterministic=True))


def span_with(attributes: dict[str, Any]) -> ReadableSpan:
    kept = Kept()
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    provider.get_tracer("s").start_span("name", attributes=attributes).end()
    return kept.spans[0]


def attributes_in(line: bytes) -> Any:
    (span,) = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    return {pair["key"]: pair["value"] for pair in span.get("attributes", ())}


def nests() -> bool:
    return bool(span_with({"k": {"k": 1}}).attributes)


METRICS = {
    "resourceMetrics": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "flyte"}}]},
            "scopeMetrics": [
                {
                    "scope": {"name": "s"},
                    "metrics": [
                        {"name": "gauge", "gauge": {"dataPoints": [{"timeUnixNano": "5", "asDouble": "NaN"}]}},
                        {
                            "name": "sum",
                            "unit": "1",
                            "sum": {
                                "isMonotonic": True,
                                "aggregationTemporality": 2,
                                "dataPoints": [
                                    {
                                        "asInt": "9007199254740993",
                                        "exemplars": [
                                            {
                                                "asInt": "1",
                                                "traceId": "0123456789abcdef0123456789abcdef",
                                                "spanId": "fedcba9876543210",
                                            }
                                        ],
                                    }
                                ],
                            },
                        },
                        {
                            "name": "histogram",
                            "histogram": {
                                "aggregationTemporality": 1,
                                "dataPoints": [
                                    {
                                        "count": "2",
                                        "sum": 3.5,
                                        "bucketCounts": ["1", "1"],
                                        "explicitBounds": [1.0],
                                        "exemplars": [{"asDouble": 2.5, "spanId": "fedcba9876543210"}],
                                    }
                                ],
                            },
                        },
                        {
                            "name": "exponential",
                            "exponentialHistogram": {
                                "dataPoints": [{"scale": -1, "positive": {"offset": 1, "bucketCounts": ["3"]}}]
                            },
                        },
                    ],
                }
            ],
        }
    ]
}
LOGS = {
    "resourceLogs": [
        {
            "resource": {},
            "scopeLogs": [
                {
                    "scope": {},
                    "logRecords": [
                        {
                            "timeUnixNano": "7",
                            "severityNumber": 9,
                            "severityText": "INFO",
                            "body": {
                                "kvlistValue": {"values": [{"key": "traceId", "value": {"stringValue": "not an id"}}]}
                            },
                            "attributes": [{"key": "spanId", "value": {"bytesValue": "/w=="}}],
                            "traceId": "0123456789abcdef0123456789abcdef",
                            "spanId": "fedcba9876543210",
                            "flags": 1,
                        }
                    ],
                    "schemaUrl": "https://schema",
                }
            ],
        }
    ]
}


class TestSpans:
    @pytest.mark.parametrize("seed", range(20))
    def test_a_line_of_spans_equals_that_of_the_protobuf_encoder(self, seed: int) -> None:
        spans = any_spans(seed)
        line = spans_line(spans)
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        assert as_this_encoder_has_it(json.loads(line)) == expected(encode_spans(spans))

    def test_an_open_span_and_an_empty_list_are_encoded(self) -> None:
        started: Any = TracerProvider(shutdown_on_exit=False).get_tracer("s").start_span("started")
        for spans in ([started], []):
            assert json.loads(spans_line(spans)) == expected(encode_spans(spans))

    def test_lone_surrogates_become_replacement_characters(self) -> None:
        line = spans_line([span_with({"key": "a\ud800b", "pair": "\ud83d\ude80", "other": "ü"})])
        found = {key: value["stringValue"] for key, value in attributes_in(line).items()}
        assert found == {"key": "a\ufffdb", "pair": "🚀", "other": "ü"}

    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
    def test_an_integer_beyond_64_bits_is_a_double(self, number: int) -> None:
        spans = [span_with({"one": number, "array": (1, number), "other": "kept"})]
        double = {"doubleValue": float(number)}
        expected = {
            "one": double,
            "array": {"arrayValue": {"values": [{"intValue": "1"}, double]}},
            "other": {"stringValue": "kept"},
        }
        assert attributes_in(spans_line(spans)) == expected
        assert attributes_in(line_of(otlp_spans.encode_spans(spans))) == expected

    def test_only_an_integer_beyond_every_double_is_left_out(self) -> None:
        spans = [span_with({"huge": 10**400, "other": "kept"})]
        for line in (spans_line(spans), line_of(otlp_spans.encode_spans(spans))):
            assert attributes_in(line) == {"other": {"stringValue": "kept"}}

    @pytest.mark.skipif(not nests(), reason="this SDK takes no mappings as values")
    def test_a_value_nested_too_deeply_for_receivers_affects_no_other(self) -> None:
        deep: Any = 1
        for _ in range(200):
            deep = {"k": deep}
        attributes = attributes_in(spans_line([span_with({"deep": deep, "other": 1})]))
        assert attributes == {"other": {"intValue": "1"}}

    @pytest.mark.skipif(not nests(), reason="this SDK takes no mappings as values")
    def test_the_deepest_value_that_is_encoded_is_read_back(self) -> None:
        deep: Any = 1
        for _ in range(30):
            deep = {"k": deep}
        span = span_with({"deep": deep})
        _, request = request_of(spans_line([span]))
        assert request == encode_spans([span])


class TestRequests:
    @pytest.mark.parametrize(
        ("signal", "request_type", "document"),
        [("metrics", ExportMetricsServiceRequest, METRICS), ("logs", ExportLogsServiceRequest, LOGS)],
    )
    def test_a_request_becomes_a_line_with_hexadecimal_ids_and_a_request_again(
        self, signal: str, request_type: Any, document: dict[str, Any]
    ) -> None:
        line = json.dumps(document).encode()
        found_signal, request = request_of(line)
        assert found_signal == signal
        assert isinstance(request, request_type)
        assert json.loads(line_of(request)) == document
        assert same(request_of(line_of(request))[1], request)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_line_of_spans_becomes_the_request_of_the_encoder(self, seed: int) -> None:
        request = encode_spans(any_spans(seed))
        signal, read_back = request_of(line_of(request))
        assert signal == "traces"
        assert same(read_back, request)

    def test_unknown_fields_are_ignored(self) -> None:
        line = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"n","newField":1}]}],"other":{}}]}'
        _, request = request_of(line)
        parsed = ParseDict(
            {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "n"}]}]}]}, ExportTraceServiceRequest()
        )
        assert request == parsed

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"\xff\xfe",
            b"{",
            b"[]",
            b"1",
            b"{}",
            b'{"resourceLogs":[],"resourceSpans":[]}',
            b'{"resourceSpans":5}',
            b'{"resourceSpans":[5]}',
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"12"}]}]}]}',
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}',
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":5}]}]}]}',
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"x"}]}]}]}',
            b"[" * 100_000,
        ],
    )
    def test_content_that_is_not_otlp_is_a_value_error(self, line: bytes) -> None:
        with pytest.raises(ValueError, match=r"."):
            request_of(line)
