"""Printing, and errors of one line."""

import os
import sys
from typing import IO, Any, TextIO

import click


class UserError(click.ClickException):
    """An error that the user can fix, in one line: the problem, then the remedy."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it, as click asks for."""
        click.echo(f"otel-flyte: {_one_line(self.message)}", file=file or sys.stderr)


class OutputError(UserError):
    """The output can't be printed."""

    exit_code = 1

    def __init__(self, reason: str) -> None:
        super().__init__(f"the output can't be printed ({reason}): redirect standard output")


def print_text(text: str) -> None:
    """Print, with a question mark for each character that the encoding lacks.

    Raises:
        OutputError: standard output is closed or can't be written.
    """
    encoding = standard_output().encoding or "ascii"
    try:
        click.echo(text.encode(encoding, "replace").decode(encoding))
    except BrokenPipeError:
        raise  # click ends quietly: the reader has read enough.
    except OSError as error:
        discard_output()
        raise OutputError(error.strerror or str(error)) from None


def print_problem(text: str) -> None:
    """Print an error line, or a remark, on standard error."""
    click.echo(f"otel-flyte: {_one_line(text)}", err=True)


def _one_line(text: str) -> str:
    """Return a line without the control characters of names in it, on which a terminal would act."""
    from otel_flyte.recording.cells import printable

    return "\n".join(map(printable, text.split("\n")))


def standard_output() -> TextIO:
    """Return standard output.

    Raises:
        OutputError: it is closed.
    """
    stream: TextIO | None = getattr(sys, "stdout", None)
    if stream is None:
        raise OutputError("standard output is closed")
    return stream


def discard_output() -> None:
    """Discard buffered output, which could not be written, so that it does not fail again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
