"""The command line. It only reads arguments and prints; each command's work is done elsewhere.

What a command needs is imported by the command: ``explain`` must neither need flytekit nor wait for the SDK.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from otel_flyte.query.tree import ExecutionTree
    from otel_flyte.report.text import Look

DEMO = Path(__file__).parent / "examples" / "demo.py"


class _UserError(click.ClickException):
    """Something that the user can mend, told in one line."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"otel-flyte: {self.message}", file=file or sys.stderr)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="otel-flyte")
def main() -> None:
    """OpenTelemetry for Flyte: run a workflow and see its trace, or look at one that was recorded."""


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def show(files: Sequence[str]) -> None:
    """Draw the tree of a recorded trace beside its timeline.

    FILE holds OTLP as JSON lines; of a folder every *.jsonl file is read.
    """
    _draw(_read(files))


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def explain(files: Sequence[str]) -> None:
    """Tabulate every operation of a recorded trace: start, end, duration, share, entity, and how it went.

    FILE holds OTLP as JSON lines; of a folder every *.jsonl file is read.
    """
    _print(_read(files).explain())


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def dump(files: Sequence[str]) -> None:
    """Print a recorded trace as YAML, with all attributes, errors and sums by phase.

    FILE holds OTLP as JSON lines; of a folder every *.jsonl file is read.
    """
    _print(_read(files).dump())


@main.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="FILE WORKFLOW [INPUTS]")
@click.pass_context
def run(context: click.Context, arguments: Sequence[str]) -> None:
    """Run a workflow or task locally, as `pyflyte run` does, and see its trace.

    Takes what `pyflyte run` takes, and ends as it does: see `pyflyte run --help` for the options, and
    `otel-flyte run FILE WORKFLOW --help` for the inputs of a workflow.

    Its spans are written to .otel-flyte/ under the current folder, and sent to wherever OTEL_* variables say.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        click.echo(context.get_help(), err=not arguments)
        context.exit(0 if arguments else 2)
    context.exit(_run(arguments))


@main.command()
@click.pass_context
def demo(context: click.Context) -> None:
    """Run a small pipeline that ships with this package, and see its trace."""
    context.exit(_run((str(DEMO), "pipeline"), commands=True))


@main.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Say whether the instrumentation is on, where telemetry goes, and whether it arrives there."""
    from otel_flyte.lifecycle.doctor import diagnose

    healthy = True
    for finding in diagnose(os.environ):
        _print(f"{finding.verdict.value:<5} {finding.text}")
        healthy = healthy and finding.verdict.name != "FAIL"
    context.exit(0 if healthy else 1)


def _run(arguments: Sequence[str], *, commands: bool = False) -> int:
    """Run ``pyflyte run`` and record it; arguments that run nothing are left to it alone."""
    from otel_flyte.flytekit_v1 import pyflyte_run

    try:
        target = pyflyte_run.target(arguments)
    except pyflyte_run.NotRunnableError as error:
        raise _UserError(str(error)) from None
    if target is None:
        return pyflyte_run.invoke(arguments)
    from otel_flyte.lifecycle import recording

    try:
        code, file = recording.record(
            target.entity, lambda: pyflyte_run.invoke(arguments), sys.stderr, _look(sys.stderr)
        )
    except OSError as error:
        raise _UserError(f"{recording.FOLDER}/ can't be written: {error.strerror or error}") from None
    _print("")
    if file is None:
        _print(f"No span was recorded: {_why_nothing()}.")
        return code
    _draw(_read((str(file),)))
    _print(f"\nrecorded in {file}")
    if commands:
        _print(f"\nTry next:\n  otel-flyte explain {file}\n  otel-flyte dump {file}\n  otel-flyte run YOUR_FILE.py YOUR_WORKFLOW")
    return code
