"""Telemetry configured by environment variables: each signal arrives, and each problem is reported in one line."""

import getpass
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.sdk import resource as of_process
from otel_flyte.tasks import identity
from support import pods, programs, receiver, runs
from support.receiver import MetricPoint, Receiver
from support.runs import Run, Runs, Scenario

pytestmark = pytest.mark.quick

ENDPOINT, PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"

Environment = Mapping[str, str] | Callable[[Receiver], Mapping[str, str]]
Change = Callable[[pods.Pod], pods.Pod]


def pod(
    env: Environment,
    task: str = "task_providers.use_all_signals",
    *,
    inputs: Callable[[Receiver], pods.Inputs] = lambda _: {"value": 3},
    change: Change = lambda pod: pod,
) -> Scenario:
    """A pod whose telemetry is configured by these variables only."""

    def run(root: Path, receiver: Receiver) -> runs.Result:
        given = env(receiver) if callable(env) else env
        return change(pods.prepare("execute", root, task, inputs(receiver), env=given)).run(forked=True)

    return run


def all_to(receiver: Receiver, **more: str) -> dict[str, str]:
    return {ENDPOINT: receiver.endpoint(), **more}


def of_signal(signal: str, **variables: str) -> dict[str, str]:
    return {f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}": value for name, value in variables.items()}


def different_for_each_signal(receiver: Receiver) -> dict[str, str]:
    """Return variables for traces by gRPC, metrics by HTTP, no logs, and different headers for each."""
    return {
        **of_signal("traces", ENDPOINT=receiver.endpoint("grpc"), PROTOCOL="grpc", HEADERS="x-signal=traces"),
        **of_signal("metrics", ENDPOINT=f"{receiver.endpoint()}/v1/metrics", HEADERS="x-signal=metrics"),
    }


def with_module(name: str, source: str) -> Change:
    """Add a module to the front of the pod's path."""
    return lambda pod: _first_on_path(pod, programs.module(pod.directory.parent / "site", name, source))


def with_exporters(source: str, **exporters: str) -> Change:
    """Install a distribution with trace exporters."""
    entries = {"opentelemetry_traces_exporter": exporters}
    return lambda pod: _first_on_path(
        pod, programs.distribution(pod.directory.parent / "site", "exporters_of_the_test", source, entries)
    )


def _first_on_path(pod: pods.Pod, folder: Path) -> pods.Pod:
    path = f"{folder}:{pod.environment['PYTHONPATH']}"
    return replace(pod, environment=pod.environment | {"PYTHONPATH": path})


def without_module(module: str) -> Change:
    return with_module(
        "sitecustomize",
        f"""
        import sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if f"{{name}}.".startswith("{module}."):
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Missing())
        """,
    )


BROKEN_EXPORTERS = """
    from opentelemetry.sdk.trace.export import SpanExporter

    class FailsWhenMade(SpanExporter):
        def __init__(self):
            raise RuntimeError("no licence")

    class FailsAtWork(SpanExporter):
        def export(self, spans):
            raise RuntimeError("no connection")

    class FailsAtTheEnd(SpanExporter):
        def export(self, spans):
            pass

        def shutdown(self):
            raise RuntimeError("no end")
"""

WATCHED_TRAFFIC = """
    import functools

    import grpc
    import requests
    import urllib3.connectionpool
    from opentelemetry import trace
    from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, is_instrumentation_enabled

    tracer = trace.get_tracer("contrib")
    send = requests.Session.send

    @functools.wraps(send)
    def watched_send(self, request, **options):
        if not is_http_instrumentation_enabled():
            return send(self, request, **options)
        with tracer.start_as_current_span(f"http {request.method}"):
            return send(self, request, **options)

    requests.Session.send = watched_send
    urlopen = urllib3.connectionpool.HTTPConnectionPool.urlopen

    @functools.wraps(urlopen)
    def watched_urlopen(self, method, url, *args, **options):
        if not is_http_instrumentation_enabled():
            return urlopen(self, method, url, *args, **options)
        with tracer.start_as_current_span(f"urllib3 {method}"):
            return urlopen(self, method, url, *args, **options)

    urllib3.connectionpool.HTTPConnectionPool.urlopen = watched_urlopen

    class Watcher(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, details, request):
            if not is_instrumentation_enabled():
                return continuation(details, request)
            with tracer.start_as_current_span(f"grpc {details.method}"):
                return continuation(details, request)

    insecure_channel = grpc.insecure_channel
    grpc.insecure_channel = lambda *args, **options: grpc.intercept_channel(
        insecure_channel(*args, **options), Watcher()
    )
"""
"""A short form of contrib's instrumentations of requests, urllib3 and gRPC."""


def calls(receiver: Receiver) -> dict[str, str]:
    return {"http": receiver.endpoint(), "target": receiver.endpoint("grpc").removeprefix("http://")}


NOWHERE = "http://127.0.0.1:9"

DELIVERED: dict[str, Scenario] = {
    "everything, http/protobuf": pod(lambda receiver: receiver.environment()),
    "everything, grpc": pod(lambda receiver: receiver.environment("grpc")),
    "different for each signal": pod(different_for_each_signal),
    "traces only": pod(lambda receiver: all_to(receiver, OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none")),
    "metrics only": pod(lambda receiver: all_to(receiver, OTEL_TRACES_EXPORTER="none", OTEL_LOGS_EXPORTER="none")),
    "logs only": pod(lambda receiver: of_signal("logs", ENDPOINT=f"{receiver.endpoint()}/v1/logs")),
    "a described process": pod(
        lambda receiver: {**receiver.environment(), "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel,process"}
    ),
    "nothing": pod({}),
    "only traces on the console": pod({"OTEL_TRACES_EXPORTER": "console"}),
    "watched, http": pod(
        lambda receiver: receiver.environment(),
        "task_providers.call_others",
        inputs=calls,
        change=with_module("sitecustomize", WATCHED_TRAFFIC),
    ),
    "watched, grpc": pod(
        lambda receiver: receiver.environment("grpc"),
        "task_providers.call_others",
        inputs=calls,
        change=with_module("sitecustomize", WATCHED_TRAFFIC),
    ),
}

CORRECTED: dict[str, tuple[Scenario, str]] = {
    "a misspelt exporter": (
        pod(lambda receiver: all_to(receiver, OTEL_TRACES_EXPORTER="oltp")),
        (
            "OTEL_TRACES_EXPORTER=oltp is not installed "
            "(installed exporters: console, otlp, otlp_proto_grpc, otlp_proto_http): otlp is used instead"
        ),
    ),
    "a misspelt exporter beside another": (
        pod(lambda receiver: all_to(receiver, OTEL_TRACES_EXPORTER="otlp,jaeger")),
        (
            "OTEL_TRACES_EXPORTER=jaeger is not installed "
            "(installed exporters: console, otlp, otlp_proto_grpc, otlp_proto_http): only otlp is used"
        ),
    ),
    "an exporter that cannot be created": (
        pod(
            lambda receiver: all_to(receiver, OTEL_TRACES_EXPORTER="licensed"),
            change=with_exporters(BROKEN_EXPORTERS, licensed="FailsWhenMade"),
        ),
        "OTEL_TRACES_EXPORTER=licensed can't be used (no licence): otlp is used instead",
    ),
    "an invalid protocol": (
        pod(lambda receiver: {ENDPOINT: receiver.endpoint(), PROTOCOL: "http/json"}),
        f"{PROTOCOL}=http/json must be one of grpc, http/protobuf: http/protobuf is used",
    ),
    "an endpoint without scheme": (
        pod(lambda receiver: {ENDPOINT: without_scheme(receiver.endpoint())}),
        f"{ENDPOINT}=(host) must begin with http:// or https://: http://(host) is used",
    ),
    "an endpoint without scheme, grpc": (
        pod(lambda receiver: {ENDPOINT: without_scheme(receiver.endpoint("grpc")), PROTOCOL: "grpc"}),
        f"{ENDPOINT}=(host) must begin with http:// or https://: http://(host) is used",
    ),
    "a missing id generator": (
        pod(lambda receiver: all_to(receiver, OTEL_PYTHON_ID_GENERATOR="xray")),
        ("OTEL_PYTHON_ID_GENERATOR=xray is not installed (installed id generators: flyte, random): flyte is used"),
    ),
    "an invalid compression": (
        pod(lambda receiver: all_to(receiver, OTEL_EXPORTER_OTLP_COMPRESSION="zip")),
        "OTEL_EXPORTER_OTLP_COMPRESSION=zip must be one of none, gzip, deflate: none is used",
    ),
    "an invalid delay": (
        pod(lambda receiver: all_to(receiver, OTEL_BSP_SCHEDULE_DELAY="x")),
        "OTEL_BSP_SCHEDULE_DELAY=x must be a positive integer: 1000 is used",
    ),
    "a limit that breaks the import of the SDK": (
        pod(lambda receiver: all_to(receiver, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="lots")),
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=lots must be a non-negative integer: 128 is used",
    ),
    "an invalid header": (
        pod(lambda receiver: all_to(receiver, OTEL_EXPORTER_OTLP_HEADERS="x-token=1,s3cret")),
        "OTEL_EXPORTER_OTLP_HEADERS: entry 2 must be key=value: the other entries are used",
    ),
    "a queue that is shorter than a batch": (
        pod(lambda receiver: all_to(receiver, OTEL_BSP_MAX_QUEUE_SIZE="100")),
        "OTEL_BSP_MAX_QUEUE_SIZE=100 is less than the batch size 512: the batch size 100 is used",
    ),
    "OTLP named twice": (
        pod(lambda receiver: all_to(receiver, OTEL_TRACES_EXPORTER="otlp,otlp_proto_http")),
        "OTEL_TRACES_EXPORTER=otlp,otlp_proto_http contains 2 OTLP exporters: otlp_proto_http is used",
    ),
    "an unknown variable of ours": (
        pod(lambda receiver: all_to(receiver, OTEL_FLYTE_MAP_NEST="10")),
        "OTEL_FLYTE_MAP_NEST is not a variable of otel-flyte (did you mean OTEL_FLYTE_MAP_NESTED?): it is ignored",
    ),
    "an invalid value of ours": (
        pod(lambda receiver: all_to(receiver, OTEL_FLYTE_MAP_NESTED="ten")),
        "OTEL_FLYTE_MAP_NESTED=ten must be a non-negative integer: 500 is used",
    ),
}


def without_scheme(endpoint: str) -> str:
    return endpoint.removeprefix("http://")


NOT_EXPORTED: dict[str, tuple[Scenario, str]] = {
    "an endpoint that is not a URL": (
        pod(of_signal("traces", ENDPOINT="http://:4318")),
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://:4318 must be a URL such as http://host:4318: nothing is sent there",
    ),
    "an endpoint for all signals that is not a URL": (
        pod({ENDPOINT: "http://"}),
        f"{ENDPOINT}=http:// must be a URL such as http://host:4318: nothing is sent there",
    ),
    "a missing exporter": (
        pod({"OTEL_TRACES_EXPORTER": "jaeger"}),
        (
            "OTEL_TRACES_EXPORTER=jaeger is not installed "
            "(installed exporters: console, otlp, otlp_proto_grpc, otlp_proto_http): traces are not exported"
        ),
    ),
    "an exporter that is not installed": (
        pod(
            lambda receiver: of_signal("traces", ENDPOINT=receiver.endpoint("grpc"), PROTOCOL="grpc"),
            change=without_module("otel_flyte.export.grpc_transport"),
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://(host) can't be used "
            "(No module named 'otel_flyte.export.grpc_transport'): traces are not exported"
        ),
    ),
    "a misspelt endpoint": (
        pod(lambda receiver: {"OTEL_EXPORTER_OLTP_ENDPOINT": receiver.endpoint()}),
        f"OTEL_EXPORTER_OLTP_ENDPOINT is not a variable of OpenTelemetry (did you mean {ENDPOINT}?): it is ignored",
    ),
}
WRONG = CORRECTED | NOT_EXPORTED

FAILING: dict[str, Scenario] = {
    "an unreachable collector, http": pod({ENDPOINT: NOWHERE}),
    "an unreachable collector, grpc": pod({ENDPOINT: NOWHERE, PROTOCOL: "grpc"}),
    "a missing tracer provider": pod(
        lambda receiver: all_to(receiver, OTEL_PYTHON_TRACER_PROVIDER="mine"), "task_kinds.increment"
    ),
    "an exporter that fails during an export": pod(
        lambda receiver: all_to(receiver, OTEL_TRACES_EXPORTER="failing,otlp"),
        change=with_exporters(BROKEN_EXPORTERS, failing="FailsAtWork"),
    ),
    "an exporter that fails at shutdown": pod(
        lambda receiver: all_to(receiver, OTEL_TRACES_EXPORTER="failing"),
        change=with_exporters(BROKEN_EXPORTERS, failing="FailsAtTheEnd"),
    ),
    "no metrics": pod(
        lambda receiver: receiver.environment(),
        "task_providers.use_the_api",
        change=without_module("opentelemetry.sdk.metrics"),
    ),
    "no logs": pod(
        lambda receiver: receiver.environment(),
        "task_providers.use_the_api",
        change=without_module("opentelemetry.sdk._logs"),
    ),
    "an invalid exporter without another": pod(
        lambda receiver: all_to(receiver, OTEL_TRACES_EXPORTER="jaeger", OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc"),
        change=without_module("otel_flyte.export.grpc_transport"),
    ),
}

CONFIGURATION = """
    file_format: "1.0"
    resource:
      attributes:
        - name: service.name
          value: by-file
    tracer_provider:
      processors:
        - batch:
            exporter:
              otlp_http:
                endpoint: ${RECEIVER}/v1/traces
"""


def with_configuration(content: str | None, change: Change = lambda pod: pod) -> Change:
    """Configure a declarative configuration file; the file exists if it has content."""

    def apply(pod: pods.Pod) -> pods.Pod:
        path = pod.directory.parent / "otel.yaml"
        if content is not None:
            path.write_text(programs.joined(content))
        return replace(change(pod), environment=change(pod).environment | {"OTEL_CONFIG_FILE": str(path)})

    return apply


BY_FILE: dict[str, Scenario] = {
    "a file without its package": pod(
        lambda receiver: receiver.environment(),
        change=with_configuration(CONFIGURATION, without_module("opentelemetry.configuration")),
    ),
    "a file": pod(lambda receiver: {"RECEIVER": receiver.endpoint()}, change=with_configuration(CONFIGURATION)),
    "a missing file": pod(lambda receiver: receiver.environment(), change=with_configuration(None)),
    "an empty file": pod(
        lambda receiver: receiver.environment(), change=with_configuration("file_format: 1.0\ntracer_provider: 3")
    ),
}
NEEDS_CONFIGURATION = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.configuration") is None,
    reason="opentelemetry-configuration is not installed",
)


ran = runs.fixture(DELIVERED | {name: scenario for name, (scenario, _) in WRONG.items()} | FAILING | BY_FILE)


def undisturbed(run: Run) -> Run:
    """Check that the task has ended as it does if nothing is exported; return the run."""
    assert run.pod.returncode == 0, run.pod.stderr
    assert run.pod.outputs is not None, run.pod.stderr
    assert run.pod.outputs.literals["o0"].scalar.primitive.integer == 3
    return run


def metrics(run: Run) -> list[MetricPoint]:
    messages = [request.message for request in run.requests if request.signal == "metrics"]
    return [point for message in messages for point in receiver._points(message)]


def logs(run: Run) -> list[Any]:
    """Return log records as in OTLP, with their resource."""
    of_resources = [
        of_resource
        for request in run.requests
        if request.signal == "logs"
        for of_resource in request.message.resource_logs
    ]
    return [
        (record, receiver._attributes(of_resource.resource.attributes))
        for of_resource in of_resources
        for of_scope in of_resource.scope_logs
        for record in of_scope.log_records
    ]


def signals(run: Run) -> set[tuple[str, str]]:
    return {(request.signal, request.protocol) for request in run.requests}


# --- delivery --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_endpoint_alone_exports_all_three_signals(protocol: str, ran: Runs) -> None:
    run = undisturbed(ran(f"everything, {protocol}"))

    assert signals(run) == {("traces", protocol), ("metrics", protocol), ("logs", protocol)}
    assert run.named("counting").parent_span_id == run.named("user code").span_id
    of_task = {semconv.TASK_NAME: "task_providers.use_all_signals", semconv.RESULT: semconv.RESULT_SUCCESS}
    assert [(point.name, point.unit, point.attributes) for point in metrics(run)] == [
        ("rows", "{row}", {"table": "spam"}),
        ("flyte.task.duration", "s", of_task),
        ("flyte.task.attempts", "{attempt}", of_task),
    ]
    seconds = (run.attempt.end_ns - run.attempt.start_ns) / 1e9
    assert [point.value for point in metrics(run)] == [3, pytest.approx(seconds, abs=0.1), 1]
    assert [(record.body.string_value, record.severity_text) for record, _ in logs(run)] == [("counted 3", "INFO")]
    assert run.pod.stderr.strip() == ""


def test_a_log_record_has_the_ids_of_its_span(ran: Runs) -> None:
    run = ran("everything, http/protobuf")
    [(record, _)] = logs(run)

    assert (record.trace_id.hex(), record.span_id.hex()) == (run.attempt.trace_id, run.named("counting").span_id)


def test_each_signal_has_its_own_endpoint_protocol_and_headers(ran: Runs) -> None:
    run = undisturbed(ran("different for each signal"))

    assert signals(run) == {("traces", "grpc"), ("metrics", "http/protobuf")}
    assert all(request.headers["x-signal"] == request.signal for request in run.requests)


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_each_signal_can_be_exported_alone(signal: str, ran: Runs) -> None:
    run = undisturbed(ran(f"{signal} only"))

    assert {request.signal for request in run.requests} == {signal}
    assert [len(run.spans) > 5, len(metrics(run)) == 3, len(logs(run)) == 1] == [
        signal == "traces",
        signal == "metrics",
        signal == "logs",
    ]
    assert run.pod.stderr.strip() == ""


def test_nothing_is_exported_or_printed_without_an_endpoint(ran: Runs) -> None:
    run = undisturbed(ran("nothing"))

    assert run.requests == []
    assert run.pod.stderr.strip() == ""


def test_an_exporter_of_the_sdk_can_be_named(ran: Runs) -> None:
    run = undisturbed(ran("only traces on the console"))

    assert run.requests == []
    assert '"name": "task task_providers.use_all_signals"' in run.pod.stdout


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_export_requests_are_not_recorded(protocol: str, ran: Runs) -> None:
    run = ran(f"watched, {protocol}")
    user_code = run.named("user code")
    post = run.named("http POST")
    of_contrib = [(span.name, span.parent_span_id) for span in run.spans if span.scope == "contrib"]

    assert sorted(of_contrib) == [
        ("grpc /users.own/Get", user_code.span_id),
        ("http POST", user_code.span_id),
        ("urllib3 POST", post.span_id),
    ]
    assert {request.signal for request in run.requests} == {"traces", "metrics"}


# --- invalid settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_setting_is_reported_in_one_line_with_its_replacement(name: str, ran: Runs) -> None:
    run = undisturbed(ran(name))
    printed = [line for line in run.pod.stderr.splitlines() if line]

    assert [re.sub(r"127\.0\.0\.1:\d+", "(host)", line) for line in printed] == [f"otel-flyte: {WRONG[name][1]}"]


@pytest.mark.parametrize("name", CORRECTED)
def test_signals_with_corrected_settings_are_exported(name: str, ran: Runs) -> None:
    run = ran(name)

    assert {request.signal for request in run.requests} == {"traces", "metrics", "logs"}
    assert len(run.spans) == len(ran("everything, http/protobuf").spans)


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_signals_with_unusable_settings_are_not_exported(name: str, ran: Runs) -> None:
    assert ran(name).requests == []


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_unreachable_collector_is_reported(protocol: str, ran: Runs) -> None:
    run = undisturbed(ran(f"an unreachable collector, {protocol}"))

    assert "127.0.0.1" in run.pod.stderr


def test_a_missing_tracer_provider_is_reported_and_the_exporters_are_used(ran: Runs) -> None:
    run = ran("a missing tracer provider")

    assert run.pod.outputs is not None, run.pod.stderr
    assert [line for line in run.pod.stderr.splitlines() if line] == [
        (
            "otel-flyte: OTEL_PYTHON_TRACER_PROVIDER=mine is not installed "
            "(installed tracer providers: default_tracer_provider, sdk_tracer_provider): none is used"
        )
    ]
    assert run.attempt.name == "task task_kinds.increment"


def test_a_failing_exporter_does_not_stop_others(ran: Runs) -> None:
    run = undisturbed(ran("an exporter that fails during an export"))

    assert {request.signal for request in run.requests} == {"traces", "metrics", "logs"}
    assert len(run.spans) == len(ran("everything, http/protobuf").spans)


def test_an_exporter_that_fails_at_shutdown_does_not_stop_other_signals(ran: Runs) -> None:
    run = undisturbed(ran("an exporter that fails at shutdown"))

    assert {request.signal for request in run.requests} == {"metrics", "logs"}
    assert "Traceback" not in run.pod.stderr


@pytest.mark.parametrize("signal", ["metrics", "logs"])
def test_an_unavailable_signal_does_not_affect_other_signals(signal: str, ran: Runs) -> None:
    run = undisturbed(ran(f"no {signal}"))

    assert len(run.spans) > 5
    assert len(programs.our_lines(run.pod.stderr)) == 1


def test_an_invalid_exporter_without_a_replacement_does_not_affect_other_signals(ran: Runs) -> None:
    run = undisturbed(ran("an invalid exporter without another"))

    assert {request.signal for request in run.requests} == {"metrics", "logs"}
    assert programs.our_lines(run.pod.stderr)[0].endswith("traces are not exported")


# --- declarative configuration ---------------------------------------------------------------------------------------


def test_a_missing_configuration_package_is_reported_and_the_variables_are_used(ran: Runs) -> None:
    run = undisturbed(ran("a file without its package"))

    assert [line.partition("otel.yaml ")[2] for line in run.pod.stderr.splitlines() if line] == [
        (
            "requires opentelemetry-configuration (pip install 'otel-flyte[configuration]'): "
            "the environment variables are used"
        )
    ]
    assert {request.signal for request in run.requests} == {"traces", "metrics", "logs"}


@NEEDS_CONFIGURATION
def test_a_configuration_file_overrides_all_variables(ran: Runs) -> None:
    run = undisturbed(ran("a file"))

    assert {request.signal for request in run.requests} == {"traces"}
    assert {span.resource["service.name"] for span in run.spans} == {"by-file"}
    assert run.attempt.trace_id == f"{EXECUTION.trace_id():032x}"
    assert run.pod.stderr.strip() == ""


@NEEDS_CONFIGURATION
@pytest.mark.parametrize("name", ["a missing file", "an empty file"])
def test_an_invalid_configuration_file_is_reported_and_the_variables_are_used(name: str, ran: Runs) -> None:
    run = undisturbed(ran(name))
    [line] = programs.our_lines(run.pod.stderr)

    assert line.startswith("otel-flyte: OTEL_CONFIG_FILE=")
    assert line.endswith("the environment variables are used")
    assert {request.signal for request in run.requests} == {"traces", "metrics", "logs"}


# --- the resource ----------------------------------------------------------------------------------------------------

EXECUTION = identity.Execution("proj", "development", pods.Attempt().execution)


def resource(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> Mapping[str, Any]:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return of_process.ours.__wrapped__().attributes


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "flyte"),
        ({"OTEL_SERVICE_NAME": "trainer"}, "trainer"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=from-attributes,team=vision"}, "from-attributes"),
        ({"OTEL_SERVICE_NAME": "trainer", "OTEL_RESOURCE_ATTRIBUTES": "service.name=from-attributes"}, "trainer"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=vision"}, "flyte"),
        ({"OTEL_SERVICE_NAME": ""}, "flyte"),
    ],
)
def test_the_service_name_is_that_of_the_user_or_flyte(
    environ: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resource(monkeypatch, environ)["service.name"] == name


@pytest.mark.parametrize(
    ("environ", "attributes"),
    [
        ({}, {}),
        (
            {"K8S_POD_NAME": "pod-1", "K8S_NAMESPACE_NAME": "proj-dev", "K8S_NODE_NAME": "node-1"},
            {"k8s.pod.name": "pod-1", "k8s.namespace.name": "proj-dev", "k8s.node.name": "node-1"},
        ),
        (
            {"POD_NAME": "pod-1", "POD_NAMESPACE": "proj-dev", "NODE_NAME": "node-1"},
            {"k8s.pod.name": "pod-1", "k8s.namespace.name": "proj-dev", "k8s.node.name": "node-1"},
        ),
        (
            {
                "OTEL_RESOURCE_ATTRIBUTES_POD_NAME": "pod-1",
                "K8S_POD_NAMESPACE": "proj-dev",
                "OTEL_RESOURCE_ATTRIBUTES_NODE_NAME": "node-1",
            },
            {"k8s.pod.name": "pod-1", "k8s.namespace.name": "proj-dev", "k8s.node.name": "node-1"},
        ),
        ({"K8S_POD_NAME": "pod-1", "POD_NAME": "pod-2"}, {"k8s.pod.name": "pod-1"}),
        ({"K8S_POD_NAME": "", "POD_NAME": "pod-2"}, {"k8s.pod.name": "pod-2"}),
        (
            {"POD_NAME": "pod-2", "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=said-by-the-user"},
            {"k8s.pod.name": "said-by-the-user"},
        ),
    ],
)
def test_the_pod_name_comes_from_the_downward_api_or_the_user(
    environ: dict[str, str], attributes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variables in semconv.K8S_VARIABLES.values():
        for variable in variables:
            monkeypatch.delenv(variable, raising=False)

    found = resource(monkeypatch, environ)

    assert {name: value for name, value in found.items() if name.startswith("k8s.")} == attributes


def test_the_resource_of_a_pod_has_the_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (semconv.PROJECT, semconv.DOMAIN, semconv.RUN_NAME)

    assert not set(names) & resource(monkeypatch, {}).keys()
    in_pod = resource(monkeypatch, pods.Attempt().environment("task_kinds.increment"))
    assert [in_pod[name] for name in names] == [EXECUTION.project, EXECUTION.domain, EXECUTION.name]
    of_task = (semconv.WORKFLOW_NAME, semconv.LAUNCH_PLAN_NAME, semconv.TASK_NAME)
    assert [in_pod[name] for name in of_task] == [
        "proj:development:pipelines.main",
        "proj:development:pipelines.main_plan",
        "task_kinds.increment",
    ]


def test_the_sdks_resource_detectors_can_be_enabled(ran: Runs) -> None:
    resource = ran("a described process").attempt.resource

    assert resource["process.owner"] == getpass.getuser()


def test_all_signals_of_a_process_have_the_same_resource(ran: Runs) -> None:
    run = ran("everything, http/protobuf")
    resources = [
        *(span.resource for span in run.spans),
        *(point.resource for point in metrics(run)),
        *(resource for _, resource in logs(run)),
    ]

    assert len({tuple(sorted(resource.items())) for resource in resources}) == 1
    assert resources[0][semconv.RUN_NAME] == EXECUTION.name
    assert resources[0]["service.name"] == "flyte"
