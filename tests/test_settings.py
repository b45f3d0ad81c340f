"""Settings of users: the standard variables, our variables, and the replacement of invalid values."""

import importlib

import pytest

from otel_flyte.config import endpoints, settings, urls
from otel_flyte.stack import parts
from otel_flyte.stack import settings as stack_settings
from otel_flyte.tasks import propagation

pytestmark = pytest.mark.quick

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
EXPORTER = "OTEL_*_EXPORTER"
OWN_ENDPOINT = "OTEL_EXPORTER_OTLP_*_ENDPOINT"
OWN_PROTOCOL = "OTEL_EXPORTER_OTLP_*_PROTOCOL"
OFF: tuple[str, ...] = ()

each_signal = pytest.mark.parametrize("signal", endpoints.SIGNALS)


def variable(pattern: str, signal: str) -> str:
    return pattern.replace("*", signal.upper())


def of_signal(signal: str, environ: dict[str, str]) -> dict[str, str]:
    return {variable(name, signal): value for name, value in environ.items()}


# --- exporters of a signal -------------------------------------------------------------------------------------------


@each_signal
@pytest.mark.parametrize(
    ("environ", "exporters", "decided_by"),
    [
        pytest.param({}, OFF, None, id="nothing is set"),
        pytest.param({ENDPOINT: "http://all:4318"}, ("otlp",), ENDPOINT, id="an endpoint for all signals"),
        pytest.param({OWN_ENDPOINT: "http://own:4318"}, ("otlp",), OWN_ENDPOINT, id="an endpoint of its own"),
        pytest.param(
            {ENDPOINT: "http://all:4318", OWN_ENDPOINT: "http://own:4318"}, ("otlp",), OWN_ENDPOINT, id="both endpoints"
        ),
        pytest.param({EXPORTER: "otlp"}, ("otlp",), EXPORTER, id="an exporter without endpoint"),
        pytest.param({EXPORTER: "none", ENDPOINT: "http://all:4318"}, OFF, EXPORTER, id="none despite an endpoint"),
        pytest.param({EXPORTER: "none", OWN_ENDPOINT: "http://own:4318"}, OFF, EXPORTER, id="none despite its own"),
        pytest.param({EXPORTER: "none,otlp", ENDPOINT: "http://all:4318"}, OFF, EXPORTER, id="none among others"),
        pytest.param({EXPORTER: "console", ENDPOINT: "http://all:4318"}, ("console",), EXPORTER, id="another exporter"),
        pytest.param({EXPORTER: "console, otlp,,otlp"}, ("console", "otlp"), EXPORTER, id="a list with repeats"),
        pytest.param({EXPORTER: " ", ENDPOINT: "http://all:4318"}, ("otlp",), ENDPOINT, id="a blank exporter"),
        pytest.param({EXPORTER: "", ENDPOINT: "  "}, OFF, None, id="a blank endpoint"),
    ],
)
def test_a_signals_exporter_overrides_its_endpoint_which_overrides_the_common_one(
    signal: str, environ: dict[str, str], exporters: tuple[str, ...], decided_by: str | None
) -> None:
    plan = endpoints.plan(signal, of_signal(signal, environ))

    assert plan.exporters == exporters
    assert plan.decided_by == (decided_by and variable(decided_by, signal))
    assert plan.problems == ()


@each_signal
def test_settings_of_other_signals_do_not_affect_a_signal(signal: str) -> None:
    others = [other for other in endpoints.SIGNALS if other != signal]
    environ = {
        variable(pattern, other): value
        for other in others
        for pattern, value in (
            (EXPORTER, "otlp"),
            (OWN_ENDPOINT, "http://other:4318"),
            (OWN_PROTOCOL, "carrier-pigeon"),
        )
    }

    assert endpoints.plan(signal, environ) == endpoints.plan(signal, {})


@each_signal
def test_only_an_endpoint_of_a_signal_is_used_unchanged(signal: str) -> None:
    own = variable(OWN_ENDPOINT, signal)

    common = endpoints.plan(signal, {ENDPOINT: "http://all:4318/otlp"})
    both = endpoints.plan(signal, {ENDPOINT: "http://all:4318/otlp", own: "http://own:9999/here"})

    assert (common.endpoint, common.endpoint_is_whole) == ("http://all:4318/otlp", False)
    assert (both.endpoint, both.endpoint_is_whole) == ("http://own:9999/here", True)


@pytest.mark.parametrize(
    ("environ", "configured"),
    [
        ({}, False),
        ({ENDPOINT: "http://all:4318"}, True),
        ({"OTEL_LOGS_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://own:4318"}, True),
        ({"OTEL_CONFIG_FILE": "otel.yaml"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}, False),
        ({PROTOCOL: "grpc", "OTEL_SERVICE_NAME": "trainer"}, False),
    ],
)
def test_telemetry_is_configured_by_any_signal_or_a_configuration_file(
    environ: dict[str, str], configured: bool
) -> None:
    assert endpoints.configured(environ) is configured


@each_signal
@pytest.mark.parametrize(
    ("given", "used", "protocol"),
    [
        ("otlp_proto_grpc,otlp_proto_http", ("otlp_proto_grpc",), "grpc"),
        ("otlp,console,otlp_proto_http", ("console", "otlp_proto_http"), "http/protobuf"),
        ("otlp,otlp_proto_grpc,otlp_proto_http", ("otlp_proto_grpc",), "grpc"),
    ],
)
def test_two_otlp_exporters_for_one_endpoint_are_reported_and_one_is_used(
    signal: str, given: str, used: tuple[str, ...], protocol: str
) -> None:
    own = variable(EXPORTER, signal)
    plan = endpoints.plan(signal, {own: given, ENDPOINT: "http://all:4318"})

    assert (plan.exporters, plan.protocol) == (used, protocol)
    count = sum(name.startswith("otlp") for name in given.split(","))
    assert plan.problems == (f"{own}={given} contains {count} OTLP exporters: {used[-1]} is used",)


# --- the protocol ----------------------------------------------------------------------------------------------------


@each_signal
@pytest.mark.parametrize(
    ("environ", "protocol"),
    [
        pytest.param({ENDPOINT: "http://host"}, "http/protobuf", id="http by default"),
        pytest.param({ENDPOINT: "http://host:4318"}, "http/protobuf", id="http on its port"),
        pytest.param({ENDPOINT: "http://host:4317"}, "grpc", id="grpc on its port"),
        pytest.param({ENDPOINT: "https://host:4317/"}, "grpc", id="grpc on its port with TLS"),
        pytest.param({ENDPOINT: "http://host:14317"}, "http/protobuf", id="a port that ends alike"),
        pytest.param(
            {ENDPOINT: "http://host:4317", PROTOCOL: "http/protobuf"}, "http/protobuf", id="configured, not derived"
        ),
        pytest.param({ENDPOINT: "http://host:4318", PROTOCOL: "grpc"}, "grpc", id="configured against the port"),
        pytest.param({PROTOCOL: "grpc", OWN_PROTOCOL: "http/protobuf"}, "http/protobuf", id="its own wins"),
        pytest.param({OWN_ENDPOINT: "http://host:4317"}, "grpc", id="the port of its own endpoint"),
        pytest.param({EXPORTER: "otlp_proto_grpc", PROTOCOL: "http/protobuf"}, "grpc", id="grpc by exporter"),
        pytest.param(
            {EXPORTER: "otlp_proto_http", ENDPOINT: "http://host:4317"}, "http/protobuf", id="http by exporter"
        ),
        pytest.param({EXPORTER: "otlp", PROTOCOL: "  "}, "http/protobuf", id="a blank protocol"),
    ],
)
def test_the_protocol_is_the_configured_one_or_that_of_the_port(
    signal: str, environ: dict[str, str], protocol: str
) -> None:
    plan = endpoints.plan(signal, of_signal(signal, environ))

    assert plan.protocol == protocol
    assert plan.problems == ()


@pytest.mark.parametrize(
    ("environ", "protocol"),
    [
        ({ENDPOINT: "grpc://host:14317"}, "grpc"),
        ({ENDPOINT: "GRPCS://host"}, "grpc"),
        ({ENDPOINT: "grpc://host:14317", PROTOCOL: "http/protobuf"}, "http/protobuf"),
    ],
)
def test_an_endpoint_with_the_scheme_grpc_uses_grpc_by_default(environ: dict[str, str], protocol: str) -> None:
    assert endpoints.plan("traces", environ).protocol == protocol


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318"),
        ({"OTEL_TRACES_EXPORTER": "otlp", PROTOCOL: "grpc"}, "http://localhost:4317"),
        ({"OTEL_TRACES_EXPORTER": "otlp_proto_grpc"}, "http://localhost:4317"),
    ],
)
def test_the_default_endpoint_depends_on_the_protocol(environ: dict[str, str], endpoint: str) -> None:
    plan = endpoints.plan("traces", environ)

    assert (plan.endpoint, plan.corrected) == (endpoint, False)


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {ENDPOINT: "http://host:4318", PROTOCOL: "http/json"},
            f"{PROTOCOL}=http/json must be one of grpc, http/protobuf: http/protobuf is used",
        ),
        (
            {ENDPOINT: "http://host:4317", PROTOCOL: "gRPC!"},
            f"{PROTOCOL}=gRPC! must be one of grpc, http/protobuf: grpc is used",
        ),
        (
            {ENDPOINT: "http://host:4318", PROTOCOL: "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http must be one of grpc, http/protobuf: http/protobuf is used",
        ),
    ],
)
def test_an_invalid_protocol_is_reported_in_one_line_with_its_replacement(
    environ: dict[str, str], problem: str
) -> None:
    plan = endpoints.plan("traces", environ)

    assert plan.problems == (problem,)
    assert problem.endswith(f"{plan.protocol} is used")


def test_an_invalid_protocol_is_not_reported_if_nothing_is_exported() -> None:
    assert endpoints.plan("traces", {PROTOCOL: "carrier-pigeon"}).problems == ()


# --- the endpoint ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("collector:4318", "http://collector:4318"),
        ("collector", "http://collector"),
        ("10.0.0.7:4317", "http://10.0.0.7:4317"),
        ("[::1]:4318", "http://[::1]:4318"),
        ("grpc://collector:4317", "http://collector:4317"),
        ("grpc://collector", "http://collector:4317"),
        ("grpcs://collector:443", "https://collector:443"),
        ("collector:4318/otlp", "http://collector:4318/otlp"),
    ],
)
@each_signal
def test_a_missing_scheme_of_an_endpoint_is_added_and_reported(signal: str, given: str, used: str) -> None:
    plan = endpoints.plan(signal, {ENDPOINT: given})

    assert (plan.exporters, plan.endpoint, plan.corrected) == (("otlp",), used, True)
    assert plan.problems == (f"{ENDPOINT}={given} must begin with http:// or https://: {used} is used",)


@pytest.mark.parametrize("given", ["http://collector:4318", "https://collector/otlp", "http://[fd00::1]:4318"])
def test_a_valid_endpoint_is_unchanged(given: str) -> None:
    plan = endpoints.plan("traces", {ENDPOINT: given})

    assert (plan.endpoint, plan.corrected, plan.problems) == (given, False, ())


@pytest.mark.parametrize(
    "given",
    ["http://", "://", "http://:4318", "http://host:port", "http://host:99999", "http://[::1", "the collector", "/"],
)
@each_signal
def test_an_endpoint_that_is_not_a_url_is_reported_and_disables_otlp(signal: str, given: str) -> None:
    plan = endpoints.plan(signal, {ENDPOINT: given})

    assert plan.exporters == ()
    assert plan.problems == (f"{ENDPOINT}={given} must be a URL such as http://host:4318: nothing is sent there",)


def test_other_exporters_are_used_if_the_otlp_endpoint_is_not_a_url() -> None:
    plan = endpoints.plan("traces", {"OTEL_TRACES_EXPORTER": "console,otlp", ENDPOINT: "http://"})

    assert plan.exporters == ("console",)
    assert len(plan.problems) == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:4318/v1/traces", "http://host:4318/v1/traces"),
        ("http://user:secret@host:4318", "http://host:4318"),
        ("secret@host:4318", "host:4318"),
        ("http://user:se/cr@et@host/v1/traces", "http://host/v1/traces"),
        ("http://host/v1/traces?api_key=secret", "http://host/v1/traces"),
        ("http://user:secret@host?api_key=secret&next=http://secret", "http://host"),
        ("host?next=http://secret", "host"),
        ("http://host/#secret", "http://host/"),
        ("http://host/?mail=se@cret", "http://…"),
        ("http://user:se?cret@host/", "http://…"),
        ("ftp://user:secret@host/spool", "ftp://host/spool"),
        ("simplecache::ftp://user:secret@host/spool", "simplecache::ftp://host/spool"),
        ("s3://bucket/spool", "s3://bucket/spool"),
        ("abfs://container@account/spool", "abfs://container@account/spool"),
        ("abfs://user:secret@account/spool", "abfs://account/spool"),
        ("http://[::1", "http://[::1"),
        ("", ""),
    ],
)
def test_secrets_in_a_url_are_hidden(url: str, shown: str) -> None:
    assert urls.without_password(url) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no route to /tmp/a@b, 100 % lost", "no route to /tmp/a@b, 100 % lost"),
        ("Is it up? And/or why?", "Is it up? And/or why?"),
        ("404, url='http://user:secret@host/spool?key=secret'", "404, url='http://host/spool"),
        ("exceeded with url: /v1/traces?key=secret (Caused by it)", "exceeded with url: /v1/traces (Caused by it)"),
    ],
)
def test_secrets_in_a_url_are_removed_from_messages_of_libraries(text: str, shown: str) -> None:
    assert urls.without_passwords(text) == shown


@pytest.mark.parametrize("given", ["user:secret@collector:4318/?key=secret", "http://:4318?key=secret"])
def test_secrets_in_a_corrected_endpoint_are_not_printed(given: str) -> None:
    (problem,) = endpoints.plan("traces", {ENDPOINT: given}).problems

    assert "secret" not in problem


# --- off switches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OTEL_FLYTE_ENABLED", value) for value in ("false", "0", "no", "off", " False ")),
        *(("OTEL_SDK_DISABLED", value) for value in ("true", "TRUE", " true ")),
        *(("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", value) for value in ("flyte", "*", "requests, flyte ,urllib3")),
    ],
)
def test_each_off_switch_is_named_in_the_reason(name: str, value: str) -> None:
    assert settings.switched_off_by({name: value}) == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OTEL_FLYTE_ENABLED", value) for value in ("true", "1", "yes", "ON", "", "maybe")),
        # The specification: every value except "true" is false.
        *(("OTEL_SDK_DISABLED", value) for value in ("false", "1", "yes", "")),
        *(("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", value) for value in ("", "requests", "flytekit", "flyte-x")),
    ],
)
def test_other_values_of_off_switches_disable_nothing(name: str, value: str) -> None:
    assert settings.switched_off_by({name: value}) is None


# --- our own variables -----------------------------------------------------------------------------------------------


def test_defaults_have_no_problems() -> None:
    read = settings.read({})

    assert (read.map_nested, read.control_plane, read.problems) == (500, False, ())


@pytest.mark.parametrize(
    ("value", "control_plane"),
    [("true", True), ("1", True), (" Yes ", True), ("on", True), ("false", False), ("0", False), ("", False)],
)
def test_usual_spellings_of_booleans_are_read(value: str, control_plane: bool) -> None:
    read = settings.read({"OTEL_FLYTE_CONTROL_PLANE": value})

    assert (read.control_plane, read.problems) == (control_plane, ())


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        (
            "OTEL_FLYTE_ENABLED",
            "flase",
            "OTEL_FLYTE_ENABLED=flase must be true or false: true is used",
        ),
        (
            "OTEL_FLYTE_CONTROL_PLANE",
            "ture",
            "OTEL_FLYTE_CONTROL_PLANE=ture must be true or false: false is used",
        ),
        *(
            (
                "OTEL_FLYTE_MAP_NESTED",
                value,
                f"OTEL_FLYTE_MAP_NESTED={value} must be a non-negative integer: 500 is used",
            )
            for value in ("5OO", "-1", "1e3", "2.5", "²")
        ),
    ],
)
def test_an_invalid_value_is_reported_with_its_replacement(name: str, value: str, problem: str) -> None:
    assert settings.read({name: value}) == settings.read({})._replace(problems=(problem,))


@pytest.mark.parametrize(("value", "number"), [("0", 0), ("12", 12), (" 7 ", 7), ("", 500)])
def test_a_count_is_a_non_negative_integer(value: str, number: int) -> None:
    read = settings.read({"OTEL_FLYTE_MAP_NESTED": value})

    assert (read.map_nested, read.problems) == (number, ())


@pytest.mark.parametrize(
    ("value", "seconds", "problem"),
    [
        ("0", 0, None),
        ("3600", 3600, None),
        ("3601", 3600, "must be at most 3600 s: 3600 is used"),
        ("1e12", 3600, "must be at most 3600 s: 3600 is used"),
        ("inf", 3600, "must be at most 3600 s: 3600 is used"),
        ("nan", 2, "must be a non-negative number of seconds: 2 is used"),
        ("-1", 2, "must be a non-negative number of seconds: 2 is used"),
        ("2s", 2, "must be a non-negative number of seconds: 2 is used"),
    ],
)
def test_the_exit_timeout_is_at_most_an_hour(value: str, seconds: float, problem: str | None) -> None:
    read = settings.read({"OTEL_FLYTE_EXIT_TIMEOUT": value})

    assert read.exit_timeout == seconds
    assert read.problems == ((f"OTEL_FLYTE_EXIT_TIMEOUT={value} {problem}",) if problem else ())


@pytest.mark.parametrize(
    ("value", "is_usable"),
    [
        (f"00-{'a1' * 16}-{'b2' * 8}-01", True),
        (f"01-{'a1' * 16}-{'b2' * 8}-01-more", True),
        (f"00-{'a1' * 16}-{'b2' * 8}-01-more", False),
        ("zz", False),
        (f"00-{'0' * 32}-{'b2' * 8}-01", False),
        (f"00-{'a1' * 16}-{'0' * 16}-01", False),
        (f"ff-{'a1' * 16}-{'b2' * 8}-01", False),
    ],
)
def test_a_launcher_that_is_no_traceparent_is_reported(value: str, *, is_usable: bool) -> None:
    problem = f"OTEL_FLYTE_LAUNCHED_BY={value} must be a W3C traceparent: it is ignored"
    assert settings.read({"OTEL_FLYTE_LAUNCHED_BY": value}).problems == (() if is_usable else (problem,))
    assert propagation.launched_by({"OTEL_FLYTE_LAUNCHED_BY": value}).is_valid is is_usable


# --- misspelt variables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misspelt", "problem"),
    [
        ("OTEL_FLYTE_ENABLE", "OTEL_FLYTE_ENABLE is not a variable of otel-flyte (did you mean OTEL_FLYTE_ENABLED?)"),
        (
            "OTEL_FLYTE_CONTROLPLANE",
            "OTEL_FLYTE_CONTROLPLANE is not a variable of otel-flyte (did you mean OTEL_FLYTE_CONTROL_PLANE?)",
        ),
        (
            "OTEL_FLYTE_LAUNCHEDBY",
            "OTEL_FLYTE_LAUNCHEDBY is not a variable of otel-flyte (did you mean OTEL_FLYTE_LAUNCHED_BY?)",
        ),
        ("OTEL_FLYTE_X", "OTEL_FLYTE_X is not a variable of otel-flyte"),
        ("OTEL_FLYTE_FOO", "OTEL_FLYTE_FOO is not a variable of otel-flyte"),
    ],
)
def test_an_unknown_variable_of_ours_is_reported_with_suggestions(misspelt: str, problem: str) -> None:
    assert settings.read({misspelt: "1"}).problems == (f"{problem}: it is ignored",)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPONT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_EXPORTER_OLTP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTLP_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_EXPORTER_OTLP_TRACE_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ("OTEL_EXPORTER_OTLP_METRIC_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"),
        ("OTEL_EXPORTER_OTLP_PROTOCAL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ("OTEL_EXPORTER_OTLP_HEADER", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_TRACE_EXPORTER", "OTEL_TRACES_EXPORTER"),
        ("OTEL_LOG_EXPORTER", "OTEL_LOGS_EXPORTER"),
        ("OTEL_SERVICENAME", "OTEL_SERVICE_NAME"),
        ("OTEL_RESOURCE_ATTRIBUTE", "OTEL_RESOURCE_ATTRIBUTES"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATION", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"),
    ],
)
def test_a_misspelt_standard_variable_is_reported_with_the_right_one(misspelt: str, meant: str) -> None:
    assert settings.read({misspelt: "x"}).problems == (
        f"{misspelt} is not a variable of OpenTelemetry (did you mean {meant}?): it is ignored",
    )


def variables_of(module: str) -> list[str]:
    return [name for name in vars(importlib.import_module(module)) if name.startswith("OTEL_")]


OF_CONTRIB = """
    OTEL_GOOGLE_GENAI_GENERATE_CONTENT_CONFIG_EXCLUDES OTEL_GOOGLE_GENAI_GENERATE_CONTENT_CONFIG_INCLUDES
    OTEL_INSTRUMENTATION_AWS_LAMBDA_FLUSH_TIMEOUT OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT
    OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT
    OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH OTEL_INSTRUMENTATION_GENAI_UPLOAD_FORMAT
    OTEL_INSTRUMENTATION_GENAI_UPLOAD_MAX_QUEUE_SIZE OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE
    OTEL_INSTRUMENTATION_OPENAI_AGENTS_CAPTURE_CONTENT OTEL_INSTRUMENTATION_OPENAI_AGENTS_CAPTURE_METRICS
    OTEL_LAMBDA_DISABLE_AWS_CONTEXT_PROPAGATION OTEL_PYTHON_AIOHTTP_CLIENT_EXCLUDED_URLS
    OTEL_PYTHON_AIOHTTP_SERVER_EXCLUDED_URLS OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE
    OTEL_PYTHON_ASYNCIO_FUTURE_TRACE_ENABLED OTEL_PYTHON_ASYNCIO_TO_THREAD_FUNCTION_NAMES_TO_TRACE
    OTEL_PYTHON_DJANGO_EXCLUDED_URLS OTEL_PYTHON_DJANGO_INSTRUMENT OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION
    OTEL_PYTHON_DJANGO_TRACED_REQUEST_ATTRS OTEL_PYTHON_EXCLUDED_URLS
    OTEL_PYTHON_EXPORTER_OTLP_GRPC_TRACES_CREDENTIAL_PROVIDER OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER
    OTEL_PYTHON_FALCON_EXCLUDED_URLS OTEL_PYTHON_FALCON_TRACED_REQUEST_ATTRS OTEL_PYTHON_FASTAPI_EXCLUDED_URLS
    OTEL_PYTHON_FLASK_EXCLUDED_URLS OTEL_PYTHON_GRPC_EXCLUDED_SERVICES OTEL_PYTHON_HTTPX_EXCLUDED_URLS
    OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED
    OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION OTEL_PYTHON_LOG_CODE_ATTRIBUTES OTEL_PYTHON_LOG_CORRELATION
    OTEL_PYTHON_LOG_FORMAT OTEL_PYTHON_LOG_HANDLER_LEVEL OTEL_PYTHON_LOG_LEVEL OTEL_PYTHON_OPAMP_ENDPOINT
    OTEL_PYTHON_PYRAMID_EXCLUDED_URLS OTEL_PYTHON_REQUESTS_EXCLUDED_URLS OTEL_PYTHON_STARLETTE_EXCLUDED_URLS
    OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS OTEL_PYTHON_TORNADO_EXCLUDED_URLS
    OTEL_PYTHON_TORNADO_TRACED_REQUEST_ATTRS OTEL_PYTHON_URLLIB3_EXCLUDED_URLS OTEL_PYTHON_URLLIB_EXCLUDED_URLS
"""

OF_THE_KUBERNETES_OPERATOR = """
    OTEL_RESOURCE_ATTRIBUTES_POD_NAME OTEL_RESOURCE_ATTRIBUTES_POD_UID OTEL_RESOURCE_ATTRIBUTES_NODE_NAME
    OTEL_POD_IP OTEL_NODE_IP OTEL_DOTNET_AUTO_HOME OTEL_INJECTOR_CONFIG_FILE
"""

OF_OTHER_PARTS_OF_THE_SPECIFICATION = """
    OTEL_EXPERIMENTAL_CONFIG_FILE OTEL_EXPORTER_JAEGER_ENDPOINT OTEL_EXPORTER_OTLP_FILE_PATH OTEL_SEMCONV_VERSION
    OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN OTEL_NODE_RESOURCE_DETECTORS OTEL_INSTRUMENTATION_COMMON_DEFAULT_ENABLED
"""


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(variables_of("opentelemetry.environment_variables"), id="of the API"),
        pytest.param(variables_of("opentelemetry.sdk.environment_variables"), id="of the SDK"),
        pytest.param(
            variables_of("opentelemetry.instrumentation.environment_variables"), id="of opentelemetry-instrument"
        ),
        pytest.param(OF_CONTRIB.split(), id="of contrib"),
        pytest.param(OF_THE_KUBERNETES_OPERATOR.split(), id="of the operator"),
        pytest.param(OF_OTHER_PARTS_OF_THE_SPECIFICATION.split(), id="of the specification"),
    ],
)
def test_an_existing_variable_is_never_reported_as_misspelt(names: list[str]) -> None:
    assert len(names) > 2
    assert settings.read(dict.fromkeys(names, "")).problems == ()


def test_a_variable_of_the_bundled_stack_is_never_reported_as_misspelt() -> None:
    names = [port.variable for port in stack_settings.PORTS.values()] + [part.variable for part in parts.PARTS]

    assert settings.read(dict.fromkeys(names, "")).problems == ()


def variables_of_service(name: str, address: str, *ports: tuple[str, int, str]) -> dict[str, str]:
    """Return the variables that the kubelet sets for a Service with these names, numbers and protocols of ports."""
    prefix = name.upper().replace("-", "_")
    _, first, protocol = ports[0]
    variables = {
        f"{prefix}_SERVICE_HOST": address,
        f"{prefix}_SERVICE_PORT": str(first),
        f"{prefix}_PORT": f"{protocol}://{address}:{first}",
    }
    for port, number, protocol in ports:
        one = f"{prefix}_PORT_{number}_{protocol.upper()}"
        variables |= {one: f"{protocol}://{address}:{number}", f"{one}_PROTO": protocol}
        variables |= {f"{one}_PORT": str(number), f"{one}_ADDR": address}
        if port:
            variables[f"{prefix}_SERVICE_PORT_{port.upper().replace('-', '_')}"] = str(number)
    return variables


GRPC, HTTP, STATSD = ("otlp", 4317, "tcp"), ("otlp-http", 4318, "tcp"), ("statsd", 8125, "udp")


@pytest.mark.parametrize("address", ["10.0.0.1", "[fd00::1]"])
@pytest.mark.parametrize(
    "service",
    [
        "otel-flyte",
        "otel-flyte-gateway",
        "otel-flyte-spool",
        "otel-flyte-enabled",
        "otel-exporter",
        "otel-exporter-otlp",
        "otel-exporter-otlp-traces",
        "otel-service",
        "otlp",
    ],
)
def test_the_variables_of_a_service_are_not_misspelt(service: str, address: str) -> None:
    environ = variables_of_service(service, address, GRPC, HTTP, STATSD)

    assert len(environ) > 15
    assert settings.read(environ).problems == ()


@pytest.mark.parametrize("variable", ["OTEL_FLYTE_PORT", "OTEL_FLYTE_GATEWAY_PORT", "OTEL_FLYTE_SERVICE"])
def test_a_port_that_a_user_has_set_is_reported(variable: str) -> None:
    (problem,) = settings.read({variable: "4317"}).problems

    assert problem.startswith(f"{variable} is not a variable of otel-flyte")


@pytest.mark.parametrize("service", ["otel-flyte-stack-tempo", "otel-flyte-stack-otlp-grpc"])
def test_a_port_of_the_stack_is_not_the_address_of_a_service(service: str) -> None:
    environ = variables_of_service(service, "10.0.0.1", ("", 1234, "tcp"))

    assert stack_settings.read(environ) == stack_settings.read({})
    assert settings.read(environ).problems == ()


def test_variables_of_other_programs_are_ignored() -> None:
    assert settings.read({"PATH": "/bin", "HOTEL_FLYTE_ENABLED": "1", "otel_flyte_enable": "1"}).problems == ()
