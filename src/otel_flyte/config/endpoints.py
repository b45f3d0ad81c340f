"""The destination of each signal: exporters, protocol and endpoint, from the standard variables.

A value that can't be used becomes one line in ``problems``; nothing here raises.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from otel_flyte import semconv
from otel_flyte.config.urls import without_empty_port, without_password

SIGNALS = ("traces", "metrics", "logs")
GRPC = "grpc"
HTTP = "http/protobuf"
PROTOCOLS = (GRPC, HTTP)
OTLP = "otlp"
OTLP_PROTOCOLS = {OTLP: None, "otlp_proto_grpc": GRPC, "otlp_proto_http": HTTP}
"""The names of the OTLP exporters, and the protocol that a name fixes."""

GRPC_PORT = 4317
WELL_KNOWN = "/.well-known/otel-flyte"
"""The path at which the OTLP receiver of an ``otel-flyte serve`` answers with the port of its page."""

DEFAULT_ENDPOINTS = {GRPC: "http://localhost:4317", HTTP: "http://localhost:4318"}

_GRPC_SCHEMES = ("grpc", "grpcs")


class SignalPlan(NamedTuple):
    """The destination of one signal.

    Attributes:
        signal: ``traces``, ``metrics`` or ``logs``.
        exporters: names of exporters, empty where the signal is not exported.
        protocol: the OTLP protocol, where OTLP is among the exporters.
        endpoint: the OTLP endpoint as given, corrected where necessary.
        endpoint_is_whole: whether the endpoint is this signal's own, to be used without a path of the signal.
        decided_by: the variable that decided, ``None`` where none is set.
        corrected: whether ``endpoint`` differs from the value of the variable.
        problems: one line for each value that can't be used.
    """

    signal: str
    exporters: tuple[str, ...]
    protocol: str
    endpoint: str
    endpoint_is_whole: bool
    decided_by: str | None
    corrected: bool
    problems: tuple[str, ...]


def plan(signal: str, environ: Mapping[str, str]) -> SignalPlan:
    """Return the destination of a signal: its ``OTEL_*_EXPORTER`` if set, else ``otlp`` where an endpoint covers it.

    Without a protocol it is http/protobuf, as in the OTLP exporter specification, but gRPC if the endpoint's scheme
    names gRPC or its port is 4317, which is reserved for gRPC.
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
    default = GRPC if endpoint and _is_grpc(given_endpoint, endpoint) else HTTP
    protocol = _protocol(environ, signal, default, exporters, problems)
    return SignalPlan(
        signal=signal,
        exporters=exporters,
        protocol=protocol,
        endpoint=endpoint or DEFAULT_ENDPOINTS[protocol],
        endpoint_is_whole=endpoint_variable == _own(semconv.SIGNAL_ENDPOINT, signal),
        decided_by=exporter_variable or endpoint_variable,
        corrected=bool(endpoint) and endpoint != given_endpoint,
        problems=tuple(problems) if exporters or endpoint_variable else (),
    )


def configured(environ: Mapping[str, str]) -> bool:
    """Return whether any signal is exported, or a configuration file is named."""
    return bool(environ.get(semconv.CONFIG_FILE)) or any(plan(signal, environ).exporters for signal in SIGNALS)


def _own(pattern: str, signal: str) -> str:
    return pattern.format(signal=signal.upper())


def _first(environ: Mapping[str, str], *names: str) -> tuple[str | None, str]:
    for name in names:
        if value := environ.get(name, "").strip():
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
    problems.append(f"{variable}={','.join(names)} contains {len(several)} OTLP exporters: {used} is used")
    return tuple(name for name in names if name == used or name not in several)


def _url(variable: str, value: str, problems: list[str]) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "", value
    scheme = scheme.lower()
    corrected = value if scheme in ("http", "https") else f"http{'s' * (scheme == 'grpcs')}://{rest}"
    try:
        parts = urlsplit(corrected)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        if usable and scheme in _GRPC_SCHEMES and parts.port is None:
            corrected = parts._replace(netloc=f"{without_empty_port(parts.netloc)}:{GRPC_PORT}").geturl()
    except ValueError:
        usable = False
    shown = f"{variable}={without_password(value)}"
    if not usable or any(character.isspace() for character in corrected):
        problems.append(f"{shown} must be a URL such as http://host:4318: nothing is sent there")
        return ""
    if corrected != value:
        problems.append(f"{shown} must begin with http:// or https://: {without_password(corrected)} is used")
    return corrected


def _is_grpc(given: str, endpoint: str) -> bool:
    schemes = tuple(f"{scheme}://" for scheme in _GRPC_SCHEMES)
    return given.lower().startswith(schemes) or urlsplit(endpoint).port == GRPC_PORT


def _protocol(
    environ: Mapping[str, str], signal: str, default: str, exporters: tuple[str, ...], problems: list[str]
) -> str:
    if fixed := next((OTLP_PROTOCOLS[name] for name in exporters if OTLP_PROTOCOLS.get(name)), None):
        return fixed
    variable, value = _first(environ, _own(semconv.SIGNAL_PROTOCOL, signal), semconv.PROTOCOL)
    if not variable or value in PROTOCOLS:
        return value or default
    problems.append(f"{variable}={value} must be one of {', '.join(PROTOCOLS)}: {default} is used")
    return default
