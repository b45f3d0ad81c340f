"""``otel-flyte serve``: the embedded backend."""

import re
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from otel_flyte.cli.output import UserError, print_problem, print_text

if TYPE_CHECKING:
    from otel_flyte.server.remote.backends import Backend
    from otel_flyte.server.serve import Options

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # older versions of click have no parameter
    """A number with a unit."""

    def __init__(self, name: str, units: dict[str, int], example: str) -> None:
        self.name = name
        self._units = units
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        parts = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]*?)b?\s*", str(value).lower())
        if parts is None or parts[2] not in self._units or not float(parts[1]):
            self.fail(f"{value} is no {self.name}: write it as {self._example}", param, ctx)
        return int(float(parts[1]) * self._units[parts[2]])


_PORT = click.IntRange(1, 65535)


@click.command()
@click.argument("source", required=False, type=click.Path(path_type=Path), metavar="[SOURCE]")
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(".otel-flyte/telemetry.db"),
    show_default=True,
    metavar="FILE",
    help="The database.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=_PORT, default=7311, show_default=True, help="Of the page and the API.")
@click.option("--otlp-http-port", type=_PORT, default=4318, show_default=True)
@click.option("--otlp-grpc-port", type=_PORT, default=4317, show_default=True)
@click.option(
    "--keep", type=_Quantity("time", _SECONDS, "14d or 12h"), metavar="TIME", help="Remove older executions, as 14d."
)
@click.option(
    "--keep-bytes",
    type=_Quantity("size", _BYTES, "10GiB"),
    metavar="SIZE",
    help="Remove the oldest executions above a size, as 10GiB.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Readers send its token as `Authorization: Bearer TOKEN`.",
)
@click.option("--otlp-token-file", type=click.Path(path_type=Path), metavar="FILE", help="Likewise, of senders.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="A certificate in PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Its key in PEM.")
@click.option(
    "--default-domain",
    default="development",
    show_default=True,
    metavar="DOMAIN",
    help="Of a project without a domain in the paths of ModelArts.",
)
@click.option("--tempo", metavar="URL", help="Serve the traces of this Tempo instead of what is received.")
@click.option("--prometheus", metavar="URL", help="With --tempo: the usage of running tasks.")
@click.option("--loki", metavar="URL", help="With --tempo: log records.")
@click.option(
    "--backend-header",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Sent to these backends, as `X-Scope-OrgID: TENANT`. May be repeated.",
)
@click.option("--insecure", is_flag=True, help="Listen on other addresses than loopback without tokens.")
def serve(**given: Any) -> None:
    """Receive telemetry, keep it, and show it on a page.

    It receives OTLP over HTTP and gRPC, keeps all three signals in a database, and needs no other program. The page
    lists executions and shows each as `otel-flyte report` does, while it runs. With SOURCE, a recording or a folder of
    recordings, it serves those instead, as they grow. With --tempo, it serves what is in Tempo, Prometheus and Loki.
    """
    try:
        from otel_flyte.recording.otlp_file import UnreadableError
        from otel_flyte.server import certificates, serve, tokens
        from otel_flyte.server.remote import backends
        from otel_flyte.server.store import schema
    except ModuleNotFoundError as error:
        raise UserError(f"serve requires {error.name}: pip install 'otel-flyte[serve]'") from None

    try:
        options = _options(given)
        serve.serve(options, print_text, print_problem)
    except (
        serve.ServeError,
        schema.DatabaseError,
        tokens.TokenError,
        certificates.CertificateError,
        UnreadableError,
        backends.AddressError,
    ) as error:
        raise UserError(str(error)) from None


def _options(given: dict[str, Any]) -> "Options":
    from otel_flyte.server import certificates, tokens
    from otel_flyte.server.serve import LOOPBACK, Options
    from otel_flyte.server.store.retention import Limits

    files = given["token_file"], given["otlp_token_file"]
    token, otlp_token = (None if path is None else tokens.read(path) for path in files)
    source: Path | None = given["source"]
    if source is not None and not source.exists():
        raise UserError(f"{source} does not exist: name a recording or a folder of recordings")
    backends = _backends(given)
    reads = source is not None or bool(backends)
    _check_given(source is not None, "SOURCE", _OF_KEEPING)
    if not reads:
        _check_ports(given)
    tls = given["tls_cert"], given["tls_key"]
    if (tls[0] is None) != (tls[1] is None):
        raise UserError("--tls-cert and --tls-key belong together: give both")
    if tls[0] is not None:
        certificates.check(*tls)
    lacks_token = token is None or (otlp_token is None and not reads)
    if given["host"] not in LOOPBACK and not given["insecure"] and lacks_token:
        needed = "--token-file" if reads else "--token-file and --otlp-token-file"
        raise UserError(f"{given['host']} can be reached from other machines: give {needed}, or --insecure")
    if given["host"] not in LOOPBACK and tls[0] is None and token is not None:
        print_problem("tokens are sent in plain text: give --tls-cert and --tls-key, or serve behind a proxy with TLS")
    return Options(
        store=given["store"],
        host=given["host"],
        port=given["port"],
        otlp_http=given["otlp_http_port"],
        otlp_grpc=given["otlp_grpc_port"],
        limits=Limits(given["keep"], given["keep_bytes"]),
        token=token,
        otlp_token=otlp_token,
        default_domain=given["default_domain"],
        tls=None if tls[0] is None else (tls[0], tls[1]),
        source=source,
        backends=backends,
    )


def _backends(given: dict[str, Any]) -> "tuple[Backend, ...]":
    """Return the backends to serve, Tempo first; none where telemetry is received."""
    from otel_flyte.server.remote import backends

    names = (backends.TEMPO, backends.PROMETHEUS, backends.LOKI)
    addresses = {name: given[name.lower()] for name in names if given[name.lower()] is not None}
    if addresses and backends.TEMPO not in addresses:
        raise UserError(f"--{next(iter(addresses)).lower()} needs traces: give --tempo, too")
    if given["backend_header"] and not addresses:
        raise UserError("--backend-header has no backend: give --tempo, too")
    _check_given(bool(addresses), "--tempo", _OF_RECEIVING)
    headers = backends.headers(given["backend_header"])
    return tuple(backends.backend(name, url, headers) for name, url in addresses.items())


def _check_given(reads: bool, instead: str, options: dict[str, str]) -> None:
    """Refuse options of receiving and keeping where the server reads something instead."""
    context = click.get_current_context()
    for option, name in options.items() if reads else ():
        if context.get_parameter_source(option) is not ParameterSource.DEFAULT:
            problem = f"{name} can't be used with {instead}, which receives and keeps nothing"
            raise UserError(f"{problem}: remove one of them")


def _check_ports(given: dict[str, Any]) -> None:
    for one, other in combinations(("port", "otlp_http_port", "otlp_grpc_port"), 2):
        if given[one] == given[other]:
            names = " and ".join(f"--{name.replace('_', '-')}" for name in (one, other))
            raise UserError(f"{names} are both {given[one]}: choose another port for one of them")


_OF_KEEPING = {"store": "--store", "keep": "--keep", "keep_bytes": "--keep-bytes"}
_OF_RECEIVING = {
    "source": "SOURCE",
    **_OF_KEEPING,
    "otlp_http_port": "--otlp-http-port",
    "otlp_grpc_port": "--otlp-grpc-port",
    "otlp_token_file": "--otlp-token-file",
}
"""The options that are about receiving and keeping, by their parameters."""


COMMANDS = (serve,)
