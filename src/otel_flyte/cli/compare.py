"""The command that compares two executions."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from otel_flyte.cli.output import UserError, print_text
from otel_flyte.cli.recordings import tree_of

if TYPE_CHECKING:
    from otel_flyte.recording.span_tree import Execution

_NAME = "#"


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def compare(before: str, after: str, *, is_json: bool) -> None:
    """Compare two executions, node by node.

    Printed is what changed most, then a table of all nodes, then what can't be compared.

    A and B hold OTLP as JSON lines. For a folder, every *.jsonl file is read. If there are several executions,
    FILE#NAME chooses one. The name of a local run is that of its workflow, or the first digits of its trace id.
    """
    from otel_flyte.recording.compare import compare as compared
    from otel_flyte.report import comparison

    of_a, of_b = _executions((before, after))
    result = compared(of_a, of_b)
    print_text(comparison.as_json(result) if is_json else comparison.as_text(result))


COMMANDS = (compare,)


def _executions(arguments: Sequence[str]) -> "list[Execution]":
    from otel_flyte.recording.choice import UnknownExecutionError, choose_execution

    # Two executions of one source are the usual case for a folder.
    read = cache(lambda source: tree_of((source,)).executions)
    try:
        return [choose_execution(read(source), source, name) for source, name in map(_split, arguments)]
    except UnknownExecutionError as error:
        raise UserError(str(error)) from None


def _split(argument: str) -> tuple[str, str]:
    """Return the source and the name of an execution; the name of a file may have the separator, too."""
    source, separator, name = argument.rpartition(_NAME)
    if not separator or _exists(argument):
        return argument, ""
    if not source or not name:
        raise UserError(f"{argument} is not FILE{_NAME}NAME: name a file and an execution of it")
    return source, name


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
