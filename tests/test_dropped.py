"""The lines about records that are lost or kept: one for each cause, at the end of the process."""

from pathlib import Path

import pytest

from otel_flyte.export import dropped
from support import programs
from support.receiver import Protocol, Receiver, Reply

pytestmark = pytest.mark.quick

ALL_SIGNALS = """
    import flytekit
    import logging
    from opentelemetry import metrics, trace

    @flytekit.task
    def double(value: int) -> int:
        logging.getLogger("users.own").warning("a record")
        metrics.get_meter("users.own").create_counter("rows").add(1)
        return 2 * value

    double(value=1)
"""
AFTER_THE_END_OF_METRICS = """
    import flytekit
    import otel_flyte
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider

    provider = MeterProvider()
    metrics.set_meter_provider(provider)

    @flytekit.task
    def double(value: int) -> int:
        flytekit.current_context().stats.incr("rows")
        return 2 * value

    if {is_used}:
        double(value=1)
    provider.shutdown()
    double(value=1)
    otel_flyte.flush()
    double(value=1)
"""
ENDS_MEANWHILE = """
    import threading
    import time

    import flytekit
    import otel_flyte
    from opentelemetry import metrics
    from otel_flyte.process import shutdown

    @flytekit.task
    def double(value: int) -> int:
        metrics.get_meter("users.own").create_counter("rows").add(1)
        return 2 * value

    def count() -> None:
        begun.set()
        time.sleep(0.5)
        metrics.get_meter("later")

    double(value=1)
    begun = threading.Event()
    threading.Thread(target=shutdown.unless_at_the_end, args=(count,), daemon=True).start()
    begun.wait()
"""


@pytest.fixture(autouse=True)
def _nothing_lost(caplog: pytest.LogCaptureFixture) -> None:
    dropped.report()
    caplog.clear()


def lines(ended: programs.Ended) -> list[str]:
    """Return the lines on stderr without the record that the task itself logs."""
    return [line for line in ended.stderr.splitlines() if line != "a record"]


def reported(caplog: pytest.LogCaptureFixture) -> list[str]:
    dropped.report()
    return caplog.messages


@pytest.mark.parametrize(
    ("status", "protocol"), [(401, "grpc"), (401, "http/protobuf"), (400, "grpc"), (503, "http/protobuf")]
)
def test_one_line_reports_all_signals_that_are_lost_for_the_same_reason(
    status: int, protocol: Protocol, tmp_path: Path
) -> None:
    with Receiver(lambda _: Reply(status)) as receiver:
        ended = programs.run(ALL_SIGNALS, tmp_path, receiver.environment(protocol), forked=True)
        place = receiver.endpoint(protocol).removeprefix("http://")
    [line] = lines(ended)

    assert " spans, " in line
    assert " metric data points and 1 log record were dropped (" in line
    assert "/v1/" not in line
    assert place in line


def test_one_line_reports_an_endpoint_where_nothing_listens(tmp_path: Path) -> None:
    [line] = lines(
        programs.run(ALL_SIGNALS, tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, forked=True)
    )

    assert " and 1 log record were dropped (connection refused, nothing listens there at http://127.0.0.1:9): " in line


def test_one_line_reports_all_signals_that_are_kept_in_a_spool(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_FLYTE_SPOOL": str(spool)}
    [line] = lines(programs.run(ALL_SIGNALS, tmp_path, environ, forked=True))

    assert line.endswith(f"1 log record were kept in {spool}: run `otel-flyte replay {spool}` to send them")


@pytest.mark.parametrize("is_used", [True, False])
def test_no_meter_is_requested_from_a_provider_that_is_shut_down(is_used: bool, tmp_path: Path) -> None:
    with Receiver(lambda _: Reply(401)) as receiver:
        source = AFTER_THE_END_OF_METRICS.format(is_used=is_used)
        [line] = lines(programs.run(source, tmp_path, receiver.environment(), forked=True))

    assert "spans were dropped" in line


def test_signals_with_causes_of_their_own_have_lines_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    dropped.count("traces", dropped.REFUSED, 2, "by http://a/v1/traces: 401")
    dropped.count("metrics", dropped.REFUSED, 1, "by http://b/v1/metrics: 401")
    dropped.count("logs", dropped.LATE, 3, "at http://a/v1/logs")

    assert [line.partition("): ")[0] for line in reported(caplog)] == [
        "otel-flyte: 2 spans were dropped (2 refused by http://a/v1/traces: 401",
        "otel-flyte: 1 metric data point was dropped (1 refused by http://b/v1/metrics: 401",
        "otel-flyte: 3 log records were dropped (3 no answer in time at http://a/v1/logs",
    ]


def test_a_signal_with_several_causes_has_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    dropped.count("traces", dropped.QUEUE_FULL, 2)
    for signal in ("traces", "metrics", "logs"):
        dropped.count(signal, dropped.LATE, 1, f"at http://a/v1/{signal}")

    assert [line.partition("): ")[0] for line in reported(caplog)] == [
        "otel-flyte: 3 spans were dropped (2 queue full, 1 no answer in time at http://a/v1/traces",
        "otel-flyte: 1 metric data point and 1 log record were dropped (no answer in time at http://a",
    ]


def test_a_meter_provider_is_shut_down_after_dropped_records_are_counted(tmp_path: Path) -> None:
    ended = programs.run(ENDS_MEANWHILE, tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})

    assert ended.returncode == 0
    assert "MeterProvider" not in ended.stderr
