"""``otel-flyte serve``: the embedded backend."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from otel_flyte.cli.output import UserError, print_problem, print_text

if TYPE_CHECKING:
    from otel_flyte.server.serve import Options

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


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
@click.option("--insecure", is_flag=True, help="Listen on other addresses than loopback without tokens.")
def serve(**given: Any) -> None:
    """Receive telemetry, keep it, and show it on a page.

    It receives OTLP over HTTP and gRPC, keeps all three signals in a database, and needs no other program. The page
    lists executions and shows each as `otel-flyte report` does, while it runs. With SOURCE, a recording or a folder of
    recordings, it serves those instead, as they grow.
    """
    try:
        from otel_flyte.server import schema, serve, tokens
    except ModuleNotFoundError as error:
        raise UserError(f"serve requires {error.name}: pip install 'otel-flyte[serve]'") from None

    try:
        options = _options(given)
        serve.serve(options, print_text)
    except (serve.ServeError, schema.DatabaseError, tokens.TokenError) as error:
        raise UserError(str(error)) from None


def _options(given: dict[str, Any]) -> "Options":
    from otel_flyte.server import tokens
    from otel_flyte.server.retention import Limits
    from otel_flyte.server.serve import LOOPBACK, Options

    files = given["token_file"], given["otlp_token_file"]
    token, otlp_token = (None if path is None else tokens.read(path) for path in files)
    source: Path | None = given["source"]
    if source is not None and not source.exists():
        raise UserError(f"{source} does not exist: name a recording or a folder of recordings")
    tls = given["tls_cert"], given["tls_key"]
    if (tls[0] is None) != (tls[1] is None):
        raise UserError("--tls-cert and --tls-key belong together: give both")
    if given["host"] not in LOOPBACK and not given["insecure"] and None in (token, otlp_token or source):
        needed = "--token-file" if source is not None else "--token-file and --otlp-token-file"
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
    )


COMMANDS = (serve,)
