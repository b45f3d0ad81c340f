"""A stand-in for the module ``pynvml`` that replays recorded GPUs.

A script is JSON::

    {"lacks": ["nvmlDeviceGetSamples"],                        functions missing in this driver
     "period": 1.0,                                            seconds for each frame; without it, `Nvml.frame` is set
     "gpus": [{"uuid": "GPU-1", "name": "NVIDIA A100-SXM4-40GB", "memory": 42949672960, "reserved": 620756992,
               "not_supported": ["nvmlDeviceGetTotalEnergyConsumption"],
               "fails": {"nvmlDeviceGetPowerUsage": "unknown"},
               "migs": [{"uuid": "MIG-1", "instance": 1, "compute_instance": 0, "memory": 5033164800, "frames": []}],
               "frames": [{"utilization": [40, 60], "used": 1073741824, "power": 71500, "energy": 1000,
                           "temperature": 41, "ecc": [0, 0], "xids": [31], "pcie": [0, 0], "nvlink": [0, 0],
                           "processes": [["self", 1048576, 50]], "lost": true}]}]}

Frames follow each other, and the last one stays. Values that a frame does not have are those of the previous frame.
Power is in mW, energy in mJ. ``pcie`` and ``nvlink`` are received and sent data, in bytes and in KiB. Processes have an
id, bytes and the percentage of time.

A process that has ``tests/support/fake_nvml_path`` on its ``PYTHONPATH`` imports it as ``pynvml``: its variable
``FAKE_NVML`` is the path of a script, or a number of equal GPUs. `environment` returns both variables.
"""

# ruff: noqa: N802  # these are the names of the library
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

VARIABLE = "FAKE_NVML"
PATH = Path(__file__).with_name("fake_nvml_path")
FIXTURES = Path(__file__).parents[1] / "fixtures" / "nvml"

_SECOND = 1_000_000
_SAMPLES_PER_SECOND = 6
_MOST_SAMPLES = 100
_ULONG_LONG = 3
_UINT = 1
_RECEIVE = {198: "pcie", 139: "nvlink"}
_TRANSMIT = {197: "pcie", 138: "nvlink"}
_CODES = {
    "uninitialized": 1,
    "invalid argument": 2,
    "not supported": 3,
    "not found": 6,
    "driver not loaded": 9,
    "timeout": 10,
    "function not found": 13,
    "GPU is lost": 15,
    "unknown": 999,
}
EQUAL = {
    "name": "NVIDIA H100 80GB HBM3",
    "memory": 85_520_809_984,
    "reserved": 648_019_968,
    "frames": [
        {
            "utilization": 83,
            "used": 12_884_901_888,
            "power": 412_300,
            "energy": 5_000_000_000,
            "temperature": 54,
            "ecc": [0, 0],
            "pcie": [1_000_000_000, 500_000_000],
            "nvlink": [0, 0],
            "processes": [["self", 8_589_934_592, 80]],
        }
    ],
}


class NVMLError(Exception):
    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.value = _CODES[what]


class Nvml:
    """The used functions of ``pynvml``, with the number of calls of each."""

    NVMLError = NVMLError

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = script
        self.frame = 0
        self.initialized = 0
        self.calls: dict[str, int] = {}
        self._began = time.monotonic()
        self._taken_xids: dict[str, int] = {}

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml"):
            calls = self.calls
            calls[name] = calls.get(name, 0) + 1
            if name in self.script.get("lacks", ()):
                raise NVMLError("function not found")
            if name not in ("nvmlInit", "nvmlShutdown") and not self.initialized:
                raise NVMLError("uninitialized")
        return super().__getattribute__(name)

    # --- values of the script ---

    def now(self, device: dict[str, Any]) -> dict[str, Any]:
        frames = device.get("frames") or [{}]
        frame = self._frame_number
        values: dict[str, Any] = {}
        for one in frames[: frame + 1]:
            values = {**values, "lost": False, **one}
        return values

    @property
    def _frame_number(self) -> int:
        period = self.script.get("period")
        return int((time.monotonic() - self._began) / period) if period else self.frame

    def _value(self, device: dict[str, Any], key: str, function: str) -> Any:
        values = self.now(device)
        if values["lost"]:
            raise NVMLError("GPU is lost")
        if function in device.get("fails", ()):
            raise NVMLError(device["fails"][function])
        if function in device.get("not_supported", ()) or key not in values:
            raise NVMLError("not supported")
        return values[key]

    # --- the library ---

    def nvmlInit(self) -> None:
        if self.script.get("driver") == "none":
            raise NVMLError("driver not loaded")
        self.initialized += 1

    def nvmlShutdown(self) -> None:
        self.initialized -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.script["gpus"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        gpu = self.script["gpus"][index]
        if self.now(gpu).get("lost"):
            raise NVMLError("GPU is lost")
        return gpu

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        for gpu in self.script["gpus"]:
            for device in (gpu, *gpu.get("migs", ())):
                if device["uuid"] == uuid:
                    if self.now(gpu).get("lost"):
                        raise NVMLError("GPU is lost")
                    return device
        raise NVMLError("not found")

    def nvmlDeviceGetUUID(self, device: dict[str, Any]) -> str:
        return str(device["uuid"])

    def nvmlDeviceGetName(self, device: dict[str, Any]) -> str:
        return str(device["name"])

    def nvmlDeviceGetMigMode(self, device: dict[str, Any]) -> list[int]:
        if "migs" not in device:
            raise NVMLError("not supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, device: dict[str, Any]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: dict[str, Any], index: int) -> Any:
        if index >= len(device["migs"]):
            raise NVMLError("not found")
        return device["migs"][index]

    def nvmlDeviceGetGpuInstanceId(self, device: dict[str, Any]) -> int:
        return int(device["instance"])

    def nvmlDeviceGetComputeInstanceId(self, device: dict[str, Any]) -> int:
        return int(device["compute_instance"])

    # --- values of a device ---

    def nvmlDeviceGetMemoryInfo(self, device: dict[str, Any], version: int | None = None) -> Any:
        if version and "memory 2" in self.script.get("lacks", ()):
            raise NVMLError("function not found")
        used, reserved = self._value(device, "used", "nvmlDeviceGetMemoryInfo"), device.get("reserved", 0)
        return SimpleNamespace(total=device["memory"], used=used if version else used + reserved)

    def nvmlDeviceGetUtilizationRates(self, device: dict[str, Any]) -> Any:
        shares = self._value(device, "utilization", "nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=shares if isinstance(shares, int) else shares[-1])

    def nvmlDeviceGetSamples(self, device: dict[str, Any], kind: int, seen: int) -> Any:
        shares = self._value(device, "utilization", "nvmlDeviceGetSamples")
        if self.script.get("period") or isinstance(shares, int):
            now = int(time.monotonic() * _SAMPLES_PER_SECOND)
            share = shares if isinstance(shares, int) else shares[-1]
            first = max(now - _MOST_SAMPLES, seen * _SAMPLES_PER_SECOND // _SECOND)
            new = [(at * _SECOND // _SAMPLES_PER_SECOND, share) for at in range(first + 1, now + 1)]
        else:
            begun = (self.frame + 1) * _SECOND
            new = [(begun + at, share) for at, share in enumerate(shares)]
        new = [(at, share) for at, share in new if at > seen]
        if not new:
            raise NVMLError("not found")
        return _UINT, [SimpleNamespace(timeStamp=at, sampleValue=SimpleNamespace(uiVal=share)) for at, share in new]

    def nvmlDeviceGetPowerUsage(self, device: dict[str, Any]) -> int:
        return int(self._value(device, "power", "nvmlDeviceGetPowerUsage"))

    def nvmlDeviceGetTotalEnergyConsumption(self, device: dict[str, Any]) -> int:
        return int(self._value(device, "energy", "nvmlDeviceGetTotalEnergyConsumption"))

    def nvmlDeviceGetTemperature(self, device: dict[str, Any], sensor: int) -> int:
        return int(self._value(device, "temperature", "nvmlDeviceGetTemperature"))

    def nvmlDeviceGetTotalEccErrors(self, device: dict[str, Any], kind: int, counter: int) -> int:
        return int(self._value(device, "ecc", "nvmlDeviceGetTotalEccErrors")[kind])

    def nvmlDeviceGetFieldValues(self, device: dict[str, Any], fields: list[tuple[int, int]]) -> list[Any]:
        values = []
        for field, _ in fields:
            name = _RECEIVE.get(field) or _TRANSMIT[field]
            try:
                pair = self._value(device, name, "nvmlDeviceGetFieldValues")
            except NVMLError as error:
                if error.value == _CODES["GPU is lost"]:
                    raise
                values.append(SimpleNamespace(nvmlReturn=error.value))
                continue
            count = pair[0] if field in _RECEIVE else pair[1]
            is_narrow = name in device.get("narrow", ())
            values.append(
                SimpleNamespace(
                    nvmlReturn=0 if count is not None else 999,
                    valueType=_UINT if is_narrow else _ULONG_LONG,
                    value=SimpleNamespace(ullVal=count, uiVal=count),
                )
            )
        return values

    def nvmlDeviceGetComputeRunningProcesses(self, device: dict[str, Any]) -> list[Any]:
        listed = self._value(device, "processes", "nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=_pid(pid), usedGpuMemory=used) for pid, used, _ in listed]

    def nvmlDeviceGetProcessUtilization(self, device: dict[str, Any], seen: int) -> list[Any]:
        listed = self._value(device, "processes", "nvmlDeviceGetProcessUtilization")
        now = time.time_ns() // 1000 + 1
        return [SimpleNamespace(pid=_pid(pid), timeStamp=now, smUtil=share) for pid, _, share in listed]

    # --- events ---

    def nvmlEventSetCreate(self) -> dict[str, Any]:
        return {}

    def nvmlDeviceRegisterEvents(self, device: dict[str, Any], kinds: int, events: dict[str, Any]) -> None:
        if "nvmlDeviceRegisterEvents" in device.get("not_supported", ()):
            raise NVMLError("not supported")
        events["device"] = device

    def nvmlEventSetWait(self, events: dict[str, Any], timeout: int) -> Any:
        device = events["device"]
        frames = device.get("frames") or [{}]
        come = [xid for frame in frames[: self._frame_number + 1] for xid in frame.get("xids", ())]
        taken = events.setdefault("taken", 0)
        if taken >= len(come):
            raise NVMLError("timeout")
        events["taken"] += 1
        xid, instance = come[taken] if isinstance(come[taken], list) else (come[taken], 0xFFFFFFFF)
        return SimpleNamespace(eventData=xid, gpuInstanceId=instance)

    # --- GPU performance monitoring ---

    def c_nvmlGpmMetricsGet_t(self) -> Any:
        return SimpleNamespace(metrics=[SimpleNamespace()])

    def nvmlGpmQueryDeviceSupport(self, device: dict[str, Any]) -> Any:
        return SimpleNamespace(isSupportedDevice=int(device.get("gpm", False)))

    def nvmlGpmSampleAlloc(self) -> dict[str, Any]:
        return {}

    def nvmlGpmMigSampleGet(self, device: dict[str, Any], instance: int, sample: dict[str, Any]) -> dict[str, Any]:
        (mig,) = (mig for mig in device["migs"] if mig["instance"] == instance)
        sample.update(frame=self._frame_number, share=self._value(mig, "utilization", "nvmlGpmMigSampleGet"))
        return sample

    def nvmlGpmMetricsGet(self, request: Any) -> Any:
        if request.sample1["frame"] > request.sample2["frame"]:
            raise NVMLError("invalid argument")
        request.metrics[0].nvmlReturn = 0
        request.metrics[0].value = float(request.sample2["share"])
        return request


def of(text: str) -> Nvml:
    """Create it from a script's path or a number of equal GPUs."""
    if not text.isdecimal():
        return Nvml(json.loads(Path(text).read_text()))
    return Nvml({"gpus": [{**EQUAL, "uuid": f"GPU-{index:08d}-0000"} for index in range(int(text))]})


def fixture(name: str) -> Nvml:
    """Return a recorded one."""
    return of(str(FIXTURES / f"{name}.json"))


def environment(what: str | int | Path) -> dict[str, str]:
    """Return the variables with which a process imports it as ``pynvml``; they replace any other ``PYTHONPATH``."""
    return {"PYTHONPATH": str(PATH), VARIABLE: str(what)}


def _pid(pid: int | str) -> int:
    return os.getpid() if pid == "self" else int(pid)
