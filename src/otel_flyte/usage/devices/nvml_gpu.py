"""One GPU or MIG instance, and the state that is kept between two reads.

NVML reports the memory of a MIG instance, and from the Hopper generation on its utilization. Power, energy,
temperature, memory errors and buses belong to the whole GPU, which other tasks may use too: they are ``None``.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from otel_flyte import semconv
from otel_flyte.runtime import guard
from otel_flyte.usage.devices import ranges
from otel_flyte.usage.devices.accelerators import Device, DeviceSample
from otel_flyte.usage.devices.energy import Energy
from otel_flyte.usage.devices.nvml_driver import NEVER, Driver, LostError, Part, text

_VENDOR = "NVIDIA"
_RETRY_SECONDS = 60.0

# Constants of nvml.h.
_MEMORY_V2 = 0x02000028
_UTILIZATION_SAMPLES = 1
_TEMPERATURE_OF_GPU = 0
_ECC_KINDS = {semconv.HW_ERROR_CORRECTED: 0, semconv.HW_ERROR_UNCORRECTED: 1}
_ECC_VOLATILE = 0
_XID_EVENT = 0x8
_MOST_EVENTS = 64
_WHOLE_GPU = 0xFFFFFFFF
_GPM_GRAPHICS_UTILIZATION = 1
_GPM_VERSION = 1

# nvmlFieldValue_t: bytes over PCIe, and KiB of payload over all NVLinks, as cumulative counts.
_ALL_LINKS = 0xFFFFFFFF
_PCIE_TRANSMIT, _PCIE_RECEIVE = (197, 0), (198, 0)
_NVLINK_TRANSMIT, _NVLINK_RECEIVE = (138, _ALL_LINKS), (139, _ALL_LINKS)
_BYTES = {_PCIE_TRANSMIT: 1, _PCIE_RECEIVE: 1, _NVLINK_TRANSMIT: 1024, _NVLINK_RECEIVE: 1024}

_VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""The members of nvmlValue_t, by nvmlValueType_t."""

_WIDE = frozenset((2, 3, 4))
"""Types of 64 bits: a 32-bit count of bytes may overflow more than once between two reads of a busy bus."""

Own = Callable[[Sequence[int]], frozenset[int] | None]
"""Returns the task's processes among those that a GPU lists, ``None`` where the ids have no meaning here."""


class Gpu:
    """Reads one device."""

    def __init__(self, driver: Driver, part: Part, index: int, clock: Callable[[], float]) -> None:
        """Read the constant properties.

        Raises:
            LostError: the device can't be reached.
            ClosedError: NVML was shut down.
        """
        self.part = part
        self._driver = driver
        self._clock = clock
        self._lost_at: float | None = None
        self._sampled_until = 0
        self._processes_sampled_until = time.time_ns() // 1000
        self._energy = Energy(clock)
        self._instance_use = _InstanceUse(driver, part) if part.is_partition else None
        self._counters = [] if part.is_partition else list(_BYTES)
        memory = self._memory()
        self.device = Device(
            kind=semconv.DEVICE_GPU,
            index=index,
            id=part.id,
            name=text(self._ask("nvmlDeviceGetName")),
            vendor=_VENDOR,
            memory_limit=ranges.memory(memory.total) if memory else None,
            is_partition=part.is_partition,
        )

    def sample(self, xids: int | None, own: Own | None) -> DeviceSample:
        """Read the device; one that the driver can't reach is returned as lost, and tried again once a minute.

        Raises:
            ClosedError: NVML was shut down.
        """
        if self._lost_at is not None and not self._is_found_again():
            return self._lost(xids)
        try:
            return self._sample(xids, own)
        except LostError as error:
            self._lost_at = self._clock()
            self._energy.interrupt()
            guard.say_once(f"the driver can't reach the GPU {self.device.id} any more ({error}): check the device")
            return self._lost(xids)

    def _lost(self, xids: int | None) -> DeviceSample:
        return DeviceSample(self.device, errors={} if xids is None else {semconv.HW_ERROR_XID: xids}, is_lost=True)

    def _sample(self, xids: int | None, own: Own | None) -> DeviceSample:
        memory = self._memory()
        power, energy = self._power_and_energy()
        receive, transmit = self._bytes()
        process_memory, process_utilization = self._of_processes(own) if own else (None, None)
        sample = DeviceSample(
            self.device,
            utilization=self._instance_use.read() if self._instance_use else self._utilization(),
            memory_used=memory.used if memory else None,
            power=power,
            energy=energy,
            temperature=self._ask_whole("nvmlDeviceGetTemperature", _TEMPERATURE_OF_GPU),
            errors=self._errors(xids),
            io_receive=receive,
            io_transmit=transmit,
            process_memory=process_memory,
            process_utilization=process_utilization,
        )
        return ranges.credible(sample)

    def _is_found_again(self) -> bool:
        """Look up the device again, but seldom: a driver may take long over a device that is gone."""
        now = self._clock()
        if self._lost_at is None or now - self._lost_at < _RETRY_SECONDS:
            return False
        self._lost_at = now
        try:
            handle = self._driver.ask(self.part.id, "nvmlDeviceGetHandleByUUID", self.part.id)
        except LostError:
            return False
        if handle is None:
            return False
        self._lost_at = None
        self.part = replace(
            self.part, handle=handle, gpu_handle=self.part.gpu_handle if self.part.is_partition else handle
        )
        return True

    def _utilization(self) -> float | None:
        """Return the mean of the driver's samples since the last read, else of its own last period (1/6 to 1 s).

        The first read returns the driver's last period: earlier samples are not of the task.
        """
        kind, samples = self._ask("nvmlDeviceGetSamples", _UTILIZATION_SAMPLES, self._sampled_until) or (0, ())
        since, shares = self._sampled_until, []
        for sample in samples:
            share = ranges.percent(_number(kind, sample.sampleValue))
            if sample.timeStamp > since and share is not None:
                self._sampled_until = max(self._sampled_until, sample.timeStamp)
                shares.append(share)
        if shares and since:
            return sum(shares) / len(shares)
        rates = self._ask("nvmlDeviceGetUtilizationRates")
        return ranges.percent(rates.gpu) if rates else None

    def _memory(self) -> Any:
        """Return total and used bytes; unlike version 1, version 2 does not count reserved memory as used."""
        second = self._ask("nvmlDeviceGetMemoryInfo", _MEMORY_V2, known_as="memory, version 2")
        return second or self._ask("nvmlDeviceGetMemoryInfo")

    def _power_and_energy(self) -> tuple[float | None, float | None]:
        milliwatts = self._ask_whole("nvmlDeviceGetPowerUsage")
        watts = None if milliwatts is None else ranges.watts(milliwatts / 1000)
        millijoules = ranges.counter(self._ask_whole("nvmlDeviceGetTotalEnergyConsumption"))
        if millijoules is not None:
            return watts, millijoules / 1000
        is_uncounted = self._driver.lacks(self.part.id, "nvmlDeviceGetTotalEnergyConsumption")
        return watts, self._energy.add(watts) if is_uncounted else None

    def _errors(self, xids: int | None) -> dict[str, int]:
        """Return the memory errors since the driver was loaded, and the Xid errors since it was opened."""
        counts = {
            kind: self._ask_whole("nvmlDeviceGetTotalEccErrors", number, _ECC_VOLATILE)
            for kind, number in _ECC_KINDS.items()
        }
        counts[semconv.HW_ERROR_XID] = xids
        return {kind: count for kind, count in counts.items() if count is not None}

    def _bytes(self) -> tuple[int | None, int | None]:
        """Return the bytes received and sent over PCIe and NVLink, by cumulative counters.

        The throughput that other drivers offer instead is not read: a call takes 20 ms and covers only that time.
        """
        asked = list(self._counters)
        values = self._ask("nvmlDeviceGetFieldValues", asked) if asked else None
        if values is None:
            return None, None
        counts: dict[tuple[int, int], int | None] = {}
        for counter, value in zip(asked, values, strict=True):
            if value.nvmlReturn in NEVER or (value.nvmlReturn == 0 and value.valueType not in _WIDE):
                self._counters.remove(counter)
            elif value.nvmlReturn == 0:
                count = ranges.counter(int(_number(value.valueType, value.value)))
                counts[counter] = None if count is None else count * _BYTES[counter]
            else:
                counts[counter] = None
        return _sum(counts, _PCIE_RECEIVE, _NVLINK_RECEIVE), _sum(counts, _PCIE_TRANSMIT, _NVLINK_TRANSMIT)

    def _of_processes(self, own: Own) -> tuple[int | None, float | None]:
        listed = self._ask("nvmlDeviceGetComputeRunningProcesses")
        pids = None if listed is None else own([process.pid for process in listed])
        if pids is None:
            return None, None
        used = [ranges.counter(process.usedGpuMemory) for process in listed if process.pid in pids]
        known = [count for count in used if count is not None]
        return sum(known) if len(known) == len(used) else None, self._process_utilization(pids)

    def _process_utilization(self, pids: frozenset[int]) -> float | None:
        since = self._processes_sampled_until
        # NVML lists only processes that have computed: an empty list is a utilization of 0.
        samples = self._ask_whole("nvmlDeviceGetProcessUtilization", since, nothing=())
        if samples is None:
            return None
        shares: dict[int, list[float]] = {}
        for sample in samples:
            share = ranges.percent(sample.smUtil)
            if sample.timeStamp > since and share is not None:
                self._processes_sampled_until = max(self._processes_sampled_until, sample.timeStamp)
                shares.setdefault(sample.pid, []).append(share)
        return min(1.0, sum(sum(share) / len(share) for pid, share in shares.items() if pid in pids))

    def _ask_whole(self, name: str, *arguments: Any, nothing: Any = None) -> Any:
        """Call a function that supports whole GPUs only."""
        return None if self.part.is_partition else self._ask(name, *arguments, nothing=nothing)

    def _ask(self, name: str, *arguments: Any, known_as: str = "", nothing: Any = None) -> Any:
        return self._driver.ask(self.part.id, name, self.part.handle, *arguments, known_as=known_as, nothing=nothing)


class Xids:
    """Counts the Xid errors of one GPU and of its MIG instances, from its creation on.

    Their meaning: https://docs.nvidia.com/deploy/xid-errors/.
    """

    def __init__(self, driver: Driver, part: Part) -> None:
        self._driver = driver
        self._gpu = part.gpu
        self._counts: dict[int, int] = {}
        self._events = driver.ask(part.gpu, "nvmlEventSetCreate")
        if self._events is not None:
            driver.ask(part.gpu, "nvmlDeviceRegisterEvents", part.gpu_handle, _XID_EVENT, self._events)
        if driver.lacks(part.gpu, "nvmlDeviceRegisterEvents"):
            self._events = None

    def count(self) -> None:
        """Count the errors that have been reported, without waiting for more.

        Raises:
            ClosedError: NVML was shut down.
        """
        if self._events is None:
            return
        for _ in range(_MOST_EVENTS):
            try:
                event = self._driver.ask(self._gpu, "nvmlEventSetWait", self._events, 0)
            except LostError:
                return
            if event is None:
                return
            self._counts[event.gpuInstanceId] = self._counts.get(event.gpuInstanceId, 0) + 1
            guard.say_once(
                f"the driver reports Xid {event.eventData} for the GPU {self._gpu}: see NVIDIA's list of Xid errors."
            )

    def of(self, part: Part) -> int | None:
        """Return the number of errors of a device or of its whole GPU, ``None`` where they are not counted."""
        if self._events is None:
            return None
        if part.instance is None:
            return sum(self._counts.values())
        return self._counts.get(_WHOLE_GPU, 0) + self._counts.get(part.instance, 0)


class _InstanceUse:
    """The utilization of a MIG instance by NVML's GPU performance monitoring, on Hopper and later GPUs.

    It is the share of the time between two reads in which any application was active, as for a whole GPU. Compute
    instances of one GPU instance share it: https://docs.nvidia.com/deploy/nvml-api/group__nvmlGpmFunctions.html.
    """

    def __init__(self, driver: Driver, part: Part) -> None:
        self._driver = driver
        self._part = part
        self._samples: list[Any] = []
        self._last: int | None = None
        support = driver.ask(part.gpu, "nvmlGpmQueryDeviceSupport", part.gpu_handle)
        if support and support.isSupportedDevice:
            samples = [driver.ask(part.gpu, "nvmlGpmSampleAlloc") for _ in range(2)]
            self._samples = [] if None in samples else samples

    def read(self) -> float | None:
        """Return the utilization since the last read, ``None`` at the first."""
        if not self._samples:
            return None
        before, now = self._last, 1 - (self._last or 0)
        part = self._part
        self._last = now
        if self._ask("nvmlGpmMigSampleGet", part.gpu_handle, part.instance, self._samples[now]) is None:
            self._last = None
        if before is None or self._last is None:
            return None
        request = self._driver.library.c_nvmlGpmMetricsGet_t()
        request.version, request.numMetrics = _GPM_VERSION, 1
        request.sample1, request.sample2 = self._samples[before], self._samples[now]
        request.metrics[0].metricId = _GPM_GRAPHICS_UTILIZATION
        answer = self._ask("nvmlGpmMetricsGet", request)
        is_known = answer is not None and answer.metrics[0].nvmlReturn == 0
        return ranges.percent(answer.metrics[0].value) if is_known else None

    def _ask(self, name: str, *arguments: Any) -> Any:
        return self._driver.ask(self._part.id, name, *arguments)


def _number(kind: int, value: Any) -> float:
    number: float = getattr(value, _VALUES[kind])
    return number


def _sum(counts: dict[tuple[int, int], int | None], *names: tuple[int, int]) -> int | None:
    """Return the sum of the supported counters, ``None`` where one of them failed this time: a sum must not fall."""
    there = [counts[name] for name in names if name in counts]
    known = [count for count in there if count is not None]
    return sum(known) if known and len(known) == len(there) else None
