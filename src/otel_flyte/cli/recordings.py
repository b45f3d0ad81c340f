"""Commands that show a recording: show, explain, dump, metrics, rightsize, report."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from otel_flyte.cli.output import UserError, print_problem, print_text, standard_output
from otel_flyte.runtime import garbage

if TYPE_CHECKING:
    from otel_flyte.recording.attempts import Attempt
    from otel_flyte.recording.model import Recording
    from otel_flyte.recording.tree import ExecutionTree


class _Percent(click.FloatRange):
    """A number within bounds; click accepts NaN, which is within any."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number", param, ctx) if math.isnan(number) else number


def _of_files(command: Callable[[Sequence[str]], None]) -> click.Command:
    files = "FILE holds OTLP as JSON lines. For a folder, every *.jsonl file is read."
    with_argument = click.argument("files", nargs=-1, required=True, metavar="FILE...")(garbage.paused()(command))
    return click.command(help=f"{command.__doc__}\n\n{files}")(with_argument)


@_of_files
def show(files: Sequence[str]) -> None:
    """Draw the tree of a recorded trace beside its timeline."""
    draw(tree_of(files))


@_of_files
def explain(files: Sequence[str]) -> None:
    """Print a table of all operations of a recorded trace.

    Its columns are start, end, duration, share of the parent, entity, and notes.
    """
    print_text(tree_of(files).explain())


@_of_files
def dump(files: Sequence[str]) -> None:
    """Print a recorded trace as YAML, with all attributes."""
    print_text(tree_of(files).dump())


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("task", required=False, metavar="[TASK]")
@click.option("--json", is_flag=True, help="The JSON format of ModelArts; the default with TASK.")
@click.option("--csv", is_flag=True, help="A line for each minute: minute,cpuUsage,...")
@click.option("--table", is_flag=True, help="Aligned columns; the default for the list.")
@garbage.paused()
def metrics(source: str, task: str | None, **forms_given: bool) -> None:
    """Print the usage of a task attempt, minute by minute.

    SOURCE holds OTLP as JSON lines. For a folder, every *.jsonl file is read. Without TASK the attempts are listed.
    TASK is a span id, a node's path such as n0, n0@1 (attempt 1), n0/3 (item 3 of a map), or the name of a task.

    The six metrics cpuUsage, memUsage, gpuUtil, gpuMemUsage, npuUtil and npuMemUsage are always printed, all of equal
    length: a value for each minute from the start of the attempt, the average of that minute in percent, -1 where there
    is none. CPU and memory are percent of the task's limit, else of the visible cores and the host's memory; GPU and
    NPU are the mean over the devices that the task sees. They are read from the attempt's span; for an attempt that
    runs, or was killed, from its metric records.
    """
    from otel_flyte.formulas import NO_VALUE
    from otel_flyte.recording.attempts import UnknownAttemptError, choose
    from otel_flyte.report import metrics as forms

    form, *others = [name for name, is_given in forms_given.items() if is_given] or [""]
    if others:
        raise click.UsageError(f"--{form} and --{others[0]} exclude each other")
    attempts = _attempts((source,))
    if task is None:
        list_forms = {"json": forms.list_as_json, "csv": forms.list_as_csv}
        print_text(list_forms.get(form, forms.list_as_table)(attempts))
        return
    try:
        attempt = choose(attempts, task)
    except UnknownAttemptError as error:
        raise UserError(str(error)) from None
    if all(value == NO_VALUE for values in attempt.series.values() for value in values):
        reason = "shared its process with other tasks" if attempt.is_shared else "has no usage by minute"
        print_problem(f"{task} {reason}: each value is -1")
    print_text({"csv": forms.as_csv, "table": forms.as_table}.get(form, forms.as_json)(attempt))


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Consider the last N attempts. Default: 20.")
@click.option(
    "--margin",
    type=_Percent(min=0, max=1000),
    metavar="PERCENT",
    help="Added to the measured usage. Default: 20 for memory, 15 for CPU.",
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@garbage.paused()
def rightsize(sources: Sequence[str], last: int | None, margin: float | None, *, is_json: bool) -> None:
    """Recommend resources for tasks, from their last attempts.

    SOURCE holds OTLP as JSON lines. For a folder, every *.jsonl file is read. Tasks that ran out of memory, waited for
    CPU, or left GPUs idle come first. Then each task has its present resources -> its recommended resources, each as
    request / limit, with the reasons, and the arguments of @task to paste. No recommendation is below a measured peak.
    """
    from otel_flyte.recording.rightsize import LAST, Margins, advise
    from otel_flyte.report import advice

    margins = None if margin is None else Margins(margin / 100, margin / 100)
    recommended = advise(_attempts(sources), last or LAST, margins)
    print_text(advice.as_json(recommended) if is_json else advice.as_text(recommended))


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The page, - for standard output. Default: SOURCE's name with .html, in the current folder.",
)
@garbage.paused()
def report(sources: Sequence[str], output: Path | None) -> None:
    """Write an HTML page of a recorded execution.

    The page has the timeline, errors, usage, logs, and every attribute. It is one file that opens in any browser, with
    no server and no network. With OTEL_FLYTE_TRACE_URL, such as https://tempo.example.com/trace/{trace_id}, it links to
    your backend. SOURCE holds OTLP as JSON lines. For a folder, every *.jsonl file is read.
    """
    from otel_flyte.config import settings
    from otel_flyte.recording.tree import Analysis
    from otel_flyte.report import page

    current = settings.read(os.environ)
    for problem in current.problems:
        print_problem(problem)
    path = output or page.default_path(sources[0])
    if any(_is_or_holds(Path(source), path) for source in sources):
        raise UserError(f"{path} is a source of the page: name another file with -o")
    analysis = Analysis.of(read(sources, required=()))
    if str(path) == "-":
        click.echo(page.render(analysis, current.trace_url))
        return
    try:
        page.write(analysis, path, current.trace_url)
    except OSError as error:
        raise UserError(not_writable(path, error)) from None
    print_text(str(path))


COMMANDS = (show, explain, dump, metrics, rightsize, report)


def read(sources: Sequence[str | Path], required: Sequence[str] = ("spans",)) -> "Recording":
    """Read a recording.

    Raises:
        UserError: it can't be read.
    """
    from otel_flyte.recording import otlp_file

    try:
        return otlp_file.read(*sources, required=required)
    except otlp_file.UnreadableError as error:
        raise UserError(str(error)) from None


def tree_of(files: Sequence[str]) -> "ExecutionTree":
    """Read a recording as a tree, with its remarks on standard error.

    Raises:
        UserError: it can't be read.
    """
    from otel_flyte.recording.tree import ExecutionTree

    return ExecutionTree.from_recording(_without_remarks(read(files)))


def draw(tree: "ExecutionTree") -> None:
    """Print a tree as the terminal can show it."""
    from otel_flyte.report.terminal import Terminal
    from otel_flyte.report.text import render

    print_text(render(tree, Terminal.of(standard_output(), os.environ)))


def not_writable(path: Path, error: OSError) -> str:
    """Return the error line for a file that can't be written."""
    return f"{path} can't be written ({error.strerror or error}): check the path and its permissions"


def _attempts(sources: Sequence[str]) -> "Sequence[Attempt]":
    from otel_flyte.recording.tree import Analysis

    analysis = Analysis.of(_without_remarks(read(sources, required=("spans", "points"))))
    if not analysis.attempts:
        raise UserError(f"{' '.join(sources)} holds no task attempt: name a file with the spans of a task")
    return analysis.attempts


def _without_remarks(recording: "Recording") -> "Recording":
    """Print the remarks on standard error, away from the result."""
    for remark in recording.remarks:
        print_problem(remark)
    return replace(recording, remarks=())


def _is_or_holds(source: Path, path: Path) -> bool:
    """Return whether writing to a path would overwrite a source, or one of the recordings in it."""
    path = path.resolve()
    return path == source.resolve() or (path.suffix == ".jsonl" and path.parent == source.resolve() and path.exists())
