"""Commands that deliver stored telemetry: replay, spool push."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from otel_flyte import semconv
from otel_flyte.cli.output import UserError, print_problem

if TYPE_CHECKING:
    from otel_flyte.export.spool.replay import Replay, Summary


_EXPORTER = semconv.OTLP_OPTION.format(option="")
"""The start of the names of the variables that a replay reads."""


@click.command()
@click.argument("spool", metavar="SPOOL")
@click.option("--endpoint", metavar="URL", help="The receiver of all signals, instead of those in OTEL_* variables.")
@click.pass_context
def replay(context: click.Context, spool: str, endpoint: str | None) -> None:
    """Send spooled or recorded telemetry, each record once.

    SPOOL is a folder, a file of OTLP as JSON lines, or a URL that fsspec can read. An interrupted replay continues
    where it stopped; several may work on one folder. The exit code is 0 if all records were accepted, 1 if some are
    left, 2 if nothing could be tried.
    """
    from otel_flyte.cli.replay_output import ReplayOutput
    from otel_flyte.config import standard
    from otel_flyte.export.spool import remote
    from otel_flyte.export.spool.replay import NoEndpointError, Replay, environ_with

    output = ReplayOutput(sys.stderr)
    try:
        environ = environ_with(endpoint, os.environ)
        work = Replay(standard.usable(environ), output.update)
        for variable, problem in standard.unusable(environ).items():
            if variable.startswith(_EXPORTER):
                print_problem(problem)
        summary = remote.replay(spool, work) if remote.is_url(spool) else _replay(spool, work)
    except NoEndpointError as error:
        raise UserError(str(error)) from None
    except remote.RemoteError as error:
        raise UserError(f"{error}: {error.remedy}") from None
    output.finish(summary)
    context.exit(0 if summary.is_complete else 1)


@click.group()
def spool() -> None:
    """Manage undelivered telemetry."""


@spool.command()
@click.argument("folder", metavar="SPOOL", type=click.Path(readable=False, path_type=Path))
@click.argument("url", metavar="URL")
@click.pass_context
def push(context: click.Context, folder: Path, url: str) -> None:
    """Copy a spool folder to any URL that fsspec can write; `otel-flyte replay URL` sends it from there.

    Files in use are left in place. Spool files that were copied are removed. The exit code is 0 if all were copied, 1
    if some are left, 2 if none could be.
    """
    from rich.filesize import decimal

    from otel_flyte.config.urls import without_password
    from otel_flyte.export.spool import remote
    from otel_flyte.recording.cells import counted

    try:
        pushed = remote.push(folder, url)
    except remote.RemoteError as error:
        raise UserError(f"{error}: {error.remedy}") from None
    for line in (*pushed.remarks, *pushed.problems):
        print_problem(line)
    size = decimal(pushed.size)
    click.echo(f"{counted(pushed.files, 'file')} with {size} copied to {without_password(url)}", err=True)
    context.exit(1 if pushed.problems else 0)


COMMANDS = (replay, spool)


def _replay(name: str, work: "Replay") -> "Summary":
    """Replay a folder or a file of this machine."""
    from otel_flyte.export.spool import files
    from otel_flyte.export.spool.replay import rejected_records
    from otel_flyte.recording import otlp_file

    path = Path(name.removeprefix("file://"))
    try:
        if path.is_dir():
            summary = work.run(files.files(path))
            summary.rejected = rejected_records(path)
            return summary
        path.open("rb").close()
        if not files.is_spool(path):
            otlp_file.check_first_line(path)
    except otlp_file.UnreadableError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(str(otlp_file.unreadable(name, error))) from None
    return work.run([path])
