"""Tasks that log like users' code, and count by `current_context().stats`."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import asyncio
import logging
import logging.config
import multiprocessing
import threading

import flytekit
from flytekit import task, workflow
from opentelemetry import _logs, trace

logger = logging.getLogger("users.own")
tracer = trace.get_tracer("users.own")

logger.warning("while it is loaded")


@task
def log(value: int) -> int:
    flytekit.current_context().logging.info("to the user's logger: %d", value)
    flytekit.logger.error("to flytekit's")
    logger.debug("that nobody lets through")
    with tracer.start_as_current_span("mine"):
        logger.warning("to a logger of one's own", extra={"rows": value, "table": "spam", "odd": {"a": object}})
    try:
        raise ValueError("loss is not finite")
    except ValueError:
        logger.exception("it failed")
    return value


@task
def log_of_all_kinds(value: int) -> int:
    logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}, "disable_existing_loggers": False})
    logging.basicConfig(level=logging.INFO, format="console %(message)s", force=True)
    logger.info("after a configuration")
    apart = logging.getLogger("users.apart")
    apart.propagate = False
    apart.warning("by a logger that does not propagate")
    logger.warning("%d arguments", "wrong")
    logger.warning("half a character \ud800")
    logger.warning("x" * 100_000)
    logger.warning(ValueError("an exception as message"))
    logging.getLogger("opentelemetry.sdk").warning("of the SDK")
    thread = threading.Thread(target=logger.warning, args=("in a thread",))
    thread.start()
    thread.join()
    child = multiprocessing.get_context("fork").Process(target=logger.warning, args=("in a forked child",))
    child.start()
    child.join()
    return value


@task
def log_by_ones_own_handler(value: int) -> int:
    """Log with the SDK's own handler, as in users' existing code."""
    from opentelemetry.sdk._logs import LoggingHandler

    handler = LoggingHandler(logger_provider=_logs.get_logger_provider())
    logging.getLogger().addHandler(handler)
    logger.warning("once")
    logging.getLogger().removeHandler(handler)
    logger.warning("again")
    return value


class Failing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logger.warning("of a handler")
        self.handleError(record)


@task
def log_in_unconfigured_program(value: int) -> int:
    logger.warning("to stderr, as Python does where nothing is configured")
    logging.basicConfig(level=logging.INFO, format="console %(levelname)s %(message)s")
    logger.info("as configured")
    return value


@task
async def log_async(value: int) -> int:
    async def step(number: int) -> None:
        with tracer.start_as_current_span(f"step {number}"):
            await asyncio.sleep(0)
            logger.warning("step %d", number)

    await asyncio.gather(step(1), step(2))
    return value


@flytekit.eager
async def log_eager(value: int) -> int:
    logger.warning("eager")
    return await log_async(value=value)


@task
def fail(value: int) -> int:
    if value:
        raise ArithmeticError(f"the loss diverged after {value} epochs")
    return value


@task
def count(value: int) -> int:
    stats = flytekit.current_context().stats
    stats.incr("rows", value, tags={"table": "spam", "task": "mine"})
    stats.incr("rows", value, rate=0.5, tags={"table": "spam", "task": "mine"})
    stats.decr("rows")
    stats.gauge("depth", 7)
    stats.gauge("depth", 3, delta=True)
    stats.gauge("depth", -2, delta=True)
    with stats.timer("step"):
        pass
    if hasattr(stats, "set"):
        stats.timing("latency", 1500)
        stats.timer("decorated")(int)()
        for user in ("ada", "bob", "ada"):
            stats.set("users", user)
    return value


@workflow
def logged(value: int) -> int:
    return count(value=log(value=value))
