"""The command line. It only reads arguments and prints; each command's work is done elsewhere.

What a command needs is imported by the command: ``explain`` must neither need flytekit nor wait for the SDK.
"""

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from otel_flyte.query.tree import ExecutionTree
    from otel_flyte.report.text import Look

DEMO = Path(__file__).parent / "examples" / "demo.py"

_FIRST_STEPS = (
    ("otel-flyte explain {file}", "every operation in a table"),
    ("otel-flyte dump {file}", "all of it as YAML"),
    ("otel-flyte run YOUR_FILE.py YOUR_WORKFLOW", "the same with code of yours"),
    ("otel-flyte doctor", "whether telemetry would arrive"),
)


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

    It takes what pyflyte takes, and ends as pyflyte does:

    \b
      pyflyte run --help                     all options
      otel-flyte run FILE                    the workflows and tasks in a file
      otel-flyte run FILE WORKFLOW --help    the inputs of a workflow

    Its spans are written to .otel-flyte/ under the current folder, and sent to wherever OTEL_* variables say.
    """  # noqa: D301  # click wants the character itself
    if not arguments or arguments[0] in ("-h", "--help"):
        click.echo(context.get_help(), err=not arguments)
        context.exit(0 if arguments else 2)
    context.exit(_run(arguments))


@main.command()
@click.pass_context
def demo(context: click.Context) -> None:
    """Run a small pipeline that ships with this package, and see its trace."""
    context.exit(_run((str(DEMO), "pipeline"), first_steps=True))


@main.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Say whether the instrumentation is on, where telemetry goes, and whether it arrives there."""
    from otel_flyte.doctor import Verdict, diagnose

    # Exporters that are refused go on trying, and would say so between the lines.
    logging.disable(logging.CRITICAL)
    healthy = True
    for finding in diagnose(os.environ):
        _print(f"{finding.verdict.value:<5} {finding.text}")
        healthy = healthy and finding.verdict is not Verdict.FAIL
    context.exit(0 if healthy else 1)


def _run(arguments: Sequence[str], *, first_steps: bool = False) -> int:
    """Run ``pyflyte run`` and record it; arguments that run nothing are left to it alone."""
    from otel_flyte.flytekit_v1 import pyflyte_run

    try:
        target = pyflyte_run.target(arguments)
    except pyflyte_run.NotRunnableError as error:
        raise _UserError(str(error)) from None
    if target is None or "--help" in arguments:
        return pyflyte_run.invoke(arguments)
    from otel_flyte.local import recording

    try:
        exporter = recording.open_file(target.entity)
    except OSError as error:
        raise _UserError(f"{recording.FOLDER}/ can't be written: {error.strerror or error}") from None
    with recording.to(exporter, sys.stderr, _look(sys.stderr)):
        code = pyflyte_run.invoke(arguments)
    if recording.discard_if_empty(exporter):
        _explain_nothing(code)
        return code
    _print("")
    _draw(_read((str(exporter.path),)))
    _print(f"\nrecorded in {exporter.path}")
    if first_steps:
        steps = [(command.format(file=exporter.path), purpose) for command, purpose in _FIRST_STEPS]
        longest = max(len(command) for command, _ in steps)
        _print("\nTry next:\n" + "\n".join(f"  {command:<{longest}}  {purpose}" for command, purpose in steps))
    return code


def _explain_nothing(code: int) -> None:
    """Say why there is no trace, unless what failed has said so itself."""
    from otel_flyte import settings

    variable = settings.switched_off_by(os.environ)
    if variable:
        click.echo(f"otel-flyte: nothing was recorded, {variable} switches the instrumentation off", err=True)
    elif code == 0:
        click.echo("otel-flyte: nothing was recorded, no task ran in this process", err=True)


def _read(files: Sequence[str]) -> "ExecutionTree":
    from otel_flyte.query.otlp_file import UnreadableError
    from otel_flyte.query.tree import ExecutionTree

    try:
        return ExecutionTree.from_file(*files)
    except UnreadableError as error:
        raise _UserError(str(error)) from None


def _draw(tree: "ExecutionTree") -> None:
    from otel_flyte.report.text import render

    _print(render(tree, _look(sys.stdout)))


def _look(stream: TextIO) -> "Look":
    from otel_flyte.report.text import Look

    return Look.of(stream, os.environ, shutil.get_terminal_size((100, 24)).columns)


def _print(text: str) -> None:
    """Print, with a question mark for what the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "ascii"
    click.echo(text.encode(encoding, "replace").decode(encoding))


if __name__ == "__main__":
    main()
