"""`otel-flyte stack up|down|status`: reads arguments and prints; what a command needs is imported by the command."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

_PATIENCE = 180.0


class _Error(click.ClickException):
    """One line that says what is wrong."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"otel-flyte: {self.message}", file=file or sys.stderr)


@click.group()
def stack() -> None:
    """A backend on this machine: collector, Tempo, Prometheus, Loki and Grafana."""


@stack.command()
@click.option("--compose", "mode", flag_value="compose", help="As containers, or not at all.")
@click.option("--native", "mode", flag_value="native", help="As processes, even where a container engine answers.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=_PATIENCE, metavar="SECONDS", help="How long it may take: 180."
)
def up(mode: str | None, timeout: float) -> None:
    """Start it: by docker compose where an engine answers, else natively with the binaries that are here.

    What runs already is left as it is. Natively a part without a binary is left out, and said. Ports are moved by
    OTEL_FLYTE_STACK_*_PORT. The exit code is 1 where a part does not come up; nothing is left running then.
    """
    with one_line():
        from otel_flyte.stack import control

        settings = control.up(mode, os.environ, click.echo, timeout)
    click.echo(f"\nSend to it:  export OTEL_EXPORTER_OTLP_ENDPOINT={settings.url('otlp_http')}")
    click.echo("Fill it:     otel-flyte demo --stack")


@stack.command()
@click.option("--delete", "--volumes", "is_data_deleted", is_flag=True, help="Delete its data too.")
def down(*, is_data_deleted: bool) -> None:
    """Stop it; what it has stored stays, unless it is to be deleted."""
    with one_line():
        from otel_flyte.stack import control

        stopped = control.down(os.environ, click.echo, is_data_deleted=is_data_deleted)
    click.echo(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    if is_data_deleted:
        click.echo("its data is deleted")


@stack.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Show each part: whether it is ready, where it is, and what is missing.

    The exit code is 0 where all that was started is ready, 1 where something is not, or nothing was started.
    """
    with one_line():
        from otel_flyte.stack import control

        mode, parts = control.status(os.environ)
    click.echo(control.MODES[mode] if mode else "the stack is not running: `otel-flyte stack up` starts it")
    for part in parts:
        click.echo(f"{part.name:<10}  {part.state:<9}  {part.url:<28}  {part.note}".rstrip())
    context.exit(1 if mode is None or any(part.is_bad for part in parts) else 0)


@contextmanager
def one_line() -> Iterator[None]:
    """Tell of what the user can mend in one line, and exit with 1."""
    from otel_flyte.stack.status import StackError

    try:
        yield
    except (StackError, OSError) as error:
        raise _Error(str(error)) from None
