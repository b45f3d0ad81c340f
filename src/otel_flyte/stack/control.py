"""How `otel-flyte stack` runs the stack: by compose where an engine answers, else natively."""

from collections.abc import Callable, Mapping
from pathlib import Path

from otel_flyte.stack import compose, files, native, settings, state
from otel_flyte.stack.compose import Engine
from otel_flyte.stack.native import Setup
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.stack.settings import Settings
from otel_flyte.stack.state import COMPOSE, NATIVE, State
from otel_flyte.stack.status import READY, STOPPED, PartStatus, StackError

Tell = Callable[[str], None]

MODES = {COMPOSE: "as containers", NATIVE: "natively"}


def up(mode: str | None, environ: Mapping[str, str], tell: Tell, patience: float) -> Settings:
    """Start what does not run yet, wait until it is ready, and return where it is.

    Args:
        mode: ``compose`` or ``native``, where it is to be that; None leaves it to what is there.
        environ: The user's variables.
        tell: Is told what happens, line by line.
        patience: Seconds that it may take.

    Raises:
        StackError: it does not come up; nothing that this call has started is left running.
        OSError: its files or folders can't be read or written.
    """
    setup = Setup(files.root(), settings.read(environ), state.folder(environ), environ)
    with setup.folder.locked(lambda: _tell_of_waiting(tell)):
        held = setup.folder.load()
        if held is not None and held.mode == NATIVE and not native.is_any_running(held):
            # The machine was started anew, or all of it was killed: nothing binds us to how it ran.
            held = None
        engine = _engine(mode, held, setup.root, _with(setup.settings, environ))
        if isinstance(engine, Engine):
            _up_by_compose(engine, held, setup, tell, patience)
        else:
            _up_natively(engine, setup, tell, patience)
    return setup.settings


def down(environ: Mapping[str, str], tell: Tell, *, is_data_deleted: bool) -> list[str]:
    """Stop it, and return the names of the parts that were running.

    Raises:
        StackError: it can't be stopped.
        OSError: its state can't be read or written.
    """
    folder = state.folder(environ)
    with folder.locked(lambda: _tell_of_waiting(tell)):
        held = folder.load()
        stopped: list[str] = []
        if held is not None and held.mode == COMPOSE:
            engine = _engine_of(held, environ)
            stopped = [each.name for each in compose.status(engine, held.settings) if each.state != STOPPED]
            compose.down(engine, is_data_deleted=is_data_deleted)
        elif held is not None:
            stopped = native.down(held)
        folder.forget()
        if is_data_deleted:
            native.delete_data(folder)
    return stopped


def status(environ: Mapping[str, str]) -> tuple[str | None, list[PartStatus]]:
    """Return how it runs, None where nothing was started, and how each part is.

    Raises:
        StackError: it can't be asked.
        OSError: its state can't be read.
    """
    held = state.folder(environ).load()
    return (held.mode if held else None), _statuses(held, environ)


def running(environ: Mapping[str, str]) -> tuple[Settings, list[PartStatus]]:
    """Return where the stack that runs is, and how each part is.

    Raises:
        StackError: none does, or its collector is not ready.
        OSError: its state can't be read.
    """
    held = state.folder(environ).load()
    if held is None:
        raise StackError("the stack is not running: `otel-flyte stack up` starts it")
    parts = _statuses(held, environ)
    collector = next(each for each in parts if each.name == "collector")
    if collector.state != READY:
        raise StackError(f"the stack's collector is {collector.state}: `otel-flyte stack status` says more")
    return held.settings, parts


def _engine(mode: str | None, held: State | None, root: Path, environ: Mapping[str, str]) -> Engine | str:
    """Choose how it runs: as it was asked for, else as it runs already, else by an engine that answers.

    Raises:
        StackError: it is to run otherwise than it does, or there is no engine where one was asked for.
    """
    running = held.mode if held else None
    if mode and running and mode != running:
        raise StackError(f"it runs {MODES[running]}: `otel-flyte stack down` first")
    if NATIVE in (mode, running):
        return "asked for" if mode else "as before"
    engine = compose.find(root, environ)
    if isinstance(engine, str) and COMPOSE in (mode, running):
        raise StackError(f"no container engine: {engine}")
    return engine


def _up_by_compose(engine: Engine, held: State | None, setup: Setup, tell: Tell, patience: float) -> None:
    tell(f"as containers, by {engine.file}")
    if held is None:
        native.check_ports(setup.settings, compose.PUBLISHED)
    elif held.settings == setup.settings and not any(each.is_bad for each in compose.status(engine, held.settings)):
        tell("it runs already")
    # Before they are there: should this command be killed meanwhile, `down` knows of them.
    setup.folder.save(State(COMPOSE, setup.settings, {}))
    try:
        compose.up(engine, setup.settings, patience)
    except BaseException:
        setup.folder.forget()
        raise
    for each in compose.status(engine, setup.settings):
        tell(f"{each.name:<10}  {each.state}  {each.url}")


def _up_natively(why: str, setup: Setup, tell: Tell, patience: float) -> None:
    plan = native.plan(setup.environ)
    collector = BY_NAME["collector"]
    if collector in plan.missing:
        raise StackError(f"neither by compose ({why}) nor natively ({native.without(collector)})")
    tell(f"natively ({why})")
    native.up(plan, setup, tell, patience)


def _statuses(held: State | None, environ: Mapping[str, str]) -> list[PartStatus]:
    if held is not None and held.mode == COMPOSE:
        return compose.status(_engine_of(held, environ), held.settings)
    return native.status(held, native.plan(environ))


def _engine_of(held: State, environ: Mapping[str, str]) -> Engine:
    engine = compose.find(files.root(), _with(held.settings, environ))
    if isinstance(engine, str):
        raise StackError(f"it runs as containers, and their engine can't be asked: {engine}")
    return engine


def _with(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    return {**environ, **settings.environment()}


def _tell_of_waiting(tell: Tell) -> None:
    tell("another `otel-flyte stack` is at work: waiting for it")
