"""The hooks and the installed flytekit: changes of flytekit fail here first, and our changes are restored.

This process has the hooks, like any process that imports flytekit. Tests without hooks run in another process.
"""

import contextlib
import importlib
import inspect
import pickle
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import flytekit
import pytest
from flytekit.core.base_task import PythonTask, Task

from otel_flyte import semconv
from otel_flyte.adapters import patching
from otel_flyte.adapters.flytekit_v1 import hooks
from otel_flyte.adapters.flytekit_v1.hooks import HOOKS
from otel_flyte.adapters.flytekit_v1.wrappers import tasks
from otel_flyte.adapters.patching import Hook
from support import programs

pytestmark = pytest.mark.quick

Function = Callable[..., Any]

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

NEVER_RUNS_HERE = {
    "flytekit.core.reference_entity.ReferenceEntity.local_execute": "a reference has no code to run",
    "flytekit.core.base_task.Task.dispatch_execute": "it is abstract",
}
"""Methods of flytekit with the name of a wrapped method that need no hook."""


def named(hook: Hook) -> str:
    return f"{hook.module}.{hook.name}"


each_hook = pytest.mark.parametrize("hook", HOOKS, ids=named)


def imported(hook: Hook) -> Any:
    """Return the module of a hook; only optional ones may be missing."""
    try:
        module = importlib.import_module(hook.module)
    except ImportError:
        if not hook.optional:
            raise
        pytest.skip(f"{hook.module.partition('.')[0]} is not installed")
    if hook.optional and patching.target(hook) is None:
        pytest.skip(f"this version has no {named(hook)}")
    return module


def original(hook: Hook) -> Function:
    """Return flytekit's own function at a hook."""
    imported(hook)
    function = patching.target(hook)
    assert function is not None, f"flytekit has no {named(hook)}"
    return _without_our_wrappers(function.__func__ if isinstance(function, staticmethod) else function)


def _without_our_wrappers(function: Function) -> Function:
    """Remove our wrappers only: flytekit has its own, such as those that make async functions sync."""
    while _is_ours(function):
        function = function.__wrapped__  # type: ignore[attr-defined]
    return function


def _is_ours(function: Function) -> bool:
    return bool(Path(function.__code__.co_filename).parent == Path(tasks.__file__).parent)


# --- the table of hooks ----------------------------------------------------------------------------------------------


@each_hook
def test_every_wrapped_function_exists_in_flytekit(hook: Hook) -> None:
    assert callable(original(hook))


@each_hook
def test_wrapped_functions_have_the_parameters_that_wrappers_use(hook: Hook) -> None:
    parameters = list(inspect.signature(original(hook)).parameters)

    assert [name for name in parameters if name in hook.parameters.split()] == hook.parameters.split()


@each_hook
def test_a_wrapper_accepts_every_call_of_the_wrapped_function(hook: Hook) -> None:
    function = original(hook)
    wrapped, wrapper = parameters_of(function), parameters_of(hook.wrap(function))
    kinds = {parameter.kind for parameter in wrapper}
    own = [parameter for parameter in wrapper if parameter.kind in POSITIONAL]

    assert [parameter.name for parameter in own] == [parameter.name for parameter in wrapped[: len(own)]]
    passed_on = wrapped[len(own) :]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        assert [parameter.name for parameter in passed_on if parameter.kind in POSITIONAL] == []
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        assert passed_on == []


@each_hook
def test_a_wrapper_is_a_coroutine_function_if_the_wrapped_function_is_one(hook: Hook) -> None:
    function = original(hook)

    assert inspect.iscoroutinefunction(hook.wrap(function)) == inspect.iscoroutinefunction(function)


def parameters_of(function: Function) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def test_hooks_are_unique() -> None:
    assert len({named(hook) for hook in HOOKS}) == len(HOOKS)


def test_doctor_finds_every_hook_of_this_flytekit() -> None:
    for hook in HOOKS:
        if not hook.optional:
            imported(hook)

    assert patching.missing(hooks.HOOKS) == []


# --- completeness of the table ---------------------------------------------------------------------------------------


@cache
def all_modules() -> None:
    """Import all modules of flytekit except those with missing dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(flytekit.__path__, "flytekit.", onerror=lambda _: None):
            if not module.name.endswith("__main__"):
                with contextlib.suppress(ImportError):
                    importlib.import_module(module.name)


def subclasses(cls: type) -> Iterator[type]:
    below: list[type] = type.__subclasses__(cls)
    for subclass in below:
        yield subclass
        yield from subclasses(subclass)


def full_name(cls: type, name: str) -> str:
    return f"{cls.__module__}.{cls.__qualname__}.{name}"


def defining_class(cls: type, name: str) -> str:
    return next(full_name(base, name) for base in cls.__mro__ if name in vars(base))


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if "." in hook.name], ids=named)
def test_no_class_of_flytekit_overrides_a_wrapped_method_without_a_hook(hook: Hook) -> None:
    all_modules()
    class_name, name = hook.name.split(".")
    owner = getattr(imported(hook), class_name)
    known = {named(hook) for hook in HOOKS} | NEVER_RUNS_HERE.keys()

    of_flytekit = {cls for cls in subclasses(owner) if str(cls.__module__).startswith("flytekit")}
    unknown = {defining_class(cls, name) for cls in of_flytekit} - known

    assert unknown == set()


def test_every_class_with_its_own_dispatch_is_wrapped() -> None:
    all_modules()
    dispatching = {
        full_name(cls, "dispatch_execute")
        for cls in {Task, *subclasses(object)}
        if "dispatch_execute" in vars(cls) and str(cls.__module__).startswith("flytekit.")
    }

    assert len(dispatching) > 2
    assert dispatching - {named(hook) for hook in HOOKS} - NEVER_RUNS_HERE.keys() == set()


def test_every_map_task_with_its_own_loop_is_wrapped() -> None:
    all_modules()
    of_maps = {full_name(cls, "_raw_execute") for cls in subclasses(object) if "_raw_execute" in vars(cls)}

    assert of_maps == {named(hook) for hook in HOOKS if hook.name.endswith("._raw_execute")}


@pytest.mark.parametrize("label", tasks.TIMED_PHASES)
def test_each_label_of_a_phase_is_in_the_dispatch_once(label: str) -> None:
    source = inspect.getsource(inspect.unwrap(PythonTask.dispatch_execute))

    assert source.count(f'with timeit("{label}"):') == 1


# --- properties of wrapped functions ---------------------------------------------------------------------------------


FUNCTIONS = [hook for hook in HOOKS if "." not in hook.name]
# The entrypoint's name for a function of another module, where it is not wrapped.
BORROWED = "_output_deck"


@pytest.mark.parametrize("hook", [hook for hook in FUNCTIONS if hook.name != BORROWED], ids=named)
@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=lambda module: str(module.__name__))
def test_a_wrapped_function_can_be_pickled_by_its_name(hook: Hook, pickler: Any) -> None:
    module = imported(hook)
    patching.install_pending()
    function = getattr(module, hook.name)

    assert _is_ours(function)
    assert pickle.loads(pickler.dumps(function)) is function


@each_hook
def test_a_wrapped_function_keeps_its_name_docstring_and_signature(hook: Hook) -> None:
    module = imported(hook)
    patching.install_pending()
    owner = getattr(module, hook.name.split(".")[0]) if "." in hook.name else module
    function, unwrapped = getattr(owner, hook.name.rpartition(".")[2]), original(hook)

    assert _is_ours(function)
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(function, attribute) == getattr(unwrapped, attribute)
    assert inspect.signature(function) == inspect.signature(unwrapped)


# --- restoring -------------------------------------------------------------------------------------------------------

WITHOUT_HOOKS = """
    import json, os, sys

    import flytekit
    from flytekit.core.base_task import PythonTask
    del os.environ["OTEL_FLYTE_ENABLED"]

    import importlib, otel_flyte
    from otel_flyte.adapters import patching, switch
    from otel_flyte.adapters.flytekit_v1 import hooks
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    assert not switch.is_on()
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def spans():
        names = [span.name for span in exporter.get_finished_spans()]
        exporter.clear()
        return names

    @flytekit.task
    def double(value: int) -> int:
        return 2 * value

    @flytekit.workflow
    def twice(value: int) -> int:
        return double(value=value)
"""
"""A program that has imported flytekit without hooks, and has its own provider."""

OWNERS = """
    def owners():
        for hook in hooks.HOOKS:
            module = sys.modules.get(hook.module)
            if module is not None and patching.target(hook) is not None:
                yield hook, (getattr(module, hook.name.split(".")[0]) if "." in hook.name else module)

    def everything():
        return {(hook.module, hook.name): dict(vars(owner)) for hook, owner in owners()}

    def same(one, other):
        return [
            f"{module}.{name}"
            for (module, owned), attributes in one.items()
            for name in attributes.keys() | other[module, owned].keys()
            if attributes.get(name) is not other[module, owned].get(name)
        ]

    def import_all():
        for hook in hooks.HOOKS:
            if not hook.optional:
                importlib.import_module(hook.module)
"""


def run_without_hooks(folder: Path, *program: str) -> Any:
    parts = (WITHOUT_HOOKS, OWNERS, *program)
    env = {**programs.RAISE, semconv.OTEL_FLYTE_ENABLED: "false"}
    return programs.run(programs.joined(*parts), folder, env, name="double_twice", forked=True).printed


def test_uninstrument_restores_every_target_to_the_very_same_object(tmp_path: Path) -> None:
    printed = run_without_hooks(
        tmp_path,
        """
        import_all()
        before = everything()
        rounds = []
        for _ in range(2):
            otel_flyte.instrument(tracer_provider=provider)
            wrapped = same(before, everything())
            otel_flyte.uninstrument()
            rounds.append([wrapped, same(before, everything())])
        print(json.dumps(rounds))
        """,
    )
    (wrapped, left), (wrapped_again, left_again) = printed

    assert len(wrapped_again) == len(wrapped) > 25
    assert left == left_again == []


def test_uninstrument_restores_modules_that_were_imported_later(tmp_path: Path) -> None:
    printed = run_without_hooks(
        tmp_path,
        """
        before = everything()
        otel_flyte.instrument(tracer_provider=provider)
        import_all()
        late = {owner: attributes for owner, attributes in everything().items() if owner not in before}
        patching.install_pending()
        wrapped = same(late, everything())
        otel_flyte.uninstrument()
        print(json.dumps([wrapped, same({**before, **late}, everything())]))
        """,
    )
    wrapped, left = printed

    assert "flytekit.bin.entrypoint._dispatch_execute" in wrapped
    assert left == []


def test_exactly_the_imported_functions_of_the_table_are_wrapped(tmp_path: Path) -> None:
    printed = run_without_hooks(
        tmp_path,
        """
        import_all()
        before = everything()
        otel_flyte.instrument(tracer_provider=provider)
        changed = same(before, everything())
        print(json.dumps([sorted(set(changed)), [f"{hook.module}.{hook.name}" for hook, _ in owners()]]))
        """,
    )
    changed, in_table = printed

    assert changed == sorted({_with_method_only(name) for name in in_table})


def _with_method_only(name: str) -> str:
    """Return the module and the name of an attribute, as in the output of ``same``."""
    hook = next(hook for hook in HOOKS if named(hook) == name)
    return f"{hook.module}.{hook.name.rpartition('.')[2]}"


def test_restored_functions_record_nothing_until_the_hooks_are_set_again(tmp_path: Path) -> None:
    printed = run_without_hooks(
        tmp_path,
        """
        recorded = []
        for switch in (otel_flyte.instrument, otel_flyte.uninstrument, otel_flyte.instrument, otel_flyte.uninstrument):
            switch(**({"tracer_provider": provider} if switch is otel_flyte.instrument else {}))
            assert twice(value=4) == 8
            recorded.append(spans())
        print(json.dumps(recorded))
        """,
    )
    first, off, again, off_again = printed

    assert {"task double_twice.double", "workflow double_twice.twice", "user code"} <= set(first)
    assert again == first
    assert off == off_again == []


OTHER_WRAPPER = """
    import functools
    calls = []

    def wrap(cls, name):
        wrapped = getattr(cls, name)

        @functools.wraps(wrapped)
        def call(*args, **kwargs):
            calls.append(name)
            return wrapped(*args, **kwargs)

        setattr(cls, name, call)
        return call
"""


def test_a_foreign_wrapper_around_ours_is_kept_and_ours_is_disabled(tmp_path: Path) -> None:
    printed = run_without_hooks(
        tmp_path,
        OTHER_WRAPPER,
        """
        otel_flyte.instrument(tracer_provider=provider)
        theirs = wrap(PythonTask, "dispatch_execute")
        assert twice(value=4) == 8
        recorded = spans()
        otel_flyte.uninstrument()
        stays = PythonTask.dispatch_execute is theirs
        assert twice(value=4) == 8
        print(json.dumps([recorded, stays, calls, spans()]))
        """,
    )
    recorded, stays, calls, recorded_afterwards = printed

    assert "task double_twice.double" in recorded
    assert stays
    assert calls == ["dispatch_execute"] * 2
    assert recorded_afterwards == []


def test_hooks_set_again_inside_a_foreign_wrapper_record_each_span_once(tmp_path: Path) -> None:
    printed = run_without_hooks(
        tmp_path,
        OTHER_WRAPPER,
        """
        otel_flyte.instrument(tracer_provider=provider)
        wrap(PythonTask, "dispatch_execute")
        wrap(PythonTask, "_literal_map_to_python_input")
        assert twice(value=4) == 8
        recorded = spans()
        otel_flyte.uninstrument()
        otel_flyte.instrument(tracer_provider=provider)
        assert twice(value=4) == 8
        print(json.dumps([recorded, spans()]))
        """,
    )
    recorded, recorded_again = printed

    assert recorded_again == recorded


# --- missing targets -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_each_hook(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each hook: the result and the spans of a workflow if flytekit had renamed the target."""
    printed: dict[str, Any] = run_without_hooks(
        tmp_path_factory.mktemp("without"),
        """

        import_all()
        table = hooks.HOOKS
        found = {}
        for number in [-1, *range(len(table))]:
            renamed = [hook._replace(name=f"{hook.name}_of_old") for hook in table[number : number + 1]]
            hooks.HOOKS = (*table[: max(number, 0)], *renamed, *table[number + 1 :])
            otel_flyte.instrument(tracer_provider=provider)
            name = f"{table[number].module}.{table[number].name}" if number >= 0 else "none"
            missing = [hook.name for hook in patching.missing(hooks.HOOKS)]
            found[name] = {"result": twice(value=4), "spans": spans(), "missing": missing}
            otel_flyte.uninstrument()
        print(json.dumps(found))
        """,
    )
    return printed


LOST = {
    # The remaining spans of the task are recorded below the workflow.
    "flytekit.core.base_task.PythonTask.dispatch_execute": {"task double_twice.double", "input translation"},
    "flytekit.core.base_task.PythonTask._literal_map_to_python_input": {"input translation"},
    "flytekit.core.utils.timeit.__enter__": {"user code", "output translation"},
    "flytekit.core.workflow.WorkflowBase.local_execute": {"workflow double_twice.twice"},
}
"""The spans that a local workflow loses without a hook; without the other hooks it loses none."""


@each_hook
def test_a_missing_target_loses_only_its_own_spans_and_does_not_affect_the_task(
    hook: Hook, without_each_hook: dict[str, Any]
) -> None:
    complete, found = without_each_hook["none"], without_each_hook[named(hook)]
    # Only its end is missing: the phase of user code stays open until the task ends.
    lost = {"output translation"} if hook.name == "timeit.__exit__" else LOST.get(named(hook), set())

    assert found["result"] == complete["result"] == 8
    assert sorted(found["spans"]) == sorted(set(complete["spans"]) - lost)
    assert found["missing"] == ([] if hook.optional else [f"{hook.name}_of_old"])
