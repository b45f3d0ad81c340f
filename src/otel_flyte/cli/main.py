"""The command line. Imports are inside the commands: ``explain`` needs neither flytekit nor the SDK."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from otel_flyte.cli import compare, delivery, recordings, run, serve
from otel_flyte.cli.output import UserError, print_text
from otel_flyte.stack.commands import stack

_PASSING_ARGUMENTS = (["run"], ["exec"])
"""Commands whose arguments belong to another program, which may accept empty ones after the first."""

_GUESS = re.compile(r"\. Did you mean (.*\?)$")


class _Group(click.Group):
    """The commands. An error of usage is one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = args[:2] if args[:1] in _PASSING_ARGUMENTS else args
        if any(not argument or (argument.startswith("--") and argument.endswith("=")) for argument in own):
            raise UserError("an argument is empty: give it a value, or omit it")
        with self._one_line():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with self._one_line():
            return super().invoke(ctx)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except click.UsageError as error:
            # Without a command, the message is the help. `pyflyte run` reports its own errors.
            is_help = isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ()))
            if is_help or error.ctx is None or error.ctx.find_root().command is not self:
                raise
            message = error.format_message().replace("\n", " ").replace("integer range", "integer")
            message = _GUESS.sub(r" (did you mean \1)", message).rstrip(".")
            raise UserError(f"{message}: see `{error.ctx.command_path} --help`") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="otel-flyte")
def main() -> None:
    """OpenTelemetry for Flyte: run a workflow and show its trace, or show a recorded one."""


@main.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Check the instrumentation and the delivery of telemetry."""
    from otel_flyte.adapters.base import Verdict
    from otel_flyte.cli.doctor import diagnose

    # Exporters log each retry between the lines.
    logging.disable(logging.CRITICAL)
    healthy = True
    for finding in diagnose(os.environ):
        print_text(f"{finding.verdict.value:<5} {finding.text}")
        healthy = healthy and finding.verdict is not Verdict.FAIL
    context.exit(0 if healthy else 1)


_COMMANDS = (*recordings.COMMANDS, *compare.COMMANDS, *run.COMMANDS, *delivery.COMMANDS, *serve.COMMANDS, stack)
for command in _COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main()
