"""The commands of `otel-flyte stack`: as containers where an engine answers, else natively."""

from collections.abc import Mapping

from otel_flyte.stack import compose, native, settings, state
from otel_flyte.stack.compose import Engine
from otel_flyte.stack.native import Print, Setup
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.stack.settings import Settings
from otel_flyte.stack.state import COMPOSE, NATIVE, State
from otel_flyte.stack.status import READY, STOPPED, PartStatus, StackError

MODES = {COMPOSE: "as containers", NATIVE: "natively"}

NOT_RUNNING = "the stack is not running: start it with `otel-flyte stack up`"


def up(mode: str | None, environ: Mapping[str, str], report: Print, timeout: float) -> Settings:
    """Start the parts that are not running, wait until all are ready, and return the settings.

    Args:
        mode: ``compose`` or ``native``; None for containers where an engine answers, else natively.
        environ: The user's variables.
        report: Called with each line of progress.
        timeout: Seconds until all parts must be ready.

    Raises:
        StackError: the stack does not come up. Parts that this call has started have been stopped then.
    """
    setup = Setup(settings.read(environ), state.folder(environ), environ)
    with setup.folder.locked(report):
        before = setup.folder.load()
        if before is not None and before.mode == NATIVE and not native.is_any_running(before):
            # After a reboot, or when all processes were killed, the previous mode does not matter.
            before = None
        engine = _engine(mode, before, setup)
        if isinstance(engine, Engine):
            _up_as_containers(engine, before, setup, report, timeout)
        elif "collector" not in setup.binaries:
            excluded = "--native excludes containers" if mode == NATIVE else f"no container engine ({engine})"
            raise StackError(f"{excluded} and no collector: {BY_NAME['collector'].how_to_install}")
        else:
            report(f"natively ({engine})")
            native.up(setup, report, timeout)
    return setup.settings


def down(environ: Mapping[str, str], report: Print, *, is_data_deleted: bool) -> list[str]:
    """Stop the stack, and return the names of the parts that were running.

    Raises:
        StackError: it can't be stopped.
    """
    folder = state.folder(environ)
    with folder.locked(report):
        before = folder.load()
        stopped: list[str] = []
        if before is not None and before.mode == COMPOSE:
            engine = _engine_of(before, environ)
            stopped = [each.name for each in compose.status(engine, before.settings) if each.state != STOPPED]
            compose.down(engine, is_data_deleted=is_data_deleted)
        elif before is not None:
            stopped = native.down(before)
        folder.forget()
        if is_data_deleted:
            native.delete_data(folder)
    return stopped


def status(environ: Mapping[str, str]) -> tuple[State | None, list[PartStatus]]:
    """Return the state, None where nothing was started, and the status of every part.

    Raises:
        StackError: the state can't be read, or the engine does not answer.
    """
    current = state.folder(environ).load()
    if current is not None and current.mode == COMPOSE:
        return current, compose.status(_engine_of(current, environ), current.settings)
    return current, native.status(current, environ)


def running(environ: Mapping[str, str]) -> tuple[Settings, list[PartStatus]]:
    """Return the settings of the running stack, and the status of every part.

    Raises:
        StackError: no stack is running, or its collector is not ready.
    """
    current, parts = status(environ)
    if current is None:
        raise StackError(NOT_RUNNING)
    collector = next(each for each in parts if each.name == "collector")
    if collector.state != READY:
        raise StackError(f"the stack's collector is {collector.state}: see `otel-flyte stack status`")
    return current.settings, parts


def _engine(mode: str | None, before: State | None, setup: Setup) -> Engine | str:
    """Return the engine, or the reason for running natively: as requested, else as before, else by the engine's answer.

    Raises:
        StackError: the stack is running in another mode, or there is no engine where one was requested.
    """
    current = before.mode if before else None
    if mode and current and mode != current:
        raise StackError(f"the stack is running {MODES[current]}: run `otel-flyte stack down` first")
    if NATIVE in (mode, current):
        return "requested" if mode else "as before"
    engine = compose.find(setup.settings, setup.environ)
    if isinstance(engine, str) and COMPOSE in (mode, current):
        raise StackError(f"no container engine ({engine}): start one, or use --native")
    return engine


def _up_as_containers(engine: Engine, before: State | None, setup: Setup, report: Print, timeout: float) -> None:
    report(f"as containers, from {engine.file}")
    if before is None:
        native.check_ports(setup.settings, compose.PUBLISHED)
    elif before.settings == setup.settings and not any(each.is_bad for each in compose.status(engine, before.settings)):
        report("the stack is already running")
    # Saved first, so that `down` finds the containers if this command is killed.
    setup.folder.save(State(COMPOSE, setup.settings, {}))
    try:
        compose.up(engine, setup.settings, timeout)
    except BaseException:
        setup.folder.forget()
        raise
    for each in compose.status(engine, setup.settings):
        report(each.line)


def _engine_of(current: State, environ: Mapping[str, str]) -> Engine:
    engine = compose.find(current.settings, environ)
    if isinstance(engine, str):
        raise StackError(f"the stack runs as containers, and no engine answers ({engine}): start the engine")
    return engine
