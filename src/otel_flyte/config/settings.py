"""Everything that users configure, read from environment variables.

Nothing here raises: a value that can't be used becomes one line in ``problems`` that says what was wrong and what is
used instead.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from otel_flyte import semconv
from otel_flyte.runtime.guard import say_once

SIGNALS = ("traces", "metrics", "logs")
GRPC = "grpc"
HTTP = "http/protobuf"
PROTOCOLS = (GRPC, HTTP)
OTLP = "otlp"
OTLP_PROTOCOLS = {OTLP: None, "otlp_proto_grpc": GRPC, "otlp_proto_http": HTTP}
"""The names of the OTLP exporters, and the protocol that a name settles."""

GRPC_PORT = 4317
LONGEST_EXIT_SECONDS = 3600.0
DEFAULT_INTERVAL_SECONDS = 1.0
SHORTEST_INTERVAL_SECONDS = 0.05
LONGEST_INTERVAL_SECONDS = 30.0
"""Minutes would have no average of their own beyond that."""

DEFAULT_ENDPOINTS = {GRPC: "http://localhost:4317", HTTP: "http://localhost:4318"}

_TRUE = frozenset(("true", "1", "yes", "on"))
_FALSE = frozenset(("false", "0", "no", "off"))
_URL = re.compile(r"([^/@?#]*://)?(.*@)?([^?#]*).*", re.DOTALL)
_CONTAINER_SCHEMES = ("abfs://", "abfss://")
"""What stands before an account there, in ``abfs://CONTAINER@ACCOUNT/``, is no user."""

_URL_IN_TEXT = re.compile(r"\S*(?:://|/\S*[?#])\S*")
_OURS = tuple(value for name, value in vars(semconv).items() if name.startswith("OTEL_FLYTE_"))
_GRPC_SCHEMES = ("grpc", "grpcs")
_STANDARD = (
    semconv.ENDPOINT,
    semconv.PROTOCOL,
    semconv.SERVICE_NAME,
    semconv.SDK_DISABLED,
    semconv.CONFIG_FILE,
    semconv.ID_GENERATOR,
    semconv.DISABLED_INSTRUMENTATIONS,
    semconv.HEADERS,
    semconv.TIMEOUT,
    semconv.COMPRESSION,
    semconv.CERTIFICATE,
    semconv.INSECURE,
    semconv.RESOURCE_ATTRIBUTES,
    semconv.SAMPLER,
    semconv.SAMPLER_ARG,
    *(
        pattern.format(signal=signal.upper())
        for signal in SIGNALS
        for pattern in (semconv.EXPORTER, semconv.SIGNAL_ENDPOINT, semconv.SIGNAL_PROTOCOL)
    ),
)
"""The standard variables whose misspelling would lose a user's telemetry in silence."""


class Settings(NamedTuple):
    """What this project's own variables say.

    Attributes:
        map_nested: the first array index whose map subtask has a trace of its own.
        control_plane: whether the control plane's attempt spans are exported, to be the parents of task spans that
            ``TRACEPARENT`` names none for.
        exit_timeout: seconds that telemetry may add to the end of a process.
        spool: folder or URL for what could not be delivered, empty for none.
        sample_interval: seconds between two samples of what a task uses, 0 for none.
        capture_output: whether what a task writes becomes log records, ``None`` where nothing says so.
        trace_url: template of a link to a span, empty for none.
        problems: one line for each value that could not be used.
    """

    map_nested: int
    control_plane: bool
    exit_timeout: float
    spool: str
    sample_interval: float
    capture_values: bool
    capture_output: bool | None
    trace_url: str
    problems: tuple[str, ...]


class SignalPlan(NamedTuple):
    """Where the telemetry of one signal goes.

    Attributes:
        signal: ``traces``, ``metrics`` or ``logs``.
        exporters: names of exporters, empty where the signal goes nowhere.
        protocol: the OTLP protocol, where OTLP is among the exporters.
        endpoint: the OTLP endpoint as given, mended where it had to be.
        endpoint_is_whole: whether the endpoint is this signal's own, to be used as it is.
        decided_by: the variable that decided, ``None`` where none is set.
        mended: whether ``endpoint`` differs from what the variable says.
        problems: one line for each value that could not be used.
    """

    signal: str
    exporters: tuple[str, ...]
    protocol: str
    endpoint: str
    endpoint_is_whole: bool
    decided_by: str | None
    mended: bool
    problems: tuple[str, ...]


_current: Settings | None = None


def current() -> Settings:
    """Return this project's settings, read once in a process; their problems are logged then."""
    global _current
    if _current is None:
        _current = read(os.environ)
        for problem in _current.problems:
            say_once(problem)
    return _current


def read(environ: Mapping[str, str]) -> Settings:
    """Read this project's own variables."""
    problems: list[str] = []
    _boolean(environ, semconv.OTEL_FLYTE_ENABLED, True, problems)
    return Settings(
        map_nested=_count(environ, semconv.OTEL_FLYTE_MAP_NESTED, 500, problems),
        control_plane=_boolean(environ, semconv.OTEL_FLYTE_CONTROL_PLANE, False, problems),
        exit_timeout=_seconds(environ, semconv.OTEL_FLYTE_EXIT_TIMEOUT, 2.0, LONGEST_EXIT_SECONDS, problems),
        spool=environ.get(semconv.OTEL_FLYTE_SPOOL, "").strip(),
        sample_interval=_interval(environ, problems),
        capture_values=_boolean(environ, semconv.OTEL_FLYTE_CAPTURE_VALUES, False, problems),
        capture_output=_choice(environ, semconv.OTEL_FLYTE_CAPTURE_OUTPUT, problems),
        trace_url=_template(environ, problems),
        problems=(*problems, *_misspelt(environ)),
    )


def switched_off_by(environ: Mapping[str, str]) -> str | None:
    """Return the variable that switches the instrumentation off, ``None`` where it is on."""
    if not _boolean(environ, semconv.OTEL_FLYTE_ENABLED, True, []):
        return semconv.OTEL_FLYTE_ENABLED
    if environ.get(semconv.SDK_DISABLED, "").strip().lower() == "true":
        return semconv.SDK_DISABLED
    disabled = environ.get(semconv.DISABLED_INSTRUMENTATIONS, "")
    if any(name.strip() in ("flyte", "*") for name in disabled.split(",")):
        return semconv.DISABLED_INSTRUMENTATIONS
    return None


def plan(signal: str, environ: Mapping[str, str]) -> SignalPlan:
    """Decide where a signal goes: its ``OTEL_*_EXPORTER`` if set, else ``otlp`` where an endpoint covers it.

    Without a protocol it is http/protobuf, as the OTLP exporter specification has it, but gRPC where the endpoint's
    scheme says so, and on port 4317, where nothing else listens.
    """
    problems: list[str] = []
    endpoint_variable, given_endpoint = _first(environ, _own(semconv.SIGNAL_ENDPOINT, signal), semconv.ENDPOINT)
    endpoint = _url(endpoint_variable, given_endpoint, problems) if endpoint_variable else ""
    exporter_variable, names = _first(environ, _own(semconv.EXPORTER, signal))
    if exporter_variable:
        exporters = _one_otlp(exporter_variable, _names(names), problems)
    else:
        exporters = (OTLP,) if endpoint else ()
    if endpoint_variable and not endpoint:
        exporters = tuple(name for name in exporters if name not in OTLP_PROTOCOLS)
    default = GRPC if endpoint and _means_grpc(given_endpoint, endpoint) else HTTP
    protocol = _protocol(environ, signal, default, exporters, problems)
    return SignalPlan(
        signal=signal,
        exporters=exporters,
        protocol=protocol,
        endpoint=endpoint or DEFAULT_ENDPOINTS[protocol],
        endpoint_is_whole=endpoint_variable == _own(semconv.SIGNAL_ENDPOINT, signal),
        decided_by=exporter_variable or endpoint_variable,
        mended=bool(endpoint) and endpoint != given_endpoint,
        problems=tuple(problems) if exporters or endpoint_variable else (),
    )


def configured(environ: Mapping[str, str]) -> bool:
    """Whether any signal is to be delivered, or a configuration file says so."""
    return bool(environ.get(semconv.CONFIG_FILE)) or any(plan(signal, environ).exporters for signal in SIGNALS)


def without_password(url: str) -> str:
    """Return a URL as it may be shown to anybody: without user, password, query and fragment.

    Where a password that is not encoded can't be told from a query, only the scheme is left.
    """
    return _URL.sub(_shown, url, count=1)


def without_passwords(text: str) -> str:
    """Return a text, such as the message of an error, with each URL in it as it may be shown to anybody."""
    return _URL_IN_TEXT.sub(lambda url: without_password(url[0]), text)


def _shown(url: re.Match[str]) -> str:
    scheme, user, place = url.groups(default="")
    if "?" in user or "#" in user:
        place = "…"
    elif scheme.lower() in _CONTAINER_SCHEMES and ":" not in user:
        place = f"{user}{place}"
    return f"{scheme}{place}"


def _own(pattern: str, signal: str) -> str:
    return pattern.format(signal=signal.upper())


def _first(environ: Mapping[str, str], *names: str) -> tuple[str | None, str]:
    for name in names:
        value = environ.get(name, "").strip()
        if value:
            return name, value
    return None, ""


def _names(value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    return () if "none" in names else names


def _one_otlp(variable: str, names: tuple[str, ...], problems: list[str]) -> tuple[str, ...]:
    """Keep one of several OTLP exporters, which would send everything twice to one endpoint."""
    several = [name for name in names if name in OTLP_PROTOCOLS]
    if len(several) < 2:
        return names
    used = next((name for name in several if OTLP_PROTOCOLS[name]), OTLP)
    problems.append(f"{variable}={','.join(names)} names OTLP {len(several)} times: {used} is used.")
    return tuple(name for name in names if name == used or name not in several)


def _url(variable: str, value: str, problems: list[str]) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "", value
    scheme = scheme.lower()
    mended = value if scheme in ("http", "https") else f"http{'s' * (scheme == 'grpcs')}://{rest}"
    try:
        parts = urlsplit(mended)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        if usable and scheme in _GRPC_SCHEMES and parts.port is None:
            mended = parts._replace(netloc=f"{parts.netloc}:{GRPC_PORT}").geturl()
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in mended):
        shown = without_password(value)
        problems.append(f"{variable}={shown} is no URL such as http://host:4318: nothing is sent there.")
        return ""
    if mended != value:
        shown, used = without_password(value), without_password(mended)
        problems.append(f"{variable}={shown} does not begin with http:// or https://: {used} is used.")
    return mended


def _means_grpc(given: str, endpoint: str) -> bool:
    return given.lower().startswith(tuple(f"{scheme}://" for scheme in _GRPC_SCHEMES)) or (
        urlsplit(endpoint).port == GRPC_PORT
    )


def _protocol(
    environ: Mapping[str, str], signal: str, default: str, exporters: tuple[str, ...], problems: list[str]
) -> str:
    settled = next((OTLP_PROTOCOLS[name] for name in exporters if OTLP_PROTOCOLS.get(name)), None)
    if settled:
        return settled
    variable, value = _first(environ, _own(semconv.SIGNAL_PROTOCOL, signal), semconv.PROTOCOL)
    if not variable or value in PROTOCOLS:
        return value or default
    problems.append(f"{variable}={value} is not one of {', '.join(PROTOCOLS)}: {default} is used.")
    return default


def _boolean(environ: Mapping[str, str], variable: str, default: bool, problems: list[str]) -> bool:
    value = environ.get(variable, "").strip().lower()
    if not value:
        return default
    if value in _TRUE:
        return True
    if value not in _FALSE:
        problems.append(f"{variable}={environ[variable]} is neither true nor false: {str(default).lower()} is used.")
        return default
    return False


def _choice(environ: Mapping[str, str], variable: str, problems: list[str]) -> bool | None:
    """Read a boolean whose default depends on where it is asked for."""
    value = environ.get(variable, "").strip()
    if value and value.lower() not in _TRUE | _FALSE:
        problems.append(f"{variable}={value} is neither true nor false: it is as if it were not set.")
    return {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}.get(value.lower())


def _count(environ: Mapping[str, str], variable: str, default: int, problems: list[str]) -> int:
    value = environ.get(variable, "").strip()
    if not value:
        return default
    if value.isascii() and value.isdigit():
        return int(value)
    problems.append(f"{variable}={value} is no whole number from 0 up: {default} is used.")
    return default


def _seconds(environ: Mapping[str, str], variable: str, default: float, longest: float, problems: list[str]) -> float:
    value = environ.get(variable, "").strip()
    if not value:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds <= longest:
        return seconds
    if seconds > longest:
        problems.append(f"{variable}={value} is more than {longest:g} s: {longest:g} is used.")
        return longest
    problems.append(f"{variable}={value} is no number of seconds from 0 up: {default:g} is used.")
    return default


def _template(environ: Mapping[str, str], problems: list[str]) -> str:
    variable = semconv.OTEL_FLYTE_TRACE_URL
    value = environ.get(variable, "").strip()
    if not value or (value.startswith(("http://", "https://")) and "{trace_id}" in value):
        return value
    example = "https://tempo.example.com/trace/{trace_id}"
    problems.append(f"{variable}={without_password(value)} is no URL with {{trace_id}} such as {example}: no links.")
    return ""


def _interval(environ: Mapping[str, str], problems: list[str]) -> float:
    variable = semconv.OTEL_FLYTE_SAMPLE_INTERVAL
    seconds = _seconds(environ, variable, DEFAULT_INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS, problems)
    if 0 < seconds < SHORTEST_INTERVAL_SECONDS:
        problems.append(f"{variable}={environ[variable]} is less than {SHORTEST_INTERVAL_SECONDS:g} s: that is used.")
        return SHORTEST_INTERVAL_SECONDS
    return seconds


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    problems = []
    for variable in environ:
        if variable in _OURS or variable.startswith(semconv.STACK_VARIABLES):
            continue
        if variable.startswith("OTEL_FLYTE_"):
            problems.append(f"{variable} is no variable of otel-flyte{_meant(variable, _OURS, 0.85)}: it is ignored.")
        elif variable.startswith(("OTEL_", "OTLP_", "OTL_")) and variable not in _STANDARD:
            meant = _meant(variable, _STANDARD, 0.92)
            if meant and not _is_known(variable):
                problems.append(f"{variable} is no variable of OpenTelemetry{meant}: it is ignored.")
    return problems


def _meant(variable: str, known: tuple[str, ...], cutoff: float) -> str:
    import difflib

    close = difflib.get_close_matches(variable, known, n=1, cutoff=cutoff)
    return f" (did you mean {close[0]}?)" if close else ""


def _is_known(variable: str) -> bool:
    """Whether OpenTelemetry's API or SDK defines the variable; asked only for those that look misspelt."""
    from opentelemetry import environment_variables as api
    from opentelemetry.sdk import environment_variables as sdk

    return hasattr(api, variable) or hasattr(sdk, variable)
