"""Each function of otel-flyte is broken in turn: tasks end as usual, and no span stays open."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support import faults, programs
from support.receiver import Receiver

pytestmark = [pytest.mark.newest_only, pytest.mark.slow, pytest.mark.timeout(600)]

CLOSERS = {
    *(
        "adapters.flytekit_v1.pods.end",
        "adapters.flytekit_v1.task_spans.end_task",
        "adapters.flytekit_v1.task_spans.close_attempt",
        "adapters.task_spans.end",
        "adapters.task_spans.end_attempt",
    ),
    *("adapters.task_spans._close", "tasks.open_task.OpenTask.close", "tasks.propagation.hide"),
    *("opentelemetry.context.detach", "opentelemetry.sdk.trace.Span.get_span_context"),
}
"""Spans stay open if one of these fails."""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each broken function: the number of its calls, the outcomes of the tasks, and the spans left open."""
    folders = [tmp_path_factory.mktemp("faults") for _ in range(2)]
    with Receiver() as receiver, ThreadPoolExecutor(max_workers=2) as pool:
        halves = pool.map(lambda part: faults_of_half(part, folders[part], receiver), range(2))
        found = {name: of_one for half_ in halves for name, of_one in half_.items()}
    assert {name: of_one["crash"] for name, of_one in found.items() if "crash" in of_one} == {}
    return found


def faults_of_half(part: int, folder: Path, receiver: Receiver) -> Any:
    env = {
        "PYTHONPATH": programs.python_path(Path(__file__).parent),
        "OTEL_FLYTE_SPOOL": str(folder / "spool"),
        "OTEL_FLYTE_EXIT_TIMEOUT": "0.3",
    }
    command = [sys.executable, faults.__file__, str(folder), str(part)]
    return programs.run_command(command, folder, receiver.environment() | env, timeout=540).printed


def test_a_task_ends_as_usual_when_any_one_of_our_functions_raises(faulty: dict[str, Any]) -> None:
    undisturbed = faulty[""]["ended"]

    assert undisturbed["nested workflows"] == "24"
    assert undisturbed["pod that fails"]["files"] == ["error.pb"]
    assert {
        (name, task): how
        for name, found in faulty.items()
        for task, how in found["ended"].items()
        if how != undisturbed[task]
    } == {}


def test_no_span_stays_open_when_any_one_of_our_functions_raises(faulty: dict[str, Any]) -> None:
    assert {name: found["left"] for name, found in faulty.items() if found["left"] and name not in CLOSERS} == {}


def test_faults_are_injected_into_all_modules_that_a_task_uses(faulty: dict[str, Any]) -> None:
    reached = {name for name, found in faulty.items() if found["calls"]}

    used = {name.rpartition(".")[0] for name in reached}
    expected = {
        *("activation", "runtime.tracebacks", "tasks.identity", "config.settings", "tasks.identity.Attempt"),
        *("adapters.flytekit_v1.data_spans", "adapters.flytekit_v1.pods", "adapters.task_spans"),
        "adapters.flytekit_v1.pod_attempt.PodAttempt",
        *(
            "adapters.flytekit_v1.task_attributes",
            "adapters.flytekit_v1.task_spans",
            "adapters.flytekit_v1.task_spans.ObservedTask",
        ),
        *("export.destinations", "sdk.lazy", "sdk.lazy_meters", "sdk.lazy_loggers", "sdk.once.Once", "sdk.providers"),
        *("process.shutdown", "runtime.when_imported"),
        *("export.queue.ExportQueue", "sdk.traces", "sdk.processors.QueueSpans"),
        *("sdk.metrics", "sdk.metrics.QueueMetrics", "export.pending_spans"),
        *("process.signals", "runtime.ticker", "tracing.open_spans", "sdk.processors.OpenSpans"),
        *("export.relay", "sdk.other_providers", "export.dropped", "export.otlp_requests"),
        *("export.transport", "export.http_transport.HttpTransport", "export.spool.files.SpoolFile"),
        *("export.otlp_json", "supervisor.client"),
        *("tasks.propagation", "tasks.failures", "tracing.spans", "tasks.open_task.OpenTask", "runtime.limits"),
        *("opentelemetry.context", "opentelemetry.trace", "opentelemetry.sdk.trace.Span"),
    }
    assert expected - used == set()
    assert len(reached) > 90
