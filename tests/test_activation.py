"""Activation of the instrumentation: by the import, by a launcher, by a program; and its effect on other code."""

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, distribution, entry_points, requires
from pathlib import Path
from typing import Any

import opentelemetry.instrumentation
import pytest
from packaging.requirements import Requirement

from otel_flyte import semconv
from otel_flyte.tasks import identity
from support import pods, programs, runs
from support.receiver import Receiver, Span
from support.runs import Run, Runs, Scenario

pytestmark = pytest.mark.slow

OFF_SWITCHES = {
    "by otel-flyte": {"OTEL_FLYTE_ENABLED": "false"},
    "by OpenTelemetry": {"OTEL_SDK_DISABLED": "true"},
    "among instrumentations": {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "requests,flyte"},
    "with all instrumentations": {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"},
}
CONFIGURED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

# --- the import of flytekit ------------------------------------------------------------------------------------------

LOADED = """
    import json, sys
    import flytekit

    def loaded():
        # `opentelemetry` itself may exist without a module: a path file declares the namespace.
        return sorted(name for name in sys.modules if name.startswith("opentelemetry."))

    def is_wrapped():
        from flytekit.core.base_task import PythonTask
        return "/otel_flyte/adapters/" in PythonTask.dispatch_execute.__code__.co_filename

    @flytekit.task
    def double(value: int) -> int:
        return 2 * value

    @flytekit.workflow
    def twice(value: int) -> int:
        return double(value=value)
"""

OWN_PROVIDER = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    def own_provider():
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return exporter, provider

    def names(exporter):
        return [span.name for span in exporter.get_finished_spans()]
"""

SPANS = ["input translation", "user code", "output translation", "task program.double", "workflow program.twice"]


def ended(folder: Path, *parts: str, env: Mapping[str, str] | None = None) -> programs.Ended:
    """Run a program, forked if it imports flytekit first."""
    is_forked = parts[0] == LOADED
    return programs.run(programs.joined(*parts), folder, {**programs.RAISE, **(env or {})}, forked=is_forked)


def test_without_the_exceptions_of_flytekit_the_hooks_are_set(tmp_path: Path) -> None:
    program = """
        from flytekit.core import base_task

        import otel_flyte

        otel_flyte.uninstrument()
        del base_task.IgnoreOutputs
        otel_flyte.instrument()
        print(json.dumps(is_wrapped()))
    """
    # The fault is reported, as it is outside of this project's tests.
    ran = programs.run(programs.joined(LOADED, program), tmp_path)

    assert ran.printed is True
    assert [line for line in ran.our_lines if "IgnoreOutputs" in line]


@pytest.mark.parametrize("env", [{}, CONFIGURED], ids=["not configured", "configured"])
def test_importing_flytekit_sets_the_hooks_without_importing_opentelemetry(env: dict[str, str], tmp_path: Path) -> None:
    result = ended(tmp_path, LOADED, "print(json.dumps([is_wrapped(), loaded()]))", env=env).printed

    assert result == [True, []]


def test_importing_flytekit_sets_no_provider(tmp_path: Path) -> None:
    result = ended(
        tmp_path,
        LOADED,
        """
        import traced_kinds, task_providers
        print(json.dumps(task_providers.WHILE_LOADING))
        """,
        env=CONFIGURED,
    ).printed

    assert result == ["ProxyTracerProvider", "ProxyMeterProvider", "ProxyLoggerProvider"]


def test_an_unrecorded_task_does_not_import_opentelemetry(tmp_path: Path) -> None:
    program = "print(json.dumps([twice(value=4), loaded()]))"

    result, loaded = ended(tmp_path, LOADED, program).printed
    assert (result, loaded) == (8, [])

    result, loaded = ended(tmp_path, LOADED, program, env=CONFIGURED).printed
    assert result == 8
    assert "opentelemetry.sdk.resources" in loaded
    assert {"opentelemetry.sdk.trace", "opentelemetry._logs"}.isdisjoint(loaded)


def test_an_unused_signal_is_not_imported(tmp_path: Path) -> None:
    result = ended(tmp_path, LOADED, "twice(value=4); print(json.dumps(loaded()))", env=CONFIGURED).printed

    assert "opentelemetry.sdk._logs" not in result


def test_a_short_task_does_not_import_slow_unused_modules(tmp_path: Path) -> None:
    slow = ("psutil", "pynvml", "otel_flyte.stdio_capture.capture", "otel_flyte.usage.sampling")
    program = f"twice(value=4); print(json.dumps([name for name in {slow} if name in sys.modules]))"

    assert ended(tmp_path, LOADED, program, env=CONFIGURED).printed == []


def test_a_provider_set_after_the_import_is_kept_and_receives_our_spans(tmp_path: Path, receiver: Receiver) -> None:
    result = ended(
        tmp_path,
        LOADED,
        OWN_PROVIDER,
        """
        exporter, provider = own_provider()
        trace.set_tracer_provider(provider)
        twice(value=4)
        print(json.dumps([trace.get_tracer_provider() is provider, names(exporter)]))
        """,
        env=receiver.environment(),
    )

    assert result.printed == [True, SPANS]
    assert receiver.spans() == []
    assert "Overriding" not in result.stderr


def test_a_provider_set_after_an_unrecorded_task_receives_the_spans_of_the_next_one(tmp_path: Path) -> None:
    result = ended(
        tmp_path,
        LOADED,
        OWN_PROVIDER,
        """
        twice(value=4)
        exporter, provider = own_provider()
        trace.set_tracer_provider(provider)
        twice(value=4)
        print(json.dumps(names(exporter)))
        """,
    ).printed

    assert result == SPANS


def test_registering_a_workflow_sets_no_provider(tmp_path: Path) -> None:
    result = ended(
        tmp_path,
        LOADED,
        """
        from collections import OrderedDict
        from flytekit.configuration import Image, ImageConfig, SerializationSettings
        from flytekit.tools.translator import get_serializable

        settings = SerializationSettings(
            ImageConfig(Image("default", "registry.example/tasks", "v1")), "proj", "development", "v1"
        )
        entities = OrderedDict()
        get_serializable(entities, settings, twice)
        before = loaded()
        """,
        OWN_PROVIDER,
        """
        exporter, provider = own_provider()
        trace.set_tracer_provider(provider)
        print(json.dumps([len(entities), before, trace.get_tracer_provider() is provider]))
        """,
        env=CONFIGURED,
    ).printed

    assert result == [3, [], True]


# --- off switches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", OFF_SWITCHES.values(), ids=OFF_SWITCHES)
def test_an_off_switch_prevents_all_hooks_even_with_the_instrumentor(env: dict[str, str], tmp_path: Path) -> None:
    result = ended(
        tmp_path,
        """
        import otel_flyte
        otel_flyte.instrument()
        """,
        LOADED,
        OWN_PROVIDER,
        """
        wrapped = [is_wrapped()]
        exporter, provider = own_provider()
        trace.set_tracer_provider(provider)
        otel_flyte.instrument(tracer_provider=provider)
        wrapped.append(is_wrapped())
        result = twice(value=4)
        otel_flyte.uninstrument()
        print(json.dumps([wrapped, result, names(exporter)]))
        """,
        env=CONFIGURED | env,
    ).printed

    assert result == [[False, False], 8, []]


# --- activation by a program -----------------------------------------------------------------------------------------


def test_a_provider_argument_is_used_and_a_later_one_replaces_it(tmp_path: Path, receiver: Receiver) -> None:
    result = ended(
        tmp_path,
        LOADED,
        OWN_PROVIDER,
        """
        import otel_flyte
        recorded = []
        for _ in range(2):
            exporter, provider = own_provider()
            otel_flyte.instrument(tracer_provider=provider)
            twice(value=4)
            recorded.append(exporter)
        otel_flyte.instrument()
        twice(value=4)
        print(json.dumps([names(exporter) for exporter in recorded]))
        """,
        env=receiver.environment(),
    )

    assert result.printed == [SPANS, SPANS + SPANS]
    assert result.stderr == ""
    assert receiver.spans() == []


def test_a_signal_with_a_provider_argument_has_no_provider_of_ours(tmp_path: Path) -> None:
    result = ended(
        tmp_path,
        LOADED,
        """
        import otel_flyte, task_providers
        from opentelemetry.metrics import NoOpMeterProvider

        otel_flyte.instrument(meter_provider=NoOpMeterProvider())
        twice(value=4)
        print(json.dumps(task_providers.providers()))
        """,
        env=CONFIGURED,
    ).printed

    assert result == ["FlyteTracerProvider", "ProxyMeterProvider", "LazyLoggerProvider"]


def test_a_provider_argument_is_used_even_before_flytekit_is_imported(tmp_path: Path) -> None:
    result = ended(
        tmp_path,
        OWN_PROVIDER,
        """
        import otel_flyte
        exporter, provider = own_provider()
        otel_flyte.instrument(tracer_provider=provider)
        """,
        LOADED,
        "twice(value=4); print(json.dumps(names(exporter)))",
    ).printed

    assert result == SPANS


def test_the_instrumentor_can_be_enabled_and_disabled_repeatedly(tmp_path: Path) -> None:
    result = ended(
        tmp_path,
        LOADED,
        OWN_PROVIDER,
        """
        from otel_flyte.instrumentor import FlyteInstrumentor
        exporter, provider = own_provider()
        trace.set_tracer_provider(provider)
        recorded = []

        def run():
            exporter.clear()
            twice(value=4)
            recorded.append([is_wrapped(), names(exporter)])

        FlyteInstrumentor().uninstrument()
        run()
        for _ in range(2):
            FlyteInstrumentor().instrument()
            run()
            FlyteInstrumentor().uninstrument()
            run()
        FlyteInstrumentor().instrument()
        FlyteInstrumentor().instrument()
        run()
        print(json.dumps(recorded))
        """,
    )

    on, off = [True, SPANS], [False, []]
    assert result.printed == [off, on, off, on, off, on]
    assert "already" not in result.stderr


def test_uninstrument_discards_the_provider_arguments(tmp_path: Path) -> None:
    result = ended(
        tmp_path,
        LOADED,
        OWN_PROVIDER,
        """
        import otel_flyte
        exporter, provider = own_provider()
        otel_flyte.instrument(tracer_provider=provider)
        otel_flyte.uninstrument()
        otel_flyte.instrument()
        twice(value=4)
        print(json.dumps([is_wrapped(), names(exporter)]))
        """,
    ).printed

    assert result == [True, []]


# --- declarations of the distribution --------------------------------------------------------------------------------

# opentelemetry-instrumentation 0.48b0 imports it.
imports_pkg_resources = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")


def declared() -> Any:
    # Older Pythons have no tomllib; pytest depends on tomli there.
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_the_installed_entry_points_are_the_declared_ones() -> None:
    groups = declared()["entry-points"] | {"console_scripts": declared()["scripts"]}
    installed = distribution("otel-flyte").entry_points

    assert {(entry.group, entry.name, entry.value) for entry in installed} == {
        (group, name, value) for group, entries in groups.items() for name, value in entries.items()
    }


@imports_pkg_resources
@pytest.mark.parametrize("entry", distribution("otel-flyte").entry_points, ids=lambda entry: str(entry.group))
def test_each_entry_point_can_be_loaded(entry: EntryPoint) -> None:
    assert entry.load() is not None


@imports_pkg_resources
def test_the_extra_instruments_has_the_requirements_of_the_instrumentor() -> None:
    from otel_flyte import instrumentor

    in_metadata = [Requirement(text) for text in requires("otel-flyte") or ()]
    in_extra = [
        requirement for requirement in in_metadata if requirement.marker and "instruments" in str(requirement.marker)
    ]

    assert {str(requirement.specifier) for requirement in in_extra} == {
        str(Requirement(text).specifier) for text in instrumentor.INSTRUMENTS
    }
    assert [requirement.name for requirement in in_extra] == ["flytekit"]
    assert tuple(instrumentor.FlyteInstrumentor().instrumentation_dependencies()) == instrumentor.INSTRUMENTS


def test_the_variables_listed_for_opentelemetry_are_exactly_ours() -> None:
    [entry] = entry_points(group="opentelemetry_environment_variables", name="flyte")
    listed = [name for name in dir(entry.load()) if name.startswith("OTEL_")]

    assert listed
    assert all(name.startswith("OTEL_FLYTE_") and getattr(semconv, name) == name for name in listed)


def test_the_launcher_names_our_variables_among_its_options(tmp_path: Path) -> None:
    result = programs.run_command([str(pods.SCRIPTS / "opentelemetry-instrument"), "--help"], tmp_path)

    assert result.returncode == 0, result.stderr
    assert "--flyte_enabled" in result.stdout
    assert "--flyte_map_nested" in result.stdout


# --- pods under a launcher -------------------------------------------------------------------------------------------

AUTO_INSTRUMENTATION = Path(next(iter(opentelemetry.instrumentation.__path__))) / "auto_instrumentation"
LAUNCHER = str(pods.SCRIPTS / "opentelemetry-instrument")
BY_LAUNCHER = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
OUR_IDS = BY_LAUNCHER | {"OTEL_PYTHON_ID_GENERATOR": "flyte"}


def with_distro(pod: pods.Pod) -> pods.Pod:
    return first_on_path(pod, programs.distro(pod.directory.parent / "site"))


def first_on_path(pod: pods.Pod, *folders: Path) -> pods.Pod:
    old = pod.environment["PYTHONPATH"]
    path = os.pathsep.join([*map(str, folders), *([old] if old else [])])
    return replace(pod, environment=pod.environment | {"PYTHONPATH": path})


def by_opentelemetry_instrument(pod: pods.Pod) -> pods.Pod:
    pod = with_distro(pod)
    return replace(pod, arguments=(LAUNCHER, *pod.arguments))


def by_the_kubernetes_operator(pod: pods.Pod) -> pods.Pod:
    return first_on_path(with_distro(pod), AUTO_INSTRUMENTATION)


def without_a_configurator(pod: pods.Pod) -> pods.Pod:
    return replace(pod, arguments=(LAUNCHER, *pod.arguments))


# --- pods in a broken environment ------------------------------------------------------------------------------------


def broken(module: str, error: str) -> Scenario:
    """A pod in which a module and its submodules cannot be imported."""

    def change(pod: pods.Pod) -> pods.Pod:
        site = programs.module(
            pod.directory.parent / "site",
            "sitecustomize",
            f"""
            import sys

            class Broken:
                def find_spec(self, name, path=None, target=None):
                    if f"{{name}}.".startswith("{module}."):
                        raise {error}

            sys.meta_path.insert(0, Broken())
            """,
        )
        return first_on_path(pod, site)

    return increment(change=change)


def customised(source: str, env: Mapping[str, str] | None = None) -> Scenario:
    """A pod whose interpreter runs code at its start."""

    def change(pod: pods.Pod) -> pods.Pod:
        return first_on_path(pod, programs.module(pod.directory.parent / "site", "sitecustomize", source))

    return increment(env=env, change=change)


def increment(**options: Any) -> Scenario:
    env = {semconv.RAISE_INTERNAL_ERRORS: "", **(options.pop("env", None) or {})}
    return runs.pod("task_kinds.increment", {"value": 1}, env=env, **options)


MISSING = "ModuleNotFoundError(f'No module named {name!r}', name=name)"
BROKEN = {
    "our activation broken": broken("otel_flyte.activation", "RuntimeError('broken')"),
    "our names broken": broken("otel_flyte.semconv", "RuntimeError('broken')"),
    "our guard missing": broken("otel_flyte.runtime.guard", MISSING),
    "our hooks broken": broken("otel_flyte.adapters.flytekit_v1.hooks", "RuntimeError('broken')"),
    "our spans broken": broken("otel_flyte.adapters.flytekit_v1.task_spans", "RuntimeError('broken')"),
    "our providers broken": broken("otel_flyte.sdk.providers", "RuntimeError('broken')"),
    "opentelemetry missing": broken("opentelemetry", MISSING),
    "opentelemetry broken": broken("opentelemetry.trace", "TypeError('Descriptors cannot be created directly.')"),
    "the SDK missing": broken("opentelemetry.sdk", MISSING),
    "protobuf of another version": broken(
        "opentelemetry.proto", "TypeError('Descriptors cannot be created directly.')"
    ),
    "no such tracer provider": increment(env={"OTEL_PYTHON_TRACER_PROVIDER": "nobodys"}),
    "no such context": increment(env={"OTEL_PYTHON_CONTEXT": "nobodys"}),
    "no such propagator": increment(env={"OTEL_PROPAGATORS": "nobodys"}),
    "no such sampler": increment(env={"OTEL_TRACES_SAMPLER": "nobodys", "OTEL_TRACES_SAMPLER_ARG": "?"}),
    "invalid limits": increment(env={"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}),
    "an unwritable environment": customised(
        """
        import os

        def refuse(*args):
            raise PermissionError("read-only")

        type(os.environ).__setitem__ = type(os.environ).__delitem__ = refuse
        """
    ),
    "no threads": customised(
        """
        import threading

        start = threading.Thread.start

        def refuse(thread):
            if "otel" in thread.name.lower():
                raise RuntimeError("can't start new thread")
            start(thread)

        threading.Thread.start = refuse
        """
    ),
}

SCENARIOS: dict[str, Scenario] = {
    "plain": increment(),
    "plain, fast": increment(entrypoint="fast"),
    **{
        f"{how}{kind}": increment(
            entrypoint=entrypoint,
            env=OUR_IDS | programs.RAISE,
            change=change,
            forked=False,
        )
        for how, change in {
            "opentelemetry-instrument": by_opentelemetry_instrument,
            "the operator": by_the_kubernetes_operator,
            "without a configurator": without_a_configurator,
        }.items()
        for kind, entrypoint in {"": "execute", ", fast": "fast"}.items()
    },
    "foreign ids": increment(env=BY_LAUNCHER | programs.RAISE, change=by_opentelemetry_instrument),
    **{
        f"off {how}": increment(env=BY_LAUNCHER | programs.RAISE | env, change=by_opentelemetry_instrument)
        for how, env in OFF_SWITCHES.items()
    },
    "providers": runs.pod("task_providers.find_providers"),
    "providers, fast": runs.pod("task_providers.find_providers", entrypoint="fast"),
    "its own provider": runs.pod("task_own_provider.train", {"epochs": 3}),
    **BROKEN,
}


ran = runs.fixture(SCENARIOS)


def succeeded(run: Run) -> Run:
    assert run.pod.returncode == 0, run.pod.stderr
    assert run.spans
    return run


@pytest.mark.parametrize("kind", ["", ", fast"], ids=["execute", "fast-execute"])
@pytest.mark.parametrize("how", ["opentelemetry-instrument", "the operator", "without a configurator"])
def test_spans_under_a_launcher_are_the_same_as_without_one(how: str, kind: str, ran: Runs) -> None:
    plain, launched = succeeded(ran(f"plain{kind}")), succeeded(ran(f"{how}{kind}"))

    assert launched.tree(full=True) == plain.tree(full=True)
    assert launched.pod.outputs == plain.pod.outputs


@pytest.mark.parametrize("how", ["opentelemetry-instrument", "the operator"])
def test_the_provider_of_the_launcher_is_used(how: str, ran: Runs) -> None:
    resources = [span.resource for span in succeeded(ran(how)).spans]

    assert {resource.get("telemetry.auto.version") for resource in resources} != {None}
    assert all(semconv.RUN_NAME not in resource for resource in resources)


def test_a_foreign_id_generator_gets_the_derived_trace_from_a_remote_parent(ran: Runs) -> None:
    run = succeeded(ran("foreign ids"))
    attempt = run.attempt
    execution = identity.Execution("proj", "development", pods.Attempt().execution)
    of_the_control_plane = identity.Attempt(execution, "n0", "n0", 0)

    assert {span.trace_id for span in run.spans} == {f"{execution.trace_id():032x}"}
    assert attempt.parent_span_id == f"{of_the_control_plane.span_id(identity.ROLE_ATTEMPT):016x}"
    assert attempt.span_id != f"{of_the_control_plane.span_id(identity.ROLE_TASK):016x}"
    assert sorted(span.name for span in run.spans) == sorted(span.name for span in ran("plain").spans)


@pytest.mark.parametrize("how", OFF_SWITCHES)
def test_an_off_switch_is_effective_under_a_launcher(how: str, ran: Runs) -> None:
    run = ran(f"off {how}")

    assert our_spans(run.spans) == []
    assert run.pod.outputs == ran("plain").pod.outputs


def our_spans(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.scope == semconv.SCOPE]


@pytest.mark.parametrize("name", ["providers", "providers, fast"])
def test_providers_of_a_pod_are_created_after_the_tasks_module_is_loaded(name: str, ran: Runs) -> None:
    outputs = succeeded(ran(name)).pod.outputs
    assert outputs is not None
    found = [item.scalar.primitive.string_value for item in outputs.literals["o0"].collection.literals]

    assert found == [
        *("ProxyTracerProvider", "ProxyMeterProvider", "ProxyLoggerProvider"),
        *("FlyteTracerProvider", "LazyMeterProvider", "LazyLoggerProvider"),
    ]


def test_a_provider_set_by_the_tasks_module_is_kept_and_receives_our_spans(ran: Runs) -> None:
    run = succeeded(ran("its own provider"))

    assert {span.resource["service.name"] for span in run.spans} == {"trainer"}
    assert run.named("training").parent_span_id == run.named("user code").span_id
    assert [span.name for span in our_spans(run.spans) if span.name.startswith("task ")] == [
        "task task_own_provider.train"
    ]
    assert "Overriding" not in run.pod.stderr


# --- child processes of a task ----------------------------------------------------------------------------------------

STARTS_PROCESSES = """
    import json
    import multiprocessing
    import os
    import subprocess
    import sys

    import flytekit

    READ = "import os; print(os.environ.get('TRACEPARENT'))"

    def read():
        return subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True).stdout.strip()

    @flytekit.task
    def double(value: int) -> int:
        return 2 * value

    def double_in_worker(value):
        return double(value=value)

    @flytekit.task
    def start() -> list[str]:
        double(value=1)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(double_in_worker, (2,))
            spawned = pool.apply(os.getenv, ("TRACEPARENT",))
            pool.close()
            pool.join()
        return [read(), spawned]

    if __name__ == "__main__":
        print(json.dumps([read(), *start(), read()]))
"""


@pytest.mark.parametrize("given", [None, f"00-{'1' * 32}-{'2' * 16}-01"])
def test_child_processes_have_the_span_of_a_running_task_as_parent(
    given: str | None, tmp_path: Path, receiver: Receiver
) -> None:
    env = {"TRACEPARENT": given} if given else {}
    before, subprocess, spawned, after = programs.run(STARTS_PROCESSES, tmp_path, receiver.environment() | env).printed
    spans = {span.span_id: span for span in receiver.spans() if span.name.startswith("task ")}
    [outer] = [span for span in spans.values() if span.name.endswith(".start")]

    assert subprocess == spawned == f"00-{outer.trace_id}-{outer.span_id}-01"
    assert before == after == str(given)
    assert [(outer.trace_id, outer.parent_span_id)] == ([("1" * 32, "2" * 16)] if given else [(outer.trace_id, "")])
    doubles = [span for span in spans.values() if span.name.endswith(".double")]
    assert len(doubles) == 2
    assert {span.trace_id for span in doubles} == {outer.trace_id}
    # The parent of the worker is the task, that of the subprocess is a phase.
    assert outer.span_id in {span.parent_span_id for span in doubles}


def test_an_attempt_without_a_loadable_task_is_named_by_the_resolvers_arguments(
    tmp_path: Path, receiver: Receiver
) -> None:
    pod = pods.prepare("execute", tmp_path, "module_that_fails.unreachable", {"value": 1}, env=receiver.environment())
    nameless = {name: value for name, value in pod.environment.items() if name not in semconv.FLYTE_TASK_NAME}
    replace(pod, environment=nameless).run()
    [attempt] = [span for span in receiver.spans() if span.name.startswith("task ")]

    assert attempt.name == "task module_that_fails.unreachable"
    assert attempt.attributes[semconv.TASK_NAME] == "module_that_fails.unreachable"


# --- broken environments ---------------------------------------------------------------------------------------------

UNREPORTABLE = {"our names broken", "our guard missing"}
"""Nothing can be reported without these."""

IGNORED_BY_OPENTELEMETRY = {"no such context", "no such propagator", "no such sampler"}


@pytest.mark.parametrize("name", BROKEN)
def test_a_task_ends_as_usual_in_a_broken_environment(name: str, ran: Runs) -> None:
    plain, run = ran("plain"), ran(name)

    assert run.pod.returncode == 0, run.pod.stderr
    assert run.pod.files == plain.pod.files


@pytest.mark.parametrize("name", [name for name in BROKEN if name not in UNREPORTABLE | IGNORED_BY_OPENTELEMETRY])
def test_losses_in_a_broken_environment_are_reported_once(name: str, ran: Runs) -> None:
    result = programs.our_lines(ran(name).pod.stderr)

    # Once for each place where it has an effect; an unavailable module can affect each signal.
    assert 1 <= len(result) == len(set(result)) <= 3


@pytest.mark.parametrize("name", sorted(IGNORED_BY_OPENTELEMETRY))
def test_settings_that_opentelemetry_ignores_lose_no_span(name: str, ran: Runs) -> None:
    assert succeeded(ran(name)).tree() == ran("plain").tree()


def test_an_environment_that_cannot_be_written_loses_no_span(ran: Runs) -> None:
    assert succeeded(ran("an unwritable environment")).tree() == ran("plain").tree()
