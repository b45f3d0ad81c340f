"""What is recorded, as observable instruments by the semantic conventions; ``flyte.task.*`` for what none covers.

They are made once for each meter provider, and ask for the recorder of the moment: observables that are registered
again would lose their new callbacks. What is not known is not observed, and between two tasks nothing is. Levels are
means since the collection before, since a collection a minute would miss what lies between.

https://opentelemetry.io/docs/specs/semconv/system/ and https://opentelemetry.io/docs/specs/semconv/hardware/.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_flyte import providers, semconv
from otel_flyte._version import __version__
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import identity
from otel_flyte.usage import recorder
from otel_flyte.usage.collection import Collection, OwnProcess
from otel_flyte.usage.devices.accelerators import DeviceSample
from otel_flyte.usage.quota import Quota
from otel_flyte.usage.recorder import TaskUsage
from otel_flyte.usage.statistics import Device, Window, share_of_memory

Attributes = Mapping[str, Any]
Values = Iterable[tuple[float | None, Attributes]]

GAUGE = "create_observable_gauge"
COUNTER = "create_observable_counter"
LEVEL = "create_observable_up_down_counter"

_HEALTHY = "ok"
_LOST = "failed"


class Instrument(NamedTuple):
    """An instrument: what it is called, its kind, and where its values come from."""

    name: str
    kind: str
    unit: str
    description: str
    values: Callable[[Collection], Values]


def begin() -> None:
    """Make the instruments on the meter provider of the moment, unless it has them."""
    provider = providers.given_meter_provider or metrics.get_meter_provider()
    if provider in _registered:
        return
    _registered.append(provider)
    meter = provider.get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
    for instrument in INSTRUMENTS:
        _register(meter, instrument)


_registered: list[Any] = []


def _register(meter: Meter, instrument: Instrument) -> None:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return guarded(_observations)(instrument) or ()

    getattr(meter, instrument.kind)(instrument.name, [observe], instrument.unit, instrument.description)


def _observations(instrument: Instrument) -> list[Observation]:
    collection = recorder.collect()
    if collection is None:
        return []
    exemplar = _exemplar(collection)
    return [
        Observation(value, attributes, **exemplar)
        for value, attributes in instrument.values(collection)
        if value is not None
    ]


def _exemplar(collection: Collection) -> dict[str, Any]:
    """Have the trace of the outermost task be the exemplar; before OpenTelemetry 1.28 there was none to give."""
    return {"context": collection.tasks[0][0].scope.context} if _takes_context() else {}


@cache
def _takes_context() -> bool:
    return "context" in inspect.signature(Observation).parameters


# --- the task --------------------------------------------------------------------------------------------------------


def _of_tasks(value: Callable[[Window, Quota], float | None]) -> Callable[[Collection], Values]:
    """Give a value for each task; of those of one name that run at once, which tell the same, the last."""

    def values(collection: Collection) -> Values:
        by_name = {_name(task): (task, window) for task, window in collection.tasks}
        return [
            (value(window, collection.quota(task)), {semconv.TASK_NAME: name})
            for name, (task, window) in by_name.items()
        ]

    return values


def _name(task: TaskUsage) -> str:
    return str(task.scope.declared.get(semconv.TASK_NAME, ""))


def _over(used: float | None, whole: float | None) -> float | None:
    return None if used is None or not whole else used / whole


def _percent(used: float | None, whole: float | None) -> float | None:
    share = _over(used, whole)
    return None if share is None else 100 * share


def _allocated(used: float | None, request: float | None) -> float | None:
    """As Union's page has it: the larger of what was requested and what is used."""
    known = [value for value in (used, request) if value is not None]
    return max(known) if known else None


def _utilization(window: Window, kind: str) -> float | None:
    return _mean(device.utilization.mean for (found, _), device in window.devices.items() if found == kind)


def _memory_share(window: Window, kind: str) -> float | None:
    shares = (
        _over(device.memory.mean, device.sample.device.memory_limit)
        for (found, _), device in window.devices.items()
        if found == kind
    )
    return _mean(shares)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


_SERIES: dict[str, Callable[[Window, Quota], float | None]] = {
    semconv.SERIES_CPU: lambda window, quota: _percent(window.mean_cores, quota.cpu.value),
    semconv.SERIES_MEMORY: lambda window, quota: _percent(window.memory.mean, quota.memory.value),
    semconv.SERIES_GPU: lambda window, _: _percent(_utilization(window, semconv.DEVICE_GPU), 1),
    semconv.SERIES_GPU_MEMORY: lambda window, _: _percent(_memory_share(window, semconv.DEVICE_GPU), 1),
    semconv.SERIES_NPU: lambda window, _: _percent(_utilization(window, semconv.DEVICE_NPU), 1),
    semconv.SERIES_NPU_MEMORY: lambda window, _: _percent(_memory_share(window, semconv.DEVICE_NPU), 1),
}

_TASK = (
    Instrument(
        semconv.METRIC_TASK_CPU_USAGE,
        GAUGE,
        "{cpu}",
        "Cores in use, in the mean since the last collection.",
        _of_tasks(lambda window, _: window.mean_cores),
    ),
    Instrument(
        semconv.METRIC_TASK_CPU_OF_LIMIT,
        GAUGE,
        "1",
        "Cores in use over the limit: the declared one, else the cgroup's, else all cores.",
        _of_tasks(lambda window, quota: _over(window.mean_cores, quota.cpu.value)),
    ),
    Instrument(
        semconv.METRIC_TASK_CPU_OF_REQUEST,
        GAUGE,
        "1",
        "Cores in use over the declared request.",
        _of_tasks(lambda window, quota: _over(window.mean_cores, quota.cpu_request)),
    ),
    Instrument(
        semconv.METRIC_TASK_MEMORY_USAGE,
        LEVEL,
        "By",
        "Memory in use: the working set.",
        _of_tasks(lambda window, _: window.last.memory),
    ),
    Instrument(
        semconv.METRIC_TASK_MEMORY_PEAK,
        GAUGE,
        "By",
        "The largest working set since the last collection.",
        _of_tasks(lambda window, _: window.memory_peak),
    ),
    Instrument(
        semconv.METRIC_TASK_MEMORY_ALLOCATED,
        LEVEL,
        "By",
        "The larger of the declared request and the largest working set since the last collection.",
        _of_tasks(lambda window, quota: _allocated(window.memory_peak, quota.memory_request)),
    ),
    Instrument(
        semconv.METRIC_TASK_MEMORY_OF_LIMIT,
        GAUGE,
        "1",
        "The largest working set since the last collection over the limit: declared, else cgroup, else host.",
        _of_tasks(lambda window, quota: _over(window.memory_peak, quota.memory.value)),
    ),
    Instrument(
        semconv.METRIC_TASK_MEMORY_OF_REQUEST,
        GAUGE,
        "1",
        "The largest working set since the last collection over the declared request.",
        _of_tasks(lambda window, quota: _over(window.memory_peak, quota.memory_request)),
    ),
    Instrument(
        semconv.METRIC_TASK_GPU_OF_REQUEST,
        GAUGE,
        "1",
        "The sum of GPU utilisations over the GPUs that were requested.",
        _of_tasks(lambda window, quota: _over(window.busy_gpus.mean, quota.gpu_request)),
    ),
    *(
        Instrument(
            semconv.METRIC_TASK_SERIES.format(name=name),
            GAUGE,
            "%",
            "Mean since the last collection, in percent, as in the series on the task span.",
            _of_tasks(values),
        )
        for name, values in _SERIES.items()
    ),
)


# --- the process and its container -----------------------------------------------------------------------------------


def _of_process(read: Callable[[OwnProcess], Values]) -> Callable[[Collection], Values]:
    def values(collection: Collection) -> Values:
        return () if _system_metrics_are_on() else read(collection.own)

    return values


def _system_metrics_are_on() -> bool:
    """Whether opentelemetry-instrumentation-system-metrics tells of the process already."""
    module = sys.modules.get("opentelemetry.instrumentation.system_metrics")
    instrumentor = getattr(module, "SystemMetricsInstrumentor", None)
    return bool(instrumentor is not None and instrumentor().is_instrumented_by_opentelemetry)


def _by_mode(user: float | None, system: float | None) -> Values:
    return (user, {semconv.CPU_MODE: "user"}), (system, {semconv.CPU_MODE: "system"})


_PROCESS = (
    Instrument(
        semconv.METRIC_PROCESS_CPU_TIME,
        COUNTER,
        "s",
        "CPU time of this process.",
        _of_process(lambda own: _by_mode(own.user_seconds, own.system_seconds)),
    ),
    Instrument(
        semconv.METRIC_PROCESS_CPU_UTILIZATION,
        GAUGE,
        "1",
        "CPU time of this process since the last collection over the time that the visible cores had.",
        _of_process(lambda own: _by_mode(own.user_share, own.system_share)),
    ),
    Instrument(
        semconv.METRIC_PROCESS_MEMORY_USAGE,
        LEVEL,
        "By",
        "Resident memory of this process.",
        _of_process(lambda own: [(own.rss, {})]),
    ),
    Instrument(
        semconv.METRIC_PROCESS_MEMORY_VIRTUAL,
        LEVEL,
        "By",
        "Virtual memory of this process.",
        _of_process(lambda own: [(own.virtual, {})]),
    ),
    Instrument(
        semconv.METRIC_PROCESS_DISK_IO,
        COUNTER,
        "By",
        "Bytes that this process and all that it has started have moved from and to storage.",
        _of_process(
            lambda own: [
                (own.io_read, {semconv.DISK_IO_DIRECTION: "read"}),
                (own.io_write, {semconv.DISK_IO_DIRECTION: "write"}),
            ]
        ),
    ),
)


def _of_container(read: Callable[[Any, Collection], float | None]) -> Callable[[Collection], Values]:
    def values(collection: Collection) -> Values:
        return [] if collection.container is None else [(read(collection.container, collection), {})]

    return values


def _of_quota(read: Callable[[Quota], float | None]) -> Callable[[Collection], Values]:
    """Give what a pod's task was given; elsewhere there is no container."""

    def values(collection: Collection) -> Values:
        in_a_pod = identity.execution_from_environment(os.environ) is not None
        return [(read(collection.quota(collection.tasks[0][0])), {})] if in_a_pod and collection.tasks else []

    return values


def _available(container: Any, collection: Collection) -> float | None:
    limit = collection.around.cgroup_memory
    return None if limit is None or container.working_set is None else max(0, limit - container.working_set)


_CONTAINER = (
    Instrument(
        semconv.METRIC_CONTAINER_CPU_TIME,
        COUNTER,
        "s",
        "CPU time of the container.",
        _of_container(lambda container, _: container.cpu_seconds),
    ),
    Instrument(
        semconv.METRIC_CONTAINER_CPU_USAGE,
        GAUGE,
        "{cpu}",
        "Cores that the container used, in the mean since the last collection.",
        _of_container(lambda _, collection: collection.window.mean_cores),
    ),
    Instrument(
        semconv.METRIC_TASK_CPU_THROTTLED,
        COUNTER,
        "s",
        "Time in which the CPU quota held the container back.",
        _of_container(lambda container, _: container.throttled_seconds),
    ),
    Instrument(
        semconv.METRIC_TASK_OOM_KILLS,
        COUNTER,
        "{kill}",
        "Processes of the container that the kernel has killed for want of memory.",
        _of_container(lambda container, _: container.oom_kills),
    ),
    Instrument(
        semconv.METRIC_CONTAINER_MEMORY_USAGE,
        LEVEL,
        "By",
        "Memory of the container, page cache included.",
        _of_container(lambda container, _: container.memory_current),
    ),
    Instrument(
        semconv.METRIC_CONTAINER_MEMORY_WORKING_SET,
        LEVEL,
        "By",
        "Memory of the container without inactive page cache: what Kubernetes counts.",
        _of_container(lambda container, _: container.working_set),
    ),
    Instrument(
        semconv.METRIC_CONTAINER_MEMORY_RSS,
        LEVEL,
        "By",
        "Anonymous memory of the container.",
        _of_container(lambda container, _: container.rss),
    ),
    Instrument(
        semconv.METRIC_CONTAINER_MEMORY_AVAILABLE,
        LEVEL,
        "By",
        "The memory limit less the working set.",
        _of_container(_available),
    ),
    *(
        Instrument(
            semconv.METRIC_K8S_QUOTA.format(resource=resource, side=side, kind=kind),
            LEVEL,
            unit,
            description,
            _of_quota(read),
        )
        for resource, side, kind, unit, description, read in (
            ("cpu", "limit", "desired", "{cpu}", "Declared.", lambda quota: quota.cpu_limit),
            ("cpu", "limit", "current", "{cpu}", "By the cgroup.", lambda quota: quota.around.cgroup_cores),
            ("cpu", "request", "desired", "{cpu}", "Declared.", lambda quota: quota.cpu_request),
            ("memory", "limit", "desired", "By", "Declared.", lambda quota: quota.memory_limit),
            ("memory", "limit", "current", "By", "By the cgroup.", lambda quota: quota.around.cgroup_memory),
            ("memory", "request", "desired", "By", "Declared.", lambda quota: quota.memory_request),
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
        for state in (_HEALTHY, _LOST):
            yield int(device.sample.is_lost == (state == _LOST)), {**attributes, semconv.HW_STATE: state}


_HARDWARE = (
    Instrument(
        semconv.METRIC_HW_GPU_UTILIZATION,
        GAUGE,
        "1",
        "Share of time in which the GPU computed, since the last collection.",
        _of_gpus(lambda device: device.utilization.mean, **{semconv.HW_GPU_TASK: "general"}),
    ),
    Instrument(
        semconv.METRIC_HW_GPU_MEMORY_UTILIZATION,
        GAUGE,
        "1",
        "Share of the GPU's memory in use.",
        _of_gpus(lambda device: share_of_memory(device.sample)),
    ),
    Instrument(
        semconv.METRIC_HW_GPU_MEMORY_USAGE,
        LEVEL,
        "By",
        "Memory of the GPU in use.",
        _of_gpus(lambda device: device.sample.memory_used),
    ),
    Instrument(
        semconv.METRIC_HW_GPU_MEMORY_LIMIT,
        LEVEL,
        "By",
        "Memory of the GPU.",
        _of_gpus(lambda device: device.sample.device.memory_limit),
    ),
    Instrument(semconv.METRIC_HW_GPU_IO, COUNTER, "By", "Bytes over the GPU's buses.", _io),
    Instrument(
        semconv.METRIC_ACCELERATOR_UTILIZATION,
        GAUGE,
        "1",
        "Share of time in which an accelerator that is no GPU computed, since the last collection.",
        _of_devices(lambda device: device.utilization.mean, is_gpu=False),
    ),
    Instrument(
        semconv.METRIC_ACCELERATOR_MEMORY_UTILIZATION,
        GAUGE,
        "1",
        "Share of its memory in use.",
        _of_devices(lambda device: share_of_memory(device.sample), is_gpu=False),
    ),
    Instrument(
        semconv.METRIC_ACCELERATOR_MEMORY_USAGE,
        LEVEL,
        "By",
        "Its memory in use.",
        _of_devices(lambda device: device.sample.memory_used, is_gpu=False),
    ),
    Instrument(
        semconv.METRIC_ACCELERATOR_MEMORY_LIMIT,
        LEVEL,
        "By",
        "Its memory.",
        _of_devices(lambda device: device.sample.device.memory_limit, is_gpu=False),
    ),
    Instrument(semconv.METRIC_HW_ERRORS, COUNTER, "{error}", "Errors that the driver counts.", _errors),
    Instrument(semconv.METRIC_HW_STATUS, LEVEL, "1", "1 for the state that the device is in.", _status),
    Instrument(semconv.METRIC_HW_POWER, GAUGE, "W", "Power drawn.", _of_devices(lambda device: device.sample.power)),
    Instrument(
        semconv.METRIC_HW_ENERGY, COUNTER, "J", "Energy drawn.", _of_devices(lambda device: device.sample.energy)
    ),
    Instrument(
        semconv.METRIC_HW_TEMPERATURE,
        GAUGE,
        "Cel",
        "Temperature.",
        _of_devices(lambda device: device.sample.temperature),
    ),
)

INSTRUMENTS = (*_TASK, *_PROCESS, *_CONTAINER, *_HARDWARE)
