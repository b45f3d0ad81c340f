"""Tasks that launch executions, and the launched entities."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import flytekit
from flytekit import LaunchPlan, reference_task, task, workflow
from flytekit.configuration import Config, ImageConfig
from flytekit.exceptions.eager import EagerException
from flytekit.remote import FlyteRemote
from opentelemetry import trace

tracer = trace.get_tracer("users.own")


@task
def double(value: int) -> int:
    return value * 2


@task
async def double_async(value: int) -> int:
    return value * 2


@task
async def refuse(value: int) -> int:
    return value


@workflow
def doubled(value: int) -> int:
    return double(value=value)


doubled_plan = LaunchPlan.get_or_create(doubled, name="traced_launches.doubled_plan", default_inputs={"value": 3})


@reference_task(project="proj", domain="development", name="traced_launches.double", version="v1")
def double_by_reference(value: int) -> int:
    """The entity that is registered under this name runs."""
    return value


@asynccontextmanager
async def between_polls() -> AsyncIterator[None]:
    """Wait at the end: a process that ends while flytekit's controller polls, every two seconds, may hang for ever.

    This also happens without otel-flyte: ``_TaskRunner._close`` stops the loop for which ``Controller._poll`` waits.
    """
    try:
        yield
    finally:
        await asyncio.sleep(1)


@flytekit.eager
async def orchestrate(value: int) -> int:
    async with between_polls():
        with tracer.start_as_current_span("my plan"):
            one, other = await asyncio.gather(double_async(value=value), double_async(value=value + 1))
        return double(value=one + other)


@flytekit.eager
async def orchestrate_in_vain(value: int) -> int:
    async with between_polls():
        return await refuse(value=value)


@flytekit.eager
async def orchestrate_in_spite(value: int) -> int:
    try:
        async with between_polls():
            return await refuse(value=value)
    except EagerException:
        return -1


@task
def launch(value: int) -> str:
    """Launch an execution without waiting for it."""
    return launch_entity(double, value)


def launch_entity(entity: object, value: object, envs: dict[str, str] | None = None) -> str:
    remote = FlyteRemote(
        Config.auto(), default_project="proj", default_domain="development", interactive_mode_enabled=False
    )
    execution = remote.execute(
        entity,
        {"value": value},
        version="v1",
        envs=envs,
        image_config=ImageConfig.auto(img_name="registry.example/t:1"),
    )
    return str(execution.id.name)
