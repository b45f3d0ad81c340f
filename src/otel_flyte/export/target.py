"""The receiver of one signal, as the specification of the OTLP exporter reads it from the environment.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/. A variable for one signal wins over the one for all.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from otel_flyte import semconv
from otel_flyte._version import __version__
from otel_flyte.config.endpoints import GRPC, GRPC_PORT, SignalPlan
from otel_flyte.config.urls import without_empty_port

DEFAULT_TIMEOUT_SECONDS = 10.0
USER_AGENT = f"otel-flyte/{__version__}"

Credentials = TypeVar("Credentials")


class Target(NamedTuple):
    """The configuration of a transport.

    Attributes:
        signal: ``traces``, ``metrics`` or ``logs``.
        address: the URL for HTTP, ``host:port`` for gRPC.
        secure: whether gRPC uses TLS. HTTP decides by the URL.
        headers: sent with each request; names in lower case.
        compression: ``gzip``, ``deflate`` or empty.
        timeout: seconds for one attempt.
        certificate: file of the trusted authorities, empty for those of the system.
        client_certificate: file of the sender's own certificate.
        client_key: file of its key.
        credentials: name of an ``opentelemetry_otlp_credential_provider``.
    """

    signal: str
    address: str
    secure: bool
    headers: Mapping[str, str]
    compression: str
    timeout: float
    certificate: str
    client_certificate: str
    client_key: str
    credentials: str

    @classmethod
    def of(cls, plan: SignalPlan, environ: Mapping[str, str]) -> "Target":
        """Read the environment for the signal of a plan."""

        def option(name: str) -> str:
            own = environ.get(semconv.OTLP_SIGNAL_OPTION.format(signal=plan.signal.upper(), option=name), "")
            return (own or environ.get(semconv.OTLP_OPTION.format(option=name), "")).strip()

        grpc = plan.protocol == GRPC
        compression = option("COMPRESSION").lower()
        return cls(
            signal=plan.signal,
            address=_host_and_port(plan) if grpc else _url(plan),
            secure=urlsplit(plan.endpoint).scheme == "https" or option("INSECURE").lower() == "false",
            headers={name.lower(): value for name, value in parse_env_headers(option("HEADERS"), liberal=True).items()},
            compression=compression if compression in ("gzip", "deflate") else "",
            timeout=_seconds(option("TIMEOUT")),
            certificate=option("CERTIFICATE"),
            client_certificate=option("CLIENT_CERTIFICATE"),
            client_key=option("CLIENT_KEY"),
            credentials=_credentials(plan, environ),
        )


def load_credentials(name: str, kind: type[Credentials]) -> Credentials:
    """Return the credentials that an installed provider creates.

    Raises:
        LookupError: no provider of that name creates this kind.
    """
    for entry in entry_points(group="opentelemetry_otlp_credential_provider", name=name):
        credentials = entry.load()()
        if isinstance(credentials, kind):
            return credentials
    raise LookupError(f"no credential provider {name} of {kind.__module__}.{kind.__name__} is installed")


def _url(plan: SignalPlan) -> str:
    if plan.endpoint_is_whole:
        return plan.endpoint
    parts = urlsplit(plan.endpoint)
    return parts._replace(path=f"{parts.path.rstrip('/')}/v1/{plan.signal}").geturl()


def _host_and_port(plan: SignalPlan) -> str:
    parts = urlsplit(plan.endpoint)
    # `hostname` lacks the brackets of an IPv6 address: gRPC would take its last groups for an IPv4 address.
    place = without_empty_port(parts.netloc.rpartition("@")[2])
    has_port = parts.port is not None or parts.scheme == "https"
    return place if has_port else f"{place}:{GRPC_PORT}"


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return DEFAULT_TIMEOUT_SECONDS
    return seconds if 0 < seconds < float("inf") else DEFAULT_TIMEOUT_SECONDS


def _credentials(plan: SignalPlan, environ: Mapping[str, str]) -> str:
    protocol = "GRPC" if plan.protocol == GRPC else "HTTP"
    own = semconv.CREDENTIAL_PROVIDER.format(protocol=f"{protocol}_{plan.signal.upper()}")
    return environ.get(own) or environ.get(semconv.CREDENTIAL_PROVIDER.format(protocol=protocol), "")
