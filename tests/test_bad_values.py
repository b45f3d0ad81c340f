"""Values that are too large, invalid or secret: traces arrive without them, and tasks end as without otel-flyte."""

import inspect
import math
from pathlib import Path
from typing import Any

import flytekit
import pytest

from otel_flyte import semconv
from otel_flyte.runtime import limits
from otel_flyte.tasks import failures
from support import pods, programs, runs
from support.receiver import Event, Link, Receiver, Span
from support.runs import Result, Runs, Scenario

pytestmark = pytest.mark.newest_only

SECRET = "sesame-0451"
ARRAY_LIMIT = 1440
MEGABYTES_100 = {"text": SECRET + "x" * 100_000_000}
PASSWORDS = {"SERVICE_PASSWORD": SECRET, "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={SECRET}"}
BROKEN_BYTES = {"FLYTE_INTERNAL_TASK_VERSION": "v\udcff1", "FLYTE_INTERNAL_EXECUTION_WORKFLOW": "p:d:w\udcff"}
"""Bytes that are not UTF-8, as an environment can have them."""


def task(name: str, inputs: Any, **env: str) -> Scenario:
    # The SDK may report invalid values: only our own lines are checked.
    return runs.pod(f"traced_bad_values.{name}", inputs, env=env)


def bare_task(scenario_of: str, inputs: Any, **env: str) -> Scenario:
    def run(root: Path, receiver: Receiver) -> Result:
        environment = {**receiver.environment(), **env}
        return pods.execute(root, f"traced_bad_values.{scenario_of}", inputs, env=environment, bare=True)

    return run


CASES: dict[str, tuple[str, Any, dict[str, str]]] = {
    "100 MB": ("measure", MEGABYTES_100, {}),
    "secrets": ("reveal", {"password": SECRET, "number": 1.5, "words": [SECRET]}, PASSWORDS),
    "labels": ("label", {"value": 1}, {}),
    "broken environment": ("label", {"value": 1}, BROKEN_BYTES),
    "half a character": ("fail_with_half_a_character", {"value": 1}, {}),
    "long message": ("fail_at_length", {"value": 1}, {}),
    "not a number": ("compute", {"number": math.nan}, {}),
    "infinity": ("compute", {"number": -math.inf}, {}),
    "bad name": ("name_badly", {"value": 1}, {semconv.RAISE_INTERNAL_ERRORS: ""}),
}
SCENARIOS: dict[str, Scenario] = {
    **{name: task(which, inputs, **env) for name, (which, inputs, env) in CASES.items()},
    **{f"{name}, bare": bare_task(which, inputs, **env) for name, (which, inputs, env) in CASES.items()},
}
FAILING = ("half a character", "long message")


ran = runs.fixture(SCENARIOS)


@pytest.mark.parametrize("name", CASES)
def test_a_task_ends_as_without_otel_flyte_and_its_trace_arrives(name: str, ran: Runs) -> None:
    run, without = ran(name), ran(f"{name}, bare").pod

    assert run.pod.returncode == without.returncode, run.pod.stderr
    assert run.pod.files.keys() == without.files.keys()
    # Compared as bytes, because NaN is not equal to itself.
    assert run.pod.files.get("outputs.pb") == without.files.get("outputs.pb")
    assert run.pod.stdout == without.stdout
    assert run.attempt.status == ("ERROR" if name in FAILING else "UNSET")
    assert run.named(semconv.PHASE_USER_CODE)
    assert len(run.pending) == 1


@pytest.mark.parametrize("name", [name for name in CASES if name != "bad name"])
def test_nothing_is_printed(name: str, ran: Runs) -> None:
    stderr = ran(name).pod.stderr

    # A frame of ours is possible: flytekit itself fails on half a character, and Python prints the stack.
    assert "otel-flyte" not in stderr
    assert "opentelemetry" not in stderr


@pytest.mark.parametrize("name", CASES)
def test_our_values_are_within_the_documented_length(name: str, ran: Runs) -> None:
    for span in (*ran(name).spans, *ran(name).pending):
        if span.scope != semconv.SCOPE:
            continue
        assert size(span.name) <= limits.STRING_LIMIT + len("task ")
        assert size(span.status_message) <= limits.STRING_LIMIT
        holders: tuple[Span | Event | Link, ...] = (span, *span.events, *span.links)
        attributes = [pair for holder in holders for pair in holder.attributes.items()]
        for key, value in (*attributes, *span.resource.items()):
            limit = failures.STACKTRACE_LIMIT * 4 if key == semconv.EXCEPTION_STACKTRACE else limits.STRING_LIMIT
            entries = value if isinstance(value, tuple) else (value,)
            assert len(entries) <= ARRAY_LIMIT
            assert max([size(entry) for entry in entries if isinstance(entry, str)], default=0) <= limit, key


def size(text: str) -> int:
    return len(text.encode())


@pytest.mark.parametrize("name", ["100 MB", "secrets"])
def test_no_exported_byte_has_input_values_or_the_environment(name: str, ran: Runs) -> None:
    exported = b"".join(request.message.SerializeToString() for request in ran(name).requests)

    assert b"user code" in exported
    assert SECRET.encode() not in exported


def test_a_100_mb_input_does_not_make_the_trace_larger(ran: Runs) -> None:
    assert sum(request.message.ByteSize() for request in ran("100 MB").requests) < 20_000


def test_invalid_characters_in_a_failure_are_replaced(ran: Runs) -> None:
    run = ran("half a character")
    [event] = run.named(semconv.PHASE_USER_CODE).events

    assert event.attributes[semconv.EXCEPTION_MESSAGE] == "no ? 1"
    assert "ValueError" in event.attributes[semconv.EXCEPTION_STACKTRACE]
    assert "no ? 1" in event.attributes[semconv.EXCEPTION_STACKTRACE]


@pytest.mark.skipif("labels" not in inspect.signature(flytekit.task).parameters, reason="this flytekit has no labels")
def test_invalid_characters_in_labels_are_replaced(ran: Runs) -> None:
    attributes = ran("labels").attempt.attributes

    assert attributes[semconv.TASK_LABEL.format(key="broken")] == "a?b"
    assert attributes[semconv.TASK_LABEL.format(key="long")].endswith(limits.ELLIPSIS)


def test_invalid_characters_in_the_identity_are_replaced(ran: Runs) -> None:
    attributes = ran("broken environment").attempt.attributes

    assert attributes[semconv.TASK_VERSION] == "v?1"


def test_nan_and_infinity_arrive(ran: Runs) -> None:
    attributes = ran("not a number").named("dividing").attributes

    assert math.isnan(attributes["nan"])
    assert math.isnan(attributes["given"])
    assert attributes["inf"] == (math.inf, -math.inf)


def test_only_a_users_span_that_cannot_be_encoded_is_dropped_and_counted(ran: Runs) -> None:
    run = ran("bad name")

    assert run.named("good")
    assert "1 span was dropped (1 not encodable)" in run.pod.stderr


def test_values_are_described_without_calling_their_methods(tmp_path: Path, receiver: Receiver) -> None:
    program = """
        import json
        import traced_bad_values

        looks = traced_bad_values.look_at_shy()
        print(json.dumps([looks, traced_bad_values.Shy.looks]))
        """
    bare = programs.run(program, tmp_path / "bare", path=[pods.BARE])
    ended = programs.run(program, tmp_path / "ours", receiver.environment() | programs.RAISE)

    assert ended.printed == bare.printed
    assert [span.name for span in receiver.spans() if span.name.startswith("workflow ")]
