"""Ascend chips through DCMI, the driver's own library, without a process and without a device context.

Source: ``dcmi_interface_api.h`` of the driver, and the `DCMI reference
<https://www.hiascend.com/document/detail/zh/Atlas%20200I%20A2/24.1.RC3/re/api/api_052.html>`_. It was verified against
a library with that interface, not on an Ascend machine.
"""

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

from otel_flyte import semconv
from otel_flyte.usage.devices import ranges
from otel_flyte.usage.devices.accelerators import logger
from otel_flyte.usage.devices.ascend_chip import FULL, MIB, Chip, Reading

LIBRARIES = ("libdcmi.so", "/usr/local/dcmi/libdcmi.so")

_MOST_CARDS = 64
_MOST_CHIPS = 64
_NAME_LENGTH = 32
_NEVER = frozenset((-8255, -8013, -8002))
"""Not supported, not in a container, not permitted: not called again."""

_LOST = frozenset((-8007, -8008))
"""Invalid device, no such device."""

# DCMI_UTILIZATION_RATE_AICORE, which npu-smi shows first, and DCMI_UTILIZATION_RATE_NPU, where that is not supported.
_UTILIZATION = (2, 13)
_ECC_OF_HBM = 2
_VDIE = 1


class _ChipInfo(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_char * _NAME_LENGTH),
        ("name", ctypes.c_char * _NAME_LENGTH),
        ("version", ctypes.c_char * _NAME_LENGTH),
        ("cores", ctypes.c_uint),
    )


class _DieId(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint * 5),)


class _HbmInfo(ctypes.Structure):
    """``dcmi_hbm_info``, in MiB."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("frequency", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("temperature", ctypes.c_int),
        ("bandwidth", ctypes.c_uint),
    )


class _MemoryInfo(ctypes.Structure):
    """``dcmi_get_memory_info_stru``: MiB and percent. The unit of ``available`` differs by platform."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("available", ctypes.c_ulonglong),
        ("frequency", ctypes.c_uint),
        ("page_size", ctypes.c_ulong),
        ("pages", ctypes.c_ulong),
        ("pages_free", ctypes.c_ulong),
        ("percent", ctypes.c_uint),
        ("reserved", ctypes.c_ubyte * 60),
    )


class _EccInfo(ctypes.Structure):
    _fields_ = (
        ("is_enabled", ctypes.c_int),
        ("single", ctypes.c_uint),
        ("double", ctypes.c_uint),
        ("total_single", ctypes.c_uint),
        ("total_double", ctypes.c_uint),
        ("isolated_single", ctypes.c_uint),
        ("isolated_double", ctypes.c_uint),
    )


class _LostError(Exception):
    """The driver reports that the device is gone."""


class Dcmi:
    """Reads chips through the library."""

    def __init__(self, libraries: Sequence[str] = LIBRARIES) -> None:
        self._libraries = libraries
        self._library: Any = None
        self._lacking: set[tuple[object, ...]] = set()

    def chips(self) -> list[Chip]:
        """Return the chips; none without a driver."""
        self._library = self._library or self._load()
        if self._library is None:
            return []
        return sorted(self._found(), key=lambda chip: chip.logic)

    def read(self, chip: Chip) -> Reading:
        """Read one chip; an unsupported value is asked for only once."""
        at = (chip.card, chip.number)
        try:
            _, used = self._memory(*at)
            power = self._number("dcmi_get_device_power_info", *at)
            return Reading(
                utilization=self._utilization(*at),
                memory_used=used,
                # The unit is a tenth of a watt.
                power=None if power is None else power / 10,
                temperature=self._number("dcmi_get_device_temperature", *at),
                errors=self._errors(*at),
            )
        except _LostError:
            return Reading(is_lost=True)

    def _load(self) -> Any:
        for name in self._libraries:
            try:
                library = ctypes.CDLL(name)
                code = library.dcmi_init()
            except (OSError, AttributeError) as error:
                logger.debug("No Ascend NPU is read by %s: %s", name, error)
                continue
            if code == 0:
                return library
            logger.debug("No Ascend NPU is read by %s: dcmi_init returned %d", name, code)
        return None

    def _found(self) -> Iterator[Chip]:
        count, cards = ctypes.c_int(), (ctypes.c_int * _MOST_CARDS)()
        if not self._ask("dcmi_get_card_list", ctypes.byref(count), cards, _MOST_CARDS):
            return
        for card in cards[: count.value]:
            # The chips come first, then the card's own controllers.
            chips, controller, processor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
            numbers = (ctypes.byref(chips), ctypes.byref(controller), ctypes.byref(processor))
            if self._ask("dcmi_get_device_id_in_card", card, *numbers):
                yield from filter(None, (self._chip(card, number) for number in range(min(chips.value, _MOST_CHIPS))))

    def _chip(self, card: int, number: int) -> Chip | None:
        try:
            return self._described(card, number)
        except _LostError:
            return None

    def _described(self, card: int, number: int) -> Chip:
        info, logic, physical = _ChipInfo(), ctypes.c_int(), ctypes.c_uint()
        self._ask("dcmi_get_device_chip_info", card, number, ctypes.byref(info))
        if not self._ask("dcmi_get_device_logic_id", ctypes.byref(logic), card, number):
            logic.value = card
        if not self._ask("dcmi_get_device_phyid_from_logicid", ctypes.c_uint(logic.value), ctypes.byref(physical)):
            physical.value = logic.value
        total, _ = self._memory(card, number)
        return Chip(
            card,
            number,
            logic.value,
            physical.value,
            id=self._die(card, number) or f"{card}-{number}",
            name=f"{_text(info.kind)} {_text(info.name)}".strip(),
            memory_limit=total,
        )

    def _die(self, card: int, number: int) -> str:
        die = _DieId()
        is_known = self._ask("dcmi_get_device_die_v2", card, number, _VDIE, ctypes.byref(die))
        return "-".join(f"{word:08X}" for word in die.words) if is_known and any(die.words) else ""

    def _utilization(self, card: int, number: int) -> float | None:
        for kind in _UTILIZATION:
            percent = self._number("dcmi_get_device_utilization_rate", card, number, kind)
            if percent is not None:
                return ranges.percent(percent)
        return None

    def _memory(self, card: int, number: int) -> tuple[int | None, int | None]:
        """Return total and used bytes of the chip's memory: HBM is reported in MiB, DDR in percent."""
        hbm, memory = _HbmInfo(), _MemoryInfo()
        if self._ask("dcmi_get_device_hbm_info", card, number, ctypes.byref(hbm)) and hbm.total:
            return hbm.total * MIB, hbm.used * MIB
        if self._ask("dcmi_get_device_memory_info_v3", card, number, ctypes.byref(memory)) and memory.total:
            share = ranges.percent(memory.percent)
            return memory.total * MIB, None if share is None else memory.total * MIB * memory.percent // FULL
        return None, None

    def _errors(self, card: int, number: int) -> dict[str, int]:
        ecc = _EccInfo()
        if (
            not self._ask("dcmi_get_device_ecc_info", card, number, _ECC_OF_HBM, ctypes.byref(ecc))
            or not ecc.is_enabled
        ):
            return {}
        return {semconv.HW_ERROR_CORRECTED: ecc.single, semconv.HW_ERROR_UNCORRECTED: ecc.double}

    def _number(self, name: str, *arguments: int) -> int | None:
        number = ctypes.c_int()
        return number.value if self._ask(name, *arguments, ctypes.byref(number)) else None

    def _ask(self, name: str, *arguments: Any) -> bool:
        """Call a function; return whether it has written its result.

        Raises:
            _LostError: the device is gone.
        """
        question = (name, *(argument for argument in arguments if isinstance(argument, int)))
        if question in self._lacking:
            return False
        function = getattr(self._library, name, None)
        code = function(*arguments) if function else min(_NEVER)
        if code in _NEVER:
            self._lacking.add(question)
            logger.debug("DCMI does not support %s: %d", question, code)
        if code in _LOST:
            raise _LostError
        return bool(code == 0)


def _text(name: bytes) -> str:
    return name.decode(errors="replace").strip()
