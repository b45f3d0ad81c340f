"""A module that looks up the providers during its import, and tasks that look them up again or use them."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import contextlib
import logging

import grpc
import requests
from flytekit import task
from opentelemetry import _logs, metrics, trace


def providers() -> list[str]:
    found = (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider())
    return [type(provider).__name__.lstrip("_") for provider in found]


WHILE_LOADING = providers()


@task
def find_providers() -> list[str]:
    return [*WHILE_LOADING, *providers()]


@task
def use_all_signals(value: int) -> int:
    with trace.get_tracer("users.own").start_as_current_span("counting"):
        metrics.get_meter("users.own").create_counter("rows", unit="{row}").add(value, {"table": "spam"})
        _log(f"counted {value}")
    return value


@task
def use_the_api(value: int) -> int:
    metrics.get_meter("users.own").create_counter("rows").add(value)
    _logs.get_logger("users.own")
    return value


def _log(text: str) -> None:
    """Log with the SDK's own handler, as in users' existing code."""
    provider = _logs.get_logger_provider()
    if type(provider).__name__ == "ProxyLoggerProvider":
        return
    from opentelemetry.sdk._logs import LoggingHandler

    logger = logging.getLogger("users.own")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = LoggingHandler(logger_provider=provider)
    logger.addHandler(handler)
    logger.info(text)
    # At exit the SDK's handler starts a thread with any provider, which Python 3.12 refuses.
    logger.removeHandler(handler)


@task
def call_others(http: str, target: str) -> int:
    with grpc.insecure_channel(target) as channel, contextlib.suppress(grpc.RpcError):
        channel.unary_unary("/users.own/Get")(b"")
    return requests.post(f"{http}/users/own", timeout=10).status_code
