"""Checks of this environment: whether tasks would be traced, and whether telemetry arrives at its endpoints."""

import importlib
import importlib.util
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from otel_flyte import activation, semconv
from otel_flyte.adapters.base import Finding, Verdict
from otel_flyte.config import endpoints, settings, standard, urls
from otel_flyte.recording.cells import counted
from otel_flyte.runtime.limits import first_line


def diagnose(environ: Mapping[str, str]) -> Iterator[Finding]:  # noqa: C901  # one check after the other
    """Return the result of each check: flytekit, the hooks, the configuration, and the delivery of each signal.

    A record of each exported signal is sent, which takes 5 s at most for each.
    """
    variable = settings.switched_off_by(environ)
    if variable:
        yield Finding(Verdict.FAIL, f"{variable}={environ[variable]} disables the instrumentation: unset it")
        return
    for adapter in activation.ADAPTERS:
        yield from adapter.check()
    for problem in settings.read(environ).problems:
        yield Finding(Verdict.NOTE, problem)
    if environ.get(semconv.CONFIG_FILE):
        yield _configuration_file(environ[semconv.CONFIG_FILE])
        return
    problems = [problem for signal in endpoints.SIGNALS for problem in endpoints.plan(signal, environ).problems]
    for problem in dict.fromkeys(problems):
        yield Finding(Verdict.NOTE, problem)
    if not endpoints.configured(environ):
        remedy = "correct" if problems else "set"
        yield Finding(
            Verdict.FAIL, f"no signal is exported: {remedy} {semconv.ENDPOINT}, such as http://localhost:4318"
        )
        return
    for problem in standard.unusable(environ).values():
        yield Finding(Verdict.NOTE, problem)
    if endpoints.plan("traces", environ).exporters and (sampled_out := standard.sampled_out(environ)):
        yield Finding(Verdict.FAIL, f"{sampled_out}: choose another sampler")
    for signal in endpoints.SIGNALS:
        try:
            yield from _signal(signal, standard.usable(environ))
        except Exception as error:
            yield Finding(Verdict.FAIL, f"{signal} can't be exported: {first_line(error)}")
    yield from _spool(environ)


def _configuration_file(path: str) -> Finding:
    chosen = f"{semconv.CONFIG_FILE}={path}"
    if importlib.util.find_spec("opentelemetry.configuration") is None:
        return Finding(
            Verdict.FAIL,
            f"{chosen} requires opentelemetry-configuration: run pip install 'otel-flyte[configuration]'",
        )
    from opentelemetry.configuration import load_config_file

    try:
        load_config_file(path)
    except Exception as error:
        return Finding(Verdict.FAIL, f"{chosen} can't be used ({first_line(error)}): correct the file")
    return Finding(Verdict.NOTE, f"{chosen} can be read and configures the exporters: delivery is not tested")


def _signal(signal: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    plan = endpoints.plan(signal, environ)
    if not plan.exporters:
        yield Finding(Verdict.NOTE, f"{signal} are not exported{_decided(plan)}")
    for name in plan.exporters:
        yield from _exporter(name, plan, environ)


def _exporter(name: str, plan: endpoints.SignalPlan, environ: Mapping[str, str]) -> Iterator[Finding]:
    from otel_flyte.export import destinations
    from otel_flyte.sdk import probe

    if name not in endpoints.OTLP_PROTOCOLS:
        try:
            destinations.load(name, plan.signal)
        except destinations.ExporterError as error:
            yield from _instead(f"{plan.decided_by}={name} {error}", plan, environ)
        else:
            yield Finding(Verdict.OK, f"{plan.signal} by {name}{_decided(plan)}: installed, delivery is not tested")
        return
    answer = probe.send(plan, environ)
    by_http = plan.protocol == endpoints.HTTP
    endpoint = answer.destination if by_http else urls.without_password(plan.endpoint)
    yield Finding(
        Verdict.OK if answer.arrived else Verdict.FAIL,
        f"{plan.signal} by {plan.protocol} to {endpoint}{_decided(plan)}: {answer.text}",
    )


def _instead(problem: str, plan: endpoints.SignalPlan, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check OTLP in place of an exporter that is not available, as providers use it where there is an endpoint."""
    others = {name: value for name, value in environ.items() if name != plan.decided_by}
    if len(plan.exporters) > 1 or not endpoints.plan(plan.signal, others).exporters:
        yield Finding(Verdict.FAIL, f"{problem}: correct it, or unset it")
        return
    yield Finding(Verdict.NOTE, f"{problem}: {endpoints.OTLP} is used instead")
    yield from _signal(plan.signal, others)


def _spool(environ: Mapping[str, str]) -> Iterator[Finding]:
    from otel_flyte.export.spool import remote

    chosen = settings.read(environ).spool
    if not chosen:
        return
    named = f"{semconv.OTEL_FLYTE_SPOOL}={urls.without_password(chosen)}"
    try:
        if remote.is_url(chosen):
            remote.check(chosen)
            remote.prepare(chosen)
            yield Finding(Verdict.OK, f"{named} can be opened: writing is not tested")
        else:
            yield _spool_folder(named, Path(chosen.removeprefix("file://")))
    except remote.RemoteError as error:
        yield Finding(Verdict.FAIL, f"{semconv.OTEL_FLYTE_SPOOL}: {error}: {error.remedy}")
    except OSError as error:
        yield Finding(Verdict.FAIL, f"{named} can't be written ({error.strerror or error}): check its permissions")


def _spool_folder(named: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        which = "" if existing == folder else f" can't be created, {existing}"
        return Finding(Verdict.FAIL, f"{named}{which} is not a folder: name a folder")
    with tempfile.NamedTemporaryFile(dir=existing, prefix=".otel-flyte-doctor-") as file:
        file.write(b"\n")
        file.flush()
    if existing != folder:
        return Finding(Verdict.OK, f"{named} can be created and written")
    return Finding(Verdict.OK, f"{named} can be written{_undelivered(folder)}")


def _undelivered(folder: Path) -> str:
    """Return a hint at the undelivered files of a folder."""
    from otel_flyte.export.spool import files as spool

    number = sum(spool.acknowledged_offset(path) < path.stat().st_size for path in spool.files(folder))
    if not number:
        return ""
    return f": {counted(number, 'undelivered file')}, to send with `otel-flyte replay {shlex.quote(str(folder))}`"


def _decided(plan: endpoints.SignalPlan) -> str:
    return f" ({plan.decided_by})" if plan.decided_by else ""
