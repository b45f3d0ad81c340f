"""`otel-flyte demo --stack`: the demo's telemetry goes to the stack that runs, as that of an execution of its own."""

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
_PATIENCE = 6.0
"""Seconds in which the collector takes what is left: it does at once, or it is in trouble."""

_ELSEWHERE = re.compile(r"OTEL_(EXPORTER_OTLP_|(TRACES|METRICS|LOGS)_EXPORTER$|SDK_DISABLED$)")
"""Variables by which it would go elsewhere, or nowhere."""


@contextmanager
def filled() -> Iterator[Callable[[Path], None]]:
    """Have whatever runs in this process while the context lasts send to the stack.

    Yields:
        What prints where to look, given what was recorded.

    Raises:
        StackError: no stack runs; what prints raises it where the stack's collector has not taken all of it.
        OSError: its state can't be read.
    """
    settings, parts = control.running(os.environ)
    now = datetime.now(timezone.utc)
    run_name = identity.run_name("demo")
    before = dict(os.environ)
    for name in filter(_ELSEWHERE.match, before):
        del os.environ[name]
    variables = {"project": PROJECT, "domain": identity.DOMAIN, "execution": run_name}
    named = {semconv.PROJECT: PROJECT, semconv.DOMAIN: identity.DOMAIN, semconv.RUN_NAME: run_name}
    os.environ[semconv.ENDPOINT] = settings.url("otlp_http")
    os.environ[semconv.PROTOCOL] = "http/protobuf"
    os.environ[semconv.RESOURCE_ATTRIBUTES] = identity.with_identity(named)

    def tell(recorded: Path) -> None:
        from otel_flyte.recording.otlp_file import UnreadableError
        from otel_flyte.recording.tree import ExecutionTree

        if not _is_delivered():
            raise StackError(
                f"not all of it has arrived in the stack: {settings.url('otlp_http')} does not take it. "
                "`otel-flyte stack status` says which part is not ready"
            )
        traces: list[str] = []
        # Where it could not be recorded, that is said already.
        with suppress(UnreadableError):
            executions = ExecutionTree.from_file(recorded).executions
            traces = [trace_id for execution in executions for trace_id in execution.trace_ids]
        ready = {part.name for part in parts if part.state == READY}
        click.echo("\nIn the stack, within a few seconds:")
        for what, url in links.of_run(settings, ready, traces, variables, int(now.timestamp() * 1000)):
            click.echo(f"  {what:<9}  {url}")
        for part in parts:
            if part.name not in ready and part.note:
                click.echo(f"  not there: {part.name}, {part.note}")

    try:
        yield tell
    finally:
        os.environ.clear()
        os.environ.update(before)


def _is_delivered() -> bool:
    from otel_flyte.process import shutdown

    deadline = time.monotonic() + _PATIENCE
    while not (is_settled := shutdown.flush()) and time.monotonic() < deadline:
        pass
    return is_settled
