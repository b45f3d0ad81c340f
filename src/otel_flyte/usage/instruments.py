"""Usage as observable instruments by the semantic conventions; ``flyte.task.*`` where none exists.

They are created once for each meter provider, and read the recorder of the moment: an observable that is registered
twice loses its new callbacks. Unknown values are not observed, and nothing is observed between two tasks. Levels are
means since the previous collection, because one sample a minute would miss short peaks.

https://opentelemetry.io/docs/specs/semconv/system/ and https://opentelemetry.io/docs/specs/semconv/hardware/.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_flyte import formulas, providers, semconv
from otel_flyte._version import __version__
from otel_flyte.formulas import share
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import identity
from otel_flyte.usage.collection import Collection, OwnProcess
from otel_flyte.usage.devices.accelerators import DeviceSample
from otel_flyte.usage.quota import Quota
from otel_flyte.usage.statistics import Device, Window, share_of_memory

if TYPE_CHECKING:
    from otel_flyte.usage.task_usage import TaskUsage

Attributes = Mapping[str, Any]
Values = Iterable[tuple[float | None, Attributes]]

GAUGE = "create_observable_gauge"
COUNTER = "create_observable_counter"
LEVEL = "create_observable_up_down_counter"

_OK, _FAILED = "ok", "failed"


class Instrument(NamedTuple):
    """An instrument: its name, kind, unit and description, and a function that returns its values."""

    name: str
    kind: str
    unit: str
    description: str
    values: Callable[[Collection], Values]


def create(collect: Callable[[], Collection | None]) -> None:
    """Create the instruments of the meter provider in use, unless it has them.

    Args:
        collect: returns the usage since the previous collection.
    """
    provider = providers.given_meter_provider or metrics.get_meter_provider()
    if provider in _created or providers.is_shut_down(provider):
        return
    _created.append(provider)
    meter = provider.get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
    for instrument in INSTRUMENTS:
        _create(meter, instrument, collect)


_created: list[Any] = []


def _create(meter: Meter, instrument: Instrument, collect: Callable[[], Collection | None]) -> None:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return guarded(_observations)(instrument, collect) or ()

    getattr(meter, instrument.kind)(instrument.name, [observe], instrument.unit, instrument.description)


def _observations(instrument: Instrument, collect: Callable[[], Collection | None]) -> list[Observation]:
    collection = collect()
    if collection is None:
        return []
    exemplar = _exemplar(collection)
    return [
        Observation(value, attributes, **exemplar)
        for value, attributes in instrument.values(collection)
        if value is not None
    ]


def _exemplar(collection: Collection) -> dict[str, Any]:
    """Return the trace of the outermost task as exemplar; before OpenTelemetry 1.28 none can be given."""
    return {"context": collection.tasks[0][0].task.context} if _takes_context() else {}


@cache
def _takes_context() -> bool:
    return "context" in inspect.signature(Observation).parameters


# --- the task --------------------------------------------------------------------------------------------------------


def _of_tasks(value: Callable[[Window, Quota], float | None]) -> Callable[[Collection], Values]:
    """Return a value for each task; of tasks with the same attributes, which have the same usage, the last one."""

    def values(collection: Collection) -> Values:
        by_attributes = {tuple(_task_attributes(task).items()): (task, window) for task, window in collection.tasks}
        return [
            (value(window, collection.quota(task)), dict(attributes))
            for attributes, (task, window) in by_attributes.items()
        ]

    return values


def _task_attributes(usage: "TaskUsage") -> dict[str, Any]:
    """Return the task's name, and the identity of its attempt where the resource does not have it."""
    return {**usage.task.identity_attributes, semconv.TASK_NAME: usage.task.task_name}


def _allocated(used: float | None, request: float | None) -> float | None:
    """Return the larger of the request and the usage, as Union's page does."""
    known = [value for value in (used, request) if value is not None]
    return max(known) if known else None


_KINDS = (semconv.DEVICE_GPU, semconv.DEVICE_NPU)


def _percentage(name: str) -> Callable[[Window, Quota], float | None]:
    def value(window: Window, quota: Quota) -> float | None:
        percentages = formulas.percentages(
            (window.mean_cores, quota.cpu.value),
            (window.memory.mean, quota.memory.value),
            {kind: window.utilization(kind) for kind in _KINDS},
            {kind: window.device_memory(kind) for kind in _KINDS},
        )
        return formulas.percent(*percentages[name])

    return value


_OF_LIMIT = "over the limit: the declared one, else the cgroup's, else that of the host."

_TASK = (
    Instrument(
        *(semconv.METRIC_TASK_CPU_USAGE, GAUGE, "{cpu}", "Cores in use, as the mean since the last collection."),
        _of_tasks(lambda window, _: window.mean_cores),
    ),
    Instrument(
        *(semconv.METRIC_TASK_CPU_OF_LIMIT, GAUGE, "1", f"Cores in use {_OF_LIMIT}"),
        _of_tasks(lambda window, quota: share(window.mean_cores, quota.cpu.value)),
    ),
    Instrument(
        *(semconv.METRIC_TASK_CPU_OF_REQUEST, GAUGE, "1", "Cores in use over the declared request."),
        _of_tasks(lambda window, quota: share(window.mean_cores, quota.declared.requests.cpu)),
    ),
    Instrument(
        *(semconv.METRIC_TASK_CPU_WAITING, GAUGE, "1"),
        "Time of waiting for a CPU over time: the sum over all threads; in a container, the time in which any waited.",
        _of_tasks(lambda window, _: window.waiting),
    ),
    Instrument(
        *(semconv.METRIC_TASK_MEMORY_USAGE, LEVEL, "By", "Memory in use: the working set."),
        _of_tasks(lambda window, _: window.last.memory),
    ),
    Instrument(
        *(semconv.METRIC_TASK_MEMORY_PEAK, GAUGE, "By", "The largest working set since the last collection."),
        _of_tasks(lambda window, _: window.memory_peak),
    ),
    Instrument(
        *(semconv.METRIC_TASK_MEMORY_ALLOCATED, LEVEL, "By"),
        "The larger of the declared request and the largest working set since the last collection.",
        _of_tasks(lambda window, quota: _allocated(window.memory_peak, quota.declared.requests.memory)),
    ),
    Instrument(
        *(semconv.METRIC_TASK_MEMORY_OF_LIMIT, GAUGE, "1"),
        f"The largest working set since the last collection {_OF_LIMIT}",
        _of_tasks(lambda window, quota: share(window.memory_peak, quota.memory.value)),
    ),
    Instrument(
        *(semconv.METRIC_TASK_MEMORY_OF_REQUEST, GAUGE, "1"),
        "The largest working set since the last collection over the declared request.",
        _of_tasks(lambda window, quota: share(window.memory_peak, quota.declared.requests.memory)),
    ),
    Instrument(
        *(semconv.METRIC_TASK_GPU_OF_REQUEST, GAUGE, "1"),
        "The sum of the GPUs' utilization over the number of requested GPUs.",
        _of_tasks(lambda window, quota: share(window.busy_gpus.mean, quota.declared.accelerators)),
    ),
    *(
        Instrument(
            *(semconv.METRIC_TASK_SERIES.format(name=name), GAUGE, "%"),
            "Mean since the last collection, in percent, as in the series on the task span.",
            _of_tasks(_percentage(name)),
        )
        for name in semconv.SERIES[:6]
    ),
)


# --- the process and its container -----------------------------------------------------------------------------------


def _of_process(read: Callable[[OwnProcess], Values]) -> Callable[[Collection], Values]:
    def values(collection: Collection) -> Values:
        return () if _system_metrics_are_on() else read(collection.own)

    return values


def _system_metrics_are_on() -> bool:
    """Return whether opentelemetry-instrumentation-system-metrics reports the process already."""
    module = sys.modules.get("opentelemetry.instrumentation.system_metrics")
    instrumentor = getattr(module, "SystemMetricsInstrumentor", None)
    return bool(instrumentor is not None and instrumentor().is_instrumented_by_opentelemetry)


def _by(attribute: str, **values: float | None) -> Values:
    return [(value, {attribute: name}) for name, value in values.items()]


_PROCESS = (
    Instrument(
        *(semconv.METRIC_PROCESS_CPU_TIME, COUNTER, "s", "CPU time of this process."),
        _of_process(lambda own: _by(semconv.CPU_MODE, user=own.user_seconds, system=own.system_seconds)),
    ),
    Instrument(
        *(semconv.METRIC_PROCESS_CPU_UTILIZATION, GAUGE, "1"),
        "CPU time of this process since the last collection over the time of all visible cores.",
        _of_process(lambda own: _by(semconv.CPU_MODE, user=own.user_share, system=own.system_share)),
    ),
    Instrument(
        *(semconv.METRIC_PROCESS_MEMORY_USAGE, LEVEL, "By", "Resident memory of this process."),
        _of_process(lambda own: [(own.rss, {})]),
    ),
    Instrument(
        *(semconv.METRIC_PROCESS_MEMORY_VIRTUAL, LEVEL, "By", "Virtual memory of this process."),
        _of_process(lambda own: [(own.virtual, {})]),
    ),
    Instrument(
        *(semconv.METRIC_PROCESS_DISK_IO, COUNTER, "By"),
        "Bytes that this process and its descendants have read from and written to storage.",
        _of_process(lambda own: _by(semconv.DISK_IO_DIRECTION, read=own.io_read, write=own.io_write)),
    ),
)


def _of_container(read: Callable[[Any, Collection], float | None]) -> Callable[[Collection], Values]:
    def values(collection: Collection) -> Values:
        return [] if collection.container is None else [(read(collection.container, collection), {})]

    return values


def _of_quota(read: Callable[[Quota], float | None]) -> Callable[[Collection], Values]:
    """Return the quota of a pod's task; elsewhere there is no container."""

    def values(collection: Collection) -> Values:
        in_a_pod = identity.execution_from_environment(os.environ) is not None
        return [(read(collection.quota(collection.tasks[0][0])), {})] if in_a_pod and collection.tasks else []

    return values


def _available(container: Any, collection: Collection) -> float | None:
    limit = collection.machine.cgroup_memory
    return None if limit is None or container.working_set is None else max(0, limit - container.working_set)


_CONTAINER = (
    Instrument(
        *(semconv.METRIC_CONTAINER_CPU_TIME, COUNTER, "s", "CPU time of the container."),
        _of_container(lambda container, _: container.cpu_seconds),
    ),
    Instrument(
        *(semconv.METRIC_CONTAINER_CPU_USAGE, GAUGE, "{cpu}"),
        "Cores that the container used, as the mean since the last collection.",
        # A container whose CPU time is not counted has that of the processes in its window.
        _of_container(
            lambda container, collection: None if container.cpu_seconds is None else collection.window.mean_cores
        ),
    ),
    Instrument(
        *(semconv.METRIC_TASK_CPU_THROTTLED, COUNTER, "s", "Time in which the CPU quota throttled the container."),
        _of_container(lambda container, _: container.throttled_seconds),
    ),
    Instrument(
        *(semconv.METRIC_TASK_OOM_KILLS, COUNTER, "{kill}", "OOM-killed processes of the container."),
        _of_container(lambda container, _: container.oom_kills),
    ),
    Instrument(
        *(semconv.METRIC_CONTAINER_MEMORY_USAGE, LEVEL, "By", "Memory of the container, page cache included."),
        _of_container(lambda container, _: container.memory_current),
    ),
    Instrument(
        *(semconv.METRIC_CONTAINER_MEMORY_WORKING_SET, LEVEL, "By"),
        "Memory of the container without inactive page cache, as Kubernetes counts it.",
        _of_container(lambda container, _: container.working_set),
    ),
    Instrument(
        *(semconv.METRIC_CONTAINER_MEMORY_RSS, LEVEL, "By", "Anonymous memory of the container."),
        _of_container(lambda container, _: container.rss),
    ),
    Instrument(
        *(semconv.METRIC_CONTAINER_MEMORY_AVAILABLE, LEVEL, "By", "The memory limit less the working set."),
        _of_container(_available),
    ),
    *(
        Instrument(
            *(semconv.METRIC_K8S_QUOTA.format(resource=resource, side=side, kind=kind), LEVEL, unit, description),
            _of_quota(read),
        )
        for resource, side, kind, unit, description, read in (
            ("cpu", "limit", "desired", "{cpu}", "Declared.", lambda quota: quota.declared.limits.cpu),
            ("cpu", "limit", "current", "{cpu}", "By the cgroup.", lambda quota: quota.machine.cgroup_cores),
            ("cpu", "request", "desired", "{cpu}", "Declared.", lambda quota: quota.declared.requests.cpu),
            ("memory", "limit", "desired", "By", "Declared.", lambda quota: quota.declared.limits.memory),
            ("memory", "limit", "current", "By", "By the cgroup.", lambda quota: quota.machine.cgroup_memory),
            ("memory", "request", "desired", "By", "Declared.", lambda quota: quota.declared.requests.memory),
        )
    ),
)


# --- accelerators ----------------------------------------------------------------------------------------------------


def _of_gpus(read: Callable[[Device], float | None], **more: str) -> Callable[[Collection], Values]:
    return _of_devices(read, is_gpu=True, **more)


def _of_devices(
    read: Callable[[Device], float | None], *, is_gpu: bool | None = None, **more: str
) -> Callable[[Collection], Values]:
    def values(collection: Collection) -> Values:
        for (kind, _), device in collection.window.devices.items():
            if is_gpu is None or is_gpu == (kind == semconv.DEVICE_GPU):
                yield read(device), {**_device_attributes(device.sample), **more}

    return values


def _device_attributes(sample: DeviceSample) -> dict[str, Any]:
    device = sample.device
    return {semconv.HW_ID: device.id, semconv.HW_NAME: device.name, semconv.HW_TYPE: device.kind}


def _errors(collection: Collection) -> Iterator[tuple[float, Attributes]]:
    for device in collection.window.devices.values():
        for kind, count in device.sample.errors.items():
            yield count, {**_device_attributes(device.sample), semconv.ERROR_TYPE: kind}


def _io(collection: Collection) -> Iterator[tuple[float | None, Attributes]]:
    for (kind, _), device in collection.window.devices.items():
        if kind != semconv.DEVICE_GPU:
            continue
        attributes = _device_attributes(device.sample)
        yield device.sample.io_receive, {**attributes, semconv.NETWORK_IO_DIRECTION: "receive"}
        yield device.sample.io_transmit, {**attributes, semconv.NETWORK_IO_DIRECTION: "transmit"}


def _status(collection: Collection) -> Iterator[tuple[float, Attributes]]:
    for device in collection.window.devices.values():
        attributes = _device_attributes(device.sample)
        for state in (_OK, _FAILED):
            yield int(device.sample.is_lost == (state == _FAILED)), {**attributes, semconv.HW_STATE: state}


_HARDWARE = (
    Instrument(
        *(semconv.METRIC_HW_GPU_UTILIZATION, GAUGE, "1"),
        "Share of time in which the GPU was busy, since the last collection.",
        _of_gpus(lambda device: device.utilization.mean, **{semconv.HW_GPU_TASK: "general"}),
    ),
    Instrument(
        *(semconv.METRIC_HW_GPU_MEMORY_UTILIZATION, GAUGE, "1", "Share of the GPU's memory in use."),
        _of_gpus(lambda device: share_of_memory(device.sample)),
    ),
    Instrument(
        *(semconv.METRIC_HW_GPU_MEMORY_USAGE, LEVEL, "By", "Memory of the GPU in use."),
        _of_gpus(lambda device: device.sample.memory_used),
    ),
    Instrument(
        *(semconv.METRIC_HW_GPU_MEMORY_LIMIT, LEVEL, "By", "Memory of the GPU."),
        _of_gpus(lambda device: device.sample.device.memory_limit),
    ),
    Instrument(semconv.METRIC_HW_GPU_IO, COUNTER, "By", "Bytes over the GPU's buses.", _io),
    Instrument(
        *(semconv.METRIC_ACCELERATOR_UTILIZATION, GAUGE, "1"),
        "Share of time in which an accelerator other than a GPU was busy, since the last collection.",
        _of_devices(lambda device: device.utilization.mean, is_gpu=False),
    ),
    Instrument(
        *(semconv.METRIC_ACCELERATOR_MEMORY_UTILIZATION, GAUGE, "1", "Share of its memory in use."),
        _of_devices(lambda device: share_of_memory(device.sample), is_gpu=False),
    ),
    Instrument(
        *(semconv.METRIC_ACCELERATOR_MEMORY_USAGE, LEVEL, "By", "Its memory in use."),
        _of_devices(lambda device: device.sample.memory_used, is_gpu=False),
    ),
    Instrument(
        *(semconv.METRIC_ACCELERATOR_MEMORY_LIMIT, LEVEL, "By", "Its memory."),
        _of_devices(lambda device: device.sample.device.memory_limit, is_gpu=False),
    ),
    Instrument(semconv.METRIC_HW_ERRORS, COUNTER, "{error}", "Errors that the driver counts.", _errors),
    Instrument(semconv.METRIC_HW_STATUS, LEVEL, "1", "1 for the current state of the device.", _status),
    Instrument(semconv.METRIC_HW_POWER, GAUGE, "W", "Power.", _of_devices(lambda device: device.sample.power)),
    Instrument(semconv.METRIC_HW_ENERGY, COUNTER, "J", "Energy.", _of_devices(lambda device: device.sample.energy)),
    Instrument(
        *(semconv.METRIC_HW_TEMPERATURE, GAUGE, "Cel", "Temperature."),
        _of_devices(lambda device: device.sample.temperature),
    ),
)

INSTRUMENTS = (*_TASK, *_PROCESS, *_CONTAINER, *_HARDWARE)
