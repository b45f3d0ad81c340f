"""Providers that the program sets while its task runs: its records go there, and ours go where they went."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from otel_flyte.recording.span_tree import TreeSpan
from otel_flyte.recording.tree import ExecutionTree
from support import pods, programs
from support.receiver import Receiver, children

pytestmark = pytest.mark.quick

TASK = """
    import logging

    from flytekit import task
    from opentelemetry import _logs, metrics, trace
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracer, meter = trace.get_tracer("users.early"), metrics.get_meter("users.early")
    rows = meter.create_counter("rows")


    @task
    def train(theirs: str) -> int:
        resource = Resource({"service.name": "trainer"})

        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{theirs}/v1/traces")))
        trace.set_tracer_provider(provider)

        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{theirs}/v1/metrics"))
        metrics.set_meter_provider(MeterProvider([reader], resource=resource))

        loggers = LoggerProvider(resource=resource)
        loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{theirs}/v1/logs")))
        _logs.set_logger_provider(loggers)

        with tracer.start_as_current_span("early"), trace.get_tracer("users.own").start_as_current_span("training"):
            rows.add(3)
            logger = logging.getLogger("users.own")
            logger.propagate = False
            logger.addHandler(LoggingHandler(logger_provider=_logs.get_logger_provider()))
            logger.warning("by their handler")
            logging.getLogger("flytekit.task").warning("by ours")
        trace.set_tracer_provider(TracerProvider())
        return 3
"""


@pytest.fixture
def theirs() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_a_provider_that_a_task_sets_takes_its_records_and_ours_go_on(
    receiver: Receiver, theirs: Receiver, tmp_path: Path
) -> None:
    programs.module(tmp_path, "task_replacing", TASK)
    pod = pods.prepare(
        "execute",
        tmp_path / "pod",
        "task_replacing.train",
        {"theirs": theirs.endpoint()},
        env={**receiver.environment(), "PYTHONPATH": str(tmp_path)},
    )

    ended = pod.run()

    assert ended.returncode == 0, ended.stderr
    training, early = theirs.spans("training"), theirs.spans("early")
    assert [span.resource["service.name"] for span in training + early] == ["trainer", "trainer"]
    (user_code,) = receiver.spans("user code")
    assert children(theirs.spans(), user_code) == early
    assert "train" in {span.name.rpartition(".")[2] for span in receiver.spans()}
    assert [point.value for point in theirs.metrics("rows")] == [3]
    assert not receiver.metrics("rows")
    assert receiver.metrics("flyte.task.duration")
    assert [record.body for record in theirs.logs()] == ["by their handler"]
    assert "by ours" in [record.body for record in receiver.logs()]
    # Only the first one is theirs: what the API promises from then on holds.
    assert ended.stderr.count("Overriding of current TracerProvider is not allowed") == 1


SCRIPT = """
    from flytekit import task, workflow
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, ConsoleSpanExporter

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)


    @task
    def train() -> int:
        with trace.get_tracer("users.own").start_as_current_span("training"):
            return 1


    @workflow
    def main() -> int:
        return train()
"""


def test_a_script_that_sets_a_provider_has_its_spans_there_and_in_the_recording(tmp_path: Path) -> None:
    script = tmp_path / "wf.py"
    script.write_text(dedent(SCRIPT))

    ended = programs.run_command(["otel-flyte", "run", "wf.py", "main"], tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count('"name":') == 1
    assert '"name": "training"' in ended.stdout
    assert "Overriding" not in ended.stderr
    (recording,) = (tmp_path / ".otel-flyte").glob("*.jsonl")
    above = [each for each in ExecutionTree.from_file(recording).walk() if "training" in _names(each.children)]
    assert [each.span.name for each in above] == ["user code"]


def _names(spans: Iterable[TreeSpan]) -> list[str]:
    return [each.span.name for each in spans]
