"""`otel-flyte demo --stack`: the demo runs as an execution of its own, and its telemetry goes to the running stack."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

import click

from otel_flyte import semconv
from otel_flyte.run import identity
from otel_flyte.stack import control, links
from otel_flyte.stack.status import READY, StackError

PROJECT = "demo"
_FLUSH_TIMEOUT = 6.0
"""Seconds. A collector that works accepts the rest at once."""

_OVERRIDDEN = re.compile(r"OTEL_(EXPORTER_OTLP_|(TRACES|METRICS|LOGS)_EXPORTER$|SDK_DISABLED$)")
"""Variables that would send the telemetry elsewhere, or disable it."""


@contextmanager
def sending_to_stack() -> Iterator[Callable[[Path], None]]:
    """Send the telemetry of this process to the stack within the context.

    Yields:
        A function that prints links to the telemetry of a recording. It raises StackError if the stack's collector has
        not acknowledged everything.

    Raises:
        StackError: no stack is running.
    """
    settings, parts = control.running(os.environ)
    began = datetime.now(timezone.utc)
    run_name = identity.run_name("demo")
    before = dict(os.environ)
    for name in filter(_OVERRIDDEN.match, before):
        del os.environ[name]
    os.environ[semconv.ENDPOINT] = settings.url("otlp_http")
    os.environ[semconv.PROTOCOL] = "http/protobuf"
    os.environ[semconv.RESOURCE_ATTRIBUTES] = identity.with_identity(
        {semconv.PROJECT: PROJECT, semconv.DOMAIN: identity.DOMAIN, semconv.RUN_NAME: run_name}
    )

    def print_links(recording: Path) -> None:
        from otel_flyte.recording.otlp_file import UnreadableError
        from otel_flyte.recording.tree import ExecutionTree

        if not _flush():
            raise StackError(
                f"{settings.url('otlp_http')} has not acknowledged all telemetry: "
                "run `otel-flyte stack status` to see which part is not ready"
            )
        trace_ids: list[str] = []
        # An unreadable recording is already reported.
        with suppress(UnreadableError):
            executions = ExecutionTree.from_file(recording).executions
            trace_ids = [trace_id for execution in executions for trace_id in execution.trace_ids]
        ready = {part.name for part in parts if part.state == READY}
        variables = {"project": PROJECT, "domain": identity.DOMAIN, "execution": run_name}
        click.echo("\nIn the stack, within a few seconds:")
        for label, url in links.of_run(settings, ready, trace_ids, variables, int(began.timestamp() * 1000)):
            click.echo(f"  {label:<9}  {url}")
        for part in parts:
            if part.name not in ready and part.note:
                click.echo(f"  missing: {part.name}, {part.note}")

    try:
        yield print_links
    finally:
        os.environ.clear()
        os.environ.update(before)


def _flush() -> bool:
    from otel_flyte.process import shutdown

    deadline = time.monotonic() + _FLUSH_TIMEOUT
    while not (is_flushed := shutdown.flush()) and time.monotonic() < deadline:
        pass
    return is_flushed
