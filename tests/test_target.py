"""The receiver of a signal: the exporter's variables give the address that a transport connects to."""

import pytest

from otel_flyte.config import endpoints
from otel_flyte.export.target import DEFAULT_TIMEOUT_SECONDS, Target

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]


def target(**environ: str) -> Target:
    return Target.of(endpoints.plan("traces", environ), environ)


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("http://host:4318", "http://host:4318/v1/traces"),
        ("http://host:4318/", "http://host:4318/v1/traces"),
        ("https://host/otlp", "https://host/otlp/v1/traces"),
        ("https://host/otlp/", "https://host/otlp/v1/traces"),
        ("http://host:4318/otlp?tenant=a", "http://host:4318/otlp/v1/traces?tenant=a"),
        ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
        ("http://[::1]", "http://[::1]/v1/traces"),
    ],
)
def test_the_path_of_the_signal_is_appended_to_the_endpoint_of_all(endpoint: str, address: str) -> None:
    assert target(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint).address == address


@pytest.mark.parametrize("endpoint", ["http://host:4318", "http://host:4318/", "https://host/otlp/", "http://h/x?a=b"])
def test_the_endpoint_of_a_signal_is_used_unchanged(endpoint: str) -> None:
    assert target(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=endpoint).address == endpoint


@pytest.mark.parametrize(
    ("endpoint", "address", "secure"),
    [
        ("http://host:4317", "host:4317", False),
        ("http://host", "host:4317", False),
        ("https://host", "host", True),
        ("https://host:443/", "host:443", True),
        ("http://user:secret@host:4317", "host:4317", False),
        ("http://[::1]", "[::1]:4317", False),
        ("http://[::1]:4444", "[::1]:4444", False),
        ("http://[::1]:", "[::1]:4317", False),
        ("http://user:secret@[::1]/", "[::1]:4317", False),
        ("http://[fe80::1%25eth0]", "[fe80::1%25eth0]:4317", False),
        ("http://[fe80::1%eth0]", "[fe80::1%eth0]:4317", False),
        ("[::1]", "[::1]:4317", False),
        ("grpc://[::1]", "[::1]:4317", False),
        ("grpc://host:", "host:4317", False),
        ("https://[::1]", "[::1]", True),
        ("grpcs://[::1]", "[::1]:4317", True),
    ],
)
def test_a_grpc_address_is_host_and_port(endpoint: str, address: str, *, secure: bool) -> None:
    found = target(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert (found.address, found.secure) == (address, secure)


@pytest.mark.parametrize("value", ["", "ten", "0", "-1", "nan", "inf"])
def test_a_timeout_is_a_positive_number_of_seconds(value: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318", "OTEL_EXPORTER_OTLP_TIMEOUT": value}
    assert target(**environ).timeout == DEFAULT_TIMEOUT_SECONDS
    assert target(**environ, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="2.5").timeout == 2.5


def test_options_of_a_signal_override_those_of_all() -> None:
    found = target(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://host:4318",
        OTEL_EXPORTER_OTLP_HEADERS="Authorization=Basic%20a, X-Tenant=b",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_TRACES_COMPRESSION="Deflate",
        OTEL_EXPORTER_OTLP_CERTIFICATE="ca.pem",
    )
    assert found.headers == {"authorization": "Basic a", "x-tenant": "b"}
    assert (found.compression, found.certificate) == ("deflate", "ca.pem")
