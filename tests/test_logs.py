"""Log records of a task arrive with the ids of their span, and its console output is unchanged."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flytekit import loggers

from otel_flyte import semconv
from otel_flyte.logs import records
from support import pods, programs, receiver, runs
from support.receiver import Receiver
from support.runs import Run, Runs, Scenario

VALUE = {"value": 3}
JSON_OFF = {"FLYTE_SDK_LOGGING_FORMAT": "plain"}
AS_LOGS = {semconv.EXCEPTION_SIGNAL: "http,logs"}
AS_BOTH = {semconv.EXCEPTION_SIGNAL: "logs, logs/dup"}
NO_LOGS = {"OTEL_LOGS_EXPORTER": "none"}

LAUNCHED = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}


def launched(pod: pods.Pod) -> pods.Pod:
    return replace(pod, arguments=(str(pods.SCRIPTS / "opentelemetry-instrument"), *pod.arguments))


SCENARIOS: dict[str, Scenario] = {
    "log": runs.pod("traced_logs.log", VALUE),
    "of all kinds": runs.pod("traced_logs.log_of_all_kinds", VALUE),
    "handler of the user": runs.pod("traced_logs.log_by_ones_own_handler", VALUE),
    "launched": runs.pod("traced_logs.log", VALUE, env=LAUNCHED, change=launched),
    "async": runs.pod("traced_logs.log_async", VALUE),
    "map": runs.pod(
        "traced_logs.log_async",
        lambda: pods.inputs_pb({"value": [3]}, {"value": list[int]}),
        entrypoint="map",
        attempt=pods.Attempt(array_index=0),
    ),
    "local": runs.local("traced_logs.py", "logged", value=3),
    "local, eager": runs.local("traced_logs.py", "log_eager", value=3),
    "no logs": runs.pod("traced_logs.log", VALUE, env=NO_LOGS),
    "logs only": runs.pod("traced_logs.log", VALUE, env={"OTEL_TRACES_EXPORTER": "none"}),
    "exception": runs.pod("traced_logs.fail", VALUE),
    "exception as logs": runs.pod("traced_logs.fail", VALUE, env=AS_LOGS),
    "exception as both": runs.pod("traced_logs.fail", VALUE, env=AS_BOTH),
    "exception as logs without a log exporter": runs.pod("traced_logs.fail", VALUE, env=AS_LOGS | NO_LOGS),
}


ran = runs.fixture(SCENARIOS)


class Record(NamedTuple):
    """A log record as in OTLP: its body, its attributes and those of its resource."""

    body: str
    severity: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    event: str


def logs(run: Run) -> list[Record]:
    """Return all log records except those of pending spans."""
    return [
        Record(
            record.body.string_value,
            record.severity_text,
            record.trace_id.hex(),
            record.span_id.hex(),
            attributes := receiver._attributes(record.attributes),
            receiver._attributes(of_resource.resource.attributes),
            getattr(record, "event_name", "") or attributes.get(semconv.EVENT_NAME, ""),
        )
        for request in run.requests
        if request.signal == "logs"
        for of_resource in request.message.resource_logs
        for of_scope in of_resource.scope_logs
        for record in of_scope.log_records
        if semconv.PHASE not in receiver._attributes(record.attributes)
    ]


def the(run: Run, body: str) -> Record:
    [found] = [record for record in logs(run) if record.body == body]
    return found


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# --- received records ------------------------------------------------------------------------------------------------


def test_records_of_every_logger_in_a_pod_have_the_ids_of_their_span(ran: Runs) -> None:
    run = ran("log")
    user_code, mine = run.named("user code"), run.named("mine")

    assert [(record.body, record.severity, record.span_id) for record in logs(run)] == [
        ("to the user's logger: 3", "INFO", user_code.span_id),
        ("to flytekit's", "ERROR", user_code.span_id),
        ("to a logger of one's own", "WARN", mine.span_id),
        ("it failed", "ERROR", user_code.span_id),
    ]
    assert {record.trace_id for record in logs(run)} == {run.attempt.trace_id}


def test_a_record_has_the_identity_of_its_attempt(ran: Runs) -> None:
    record = logs(ran("log"))[0]

    assert record.attributes[semconv.TASK_NAME] == "traced_logs.log"
    assert record.resource[semconv.RUN_NAME] == pods.Attempt().execution
    assert record.resource[semconv.ACTION_NAME] == "n0"
    assert record.resource[semconv.ATTEMPT] == 0
    assert logs(ran("map"))[0].resource[semconv.ARRAY_INDEX] == 0


def test_a_record_has_its_code_location_and_its_extra_attributes(ran: Runs) -> None:
    attributes = the(ran("log"), "to a logger of one's own").attributes

    assert attributes[semconv.CODE_FUNCTION_NAME] == "log"
    assert attributes[semconv.CODE_FILE_PATH].endswith("traced_logs.py")
    assert attributes[semconv.CODE_LINE_NUMBER] > 0
    assert (attributes["rows"], attributes["table"]) == (3, "spam")
    assert attributes["odd"].startswith("{'a'")


def test_a_logged_exception_has_its_stack_trace(ran: Runs) -> None:
    attributes = the(ran("log"), "it failed").attributes

    assert attributes[semconv.EXCEPTION_TYPE] == "ValueError"
    assert attributes[semconv.EXCEPTION_MESSAGE] == "loss is not finite"
    assert "in log\n" in attributes[semconv.EXCEPTION_STACKTRACE]
    assert "otel_flyte" not in attributes[semconv.EXCEPTION_STACKTRACE]


@pytest.mark.parametrize("name", ["async", "map", "local, eager"])
def test_records_of_coroutines_have_their_own_spans(name: str, ran: Runs) -> None:
    run = ran(name)

    assert [the(run, f"step {n}").span_id for n in (1, 2)] == [run.named(f"step {n}").span_id for n in (1, 2)]


def test_records_of_an_eager_task_belong_to_its_user_code(ran: Runs) -> None:
    run = ran("local, eager")
    eager = next(task for task in run.tasks if task.name.endswith("log_eager"))

    assert the(run, "eager").span_id in {phase.span_id for phase in run.phases(eager)}


def test_records_of_a_local_run_have_their_own_task(ran: Runs) -> None:
    run = ran("local")
    record = the(run, "to a logger of one's own")

    assert record.attributes[semconv.TASK_NAME] == "traced_logs.log"
    assert record.span_id == run.named("mine").span_id


def test_records_of_a_thread_without_context_belong_to_the_phase_that_started_it(ran: Runs) -> None:
    run = ran("of all kinds")

    assert the(run, "in a thread").span_id == run.named("user code").span_id


def test_records_of_a_forked_child_belong_to_the_phase_that_forked_it(ran: Runs) -> None:
    run = ran("of all kinds")

    assert the(run, "in a forked child").span_id == run.named("user code").span_id


def test_records_arrive_with_any_logging_configuration_of_a_task(ran: Runs) -> None:
    bodies = [record.body for record in logs(ran("of all kinds"))]

    assert "after a configuration" in bodies
    assert "by a logger that does not propagate" in bodies
    assert "console after a configuration" in ran("of all kinds").result.stderr


def test_unusual_messages_arrive_and_are_cut(ran: Runs) -> None:
    run = ran("of all kinds")
    longest = max((record.body for record in logs(run)), key=len)

    assert run.pod.outputs is not None, run.pod.stderr
    assert len(longest) == records.BODY_LIMIT
    assert longest.endswith("…")
    assert the(run, "%d arguments")
    assert the(run, "half a character ?")
    assert the(run, "an exception as message")


def test_records_of_opentelemetry_itself_are_not_exported(ran: Runs) -> None:
    assert "of the SDK" not in [record.body for record in logs(ran("of all kinds"))]


def test_records_outside_of_tasks_are_not_exported(ran: Runs) -> None:
    assert "while it is loaded" not in [record.body for record in logs(ran("log"))]


def test_a_handler_of_the_user_replaces_ours(ran: Runs) -> None:
    assert [record.body for record in logs(ran("handler of the user"))] == ["once", "again"]


def test_under_the_launcher_each_record_arrives_once(ran: Runs) -> None:
    assert sorted(record.body for record in logs(ran("launched"))) == sorted(record.body for record in logs(ran("log")))


def test_console_lines_have_ids_without_a_log_exporter(ran: Runs) -> None:
    run = ran("no logs")

    assert {request.signal for request in run.requests} == {"traces", "metrics"}
    assert {line["span_id"] for line in json_lines(run.result.stderr)} == {run.named("user code").span_id}


def test_logs_can_be_exported_alone(ran: Runs) -> None:
    run = ran("logs only")

    assert run.spans == []
    assert len(logs(run)) == 4
    assert logs(run)[0].attributes[semconv.TASK_NAME] == "traced_logs.log"


# --- the console -----------------------------------------------------------------------------------------------------

SCHEMES = {"json": {}, "plain": JSON_OFF, "rich": {"FLYTE_SDK_RICH_TRACEBACKS": "1"}}


def console(receiver: Receiver, root: Path, task: str, env: dict[str, str], *, bare: bool) -> str:
    result = pods.execute(root, task, VALUE, env=receiver.environment() | env, bare=bare)
    assert result.outputs is not None, result.stderr
    return re.sub(r'(?<="asctime": ")[^"]+|object at 0x\w+', "(changes)", result.stderr.replace(str(root), ""))


@pytest.mark.parametrize("task", ["log", "log_in_unconfigured_program"])
def test_console_lines_that_are_not_json_are_unchanged(task: str, receiver: Receiver, tmp_path: Path) -> None:
    bare, traced = (
        console(receiver, tmp_path / str(bare), f"traced_logs.{task}", JSON_OFF, bare=bare) for bare in (True, False)
    )

    assert bare == traced
    assert len(bare.splitlines()) > 1
    assert receiver.logs()


def test_flytekits_json_lines_gain_only_the_ids(receiver: Receiver, tmp_path: Path) -> None:
    bare, traced = (
        json_lines(console(receiver, tmp_path / str(bare), "traced_logs.log", {}, bare=bare)) for bare in (True, False)
    )
    [user_code] = receiver.spans("user code")
    ids = {"trace_id": user_code.trace_id, "span_id": user_code.span_id}

    assert [line["message"] for line in bare] == ["to the user's logger: 3", "to flytekit's"]
    assert traced == [line | ids for line in bare]


# --- exceptions ------------------------------------------------------------------------------------------------------


def exceptions(run: Run) -> list[Record]:
    return [record for record in logs(run) if record.event == semconv.EVENT_EXCEPTION]


def test_an_exception_is_an_event_of_its_span_by_default(ran: Runs) -> None:
    run = ran("exception")

    assert [event.name for event in run.named("user code").events] == [semconv.EVENT_EXCEPTION]
    assert exceptions(run) == []


@pytest.mark.parametrize(("name", "events"), [("exception as logs", 0), ("exception as both", 1)])
def test_an_exception_is_a_log_record_of_its_span_if_configured(name: str, events: int, ran: Runs) -> None:
    run = ran(name)
    [record] = exceptions(run)

    assert len(run.named("user code").events) == events
    assert record.span_id == run.named("user code").span_id
    assert (record.severity, record.body) == ("ERROR", "ArithmeticError: the loss diverged after 3 epochs")
    assert record.attributes[semconv.EXCEPTION_TYPE] == "ArithmeticError"
    assert record.attributes[semconv.TASK_NAME] == "traced_logs.fail"
    assert "in fail\n" in record.attributes[semconv.EXCEPTION_STACKTRACE]
    assert run.named("user code").status == "ERROR"


def test_an_exception_is_an_event_if_logs_are_not_exported(ran: Runs) -> None:
    run = ran("exception as logs without a log exporter")

    assert [event.name for event in run.named("user code").events] == [semconv.EVENT_EXCEPTION]


# --- other providers, and restoring ----------------------------------------------------------------------------------

PROGRAM = """
    import json, logging
    import flytekit, otel_flyte
    from flytekit import loggers
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk._logs import LoggerProvider
    try:
        from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter as Exporter
    except ImportError:
        from opentelemetry.sdk._logs.export import InMemoryLogExporter as Exporter
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

    class Watching(Exporter):
        def export(self, batch):
            logging.getLogger("urllib3").warning("while sending")
            return super().export(batch)

    exporter, provider = Watching(), LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))

    @flytekit.task
    def log(text: str) -> str:
        logging.getLogger("users.own").warning(text)
        flytekit.current_context().logging.warning(text)
        return text

    def bodies():
        return [each.log_record.body for each in exporter.get_finished_logs()]
"""


def test_a_provider_argument_receives_records_of_tasks_but_not_of_the_export(tmp_path: Path) -> None:
    program = """
        otel_flyte.instrument(tracer_provider=TracerProvider(), logger_provider=provider)
        logging.warning("outside")
        log(text="inside")
        print(json.dumps(bodies()))
    """
    ended = programs.run(programs.joined(PROGRAM, program), tmp_path, programs.RAISE, forked=True)

    assert ended.printed == ["inside", "inside"]
    assert "Traceback" not in ended.stderr


def test_a_failing_provider_affects_no_task(tmp_path: Path) -> None:
    program = """
        class Broken(LoggerProvider):
            def get_logger(self, *args, **kwargs):
                raise RuntimeError("no licence")

        otel_flyte.instrument(tracer_provider=TracerProvider(), logger_provider=Broken())
        print(json.dumps(log(text="inside")))
    """
    ended = programs.run(programs.joined(PROGRAM, program), tmp_path, forked=True)

    assert ended.printed == "inside"
    assert len(ended.our_lines) == 1


def test_a_propagator_that_is_not_installed_affects_no_record(receiver: Receiver, tmp_path: Path) -> None:
    program = """
        import flytekit
        import json
        import logging

        @flytekit.task
        def log(text: str) -> str:
            logging.getLogger("users.own").warning(text)
            return text

        print(json.dumps(log(text="inside")))
    """
    env = {**receiver.environment(), **programs.RAISE, "OTEL_PROPAGATORS": "bogus"}
    ended = programs.run(program, tmp_path, env)

    assert ended.printed == "inside"
    assert [record.body for record in receiver.logs()] == ["inside"]
    [line] = ended.our_lines
    assert "OTEL_PROPAGATORS=bogus is not installed" in line


def test_uninstrument_restores_logging_and_the_formatters_of_flytekit(tmp_path: Path) -> None:
    program = """
        formatters = [handler.formatter for logger in (loggers.logger, loggers.user_space_logger)
                      for handler in logger.handlers]
        def state():
            return [dict(vars(formatter)) for formatter in formatters], list(logging.getLogger().handlers)

        before, plain = state(), logging.Logger.callHandlers.__wrapped__
        otel_flyte.instrument(tracer_provider=TracerProvider(), logger_provider=provider)
        log(text="inside")
        changed = state() != before
        otel_flyte.uninstrument()
        log(text="afterwards")
        print(json.dumps([changed, state() == before, logging.Logger.callHandlers is plain, bodies()]))
    """
    env = {"FLYTE_SDK_RICH_TRACEBACKS": "0", **programs.RAISE}
    ended = programs.run(programs.joined(PROGRAM, program), tmp_path, env, forked=True)

    assert ended.printed == [True, True, True, ["inside", "inside"]]


def test_the_watched_loggers_are_those_of_flytekit() -> None:
    from otel_flyte.adapters.flytekit_v1 import task_logs

    named = {each.name for each in vars(loggers).values() if isinstance(each, logging.Logger)}

    assert named == set(task_logs.LOGGERS)
