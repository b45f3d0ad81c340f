"""Invalid values of standard variables: each is reported in one line, and never reaches OpenTelemetry's SDK."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from opentelemetry.sdk import resources

from otel_flyte.config import standard
from otel_flyte.config.standard import sampled_out, unusable, usable
from otel_flyte.sdk import user_tracers
from otel_flyte.sdk.arguments import usable_environment
from support import programs
from support.receiver import Receiver

pytestmark = pytest.mark.quick

WRONG = {
    "OTEL_BSP_SCHEDULE_DELAY": ("x", "must be a positive integer: 1000 is used"),
    "OTEL_BSP_EXPORT_TIMEOUT": ("1.5", "must be a positive integer: 30000 is used"),
    "OTEL_BSP_MAX_QUEUE_SIZE": ("0", "must be a positive integer: 32768 is used"),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ("-1", "must be a positive integer: 512 is used"),
    "OTEL_BLRP_SCHEDULE_DELAY": ("1e3", "must be a positive integer: 1000 is used"),
    "OTEL_BLRP_MAX_QUEUE_SIZE": ("many", "must be a positive integer: 32768 is used"),
    "OTEL_TRACES_SAMPLER": (
        "alwayson",
        (
            "must be one of always_on, always_off, parentbased_always_on, parentbased_always_off, traceidratio, "
            "parentbased_traceidratio: parentbased_always_on is used"
        ),
    ),
    "OTEL_EXPORTER_OTLP_COMPRESSION": ("zip", "must be one of none, gzip, deflate: none is used"),
    "OTEL_EXPORTER_OTLP_TIMEOUT": ("ten", "must be a positive number: 10 is used"),
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": ("-1", "must be a positive number: OTEL_EXPORTER_OTLP_TIMEOUT is used"),
    "OTEL_EXPORTER_OTLP_CERTIFICATE": (
        "/no/such/file",
        "can't be read (No such file or directory): the system's certificate store is used",
    ),
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": (
        "/no/such/file",
        "can't be read (No such file or directory): no client key is used",
    ),
    "OTEL_EXPORTER_OTLP_INSECURE": ("ture", "must be true or false: the endpoint's scheme is used"),
    "OTEL_METRIC_EXPORT_INTERVAL": ("0", "must be a positive number: 60000 is used"),
    "OTEL_METRIC_EXPORT_TIMEOUT": ("nan", "must be a positive number: 30000 is used"),
    "OTEL_METRICS_EXEMPLAR_FILTER": (
        "sometimes",
        "must be one of always_on, always_off, trace_based: trace_based is used",
    ),
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": (
        "dleta",
        "must be one of cumulative, delta, lowmemory: cumulative is used",
    ),
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": (
        "exponential",
        (
            "must be one of explicit_bucket_histogram, base2_exponential_bucket_histogram: "
            "explicit_bucket_histogram is used"
        ),
    ),
    "OTEL_SPAN_EVENT_COUNT_LIMIT": ("-1", "must be a non-negative integer: 128 is used"),
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": ("lots", "must be a non-negative integer: 128 is used"),
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": ("long", "must be a non-negative integer: no limit is used"),
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": ("x", "must be a non-negative integer: 128 is used"),
    "OTEL_SDK_DISABLED": ("ture", "must be true or false: false is used"),
}
WRONG_NAMES = {
    "OTEL_PYTHON_ID_GENERATOR": ("xray", "is not installed (installed id generators: ", "flyte is used"),
    "OTEL_PYTHON_TRACER_PROVIDER": ("mine", "is not installed (installed tracer providers: ", "none is used"),
    "OTEL_PROPAGATORS": (
        "tracecontext,b4",
        "contains b4, which is not installed (installed propagators: ",
        "the others are used",
    ),
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": (
        "proces",
        "is not installed (installed resource detectors: ",
        "the SDK's default is used",
    ),
}
WRONG_ENTRIES = {
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20token,s3cret",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x=1,s3cret",
    "OTEL_RESOURCE_ATTRIBUTES": "team=vision,s3cret",
}
ALL_WRONG = (
    {name: value for name, (value, _) in WRONG.items()}
    | {name: value for name, (value, _, _) in WRONG_NAMES.items()}
    | WRONG_ENTRIES
    | {"OTEL_SDK_DISABLED": ""}
)

RIGHT = {
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_BSP_MAX_QUEUE_SIZE": " 4096 ",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096",
    "OTEL_BLRP_EXPORT_TIMEOUT": "10000",
    "OTEL_TRACES_SAMPLER": "ParentBased_TraceIdRatio",
    "OTEL_TRACES_SAMPLER_ARG": "0.25",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer token,x-team=a%20b,",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": __file__,
    "OTEL_EXPORTER_OTLP_INSECURE": "True",
    "OTEL_RESOURCE_ATTRIBUTES": "team=vision,url=http://a/?b=c,blank=",
    "OTEL_METRIC_EXPORT_INTERVAL": "1500.5",
    "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "DELTA",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram",
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "0",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process,otel",
    "OTEL_PROPAGATORS": "tracecontext, baggage",
    "OTEL_PYTHON_ID_GENERATOR": "random",
    "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider",
    "OTEL_SDK_DISABLED": "FALSE",
}
BLANK = dict.fromkeys(standard.VARIABLES, " ")


# --- reported lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_standard_value_is_reported_with_its_replacement(name: str) -> None:
    value, line = WRONG[name]
    common = {"OTEL_EXPORTER_OTLP_TIMEOUT": "7"} if "LOGS" in name else {}

    assert unusable({name: value, **common}) == {name: f"{name}={value} {line}"}


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_name_that_is_not_installed_is_reported_with_the_installed_ones(name: str) -> None:
    value, wrong, instead = WRONG_NAMES[name]
    line = unusable({name: value})[name]

    assert line.startswith(f"{name}={value} {wrong}")
    assert line.endswith(instead)


@pytest.mark.parametrize("name", WRONG_ENTRIES)
def test_an_invalid_list_entry_is_reported_by_its_position_and_others_are_used(name: str) -> None:
    given = WRONG_ENTRIES[name]

    assert unusable({name: given}) == {name: f"{name}: entry 2 must be key=value: the other entries are used"}
    assert usable({name: given}) == {name: given.partition(",")[0]}


@pytest.mark.parametrize("value", ["", "half", "1.5", "-0.1", "nan"])
def test_a_sampler_without_its_argument_records_everything(value: str) -> None:
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": value}
    line = f"OTEL_TRACES_SAMPLER_ARG={value} must be a number from 0 to 1: 1.0 is used"

    assert unusable(environ) == ({"OTEL_TRACES_SAMPLER_ARG": line} if value else {})
    assert usable(environ)["OTEL_TRACES_SAMPLER_ARG"] == "1.0"


def test_an_argument_without_a_sampler_is_ignored() -> None:
    assert unusable({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "endpoint=x"}) == {}


@pytest.mark.parametrize("batch", ["BSP", "BLRP"])
@pytest.mark.parametrize(("size", "of"), [({}, "512"), ({"OTEL_*_MAX_EXPORT_BATCH_SIZE": "200"}, "200")])
def test_batches_are_no_larger_than_the_queue(batch: str, size: dict[str, str], of: str) -> None:
    queue = f"OTEL_{batch}_MAX_QUEUE_SIZE"
    environ = {queue: "100", **{name.replace("*", batch): value for name, value in size.items()}}

    assert unusable(environ) == {queue: f"{queue}=100 is less than the batch size {of}: the batch size 100 is used"}
    assert usable(environ)[f"OTEL_{batch}_MAX_EXPORT_BATCH_SIZE"] == "100"


@pytest.mark.parametrize("environ", [{}, RIGHT, BLANK, {"PATH": "/bin"}])
def test_valid_and_blank_values_are_not_reported(environ: dict[str, str]) -> None:
    assert unusable(environ) == {}


@pytest.mark.parametrize(
    ("sampler", "argument", "line"),
    [
        ("always_off", "", "OTEL_TRACES_SAMPLER=always_off records no spans"),
        ("traceidratio", "0", "OTEL_TRACES_SAMPLER=traceidratio with OTEL_TRACES_SAMPLER_ARG=0 records no spans"),
        (
            "parentbased_always_off",
            "",
            "OTEL_TRACES_SAMPLER=parentbased_always_off records only spans below a sampled TRACEPARENT",
        ),
        ("always_on", "", ""),
        ("traceidratio", "0.1", ""),
        ("traceidratio", "none", ""),
        ("always_of", "", ""),
        ("", "", ""),
    ],
)
def test_a_sampler_that_records_nothing_is_reported(sampler: str, argument: str, line: str) -> None:
    assert sampled_out({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}) == line


# --- values that reach the SDK ---------------------------------------------------------------------------------------

CREATE_PROVIDERS = """
    import json
    import logging
    import os
    import sys

    writes = []
    sys.addaudithook(lambda event, _: writes.append(event) if event in ("os.putenv", "os.unsetenv") else None)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)

    from otel_flyte.sdk import lazy_loggers, lazy_meters, traces

    spans = traces.create_provider()
    lazy_meters.set_provider()
    lazy_loggers.set_provider()

    from opentelemetry import _logs, metrics

    metrics.get_meter_provider().get_meter("here").create_counter("counted").add(1)
    _logs.get_logger_provider().get_logger("here")
    assert metrics.get_meter_provider().is_made and _logs.get_logger_provider().is_made
    # The import reads the variable: it fails by a wrong value that is not kept from it.
    propagate = sys.modules.get("opentelemetry.propagate")
    propagated = None if propagate is None else sorted(propagate.get_global_textmap().fields)
    print(json.dumps({
        "sampler": spans.sampler.get_description(),
        "team": spans.resource.attributes.get("team"),
        "attributes": spans._span_limits.max_span_attributes,
        "writes": writes,
        "propagated": propagated,
    }))
    sys.stdout.flush()
    os._exit(0)
"""
EXPORTERS = {
    **{f"OTEL_{signal}_EXPORTER": "console,otlp" for signal in ("TRACES", "METRICS", "LOGS")},
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
}


def imported(*fields: str) -> list[str] | None:
    """Return the fields of the propagators, which the instrumentation of threads imports where it is used."""
    return None if user_tracers._needs_pkg_resources() else list(fields)


def test_invalid_values_never_reach_the_sdk(tmp_path: Path) -> None:
    ended = programs.run(CREATE_PROVIDERS, tmp_path, EXPORTERS | ALL_WRONG)

    assert ended.stderr == ""
    assert ended.printed["sampler"].startswith("ParentBased{root:AlwaysOnSampler")
    assert ended.printed | {"sampler": ""} == {
        "sampler": "",
        "team": "vision",
        "attributes": 128,
        "writes": [],
        "propagated": imported("baggage", "traceparent", "tracestate"),
    }


def test_the_propagators_are_not_imported_where_threads_are_not_instrumented(tmp_path: Path) -> None:
    env = {**EXPORTERS, **ALL_WRONG, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "urllib, threading"}
    ended = programs.run(CREATE_PROVIDERS, tmp_path, env)

    assert (ended.stderr, ended.printed["propagated"]) == ("", None)


def test_valid_values_reach_the_sdk(tmp_path: Path) -> None:
    env = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "7", "OTEL_PROPAGATORS": " tracecontext"}
    ended = programs.run(CREATE_PROVIDERS, tmp_path, EXPORTERS | RIGHT | env)

    assert ended.stderr == ""
    assert ended.printed["sampler"].startswith("ParentBased{root:TraceIdRatioBased{0.25}")
    assert (ended.printed["team"], ended.printed["writes"]) == ("vision", [])
    assert ended.printed["propagated"] == imported("traceparent", "tracestate")


SAMPLERS_OF_OTHERS = """
    from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

    class Keep(Sampler):
        def __init__(self, argument):
            self.argument = argument

        def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
            kept = name == self.argument
            return SamplingResult(Decision.RECORD_AND_SAMPLE if kept else Decision.DROP)

        def get_description(self):
            return f"Keep{{{self.argument!r}}}"

    def keep(argument):
        return Keep(argument)

    def broken(argument):
        raise ValueError(f"no rule {argument}\\nin the file")

    def odd(argument):
        return 3
"""


def samplers_of_others(folder: Path) -> Path:
    entry_points = {name: name for name in ("keep", "broken", "odd")} | {
        "my_traceidratio": "keep",
        "gone": "gone",
        "not_here.always_off": "keep",
    }
    return programs.distribution(
        folder, "samplers_of_others", SAMPLERS_OF_OTHERS, {standard.SAMPLER_GROUP: entry_points}
    )


@pytest.mark.parametrize(
    ("sampler", "argument", "description"),
    [
        ("keep", "endpoint=x,rate=3", "Keep{'endpoint=x,rate=3'}"),
        (" keep ", None, "Keep{None}"),
        ("my_traceidratio", "half", "Keep{'half'}"),
        ("not_here.always_off", None, "Keep{None}"),
    ],
)
def test_an_installed_sampler_is_used(sampler: str, argument: str | None, description: str, tmp_path: Path) -> None:
    environ = {"OTEL_TRACES_SAMPLER": sampler} | ({"OTEL_TRACES_SAMPLER_ARG": argument} if argument else {})
    path = [samplers_of_others(tmp_path / "others")]
    ended = programs.run(CREATE_PROVIDERS, tmp_path, EXPORTERS | environ, path=path)

    assert ended.stderr == ""
    assert ended.printed["sampler"] == description


@pytest.mark.parametrize(
    ("sampler", "reason"),
    [
        ("broken", "no rule 7"),
        ("odd", "int is no Sampler"),
        ("gone", "module 'samplers_of_others' has no attribute 'gone'"),
    ],
)
def test_an_installed_sampler_that_fails_is_one_line(sampler: str, reason: str, tmp_path: Path) -> None:
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "7"}
    path = [samplers_of_others(tmp_path / "others")]
    ended = programs.run(CREATE_PROVIDERS, tmp_path, EXPORTERS | environ, path=path)

    line = f"OTEL_TRACES_SAMPLER={sampler} can't be loaded ({reason}): parentbased_always_on is used"
    assert ended.stderr.splitlines() == [f"WARNING:otel_flyte:otel-flyte: {line}"]
    assert ended.printed["sampler"].startswith("ParentBased{root:AlwaysOnSampler")


def test_an_unknown_sampler_is_reported_with_the_installed_ones(tmp_path: Path) -> None:
    program = """
        import os
        from otel_flyte.config.standard import unusable
        print("\\n".join(unusable(os.environ).values()))
    """
    path = [samplers_of_others(tmp_path / "others")]
    ended = programs.run(program, tmp_path, {"OTEL_TRACES_SAMPLER": "Keep"}, path=path)

    assert "parentbased_traceidratio, broken, gone, keep, my_traceidratio, " in ended.stdout
    assert ended.stdout.endswith(": parentbased_always_on is used\n")


def test_an_installed_sampler_decides_about_the_spans_of_a_task(receiver: Receiver, tmp_path: Path) -> None:
    program = """
        import flytekit, otel_flyte

        @flytekit.task
        def first() -> int:
            return 1

        @flytekit.task
        def second() -> int:
            return 2

        otel_flyte.instrument()
        first()
        second()
    """
    environ = {"OTEL_TRACES_SAMPLER": "keep", "OTEL_TRACES_SAMPLER_ARG": "task program.second"}
    path = [samplers_of_others(tmp_path / "others")]
    ended = programs.run(program, tmp_path, receiver.environment() | environ | programs.RAISE, path=path)

    assert (ended.returncode, ended.our_lines) == (0, [])
    assert {span.name for span in receiver.spans()} == {"task program.second"}


@pytest.mark.parametrize(("value", "number"), [("7", 7), ("", None), ("0", 0), ("x", 128)])
def test_a_limit_is_used_and_a_blank_one_means_no_limit(value: str, number: int | None, tmp_path: Path) -> None:
    environ = {"OTEL_TRACES_EXPORTER": "console", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": value}

    assert programs.run(CREATE_PROVIDERS, tmp_path, environ).printed["attributes"] == number


def environ_of_the_sdk() -> Mapping[str, str]:
    """The environment that the SDK reads for its resource."""
    environ: Mapping[str, str] = vars(resources)["environ"]
    return environ


def test_the_sdk_reads_usable_values_until_the_last_context_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """One context is inside the other, and one of another thread overlaps with both."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=vision,wrong")
    entered, leave = threading.Event(), threading.Event()

    def overlap() -> None:
        with usable_environment():
            entered.set()
            leave.wait(30)

    other = threading.Thread(target=overlap)
    found = []
    with usable_environment():
        with usable_environment():
            other.start()
            assert entered.wait(30)
        found.append(environ_of_the_sdk().get("OTEL_RESOURCE_ATTRIBUTES"))
    found.append(environ_of_the_sdk().get("OTEL_RESOURCE_ATTRIBUTES"))
    leave.set()
    other.join()

    assert found == ["team=vision"] * 2
    assert environ_of_the_sdk() is os.environ


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_is_forked_while_another_thread_has_a_context_leaves_it() -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with usable_environment():
            entered.set()
            leave.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    assert entered.wait(30)
    child = os.fork()
    if not child:
        os._exit(0 if environ_of_the_sdk() is os.environ else 1)
    leave.set()
    other.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


IMPORT_OF_A_USER = """
    import json

    import otel_flyte.sdk
    from opentelemetry.sdk.trace import SpanLimits

    raised = []
    for use in (SpanLimits, lambda: __import__("opentelemetry.propagate")):
        try:
            use()
        except ValueError as error:
            raised.append(str(error))
    print(json.dumps(raised))
"""


def test_a_users_own_use_of_opentelemetry_is_unchanged(tmp_path: Path) -> None:
    wrong = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "lots", "OTEL_PROPAGATORS": "tracecontext,b4"}
    ended = programs.run(IMPORT_OF_A_USER, tmp_path, wrong)

    assert len(ended.printed) == 2
    assert "b4" in ended.printed[1]


# --- resource detectors ----------------------------------------------------------------------------------------------

DETECTORS_OF_OTHERS = """
    import os

    from opentelemetry.sdk.resources import Resource, ResourceDetector

    class Rack(ResourceDetector):
        def detect(self):
            return Resource({"rack": "r7"})

    class Broken(Rack):
        def __init__(self):
            raise RuntimeError("no rack\\nin the room")

    class Strict(ResourceDetector):
        def __init__(self):
            super().__init__(raise_on_error=True)

        def detect(self):
            raise RuntimeError("no answer")
"""
RESOURCE = """
    import json, logging, sys
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    from otel_flyte.sdk import resource
    found = resource.ours().attributes
    print(json.dumps([found.get("rack"), "process.pid" in found, found.get("team")]))
"""
DETECTORS = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"


def detected(chosen: str, folder: Path) -> tuple[list[object], list[str]]:
    names = {"rack": "Rack", "broken": "Broken", "gone": "Gone", "strict": "Strict"}
    path = programs.distribution(
        folder / "others", "detectors_of_others", DETECTORS_OF_OTHERS, {standard.DETECTOR_GROUP: names}
    )
    environ = {DETECTORS: chosen, "OTEL_RESOURCE_ATTRIBUTES": "team=vision"}
    ended = programs.run(RESOURCE, folder, programs.RAISE | environ, path=[path])
    prefix = "WARNING:otel_flyte:otel-flyte: "
    return ended.printed, [line.removeprefix(prefix) for line in ended.stderr.splitlines()]


@pytest.mark.parametrize("chosen", ["rack,process", "rack, ,process", " rack , process,", "process,rack,otel"])
def test_chosen_resource_detectors_are_used(chosen: str, tmp_path: Path) -> None:
    assert detected(chosen, tmp_path) == (["r7", True, "vision"], [])


UNLOADED = {
    "broken": f"broken of {DETECTORS} can't be loaded (no rack): the other resource detectors are used",
    "gone": (
        f"gone of {DETECTORS} can't be loaded (module 'detectors_of_others' has no attribute 'Gone'): "
        "the other resource detectors are used"
    ),
}


@pytest.mark.parametrize("name", UNLOADED)
def test_a_resource_detector_that_fails_is_one_line_and_others_are_used(name: str, tmp_path: Path) -> None:
    assert detected(f"{name},rack", tmp_path) == (["r7", False, "vision"], [UNLOADED[name]])


def test_a_resource_detector_that_insists_on_its_error_is_one_line(tmp_path: Path) -> None:
    line = f"{DETECTORS}=strict,rack can't be used (no answer): the SDK's default is used"

    assert detected("strict,rack", tmp_path) == ([None, False, "vision"], [line])


@pytest.mark.parametrize("chosen", ["*", "otel,*", "*,process", " * ", "*,*"])
def test_all_resource_detectors_can_be_chosen_in_every_version_of_the_sdk(chosen: str, tmp_path: Path) -> None:
    path = programs.distribution(
        tmp_path / "others", "detectors_of_others", DETECTORS_OF_OTHERS, {standard.DETECTOR_GROUP: {"rack": "Rack"}}
    )
    environ = {DETECTORS: chosen, "OTEL_RESOURCE_ATTRIBUTES": "team=vision"}
    ended = programs.run(RESOURCE, tmp_path, programs.RAISE | environ, path=[path])

    assert (ended.printed, ended.stderr) == (["r7", True, "vision"], "")
