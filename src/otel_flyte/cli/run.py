"""Commands that run something: run, demo, exec."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from otel_flyte.cli.output import UserError, discard_output, print_problem, print_text
from otel_flyte.cli.recordings import draw, not_writable, read
from otel_flyte.stack.commands import one_line

if TYPE_CHECKING:
    from otel_flyte.recording.tree import Analysis

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"

_LARGEST_WITH_PAGE = 2 * 2**20
"""Bytes of a recording for which `run` writes a page: that takes half a second."""

_STACK_SECONDS = "7"
"""Seconds that one of the demo's tasks works, so that the stack has usage to show."""

_FIRST_STEPS = (
    ("otel-flyte explain {file}", "every operation in a table"),
    ("otel-flyte dump {file}", "all of it as YAML"),
    ("otel-flyte run YOUR_FILE.py YOUR_WORKFLOW", "the same with your code"),
    ("otel-flyte doctor", "whether telemetry would arrive"),
)


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The recording: a new *.jsonl file, or a folder. Given first. Default: .otel-flyte.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="FILE WORKFLOW [INPUTS]")
@click.pass_context
def run(context: click.Context, arguments: Sequence[str], output: Path | None) -> None:
    """Run a workflow or task locally, and show its trace.

    It runs as by `pyflyte run`.

    Arguments and exit code are those of pyflyte:

    \b
      pyflyte run --help                     all options
      otel-flyte run FILE                    the workflows and tasks in a file
      otel-flyte run FILE WORKFLOW --help    the inputs of a workflow

    Its spans are written to .otel-flyte/ under the current folder, or to --output, and exported as OTEL_* variables
    configure.
    """  # noqa: D301  # click wants the character itself
    if not arguments or arguments[0] in ("-h", "--help"):
        click.echo(context.get_help(), err=not arguments)
        context.exit(0 if arguments else 2)
    context.exit(_run(arguments, output=output))


@click.command()
@click.option("--stack", "into_stack", is_flag=True, help="Export it to the running stack, and print links to it.")
@click.pass_context
def demo(context: click.Context, *, into_stack: bool) -> None:
    """Run a bundled example, and show its trace."""
    if not into_stack:
        context.exit(_run((str(DEMO), "pipeline"), first_steps=True))
    with one_line():
        from otel_flyte.stack.demo import sending_to_stack

        with sending_to_stack() as print_links:
            code = _run((str(DEMO), "pipeline", "--seconds", _STACK_SECONDS), then=print_links)
    context.exit(code)


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="--",
    short_help="Run a command, and end its span if it is killed.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND [ARGUMENT]...")
def execute(command: Sequence[str]) -> None:
    """Run a command as an image's ENTRYPOINT does, and end its task's span if it is killed or crashes.

    A task whose process is killed, runs out of memory or crashes can't end its own span. This small parent, which
    passes signals and the exit code through, ends the span and records the signal, or OOMKilled.

    \b
      ENTRYPOINT ["otel-flyte", "exec", "--"]
    """  # noqa: D301  # click wants the character itself
    from otel_flyte.supervisor.command import supervise

    supervise(["--", *command])


COMMANDS = (run, demo, execute)


def _run(
    arguments: Sequence[str],
    *,
    output: Path | None = None,
    first_steps: bool = False,
    then: Callable[[Path], None] | None = None,
) -> int:
    """Run ``pyflyte run``, recorded unless the arguments run nothing; ``then`` is called with the recording."""
    from otel_flyte.run import pyflyte_run

    try:
        target = pyflyte_run.target(arguments)
        if target is None or "--help" in arguments:
            return pyflyte_run.invoke(arguments)
        from otel_flyte.run import local_run

        outcome = local_run.run(arguments, target, output)
    except pyflyte_run.NotRunnableError as error:
        raise UserError(str(error)) from None
    if outcome.recording:
        _show(outcome.recording, first_steps=first_steps)
        if then is not None:
            then(outcome.recording)
    if outcome.problem:
        print_problem(outcome.problem)
    return outcome.exit_code


def _show(path: Path, *, first_steps: bool) -> None:
    """Show a recording; a failure to do so does not change the outcome of the run."""
    from otel_flyte.recording.tree import Analysis

    try:
        print_text("")
        analysis = Analysis.of(read((path,)))
        draw(analysis.tree)
        print_text(f"\nrecorded in {path}")
        page = _write_page(analysis, path)
        if page:
            print_text(f"page: {page}")
        if first_steps:
            steps = [(command.format(file=shlex.quote(str(path))), purpose) for command, purpose in _FIRST_STEPS]
            longest = max(len(command) for command, _ in steps)
            print_text("\nTry next:\n" + "\n".join(f"  {command:<{longest}}  {purpose}" for command, purpose in steps))
        _print_address(analysis, page if first_steps else None)
    except BrokenPipeError:
        discard_output()
    except UserError as error:
        print_problem(f"recorded in {path}, but {error.message}")


def _print_address(analysis: "Analysis", page: Path | None) -> None:
    """Print the address of the run on the server that receives it, else that of its page, where there is one."""
    from otel_flyte.run import server_page

    executions = analysis.tree.executions
    address = server_page.address(os.environ, executions[0]) if executions else ""
    if address or page:
        print_text(f"\nOpen {address or (page and page.absolute().as_uri())}")


def _write_page(analysis: "Analysis", recording: Path) -> Path | None:
    """Write the page of a run beside its recording, unless the recording is so large that the user would wait."""
    from otel_flyte.config import settings
    from otel_flyte.report import page

    path = recording.with_suffix(".html")
    try:
        if recording.stat().st_size > _LARGEST_WITH_PAGE:
            return None
        page.write(analysis, path, settings.read(os.environ).trace_url)
    except OSError as error:
        path.unlink(missing_ok=True)
        print_problem(not_writable(path, error))
        return None
    return path
