"""Standard variables whose value can't be used: one line each, and nothing of it reaches OpenTelemetry's SDK."""

import contextlib
import os
import threading
from pathlib import Path

import pytest

from otel_flyte.config import standard
from otel_flyte.config.standard import sampled_out, unusable, usable, usable_only
from support import programs

WRONG = {
    "OTEL_BSP_SCHEDULE_DELAY": ("x", "is no whole number from 1 up: 1000 is used."),
    "OTEL_BSP_EXPORT_TIMEOUT": ("1.5", "is no whole number from 1 up: 30000 is used."),
    "OTEL_BSP_MAX_QUEUE_SIZE": ("0", "is no whole number from 1 up: 32768 is used."),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ("-1", "is no whole number from 1 up: 512 is used."),
    "OTEL_BLRP_SCHEDULE_DELAY": ("1e3", "is no whole number from 1 up: 1000 is used."),
    "OTEL_BLRP_MAX_QUEUE_SIZE": ("many", "is no whole number from 1 up: 32768 is used."),
    "OTEL_TRACES_SAMPLER": (
        "alwayson",
        (
            "is not one of always_on, always_off, parentbased_always_on, parentbased_always_off, traceidratio, "
            "parentbased_traceidratio: parentbased_always_on is used."
        ),
    ),
    "OTEL_EXPORTER_OTLP_COMPRESSION": ("zip", "is not one of none, gzip, deflate: none is used."),
    "OTEL_EXPORTER_OTLP_TIMEOUT": ("ten", "is no number above 0: 10 is used."),
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": ("-1", "is no number above 0: that of OTEL_EXPORTER_OTLP_TIMEOUT is used."),
    "OTEL_EXPORTER_OTLP_CERTIFICATE": (
        "/no/such/file",
        "can't be read (No such file or directory): the system's certificates are used.",
    ),
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": ("/no/such/file", "can't be read (No such file or directory): none is used."),
    "OTEL_EXPORTER_OTLP_INSECURE": ("ture", "is neither true nor false: what the endpoint's scheme says is used."),
    "OTEL_METRIC_EXPORT_INTERVAL": ("0", "is no number above 0: 60000 is used."),
    "OTEL_METRIC_EXPORT_TIMEOUT": ("nan", "is no number above 0: 30000 is used."),
    "OTEL_METRICS_EXEMPLAR_FILTER": (
        "sometimes",
        "is not one of always_on, always_off, trace_based: trace_based is used.",
    ),
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": (
        "dleta",
        "is not one of cumulative, delta, lowmemory: cumulative is used.",
    ),
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": (
        "exponential",
        (
            "is not one of explicit_bucket_histogram, base2_exponential_bucket_histogram: "
            "explicit_bucket_histogram is used."
        ),
    ),
    "OTEL_SPAN_EVENT_COUNT_LIMIT": ("-1", "is no whole number from 0 up: 128 is used."),
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": ("lots", "is no whole number from 0 up: 128 is used."),
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": ("long", "is no whole number from 0 up: no limit is used."),
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": ("x", "is no whole number from 0 up: 128 is used."),
    "OTEL_SDK_DISABLED": ("ture", "is neither true nor false: false is used."),
}
WRONG_NAMES = {
    "OTEL_PYTHON_ID_GENERATOR": ("xray", "names no id generator that is installed here", "flyte is used."),
    "OTEL_PYTHON_TRACER_PROVIDER": ("mine", "names no tracer provider that is installed here", "none is used."),
    "OTEL_PROPAGATORS": (
        "tracecontext,b4",
        "names no propagator that is installed here by b4",
        "the others are used.",
    ),
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": (
        "proces",
        "names no detector that is installed here",
        "the SDK's own is used.",
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


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_can_not_be_used_is_said_with_what_is_used_instead(name: str) -> None:
    value, line = WRONG[name]
    common = {"OTEL_EXPORTER_OTLP_TIMEOUT": "7"} if "LOGS" in name else {}

    assert unusable({name: value, **common}) == {name: f"{name}={value} {line}"}


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_name_that_is_not_installed_is_said_with_those_that_are(name: str) -> None:
    value, wrong, instead = WRONG_NAMES[name]
    line = unusable({name: value})[name]

    assert line.startswith(f"{name}={value} {wrong} (installed: ")
    assert line.endswith(instead)


@pytest.mark.parametrize("name", WRONG_ENTRIES)
def test_an_entry_of_a_list_is_named_by_its_position_and_the_others_are_used(name: str) -> None:
    given = WRONG_ENTRIES[name]

    assert unusable({name: given}) == {name: f"{name}: entry 2 is no key=value: the others are used."}
    assert usable({name: given}) == {name: given.partition(",")[0]}


@pytest.mark.parametrize("value", ["", "half", "1.5", "-0.1", "nan"])
def test_a_sampler_without_the_share_that_it_needs_records_all(value: str) -> None:
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": value}
    line = f"OTEL_TRACES_SAMPLER_ARG={value} is no number from 0 to 1: 1.0 is used."

    assert unusable(environ) == ({"OTEL_TRACES_SAMPLER_ARG": line} if value else {})
    assert usable(environ)["OTEL_TRACES_SAMPLER_ARG"] == "1.0"


def test_an_argument_that_no_sampler_asks_for_is_nobodys_business() -> None:
    assert unusable({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "endpoint=x"}) == {}


@pytest.mark.parametrize("batch", ["BSP", "BLRP"])
@pytest.mark.parametrize(("size", "of"), [({}, "512"), ({"OTEL_*_MAX_EXPORT_BATCH_SIZE": "200"}, "200")])
def test_batches_are_no_larger_than_the_queue(batch: str, size: dict[str, str], of: str) -> None:
    queue = f"OTEL_{batch}_MAX_QUEUE_SIZE"
    environ = {queue: "100", **{name.replace("*", batch): value for name, value in size.items()}}

    assert unusable(environ) == {queue: f"{queue}=100 is less than a batch of {of}: batches of 100 are sent."}
    assert usable(environ)[f"OTEL_{batch}_MAX_EXPORT_BATCH_SIZE"] == "100"


@pytest.mark.parametrize("environ", [{}, RIGHT, BLANK, {"PATH": "/bin"}])
def test_nothing_is_said_of_what_is_right_or_blank(environ: dict[str, str]) -> None:
    assert unusable(environ) == {}


@pytest.mark.parametrize(
    ("sampler", "argument", "line"),
    [
        ("always_off", "", "OTEL_TRACES_SAMPLER=always_off records no span"),
        ("traceidratio", "0", "OTEL_TRACES_SAMPLER=traceidratio with OTEL_TRACES_SAMPLER_ARG=0 records no span"),
        (
            "parentbased_always_off",
            "",
            "OTEL_TRACES_SAMPLER=parentbased_always_off records no span but those below a sampled TRACEPARENT",
        ),
        ("always_on", "", ""),
        ("traceidratio", "0.1", ""),
        ("traceidratio", "none", ""),
        ("always_of", "", ""),
        ("", "", ""),
    ],
)
def test_a_sampler_that_records_nothing_is_told(sampler: str, argument: str, line: str) -> None:
    assert sampled_out({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}) == line


# --- what the SDK reads ----------------------------------------------------------------------------------------------

USE_THE_SDK = """
    import json
    import logging
    import os
    import sys

    from otel_flyte.config.standard import usable_only

    given = dict(os.environ)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    with usable_only():
        from opentelemetry import trace
        from opentelemetry._logs import set_logger_provider
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        trace.get_tracer_provider()
        spans = TracerProvider()
        spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
        LoggerProvider().add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    assert dict(os.environ) == given
    from opentelemetry import propagate

    fields = propagate.get_global_textmap().fields
    print(json.dumps([spans.sampler.get_description(), spans.resource.attributes.get("team"), "traceparent" in fields]))
    sys.stdout.flush()
    os._exit(0)
"""


def test_the_sdk_has_nothing_to_say_where_it_is_kept_from_what_is_wrong(tmp_path: Path) -> None:
    ended = programs.run(USE_THE_SDK, tmp_path, ALL_WRONG)

    assert ended.said[1:] == ["vision", True]
    assert ended.said[0].startswith("ParentBased{root:AlwaysOnSampler")
    assert ended.stderr == ""


def test_the_sdk_takes_all_that_is_right(tmp_path: Path) -> None:
    ended = programs.run(USE_THE_SDK, tmp_path, RIGHT)

    assert ended.said[1:] == ["vision", True]
    assert ended.said[0].startswith("ParentBased{root:TraceIdRatioBased{0.25}")
    assert ended.stderr == ""


def test_the_environment_is_restored_exactly_whatever_happens_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "x")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    given = dict(os.environ)

    with contextlib.suppress(RuntimeError), usable_only():
        assert "OTEL_BSP_SCHEDULE_DELAY" not in os.environ
        assert os.environ["OTEL_TRACES_SAMPLER_ARG"] == "1.0"
        with usable_only():
            assert "OTEL_BSP_SCHEDULE_DELAY" not in os.environ
        assert "OTEL_BSP_SCHEDULE_DELAY" not in os.environ
        raise RuntimeError

    assert dict(os.environ) == given


def test_threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "x")
    seen: list[str | None] = []

    def read() -> None:
        with usable_only():
            seen.append(os.environ.get("OTEL_BSP_SCHEDULE_DELAY"))

    with usable_only():
        other = threading.Thread(target=read)
        other.start()
        other.join(0.05)
        assert seen == []
    other.join()

    assert seen == [None]
    assert os.environ["OTEL_BSP_SCHEDULE_DELAY"] == "x"
