"""The description of a task, computed once for each task object."""

import dataclasses
import datetime as dt
import inspect
from typing import Any
from weakref import WeakKeyDictionary

from flytekit.core.base_task import PythonTask, TaskMetadata
from flytekit.core.python_function_task import AsyncPythonFunctionTask, EagerAsyncPythonFunctionTask, PythonFunctionTask
from flytekit.core.shim_task import ExecutableTemplateShimTask

from otel_flyte import semconv
from otel_flyte.adapters.base import TaskDescription
from otel_flyte.runtime.limits import ENTRIES_LIMIT, attribute, bounded
from otel_flyte.tasks.resources import Amounts, DeclaredResources
from otel_flyte.tracing.flyte_span import plain

Attributes = dict[str, Any]


_known: "WeakKeyDictionary[Any, TaskDescription]" = WeakKeyDictionary()


def describe(task: Any) -> TaskDescription:
    """Return a task's description. A map task has that of its mapped task, which its pods run."""
    try:
        known = _known.get(task)
        if known is None:
            known = _known[task] = _describe(task)
    except TypeError:  # A task class that compares by value has no hash.
        return _describe(task)
    return known


def _describe(task: Any) -> TaskDescription:
    mapped = _mapped(task)
    name = bounded(task.name)
    task_kind = kind(task)
    attributes: Attributes = {
        semconv.TASK_NAME: name,
        semconv.TASK_KIND: task_kind,
        **_type(mapped),
        **_metadata(getattr(mapped, "metadata", None)),
        **_resource_attributes(mapped),
        **_code(getattr(mapped, "task_function", None)),
        **_types(getattr(mapped, "python_interface", None)),
        semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT,
    }
    has_own_dispatch = task_kind in (semconv.KIND_SHIM, semconv.KIND_EAGER_CLEANUP)
    overridden = getattr(type(task), "pre_execute", None) is not PythonTask.pre_execute
    return TaskDescription(
        semconv.SPAN_TASK.format(name=name), plain(attributes), _resources(mapped), overridden and not has_own_dispatch
    )


def kind(task: Any) -> str:
    """Return how a task runs, which decides the phases that it has."""
    if type(task).__name__ == "EagerFailureHandlerTask":
        return semconv.KIND_EAGER_CLEANUP
    if _mapped(task) is not task:
        return semconv.KIND_MAP
    if isinstance(task, ExecutableTemplateShimTask):
        return semconv.KIND_SHIM
    if isinstance(task, EagerAsyncPythonFunctionTask):
        return semconv.KIND_EAGER
    if isinstance(task, AsyncPythonFunctionTask):
        return semconv.KIND_ASYNC
    if isinstance(task, PythonFunctionTask):
        if task.execution_mode == PythonFunctionTask.ExecutionBehavior.DYNAMIC:
            return semconv.KIND_DYNAMIC
        if task.task_type == "python-task" and task.task_config is None:
            return semconv.KIND_SYNC
    return semconv.KIND_PLUGIN


def _mapped(task: Any) -> Any:
    """Return the task that a map task maps, as both generations of map tasks name it, else the task itself."""
    mapped = getattr(task, "python_function_task", None) or getattr(task, "run_task", None)
    return mapped if isinstance(mapped, PythonTask) else task


def _type(task: Any) -> Attributes:
    template = getattr(task, "task_template", None)
    task_type = getattr(task, "task_type", None) or getattr(template, "type", None)
    return {semconv.TASK_TYPE: bounded(task_type)} if task_type else {}


def _metadata(metadata: Any) -> Attributes:
    """Return the fields of ``TaskMetadata`` that differ from their default."""
    if not isinstance(metadata, TaskMetadata):
        return {}
    attributes: Attributes = {}
    for field in dataclasses.fields(metadata):
        value = getattr(metadata, field.name)
        if value is None or value == field.default or (field.name == "timeout" and not value):
            continue
        if field.name == "timeout":
            attributes[semconv.TASK_TIMEOUT] = _seconds(value)
        elif field.name in ("labels", "annotations"):
            pattern = semconv.TASK_LABEL if field.name == "labels" else semconv.TASK_ANNOTATION
            for key, text in list(value.items())[:ENTRIES_LIMIT]:
                attributes[pattern.format(key=bounded(key))] = bounded(text)
        else:
            attributes[semconv.TASK_METADATA.format(field=field.name)] = attribute(value)
    return attributes


def _seconds(timeout: dt.timedelta | float) -> float:
    return timeout.total_seconds() if isinstance(timeout, dt.timedelta) else float(timeout)


def _resources(task: Any) -> DeclaredResources:
    spec = getattr(task, "resources", None)
    return DeclaredResources(
        _amounts(getattr(spec, "requests", None)), _amounts(getattr(spec, "limits", None)), _accelerator(task)
    )


def _amounts(declared: Any) -> Amounts:
    values = (getattr(declared, name, None) for name in ("cpu", "mem", "ephemeral_storage", "gpu"))
    return Amounts.parse(*values)


def _accelerator(task: Any) -> str:
    accelerator = getattr(task, "accelerator", None)
    return bounded(accelerator.to_flyte_idl().device) if accelerator is not None else ""


def _resource_attributes(task: Any) -> Attributes:
    """Return the declared resources as the user wrote them: ``cpu``, ``mem``, ``gpu``, ``ephemeral_storage``."""
    attributes: Attributes = {}
    spec = getattr(task, "resources", None)
    for pattern, side in ((semconv.RESOURCES_REQUEST, "requests"), (semconv.RESOURCES_LIMIT, "limits")):
        declared = getattr(spec, side, None)
        if not dataclasses.is_dataclass(declared):
            continue
        for field in dataclasses.fields(declared):
            value = getattr(declared, field.name)
            if value is not None:
                attributes[pattern.format(name=field.name)] = bounded(value)
    accelerator = _accelerator(task)
    if accelerator:
        attributes[semconv.ACCELERATOR] = accelerator
    shared_memory = getattr(task, "shared_memory", None)
    if shared_memory:
        attributes[semconv.SHARED_MEMORY] = attribute(shared_memory)
    return attributes


def _types(interface: Any) -> Attributes:
    """Return the declared types of inputs and outputs."""
    attributes: Attributes = {}
    for pattern, side in ((semconv.INPUT_PROPERTY, "inputs"), (semconv.OUTPUT_PROPERTY, "outputs")):
        for variable, kind in list((getattr(interface, side, None) or {}).items())[:ENTRIES_LIMIT]:
            attributes[pattern.format(variable=bounded(variable), property="type")] = bounded(_type_name(kind))
    return attributes


def _type_name(kind: Any) -> str:
    """Return the name of a type. Its annotations are left out: their ``repr`` is code of the user."""
    kind = getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
    arguments = getattr(kind, "__args__", ())
    if any(hasattr(each, "__metadata__") for each in arguments):
        return _type_name(getattr(kind, "__origin__", object))
    if not isinstance(kind, type) or arguments:
        return str(kind).replace("typing.", "")
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _code(function: Any) -> Attributes:
    function = inspect.unwrap(function) if callable(function) else None
    code = getattr(function, "__code__", None)
    if function is None or code is None:
        return {}
    return {
        semconv.CODE_FUNCTION_NAME: bounded(f"{function.__module__}.{function.__qualname__}"),
        semconv.CODE_FILE_PATH: bounded(code.co_filename),
        semconv.CODE_LINE_NUMBER: code.co_firstlineno,
    }
