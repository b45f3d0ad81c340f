"""Huawei's Ascend NPUs: one device for each chip.

Utilization is the current one of the AI cores: the driver reports no mean since the last read. Energy is power,
integrated from the first read on. Processes and buses are not reported. This was verified against recorded output and a
library with DCMI's interface, not on an Ascend machine.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from otel_flyte import semconv
from otel_flyte.runtime import guard
from otel_flyte.usage.devices import ranges, visible
from otel_flyte.usage.devices.accelerators import Device, DeviceSample
from otel_flyte.usage.devices.ascend_chip import Chip, Reading, Source
from otel_flyte.usage.devices.dcmi import LIBRARIES, Dcmi
from otel_flyte.usage.devices.energy import Energy
from otel_flyte.usage.devices.npu_smi import NpuSmi

_VENDOR = "Huawei"
_RETRY_SECONDS = 60.0


@dataclass
class _Npu:
    device: Device
    chip: Chip
    energy: Energy
    lost_at: float | None = None


class Ascend:
    """Reads the NPUs that the task may use, through DCMI or else ``npu-smi``.

    Args:
        environ: variables, of which ``ASCEND_RT_VISIBLE_DEVICES``, ``ASCEND_VISIBLE_DEVICES`` and ``PATH`` are read.
        libraries: possible names of DCMI's library.
        clock: returns monotonic seconds.
    """

    kind = semconv.DEVICE_NPU

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        libraries: Sequence[str] = LIBRARIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ = environ
        self._clock = clock
        self._npu_smi = NpuSmi(environ, clock)
        self._sources: list[Source] = [Dcmi(libraries), self._npu_smi]
        self._source: Source | None = None
        self._npus: list[_Npu] = []
        self._process: int | None = None
        self._is_missing = False

    def open(self) -> Sequence[Device]:
        """Return the NPUs; none without a driver, which is not searched for again."""
        if self._process is not None and self._process != os.getpid():
            self._npu_smi.forget()
        self._process = os.getpid()
        self._npus = []
        if self._is_missing:
            return []
        for source in self._sources:
            chips = source.chips()
            if chips:
                self._source = source
                self._npus = [self._npu(index, chip) for index, chip in enumerate(_visible(self._environ, chips))]
                return [npu.device for npu in self._npus]
        self._is_missing = True
        return []

    def read(self) -> Sequence[DeviceSample]:
        """Read each NPU. One without values yet is left out; a lost one is tried again once a minute."""
        if self._process != os.getpid():
            self.open()
        samples = [self._sample(npu, self._source) for npu in self._npus if self._source]
        return [sample for sample in samples if sample]

    def _npu(self, index: int, chip: Chip) -> _Npu:
        device = Device(semconv.DEVICE_NPU, index, chip.id, chip.name, _VENDOR, ranges.memory(chip.memory_limit))
        return _Npu(device, chip, Energy(self._clock))

    def _sample(self, npu: _Npu, source: Source) -> DeviceSample | None:
        now = self._clock()
        if npu.lost_at is not None and now - npu.lost_at < _RETRY_SECONDS:
            return DeviceSample(npu.device, is_lost=True)
        reading = source.read(npu.chip)
        if reading is None:
            npu.energy.interrupt()
            return None
        npu.lost_at = now if reading.is_lost else None
        if reading.is_lost:
            npu.energy.interrupt()
            guard.say_once(f"the driver can't reach the NPU {npu.device.id} any more: check the device")
            return DeviceSample(npu.device, is_lost=True)
        return _sample(npu, reading)


def _sample(npu: _Npu, reading: Reading) -> DeviceSample:
    power = ranges.watts(reading.power)
    sample = DeviceSample(
        npu.device,
        utilization=reading.utilization,
        memory_used=reading.memory_used,
        power=power,
        energy=npu.energy.add(power),
        temperature=reading.temperature,
        errors=reading.errors,
    )
    return ranges.credible(sample)


def _visible(environ: Mapping[str, str], chips: Sequence[Chip]) -> list[Chip]:
    """Return the chips that the task may use, in the order in which it numbers them.

    ``ASCEND_RT_VISIBLE_DEVICES`` lists chips of this container by logic numbers; an unknown number ends the list.
    ``ASCEND_VISIBLE_DEVICES`` lists chips of the machine by physical numbers, for the container runtime. It applies
    where the runtime has not hidden the other chips.
    """
    if semconv.ASCEND_RT_VISIBLE_DEVICES in environ:
        chosen = visible.numbers(environ[semconv.ASCEND_RT_VISIBLE_DEVICES])
        by_number = {chip.logic: chip for chip in chips}
        known = 0
        while known < len(chosen) and chosen[known] in by_number:
            known += 1
        return [by_number[number] for number in chosen[:known]]
    given = visible.numbers(environ.get(semconv.ASCEND_VISIBLE_DEVICES, ""))
    return [chip for chip in chips if chip.physical in given] or list(chips)
