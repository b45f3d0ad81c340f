"""A number that OTLP can't hold becomes a double or is left out, and all other telemetry of the process arrives."""

from pathlib import Path
from typing import Any

import pytest

from support import programs
from support.receiver import Receiver

pytestmark = pytest.mark.quick

TASK = """
    import logging, math
    import flytekit
    import numpy as np
    from opentelemetry import metrics

    @flytekit.task
    def record() -> int:
        stats = flytekit.current_context().stats
        meter = metrics.get_meter("of the user")
        stats.incr("rows", 3)
        meter.create_counter("other").add(1)
"""
NOT_FINITE = "the user metric {} has values that are no finite number: they are left out"
CALL = """
        return 1

    record()
"""


def run(lines: str, receiver: Receiver, folder: Path) -> programs.Ended:
    body = "".join(f"        {line}\n" for line in lines.splitlines())
    ended = programs.run(programs.joined(TASK + body + CALL), folder, receiver.environment() | programs.RAISE)
    assert ended.returncode == 0, ended.stderr
    return ended


def values(receiver: Receiver) -> dict[str, float]:
    """Return the values of the user's metrics without the prefix of ``stats``."""
    ours = ("flyte.task.", "process.", "otel.")
    return {p.name.removeprefix("flyte.user."): p.value for p in receiver.metrics() if not p.name.startswith(ours)}


@pytest.mark.parametrize(
    ("lines", "name", "value"),
    [
        ('stats.gauge("size", 2**63)', "size", 2.0**63),
        ('stats.gauge("size", -(2**63) - 1)', "size", -(2.0**63)),
        ('stats.gauge("size", np.uint64(2**64 - 1))', "size", 2.0**64),
        ('stats.incr("total", 2**62)\nstats.incr("total", 2**62)', "total", 2.0**63),
        ('stats.decr("total", 2**64)', "total.decr", 2.0**64),
        ('meter.create_gauge("size").set(2**64)', "size", 2.0**64),
        ('total = meter.create_counter("total")\n[total.add(2**62) for _ in range(3)]', "total", 3 * 2.0**62),
        ('meter.create_up_down_counter("level").add(-(2**70))', "level", -(2.0**70)),
        ('meter.create_histogram("sizes").record(2**70)', "sizes", 2.0**70),
        # Within the span of the task, each value is an exemplar too.
        ('meter.create_counter("numpy").add(np.int64(7))', "numpy", 7),
    ],
)
def test_an_integer_beyond_64_bits_arrives_as_a_double(
    lines: str, name: str, value: float, receiver: Receiver, tmp_path: Path
) -> None:
    ended = run(lines, receiver, tmp_path)

    assert values(receiver) == {"rows": 3, "other": 1, name: value}
    assert ended.our_lines == []


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (
            'stats.gauge("size", 10**400)\nstats.gauge("size", 10**401)',
            NOT_FINITE.format("size"),
        ),
        (
            'stats.incr("total", math.inf)',
            NOT_FINITE.format("total"),
        ),
        (
            'stats.gauge("loss", math.nan)',
            NOT_FINITE.format("loss"),
        ),
        (
            'total = meter.create_counter("total")\n[total.add(10**308) for _ in range(30)]',
            "the metric total has values that can't be encoded: they are left out",
        ),
        (
            'meter.create_counter("half", description="\\ud83d").add(1)',
            "the metric half has values that can't be encoded: they are left out",
        ),
    ],
)
def test_only_a_value_that_no_double_can_hold_is_left_out_and_named_once(
    lines: str, line: str, receiver: Receiver, tmp_path: Path
) -> None:
    ended = run(lines, receiver, tmp_path)

    assert values(receiver) == {"rows": 3, "other": 1}
    assert [each for each in ended.our_lines if " dropped (" not in each] == [f"otel-flyte: {line}"]


def test_only_the_series_that_cannot_be_encoded_is_left_out_of_its_metric(receiver: Receiver, tmp_path: Path) -> None:
    lines = """total = meter.create_counter("total")
[total.add(10**308, {"table": "large"}) for _ in range(30)]
total.add(2, {"table": "small"})"""
    ended = run(lines, receiver, tmp_path)

    assert [(point.value, point.attributes) for point in receiver.metrics("total")] == [(2, {"table": "small"})]
    assert (
        "otel-flyte: 1 metric data point was dropped (1 not encodable): check their names and values" in ended.our_lines
    )


LOGS: dict[str, tuple[str, Any]] = {
    "logging": ('logging.getLogger("user").warning("rows", extra={"size": 2**63})', 2.0**63),
    "negative": ('logging.getLogger("user").warning("rows", extra={"size": -(2**64)})', -(2.0**64)),
    "beyond every double": ('logging.getLogger("user").warning("rows", extra={"size": 10**300 * 10**9})', None),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_record_with_such_an_attribute_arrives(name: str, receiver: Receiver, tmp_path: Path) -> None:
    line, size = LOGS[name]
    ended = run(line, receiver, tmp_path)

    [record] = receiver.logs()
    assert record.body == "rows"
    assert record.attributes["size"] == (hex(10**309) if size is None else size)
    assert ended.our_lines == []
    assert "opentelemetry" not in ended.stderr


def test_a_log_record_of_a_users_logger_arrives(receiver: Receiver, tmp_path: Path) -> None:
    program = """
        from functools import partial

        import flytekit, otel_flyte
        from opentelemetry import _logs
        from opentelemetry.trace import TraceFlags
        from opentelemetry._logs import SeverityNumber

        @flytekit.task
        def record() -> int:
            logger = _logs.get_logger("user")
            values = {"dropped": 1, "size": 2**63, "sizes": [1, 2**64]}
            for body in (2**65, "text"):
                logger.emit(RECORD(body=body, attributes=values, severity_number=SeverityNumber.WARN))
            return 1

        try:
            from opentelemetry.sdk._logs import LogRecord  # before OpenTelemetry 1.35
        except ImportError:
            from opentelemetry._logs import LogRecord as RECORD
        else:
            RECORD = partial(LogRecord, trace_id=0, span_id=0, trace_flags=TraceFlags())
        otel_flyte.instrument()
        record()
    """
    environ = receiver.environment() | programs.RAISE | {"OTEL_ATTRIBUTE_COUNT_LIMIT": "2"}
    ended = programs.run(programs.joined(program), tmp_path, environ)

    assert ended.returncode == 0, ended.stderr
    assert [record.body for record in receiver.logs()] == [2.0**65, "text"]
    for record in receiver.logs():
        assert record.attributes["size"] == 2.0**63
        assert tuple(record.attributes["sizes"]) == (1, 2.0**64)
    [request] = receiver.requests("logs")
    [scope] = request.message.resource_logs[0].scope_logs
    # Old versions of the SDK have no limit for records that users create.
    assert {len(record.attributes) + record.dropped_attributes_count for record in scope.log_records} == {3}
    assert "Failed to encode" not in ended.stderr
