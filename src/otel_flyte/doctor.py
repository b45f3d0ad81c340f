"""Whether telemetry of this environment's tasks would be made and arrive, found out by trying."""

import enum
import importlib
import importlib.util
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from otel_flyte import semconv, settings, standard_variables


class Verdict(enum.Enum):
    """How a check went; only a failure means that telemetry does not arrive, or is not kept where it was to be."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check, in one line."""

    verdict: Verdict
    text: str


def diagnose(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check one thing after the other: flytekit, the hooks, the configuration, and each signal's way.

    Sending is tried for each signal that goes somewhere, and takes 5 s at most for each.
    """
    variable = settings.switched_off_by(environ)
    if variable:
        yield Finding(Verdict.FAIL, f"the instrumentation is switched off by {variable}={environ[variable]}")
        return
    yield from _instrumentation()
    for problem in settings.read(environ).problems:
        yield Finding(Verdict.NOTE, problem)
    if environ.get(semconv.CONFIG_FILE):
        yield _configuration_file(environ[semconv.CONFIG_FILE])
        return
    problems = [problem for signal in settings.SIGNALS for problem in settings.plan(signal, environ).problems]
    for problem in dict.fromkeys(problems):
        yield Finding(Verdict.NOTE, problem)
    if not settings.configured(environ):
        missing = "" if problems else f": set {semconv.ENDPOINT}, such as http://localhost:4318"
        yield Finding(Verdict.FAIL, f"no signal is exported{missing}")
        return
    for problem in standard_variables.unusable(environ).values():
        yield Finding(Verdict.NOTE, problem)
    if settings.plan("traces", environ).exporters and (sampled_out := standard_variables.sampled_out(environ)):
        yield Finding(Verdict.FAIL, sampled_out)
    with standard_variables.usable_only():
        for signal in settings.SIGNALS:
            try:
                yield from _signal(signal, standard_variables.usable(environ))
            except Exception as error:
                yield Finding(Verdict.FAIL, f"{signal} can't be exported: {_first_line(error)}")
    yield from _spool(environ)


def _instrumentation() -> Iterator[Finding]:
    try:
        flytekit_version = version("flytekit")
    except PackageNotFoundError:
        yield Finding(Verdict.FAIL, "flytekit is not installed here: pip install 'flytekit>=1.15,<2'")
        return
    yield from _hooks(flytekit_version)


def _hooks(flytekit_version: str) -> Iterator[Finding]:
    try:
        importlib.import_module("flytekit")
    except Exception as error:
        yield Finding(Verdict.FAIL, f"flytekit {flytekit_version} can't be imported ({_first_line(error)})")
        return
    from otel_flyte import activation
    from otel_flyte.flytekit_v1 import hooks

    if not activation.is_active():
        yield Finding(
            Verdict.FAIL, f"flytekit {flytekit_version} did not load the instrumentation: reinstall otel-flyte"
        )
        return
    expected = [hook for hook in hooks.HOOKS if not hook.optional]
    for module in {hook.module for hook in expected}:
        importlib.import_module(module)
    missing = hooks.missing()
    found = f"flytekit {flytekit_version}, {len(expected) - len(missing)} of {len(expected)} hooks found"
    if missing:
        lost = ", ".join(f"{hook.name} ({hook.purpose})" for hook in missing)
        yield Finding(Verdict.NOTE, f"{found}; without {lost}")
    else:
        yield Finding(Verdict.OK, f"the instrumentation is on: {found}")


def _configuration_file(path: str) -> Finding:
    chosen = f"{semconv.CONFIG_FILE}={path}"
    if importlib.util.find_spec("opentelemetry.configuration") is None:
        return Finding(
            Verdict.FAIL,
            f"{chosen} needs the package opentelemetry-configuration: pip install 'otel-flyte[configuration]'",
        )
    from opentelemetry.configuration import load_config_file

    try:
        load_config_file(path)
    except Exception as error:
        return Finding(Verdict.FAIL, f"{chosen} can't be used ({_first_line(error)})")
    return Finding(Verdict.NOTE, f"{chosen} decides where telemetry goes; it can be read, and sending is not tried")


def _signal(signal: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    plan = settings.plan(signal, environ)
    if not plan.exporters:
        yield Finding(Verdict.NOTE, f"{signal} go nowhere{_decided(plan)}")
    for name in plan.exporters:
        yield from _exporter(name, plan, environ)


def _exporter(name: str, plan: settings.SignalPlan, environ: Mapping[str, str]) -> Iterator[Finding]:
    from otel_flyte.lifecycle import exporters, probe

    if name not in settings.OTLP_PROTOCOLS:
        try:
            exporters.load(name, plan.signal)
        except exporters.ExporterError as error:
            yield from _instead(error, plan, environ)
        else:
            yield Finding(Verdict.OK, f"{plan.signal} by {name}{_decided(plan)}: it is there, and sending is not tried")
        return
    answer = probe.send(plan)
    by_http = plan.protocol == settings.HTTP
    endpoint = answer.destination if by_http else settings.without_password(plan.endpoint)
    yield Finding(
        Verdict.OK if answer.arrived else Verdict.FAIL,
        f"{plan.signal} by {plan.protocol} to {endpoint}{_decided(plan)}: {answer.text}",
    )


def _instead(error: Exception, plan: settings.SignalPlan, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Go on as providers do: where an exporter can't be had, OTLP is used if an endpoint covers the signal."""
    others = {name: value for name, value in environ.items() if name != plan.decided_by}
    if len(plan.exporters) > 1 or not settings.plan(plan.signal, others).exporters:
        yield Finding(Verdict.FAIL, f"{plan.signal}{_decided(plan)}: {error}")
        return
    yield Finding(Verdict.NOTE, f"{plan.signal}{_decided(plan)}: {error}: {settings.OTLP} is used instead")
    yield from _signal(plan.signal, others)


def _spool(environ: Mapping[str, str]) -> Iterator[Finding]:
    from otel_flyte.lifecycle import remote

    chosen = settings.read(environ).spool
    if not chosen:
        return
    named = f"{semconv.OTEL_FLYTE_SPOOL}={settings.without_password(chosen)}"
    try:
        if remote.is_url(chosen):
            remote.check(chosen)
            remote.prepare(chosen)
            yield Finding(Verdict.OK, f"{named} can be opened, and writing is not tried")
        else:
            yield _spool_folder(named, Path(chosen.removeprefix("file://")))
    except remote.RemoteError as error:
        yield Finding(Verdict.FAIL, f"{semconv.OTEL_FLYTE_SPOOL}: {error}")
    except OSError as error:
        yield Finding(Verdict.FAIL, f"{named} can't be written: {error.strerror or error}")


def _spool_folder(named: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        which = "" if existing == folder else f" can't be made: {existing}"
        return Finding(Verdict.FAIL, f"{named}{which} is not a folder")
    with tempfile.NamedTemporaryFile(dir=existing, prefix=".otel-flyte-doctor-") as file:
        file.write(b"\n")
        file.flush()
    if existing != folder:
        return Finding(Verdict.OK, f"{named} can be made and written")
    return Finding(Verdict.OK, f"{named} can be written{_waiting(folder)}")


def _waiting(folder: Path) -> str:
    """Say what a replay of the folder would send."""
    from otel_flyte.lifecycle import spool

    number = sum(spool.settled(path) < path.stat().st_size for path in spool.files(folder))
    if not number:
        return ""
    files = "1 file waits" if number == 1 else f"{number} files wait"
    return f"; {files} in it for `otel-flyte replay {shlex.quote(str(folder))}`"


def _decided(plan: settings.SignalPlan) -> str:
    return f" ({plan.decided_by})" if plan.decided_by else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
