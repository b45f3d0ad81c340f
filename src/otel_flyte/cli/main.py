"""The command line. Each command imports what it needs: ``explain`` needs neither flytekit nor the SDK."""

import logging
import os

import click

from otel_flyte.cli import delivery, recordings, run
from otel_flyte.cli.output import print_text
from otel_flyte.stack.commands import stack


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="otel-flyte")
def main() -> None:
    """OpenTelemetry for Flyte: run a workflow and show its trace, or show a recorded one."""


@main.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Check whether the instrumentation is on, and whether telemetry arrives at its endpoints."""
    from otel_flyte.adapters.base import Verdict
    from otel_flyte.cli.doctor import diagnose

    # Exporters log each retry between the lines.
    logging.disable(logging.CRITICAL)
    healthy = True
    for finding in diagnose(os.environ):
        print_text(f"{finding.verdict.value:<5} {finding.text}")
        healthy = healthy and finding.verdict is not Verdict.FAIL
    context.exit(0 if healthy else 1)


for command in (*recordings.COMMANDS, *run.COMMANDS, *delivery.COMMANDS, stack):
    main.add_command(command)

if __name__ == "__main__":
    main()
