"""The collector in front of a backend of the user's: it delivers everything, without secrets, within its limits."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from otel_flyte import semconv
from support import collector, native, otlp
from support.collector import EXISTING, Collector, spans
from support.native import CONFIG
from support.receiver import Receiver


@dataclass(frozen=True)
class Existing:
    """A collector that sends everything to an existing backend."""

    collector: Collector
    backend: Receiver


@pytest.fixture(scope="module")
def existing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Existing]:
    with Receiver() as backend:
        env = {**EXISTING, "EXISTING_BACKEND_ENDPOINT": backend.endpoint()}
        with collector.running(tmp_path_factory.mktemp("collector"), env) as running:
            yield Existing(running, backend)


def test_nothing_is_lost_while_the_backend_is_down_and_the_collector_is_killed(existing: Existing) -> None:
    numbers = iter(range(10_000))
    process, backend = existing.collector.process, existing.backend
    load = {"service.name": "load"}
    sent = {"traces": 0, "logs": 0, "metrics": 0}

    def send(times: int) -> None:
        for number in [next(numbers) for _ in range(times)]:
            existing.collector.send("traces", *spans(5, {"number": number}, first=5 * number + 1), resource=load)
            existing.collector.send("logs", otlp.log_record("line", number=number), resource=load)
            count = otlp.counter("load", 1, temporality=2, number=number)
            existing.collector.send("metrics", count, resource=load)
            for name, records in (("traces", 5), ("logs", 1), ("metrics", 1)):
                sent[name] += records

    def stored() -> dict[str, int]:
        return {
            "traces": len({span.span_id for span in backend.spans() if span.resource == load}),
            "logs": len({record.attributes["number"] for record in backend.logs() if record.resource == load}),
            "metrics": len({point.attributes["number"] for point in backend.metrics("load")}),
        }

    send(10)
    backend.down()
    send(10)
    process.stop(signal.SIGKILL)
    process.start()
    send(10)
    process.stop(signal.SIGTERM)
    process.start()
    backend.up()
    send(10)

    native.wait_until(lambda: stored() == sent, f"sent {sent}")
    assert sent == {"traces": 200, "logs": 40, "metrics": 40}


def test_an_existing_backend_receives_the_configured_headers(existing: Existing) -> None:
    existing.collector.send("logs", otlp.log_record("line"))

    existing.backend.wait_for(lambda received: received.logs())
    assert {request.headers["x-tenant"] for request in existing.backend.requests("logs")} == {"flyte"}


def test_secrets_are_removed_and_long_values_are_truncated(existing: Existing) -> None:
    secrets = {"http.request.header.authorization": "Bearer x", "flyte.input.api_key.value": "x"}
    attributes = {**secrets, "gen_ai.usage.input_tokens": "12", "long": "x" * 20_000}
    resource = {"service.name": "clean", "aws.secret": "x"}
    existing.collector.send("traces", *spans(1, attributes), resource=resource)
    existing.collector.send("logs", otlp.log_record("line", **attributes), resource=resource)

    clean = {"service.name": "clean"}
    (span,) = existing.backend.wait_for(lambda received: [one for one in received.spans() if one.resource == clean])
    (record,) = existing.backend.wait_for(lambda received: [one for one in received.logs() if one.resource == clean])
    assert span.attributes == record.attributes == {"gen_ai.usage.input_tokens": "12", "long": "x" * 16_384}


def test_span_metrics_of_one_service_have_no_more_series_than_the_limit(existing: Existing) -> None:
    limit = yaml.safe_load(CONFIG.read_text())["connectors"]["span_metrics"]["aggregation_cardinality_limit"]
    resource = {"service.name": "names"}
    many = spans(limit + 500, {}, name="item {}")
    existing.collector.send("traces", *many, resource=resource, scope=semconv.SCOPE)

    def series() -> set[str]:
        points = existing.backend.metrics("traces.span.metrics.calls")
        return {
            json.dumps(point.attributes, sort_keys=True)
            for point in points
            if point.resource.get("service.name") == "names"
        }

    existing.backend.wait_for(lambda _: any(semconv.METRIC_OVERFLOW in one for one in series()))
    assert len(series()) == limit + 1


def test_a_second_backend_receives_the_same_by_grpc(tmp_path: Path) -> None:
    with Receiver() as tempo, Receiver() as second:
        env = {
            "TRACES_EXPORTERS": "[otlp_http/tempo, otlp_grpc/existing]",
            "TEMPO_OTLP_ENDPOINT": tempo.endpoint(),
            "EXISTING_BACKEND_ENDPOINT": second.endpoint("grpc"),
            "EXISTING_BACKEND_INSECURE": "true",
            "METRICS_EXPORTERS": "[nop]",
        }
        with collector.running(tmp_path, env) as running:
            running.send("traces", *spans(3, {}))
            for backend in (tempo, second):
                backend.wait_for(lambda received: len(received.spans()) == 3)

    assert [request.protocol for request in second.requests("traces")] == ["grpc"]
    assert second.spans() == tempo.spans()
