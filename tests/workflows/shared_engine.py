"""A small engine that runs several actions at once in one process, and its adapter.

As a program it runs two actions at once, and prints which parent each of them offers to the processes that it starts.
"""

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opentelemetry import trace

import otel_flyte
from otel_flyte import activation, semconv
from otel_flyte.adapters import switch, task_spans
from otel_flyte.adapters.around import Around
from otel_flyte.adapters.base import Finding, TaskDescription
from otel_flyte.adapters.patching import Hook
from otel_flyte.logs import capture
from otel_flyte.metrics import outcomes
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import state
from otel_flyte.tasks.failures import Failure, Rules
from otel_flyte.tasks.identity import Attempt, Execution
from otel_flyte.tasks.open_task import OpenTask, close_span, open_span

# --- the engine ------------------------------------------------------------------------------------------------------


class Action(NamedTuple):
    run: str
    name: str
    attempt: int
    body: Callable[[], Awaitable[None]]


async def run_action(action: Action) -> str:
    """Run an action; its failure is returned as a message."""
    try:
        await action.body()
    except ValueError as error:
        return f"CustomError: {error}"
    return ""


async def run_child(name: str) -> None:
    await asyncio.sleep(0)
    logging.getLogger("engine").warning("child %s", name)


# --- its adapter -----------------------------------------------------------------------------------------------------


def _run_action(wrapped: Callable[[Action], Awaitable[str]]) -> Callable[[Action], Awaitable[str]]:
    async def call(action: Action) -> str:
        if not switch.records():
            return await wrapped(action)
        with Around(_begin(action), _end) as task:
            message = await wrapped(action)
            if message and task is not None:
                task.finish(ADAPTER.failure(message))
            return message

    return call


def _run_child(wrapped: Callable[[str], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
    async def call(name: str) -> None:
        description = ADAPTER.describe(name)
        with Around(task_spans.open_task(description, name, description.attributes), task_spans.end):
            await wrapped(name)

    return call


def _call_handlers(wrapped: Callable[..., None]) -> Callable[..., None]:
    def call(self: logging.Logger, record: logging.LogRecord) -> None:
        if state.open_tasks:
            capture.capture(self, record)
        wrapped(self, record)

    return call


@guarded
def _begin(action: Action) -> OpenTask:
    execution = Execution("shop", "production", action.run, org="acme")
    attempt = Attempt(execution, action.name, action.name, action.attempt)
    task = task_spans.open_attempt(attempt, f"env.{action.name}", {}, {})
    task.open_phase(semconv.PHASE_USER_CODE, task)
    return task


def _end(task: OpenTask, error: BaseException | None) -> None:
    task.close_phase(error)
    task_spans.end_attempt(task, error)


class SharedEngine:
    """The adapter: every attempt names itself when it begins."""

    def is_imported(self) -> bool:
        return __name__ in sys.modules

    def hooks(self) -> Sequence[Hook]:
        return (
            Hook(__name__, "run_action", _run_action, "action", "task span"),
            Hook(__name__, "run_child", _run_child, "name", "span of a nested task"),
            Hook("logging", "Logger.callHandlers", _call_handlers, "self record", "log records of a task"),
        )

    def resource_attributes(self, environ: Mapping[str, str], arguments: Sequence[str]) -> Mapping[str, str | int]:
        return {}

    def describe(self, task: Any) -> TaskDescription:
        return TaskDescription(semconv.SPAN_TASK.format(name=task), {semconv.TASK_NAME: task})

    def failure_rules(self) -> Rules:
        return Rules()

    def failure(self, message: Any) -> Failure:
        code, _, text = message.partition(": ")
        return Failure(code, text, kind="USER", code=code, recoverable=True)

    def check(self) -> Iterator[Finding]:
        yield from ()


ADAPTER = SharedEngine()

# --- the program -----------------------------------------------------------------------------------------------------


def main(manner: str) -> None:
    activation.ADAPTERS = (ADAPTER,)
    activation.activate()
    parents: dict[str, str | None] = {}
    # Each action waits in its user code for the other one.
    both = threading.Barrier(2, timeout=30)

    def action(run: str, number: int) -> Action:
        async def body() -> None:
            logging.getLogger("engine").warning("begin of %s", run)
            await asyncio.get_running_loop().run_in_executor(None, both.wait)
            await run_child(f"child-of-{run}")
            with trace.get_tracer("users.own").start_as_current_span(f"step of {run}"):
                outcomes.cache_looked_up(f"cached-in-{run}", semconv.CACHE_MISS)
            with Around(open_span(semconv.SPAN_GET_DATA, semconv.SPAN_ROLE_TRANSFER), close_span):
                parents[run] = os.environ.get(semconv.TRACEPARENT)
            await asyncio.get_running_loop().run_in_executor(None, both.wait)
            if number:
                raise ValueError(run)

        return Action(run, f"node-{run}", number, body)

    actions = [action("first", 0), action("second", 1)]
    if manner == "threads":
        threads = [threading.Thread(target=lambda each=each: asyncio.run(run_action(each))) for each in actions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        asyncio.run(_together(actions))
    otel_flyte.flush()
    sys.stdout.write(f"{json.dumps(parents)}\n")


async def _together(actions: Sequence[Action]) -> None:
    await asyncio.gather(*map(run_action, actions))


if __name__ == "__main__":
    import shared_engine

    shared_engine.main(sys.argv[1])
