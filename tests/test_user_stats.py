"""User metrics by `current_context().stats` arrive as OTLP metrics, and statsd receives the same as before."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_flyte import semconv
from otel_flyte.metrics import user_metrics
from otel_flyte.metrics.user_metrics import UserMetrics
from support import datagrams, pods, programs, receiver, runs
from support.receiver import MetricPoint, Receiver
from support.runs import Run, Runs, Scenario

pytestmark = pytest.mark.quick

VALUE = {"value": 3}
TASK = "traced_logs.count"

SCENARIOS: dict[str, Scenario] = {
    "pod": runs.pod(TASK, VALUE),
    "local": runs.local("traced_logs.py", "logged", value=3),
    "metrics only": runs.pod(TASK, VALUE, env={"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}),
    "no metrics": runs.pod(TASK, VALUE, env={"OTEL_METRICS_EXPORTER": "none"}),
}


ran = runs.fixture(SCENARIOS)


def of_user(run: Run) -> dict[str, MetricPoint]:
    """Return the last point of each user metric."""
    messages = [request.message for request in run.requests if request.signal == "metrics"]
    points = [point for message in messages for point in receiver._points(message)]
    return {point.name: point for point in points if point.name.startswith("flyte.user.")}


# --- in a pod --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pod", "metrics only"])
def test_every_method_of_the_statsd_client_has_an_instrument(name: str, ran: Runs) -> None:
    points = of_user(ran(name))

    assert {name: (point.kind, point.unit) for name, point in points.items()} == {
        "flyte.user.rows": ("sum", ""),
        "flyte.user.rows.decr": ("sum", ""),
        "flyte.user.depth": ("gauge", ""),
        "flyte.user.step": ("histogram", "s"),
        "flyte.user.latency": ("histogram", "s"),
        "flyte.user.decorated": ("histogram", "s"),
        "flyte.user.users": ("gauge", "{value}"),
    }
    assert points["flyte.user.rows"].monotonic
    assert points["flyte.user.rows.decr"].value == 1
    assert points["flyte.user.depth"].value == 8
    assert points["flyte.user.users"].value == 2


def test_durations_are_seconds(ran: Runs) -> None:
    points = of_user(ran("pod"))

    assert points["flyte.user.latency"].value == 1.5
    assert points["flyte.user.step"].count == 1
    assert 0 <= points["flyte.user.step"].value < 1


def test_a_sample_rate_affects_statsd_but_not_our_counts(ran: Runs) -> None:
    assert of_user(ran("pod"))["flyte.user.rows"].value == 2 * VALUE["value"]


def test_a_point_has_the_labels_of_flyte(ran: Runs) -> None:
    assert of_user(ran("pod"))["flyte.user.depth"].attributes == {
        semconv.USER_WORKFLOW: "proj:development:pipelines.main",
        semconv.USER_LAUNCH_PLAN: "proj:development:pipelines.main_plan",
        semconv.USER_TASK: TASK,
    }


def test_a_tag_of_the_user_overrides_ours(ran: Runs) -> None:
    attributes = of_user(ran("pod"))["flyte.user.rows"].attributes

    assert (attributes["table"], attributes[semconv.USER_TASK]) == ("spam", "mine")
    assert attributes[semconv.USER_WORKFLOW] == "proj:development:pipelines.main"


def test_nothing_is_recorded_without_a_metric_exporter(ran: Runs) -> None:
    run = ran("no metrics")

    assert run.pod.outputs is not None, run.pod.stderr
    assert {request.signal for request in run.requests} == {"traces"}


def test_statsd_gets_the_same_bytes(receiver: Receiver, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        # flytekit reads the section of its statsd settings as "secrets".
        env = {"FLYTE_SECRETS_HOST": "127.0.0.1", "FLYTE_SECRETS_PORT": str(statsd.getsockname()[1])}
        pods.execute(tmp_path / "bare", TASK, VALUE, bare=True, env=env)
        bare = sent_to(statsd)
        pods.execute(tmp_path / "ours", TASK, VALUE, env=env | receiver.environment())

        assert sent_to(statsd) == bare
    assert len(bare) >= 10
    assert receiver.metrics("flyte.user.rows")


def sent_to(server: socket.socket) -> list[bytes]:
    """Return the datagrams of an ended process, without times and sampled metrics, which are random."""
    kept = [datagram for datagram in datagrams.received_by(server) if b"|@" not in datagram]
    return [re.sub(rb"(step|decorated)(\S*):[\d.]+\|ms", rb"\1\2:(time)|ms", datagram) for datagram in kept]


# --- local runs ------------------------------------------------------------------------------------------------------


def test_a_local_run_has_metrics_although_flytekit_provides_a_mock(ran: Runs) -> None:
    points = of_user(ran("local"))

    assert {name: point.kind for name, point in points.items()} == {
        "flyte.user.rows": "sum",
        "flyte.user.rows.decr": "sum",
        "flyte.user.depth": "gauge",
        "flyte.user.step": "histogram",
    }
    assert points["flyte.user.rows"].value == 2 * VALUE["value"]
    assert points["flyte.user.depth"].value == 8
    assert points["flyte.user.depth"].attributes == {semconv.USER_TASK: TASK}


def test_the_mock_records_the_same_calls_as_without_otel_flyte(tmp_path: Path) -> None:
    program = """
        import json
        import flytekit, otel_flyte
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider

        @flytekit.task
        def count() -> str:
            stats = flytekit.current_context().stats
            stats._records.clear()
            stats.incr("rows", 2, {"table": "spam"})
            stats.gauge("depth", value=1, tags=None)
            seen = [stats.current_value("rows"), stats.current_tags("rows"), stats.current_value("depth")]
            try:
                stats.incr()
            except TypeError as error:
                seen.append(str(error))
            return json.dumps(seen)

        otel_flyte.instrument(tracer_provider=TracerProvider(), meter_provider=MeterProvider())
        with_us = count()
        otel_flyte.uninstrument()
        print(json.dumps([with_us, count()]))
    """
    traced, bare = programs.run(programs.joined(program), tmp_path, programs.RAISE).printed

    assert bare.startswith('[2, {"table": "spam"}, 1')
    assert traced.replace(".<locals>", "") == bare.replace(".<locals>", "")


# --- limits ----------------------------------------------------------------------------------------------------------


class Recorded:
    """Metrics read in the process that records them."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.metrics = UserMetrics(MeterProvider([self._reader], shutdown_on_exit=False))

    def points(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        data: Any = self._reader.get_metrics_data()
        found = [metric for one in data.resource_metrics for scope in one.scope_metrics for metric in scope.metrics]
        return {
            metric.name: [
                (dict(point.attributes or {}), getattr(point, "value", None)) for point in metric.data.data_points
            ]
            for metric in found
        }


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(user_metrics, "say_once", messages.append)
    return messages


def test_a_name_keeps_its_first_kind(messages: list[str]) -> None:
    recorded = Recorded()
    recorded.metrics.count("rows", 2, {})
    recorded.metrics.gauge("ROWS", 7, {})

    assert recorded.points() == {"flyte.user.rows": [({}, 2)]}
    assert messages == ["the user metric ROWS is a counter: its gauge values are ignored"]


def test_the_number_of_tag_sets_is_bounded_and_further_ones_are_combined(messages: list[str]) -> None:
    recorded = Recorded()
    for number in range(user_metrics.SETS_LIMIT + 5):
        recorded.metrics.count("rows", 1, {"row": str(number)})
    points = recorded.points()["flyte.user.rows"]

    assert len(points) == user_metrics.SETS_LIMIT + 1
    assert ({semconv.METRIC_OVERFLOW: True}, 5) in points
    assert len(set(messages)) == 1


def test_the_number_of_names_is_bounded(messages: list[str]) -> None:
    recorded = Recorded()
    for number in range(user_metrics.NAMES_LIMIT + 5):
        recorded.metrics.gauge(f"rows of {number}", 1, {})

    assert len(recorded.points()) == user_metrics.NAMES_LIMIT
    assert len(set(messages)) == 1


def test_the_number_of_distinct_values_is_bounded(messages: list[str]) -> None:
    recorded = Recorded()
    for number in range(user_metrics.VALUES_LIMIT + 5):
        recorded.metrics.distinct("users", number, {})

    assert recorded.points()["flyte.user.users"] == [({}, user_metrics.VALUES_LIMIT)]
    assert len(set(messages)) == 1


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("loss", "flyte.user.loss"),
        ("rows/s per café", "flyte.user.rows/s_per_caf_"),
        ("task.duration", "flyte.user.task.duration"),
        ("x" * 300, "flyte.user." + "x" * 244),
    ],
)
def test_a_metric_of_a_user_can_have_any_name(name: str, used: str) -> None:
    recorded = Recorded()
    recorded.metrics.count(name, 1, {})

    assert list(recorded.points()) == [used]


def test_no_metric_of_ours_has_the_prefix_of_the_users() -> None:
    ours = {value for name, value in vars(semconv).items() if name.startswith("METRIC_")} - {semconv.METRIC_USER}

    assert not [name for name in ours if name.startswith("flyte.user")]
