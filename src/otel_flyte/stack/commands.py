"""`otel-flyte stack up|down|status`. Imports are inside the commands, so that the command line starts fast."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

_TIMEOUT = 180


class _Error(click.ClickException):
    """An error of one line."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"otel-flyte: {self.message}", file=file or sys.stderr)


@click.group()
def stack() -> None:
    """Control a backend on this machine.

    Its parts are the collector, Tempo, Prometheus, Loki and Grafana.
    """


@stack.command()
@click.option("--compose", is_flag=True, help="Run containers; fail without a container engine.")
@click.option("--native", is_flag=True, help="Run processes, even if a container engine is running.")
@click.option(
    "--timeout",
    type=click.IntRange(min=1),
    default=_TIMEOUT,
    metavar="SECONDS",
    help="Time until all parts must be ready. Default: 180.",
)
def up(timeout: int, *, compose: bool, native: bool) -> None:
    """Start the stack.

    If a container engine is running, docker compose starts it, else the installed binaries run natively. Parts that
    are already running are left as they are. Natively, a part without a binary is skipped and reported.
    OTEL_FLYTE_STACK_*_PORT changes a port. If a part does not come up, the exit code is 1 and everything that was
    started is stopped again.
    """
    if compose and native:
        raise click.UsageError("--compose and --native exclude each other")
    mode = "compose" if compose else "native" if native else None
    with one_line():
        from otel_flyte.stack import control

        settings = control.up(mode, os.environ, click.echo, timeout)
    click.echo(f"\nSend to it:  export OTEL_EXPORTER_OTLP_ENDPOINT={settings.url('otlp_http')}")
    click.echo("Fill it:     otel-flyte demo --stack")


@stack.command()
@click.option("--delete", "--volumes", "is_data_deleted", is_flag=True, help="Delete the stored data too.")
def down(*, is_data_deleted: bool) -> None:
    """Stop the stack. Stored data is kept, unless --delete is given."""
    with one_line():
        from otel_flyte.stack import control

        stopped = control.down(os.environ, click.echo, is_data_deleted=is_data_deleted)
    click.echo(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    if is_data_deleted:
        click.echo("data deleted")


@stack.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Show the status and the URL of each part.

    The exit code is 0 if every part that was started is ready, and 1 otherwise or if nothing was started.
    """
    with one_line():
        from otel_flyte.stack import control

        current, parts = control.status(os.environ)
    click.echo(control.MODES[current.mode] if current else f"otel-flyte: {control.NOT_RUNNING}", err=current is None)
    for part in parts:
        click.echo(part.line)
    context.exit(1 if current is None or any(part.is_bad for part in parts) else 0)


@contextmanager
def one_line() -> Iterator[None]:
    """Report an error that the user can fix in one line, with exit code 1."""
    from otel_flyte.stack.status import StackError

    try:
        yield
    except (StackError, OSError) as error:
        raise _Error(str(error)) from None
