"""The command line. It only reads arguments and prints; each command's work is done elsewhere.

What a command needs is imported by the command: ``explain`` must neither need flytekit nor wait for the SDK.
"""

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import click

from otel_flyte.stack.commands import one_line, stack

if TYPE_CHECKING:
    from otel_flyte.export.spool.replay import Replay, Summary
    from otel_flyte.recording.attempts import Attempt
    from otel_flyte.recording.tree import ExecutionTree
    from otel_flyte.report.text import Look

_STANDARD_ERROR = 2

_LONGEST_RECORDING = 2 * 2**20
"""Bytes of a recording of which `run` writes a page by itself: that takes half a second."""

_LONG_ENOUGH = "7"
"""Seconds that one of the demo's tasks works, so that there is usage to look at in the stack."""

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"

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


class _OutputError(_UserError):
    """What was asked for can't be printed."""

    exit_code = 1


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


@main.command()
@click.argument("source", metavar="SOURCE")
@click.argument("task", required=False, metavar="[TASK]")
@click.option("--json", "form", flag_value="json", help="The body of ModelArts; the default for a TASK.")
@click.option("--csv", "form", flag_value="csv", help="A line for each minute: minute,cpuUsage,...")
@click.option("--table", "form", flag_value="table", help="The same for people; the default for the list.")
def metrics(source: str, task: str | None, form: str | None) -> None:
    """Print what a task attempt used, minute by minute, in the shape of ModelArts.

    SOURCE holds OTLP as JSON lines; of a folder every *.jsonl file is read. Without TASK the attempts are listed. TASK
    is a span id, a node's path such as n0, n0@1 (attempt 1), n0/3 (item 3 of a map), or the name of a task.

    The six metrics cpuUsage, memUsage, gpuUtil, gpuMemUsage, npuUtil and npuMemUsage are always all there and equally
    long: a value for each minute from the start of the attempt, the average of that minute in percent, -1 where there
    is none. CPU and memory are percent of the task's limit, else of the visible cores and the host's memory; GPU and
    NPU are the mean over the devices that the task sees. They are read from the attempt's span, else, of one that runs
    or was killed, from its metric records.
    """
    from otel_flyte.recording.attempts import UnknownAttemptError, choose
    from otel_flyte.report import metrics as forms

    attempts = _attempts((source,))
    if task is None:
        by_form = {"json": forms.list_as_json, "csv": forms.list_as_csv}
        _print(by_form.get(form or "", forms.list_as_table)(attempts))
        return
    try:
        chosen = choose(attempts, task)
    except UnknownAttemptError as error:
        raise _UserError(str(error)) from None
    _print({"csv": forms.as_csv, "table": forms.as_table}.get(form or "", forms.as_json)(chosen))


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Look at the last N attempts. Default: 20.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=1000),
    metavar="PERCENT",
    help="Added to what was seen. Default: 20 for memory, 15 for CPU.",
)
@click.option("--json", "is_json", is_flag=True, help="For machines.")
def rightsize(sources: Sequence[str], last: int | None, margin: float | None, *, is_json: bool) -> None:
    """Say what tasks should ask for, by what their last attempts used.

    SOURCE holds OTLP as JSON lines; of a folder every *.jsonl file is read. Tasks that ran out of memory, waited for
    CPU, or left GPUs idle are named first. Then follows for each task what it asks for now -> what it should ask for,
    each as request / limit, and why, and the arguments of @task to paste. Nothing is ever recommended below a peak that
    was seen.
    """
    from otel_flyte.recording.rightsize import LAST, Margins, advise
    from otel_flyte.report import advice

    margins = None if margin is None else Margins(margin / 100, margin / 100)
    found = advise(_attempts(sources), last or LAST, margins)
    _print(advice.as_json(found) if is_json else advice.as_text(found))


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write it, - for standard output. Default: SOURCE's name with .html, in the current folder.",
)
def report(sources: Sequence[str], output: Path | None) -> None:
    """Write a page of a recorded execution: timeline, errors, usage, logs, and every attribute.

    SOURCE holds OTLP as JSON lines; of a folder every *.jsonl file is read. The page is one file that opens in any
    browser, with no server and nothing from a network. With OTEL_FLYTE_TRACE_URL, such as
    https://tempo.example.com/trace/{trace_id}, it links to your backend.
    """
    from otel_flyte.config import settings
    from otel_flyte.recording.otlp_file import UnreadableError
    from otel_flyte.report import page

    said = settings.read(os.environ)
    for problem in said.problems:
        click.echo(f"otel-flyte: {problem}", err=True)
    path = output or page.beside(sources[0])
    if any(_is_or_holds(Path(source), path) for source in sources):
        raise _UserError(f"{path} is what the page is to be made of: name another file with -o.")
    try:
        recording = page.read(*sources)
        if str(path) == "-":
            click.echo(page.render(recording, said.trace_url))
            return
        page.write(recording, path, said.trace_url)
    except UnreadableError as error:
        raise _UserError(str(error)) from None
    except OSError as error:
        raise _UserError(f"{path} can't be written: {error.strerror or error}") from None
    _print(str(path))


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
@click.option("--stack", "into_stack", is_flag=True, help="Send it to the stack that runs, and print where to look.")
@click.pass_context
def demo(context: click.Context, *, into_stack: bool) -> None:
    """Run a small pipeline that ships with this package, and see its trace."""
    if not into_stack:
        context.exit(_run((str(DEMO), "pipeline"), first_steps=True))
    with one_line():
        from otel_flyte.stack.demo import filled

        with filled() as tell:
            code = _run((str(DEMO), "pipeline", "--seconds", _LONG_ENOUGH), then=tell)
    context.exit(code)


@main.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="--",
    short_help="Run a command, and end its task's span if it is killed.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND [ARGUMENT]...")
def execute(command: Sequence[str]) -> None:
    """Run a command as an image's ENTRYPOINT does, and end its task's span if it dies.

    A task whose process is killed, runs out of memory or crashes can't end its own span. This small parent, which
    passes signals and the exit code through, does it: with the signal, or OOMKilled.

    \b
      ENTRYPOINT ["otel-flyte", "exec", "--"]
    """  # noqa: D301  # click wants the character itself
    from otel_flyte.supervisor.command import supervise

    supervise(["--", *command])


@main.command()
@click.argument("spool", metavar="SPOOL")
@click.option("--endpoint", metavar="URL", help="Where to send all of it, instead of where OTEL_* variables say.")
@click.pass_context
def replay(context: click.Context, spool: str, endpoint: str | None) -> None:
    """Send what was spooled, or recorded by `otel-flyte run`, each record once.

    SPOOL is a folder, a file of OTLP as JSON lines, or a URL that fsspec can read. A replay that was interrupted goes
    on where it stopped; several may work on one folder. The exit code is 0 where all was taken, 1 where something is
    left, 2 where nothing could be tried.
    """
    from otel_flyte.cli.delivery import Teller
    from otel_flyte.export.spool import remote
    from otel_flyte.export.spool.replay import NoEndpointError, Replay, environ_with

    teller = Teller(sys.stderr)
    try:
        work = Replay(environ_with(endpoint, os.environ), teller.progress)
        summary = remote.replay(spool, work) if remote.is_url(spool) else _replay(spool, work)
    except (NoEndpointError, remote.RemoteError) as error:
        raise _UserError(str(error)) from None
    teller.end(summary)
    context.exit(0 if summary.is_complete else 1)


@main.group()
def spool() -> None:
    """What is yet to be delivered."""


@spool.command()
@click.argument(
    "folder", metavar="SPOOL", type=click.Path(exists=True, file_okay=False, readable=False, path_type=Path)
)
@click.argument("url", metavar="URL")
@click.pass_context
def push(context: click.Context, folder: Path, url: str) -> None:
    """Hand a spool folder over to any URL that fsspec can write; `otel-flyte replay URL` sends it from there.

    Files that are in use stay where they are. Spool files that were copied are removed. The exit code is 0 where all
    was copied, 1 where something is left, 2 where nothing could be.
    """
    from otel_flyte.cli.delivery import size
    from otel_flyte.config.settings import without_password
    from otel_flyte.export.spool import remote

    try:
        pushed = remote.push(folder, url)
    except remote.RemoteError as error:
        raise _UserError(str(error)) from None
    for line in (*pushed.remarks, *pushed.problems):
        click.echo(f"otel-flyte: {line}", err=True)
    what = f"{pushed.files} file{'s' * (pushed.files != 1)} with {size(pushed.size)}"
    click.echo(f"{what} copied to {without_password(url)}", err=True)
    context.exit(1 if pushed.problems else 0)


@main.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Say whether the instrumentation is on, where telemetry goes, and whether it arrives there."""
    from otel_flyte.adapters.base import Verdict
    from otel_flyte.cli.doctor import diagnose

    # Exporters that are refused go on trying, and would say so between the lines.
    logging.disable(logging.CRITICAL)
    healthy = True
    for finding in diagnose(os.environ):
        _print(f"{finding.verdict.value:<5} {finding.text}")
        healthy = healthy and finding.verdict is not Verdict.FAIL
    context.exit(0 if healthy else 1)


def _run(arguments: Sequence[str], *, first_steps: bool = False, then: Callable[[Path], None] | None = None) -> int:
    """Run ``pyflyte run`` and record it; arguments that run nothing are left to it alone.

    ``then`` is called with what was recorded.
    """
    from otel_flyte.config.standard import usable_only
    from otel_flyte.run import pyflyte_run
    from otel_flyte.run.identity import named

    try:
        target = pyflyte_run.target(arguments)
    except pyflyte_run.NotRunnableError as error:
        raise _UserError(str(error)) from None
    if target is None or "--help" in arguments:
        return pyflyte_run.invoke(arguments)
    _hold_standard_descriptors()
    _say_what_is_not_used()
    with usable_only():
        from otel_flyte.run import recording
    try:
        exporter = recording.open_file(target.entity)
    except OSError as error:
        raise _UserError(f"{recording.FOLDER}/ can't be written: {error.strerror or error}") from None
    here = Path.cwd()
    with ExitStack() as recorded:
        recorded.enter_context(named(target.entity))
        stream: TextIO = getattr(sys, "stderr", None) or recorded.enter_context(Path(os.devnull).open("w"))
        with usable_only():
            recorded.enter_context(recording.to(exporter, stream, _look(stream)))
        code = pyflyte_run.invoke(arguments)
    # A task may have gone elsewhere.
    os.chdir(here)
    is_empty = recording.discard_if_empty(exporter)
    if not is_empty:
        _tell(exporter.path, first_steps=first_steps)
        if then is not None:
            then(exporter.path)
    if exporter.error:
        why = exporter.error.strerror or exporter.error
        click.echo(
            f"otel-flyte: the recording is incomplete, {exporter.dropped} spans can't be written: {why}", err=True
        )
    elif is_empty:
        _explain_nothing(code)
    return code


def _hold_standard_descriptors() -> None:
    """Have no file that is opened later get the number of a standard stream that is closed, which others write to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)


def _tell(path: Path, *, first_steps: bool) -> None:
    """Show what was recorded; where that can't be, the run has gone as it has gone."""
    try:
        _print("")
        _draw(_read((str(path),)))
        _print(f"\nrecorded in {path}")
        page = _page_of(path)
        if page is not None:
            _print(f"to look at: {page}")
        if first_steps:
            steps = [(command.format(file=shlex.quote(str(path))), purpose) for command, purpose in _FIRST_STEPS]
            longest = max(len(command) for command, _ in steps)
            _print("\nTry next:\n" + "\n".join(f"  {command:<{longest}}  {purpose}" for command, purpose in steps))
    except BrokenPipeError:
        _give_up_output()
    except _UserError as error:
        click.echo(f"otel-flyte: recorded in {path}, {error.message}", err=True)


def _is_or_holds(source: Path, path: Path) -> bool:
    """Whether writing to a path would overwrite a source, or one of the recordings in it."""
    path = path.resolve()
    return path == source.resolve() or (path.suffix == ".jsonl" and path.parent == source.resolve() and path.exists())


def _page_of(recorded: Path) -> Path | None:
    """Write the page of a run beside its recording, unless it is so long that one would wait for that."""
    from otel_flyte.config import settings
    from otel_flyte.report import page

    path = recorded.with_suffix(".html")
    try:
        if recorded.stat().st_size > _LONGEST_RECORDING:
            return None
        page.write(page.read(recorded), path, settings.read(os.environ).trace_url)
    except OSError as error:
        path.unlink(missing_ok=True)
        click.echo(f"otel-flyte: {path} can't be written: {error.strerror or error}", err=True)
        return None
    return path


def _replay(name: str, work: "Replay") -> "Summary":
    """Replay a folder or a file of this machine."""
    from otel_flyte.export.spool import files as spool
    from otel_flyte.export.spool.replay import rejected_records
    from otel_flyte.recording import otlp_file

    path = Path(name.removeprefix("file://"))
    if not name:
        raise _UserError("SPOOL is empty: name a folder, a file or a URL.")
    try:
        if not path.exists():
            raise _UserError(f"{name}: no such file or folder. Check the path.")
        if path.is_dir():
            summary = work.run(spool.files(path))
            summary.rejected = rejected_records(path)
            return summary
        otlp_file.check_beginning(path, is_broken_allowed=spool.is_spool(path))
    except otlp_file.UnreadableError as error:
        raise _UserError(str(error)) from None
    except OSError as error:
        raise _UserError(f"{name} can't be read: {error.strerror or error}") from None
    return work.run([path])


def _say_what_is_not_used() -> None:
    """Say which standard variables a recorded run does without."""
    from otel_flyte import semconv
    from otel_flyte.config.standard import unusable
    from otel_flyte.runtime.guard import say_once

    for problem in unusable(os.environ).values():
        say_once(problem)
    if os.environ.get(semconv.CONFIG_FILE):
        say_once(f"{semconv.CONFIG_FILE} is not used by a recorded run: other variables say where else it is sent.")


def _explain_nothing(code: int) -> None:
    """Say why there is no trace, unless what failed has said so itself."""
    from otel_flyte.config import settings
    from otel_flyte.config.standard import sampled_out

    variable, sampler = settings.switched_off_by(os.environ), sampled_out(os.environ)
    if variable:
        click.echo(f"otel-flyte: nothing was recorded, {variable} switches the instrumentation off", err=True)
    elif sampler:
        click.echo(f"otel-flyte: nothing was recorded, {sampler}", err=True)
    elif code == 0:
        click.echo("otel-flyte: nothing was recorded, no task ran in this process", err=True)


def _read(files: Sequence[str]) -> "ExecutionTree":
    from otel_flyte.recording.otlp_file import UnreadableError
    from otel_flyte.recording.tree import ExecutionTree

    try:
        return ExecutionTree.from_file(*files)
    except UnreadableError as error:
        raise _UserError(str(error)) from None


def _attempts(sources: Sequence[str]) -> "Sequence[Attempt]":
    """Read the task attempts; what could not be read is said on the standard error stream, away from the result."""
    from otel_flyte.recording import attempts, otlp_file

    try:
        recording = otlp_file.read(*sources, needs_spans=False)
    except otlp_file.UnreadableError as error:
        raise _UserError(str(error)) from None
    for remark in recording.remarks:
        click.echo(f"otel-flyte: {remark}", err=True)
    found = attempts.found(recording)
    if not found:
        raise _UserError(f"{' '.join(sources)} holds no task attempt: give what a task's spans were written to.")
    return found


def _draw(tree: "ExecutionTree") -> None:
    from otel_flyte.report.text import render

    _print(render(tree, _look(_output())))


def _look(stream: TextIO) -> "Look":
    from otel_flyte.report.text import Look

    return Look.of(stream, os.environ, shutil.get_terminal_size((100, 24)).columns)


def _print(text: str) -> None:
    """Print, with a question mark for what the terminal's encoding lacks."""
    encoding = _output().encoding or "ascii"
    try:
        click.echo(text.encode(encoding, "replace").decode(encoding))
    except BrokenPipeError:
        raise  # click ends quietly: whoever reads has read enough.
    except OSError as error:
        _give_up_output()
        raise _OutputError(f"can't be printed: {error.strerror or error}") from None


def _give_up_output() -> None:
    """Have what could not be written not be tried again, and fail again, when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output() -> TextIO:
    stream: TextIO | None = getattr(sys, "stdout", None)
    if stream is None:
        raise _OutputError("can't be printed: standard output is closed")
    return stream


main.add_command(stack)

if __name__ == "__main__":
    main()
