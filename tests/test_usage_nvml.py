"""Usage of GPUs from recorded drivers, with a stand-in for the module ``pynvml``, once with the real module."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.runtime import guard
from otel_flyte.usage.devices import discovery, ranges
from otel_flyte.usage.devices.accelerators import Device, DeviceSample
from otel_flyte.usage.devices.nvml import Nvml
from support import fake_nvml

pytestmark = pytest.mark.quick

GIB = 1024**3
A100 = "GPU-5e2b5a1c-0f7a-4d36-9c55-7d1f0a6b7c01"
OTHER_A100 = "GPU-77c0d9a4-3b1e-48f2-8a0d-1c2e3f405162"
MIG_3G = "MIG-6f5d4c3b-aaaa-5bbb-8ccc-ddddeeeeffff"
MIG_1G = "MIG-0a1b2c3d-eeee-5fff-8000-111122223333"
FIRST_NAMESPACE = "pid:[4026531836]"


@dataclass
class Machine:
    """Reads a recorded machine; each frame of the recording is a second of its clock."""

    library: fake_nvml.Nvml
    proc: Path
    environ: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.nvml = Nvml(self.library, self.environ, lambda: [os.getpid()], lambda: self.seconds, self.proc)

    def read(self) -> list[DeviceSample]:
        samples = list(self.nvml.read())
        self.go_on(1)
        return samples

    def go_on(self, frames: int, seconds: float = 0.0) -> None:
        self.library.frame += frames
        self.seconds += seconds or frames


Open = Callable[..., Machine]


@pytest.fixture(autouse=True)
def _forget_reported_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_reported", set())


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Return a process table of the first PID namespace."""
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to(FIRST_NAMESPACE)
    (tmp_path / str(os.getpid())).mkdir()
    return tmp_path


@pytest.fixture
def machine(proc: Path) -> Open:
    return lambda name, **environ: Machine(fake_nvml.fixture(name), proc, environ)


def ids(nvml: Nvml) -> list[str]:
    return [device.id for device in nvml.open()]


def test_gpus_are_described_by_constant_attributes(machine: Open) -> None:
    first, second = machine("a100_pair").nvml.open()
    assert asdict(first) == {
        "kind": "gpu",
        "index": 0,
        "id": A100,
        "name": "NVIDIA A100-SXM4-40GB",
        "vendor": "NVIDIA",
        "memory_limit": 42949672960,
        "is_partition": False,
    }
    assert (second.index, second.id) == (1, OTHER_A100)


def test_a_sample_has_all_values_of_the_driver(machine: Open) -> None:
    a100s = machine("a100_pair")
    a100s.read()
    sample, _ = a100s.read()
    assert sample.utilization == pytest.approx(360 / 600)
    assert sample.memory_used == 8 * GIB
    assert sample.power == 312.0
    assert sample.energy == pytest.approx(9123756.789)
    assert sample.temperature == 47
    assert sample.errors == {"corrected": 2, "uncorrected": 0, "xid": 1}
    assert sample.io_receive == 5001000000 + 4096 * 1024
    assert sample.io_transmit == 2500000 + 8192 * 1024
    assert sample.process_memory == 7 * GIB
    assert sample.process_utilization == 0.55
    assert not sample.is_lost


def test_xid_errors_are_counted(machine: Open) -> None:
    a100s = machine("a100_pair")
    assert [a100s.read()[0].errors[semconv.HW_ERROR_XID] for _ in range(4)] == [0, 1, 3, 3]


def test_the_utilization_of_an_idle_gpu_is_0(machine: Open) -> None:
    _, idle = machine("a100_pair").read()
    assert (idle.utilization, idle.process_memory, idle.process_utilization) == (0.0, 0, 0.0)


def test_utilization_is_the_mean_of_the_samples_since_the_last_read(machine: Open) -> None:
    a100s = machine("a100_pair")
    # Samples from before the first read do not belong to the task: the driver's last period is used instead.
    assert [a100s.read()[0].utilization for _ in range(3)] == pytest.approx([0.0, 0.6, 1.0])
    # There is no new sample: the driver's last period is used again.
    assert a100s.read()[0].utilization == 1.0


def test_missing_functions_of_a_driver_are_called_once(machine: Open, caplog: pytest.LogCaptureFixture) -> None:
    k80 = machine("k80_old_driver")
    with caplog.at_level(logging.DEBUG, "otel_flyte"):
        samples = [k80.read()[0] for _ in range(3)]
    assert [sample.utilization for sample in samples] == [0.0, 0.64, 0.99]
    assert samples[0].temperature == 40
    assert [sample.errors for sample in samples] == [{}] * 3
    assert {(sample.io_receive, sample.io_transmit, sample.process_utilization) for sample in samples} == {(None,) * 3}
    lacking = ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetFieldValues", "nvmlDeviceGetSamples")
    assert [k80.library.calls[name] for name in lacking] == [1, 1, 1]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(set(messages))
    assert all(sum(name in line for line in messages) == 1 for name in lacking)
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_memory_is_read_with_version_1_if_version_2_is_missing(machine: Open) -> None:
    assert machine("k80_old_driver").read()[0].memory_used == GIB


def test_energy_is_the_integral_of_power_if_the_driver_has_no_counter(machine: Open) -> None:
    k80 = machine("k80_old_driver")
    # 100 W, then 140 W twice, a second apart.
    assert [k80.read()[0].energy for _ in range(3)] == [0.0, 120.0, 260.0]


def test_mig_instances_are_separate_devices(machine: Open) -> None:
    large, small = machine("h100_mig_pair").nvml.open()
    assert [(device.index, device.id, device.memory_limit) for device in (large, small)] == [
        (0, MIG_3G, 42144366592),
        (1, MIG_1G, 10468982784),
    ]
    assert large.is_partition
    assert small.is_partition


def test_a_mig_instance_has_only_its_own_values(machine: Open) -> None:
    h100 = machine("h100_mig_pair")
    first, second, third = (h100.read() for _ in range(3))
    assert [sample.memory_used for sample in second] == [20 * GIB, GIB]
    # Utilization is that between two reads.
    assert [[sample.utilization for sample in samples] for samples in (first, second, third)] == [
        [None, None],
        [0.75, 1.0],
        [0.25, 1.0],
    ]
    for sample in third:
        assert (sample.power, sample.energy, sample.temperature, sample.io_receive, sample.io_transmit) == (None,) * 5
    # Two errors of its own, and those of the whole GPU.
    assert [sample.errors for sample in third] == [{"xid": 3}, {"xid": 2}]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("0,1", [A100, OTHER_A100]),
        ("1,0", [OTHER_A100, A100]),
        (" 1 , 0 ", [OTHER_A100, A100]),
        (OTHER_A100, [OTHER_A100]),
        ("GPU-77c0,GPU-5e", [OTHER_A100, A100]),
        ("GPU-", []),
        ("1,7,0", [OTHER_A100]),
        ("1,-1,0", [OTHER_A100]),
        ("0,GPU-00000000,1", [A100]),
        ("1,1,0", [OTHER_A100, A100]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_selects_and_orders_gpus(machine: Open, chosen: str, expected: list[str]) -> None:
    assert ids(machine("a100_pair", CUDA_VISIBLE_DEVICES=chosen).nvml) == expected


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (MIG_1G, [MIG_1G]),
        (f"{MIG_1G},{MIG_3G}", [MIG_1G, MIG_3G]),
        ("MIG-GPU-b0a1c2d3-1111-4222-8333-444455556666/2/0", [MIG_1G]),
        ("MIG-GPU-b0a1c2d3-1111-4222-8333-444455556666/5/0", []),
        ("0", [MIG_3G]),
    ],
)
def test_cuda_visible_devices_selects_mig_instances(machine: Open, chosen: str, expected: list[str]) -> None:
    assert ids(machine("h100_mig_pair", CUDA_VISIBLE_DEVICES=chosen).nvml) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("all", [A100, OTHER_A100]),
        ("void", [A100, OTHER_A100]),
        ("", [A100, OTHER_A100]),
        ("none", []),
        (OTHER_A100, [OTHER_A100]),
        ("1", [OTHER_A100]),
        # The runtime has hidden the other GPUs and renumbered these.
        ("6,7", [A100, OTHER_A100]),
        ("0,1", [A100, OTHER_A100]),
        ("GPU-of-another-machine", [A100, OTHER_A100]),
    ],
)
def test_only_gpus_assigned_to_the_container_are_read(machine: Open, given: str, expected: list[str]) -> None:
    assert ids(machine("a100_pair", NVIDIA_VISIBLE_DEVICES=given).nvml) == expected


def test_cuda_visible_devices_overrides_the_containers_devices(machine: Open) -> None:
    a100s = machine("a100_pair", NVIDIA_VISIBLE_DEVICES="1", CUDA_VISIBLE_DEVICES="0")
    assert ids(a100s.nvml) == [A100]


def test_a_lost_gpu_has_missing_values_and_others_are_still_read(
    machine: Open, caplog: pytest.LogCaptureFixture
) -> None:
    t4s = machine("t4_lost")
    first, second = t4s.read(), t4s.read()
    assert [sample.is_lost for sample in first] == [False, False]
    lost, other = second
    assert lost.is_lost
    assert (lost.utilization, lost.memory_used, lost.power, lost.energy) == (None,) * 4
    # The Xid is the reason.
    assert lost.errors == {"xid": 1}
    assert (other.is_lost, other.memory_used) == (False, GIB)
    t4s.read()
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("can't reach" in line for line in messages) == 1
    assert sum("Xid 79" in line for line in messages) == 1


def test_a_lost_gpu_is_retried_once_a_minute(machine: Open) -> None:
    t4s = machine("t4_lost")
    for _ in range(3):
        t4s.read()
    # The GPU has returned, which is noticed after a minute.
    assert t4s.read()[0].is_lost
    assert "nvmlDeviceGetHandleByUUID" not in t4s.library.calls
    t4s.go_on(0, 60.0)
    back, _ = t4s.read()
    assert not back.is_lost
    assert back.memory_used == 4194304
    # Its usage in the meantime is unknown: the energy is unchanged.
    assert back.energy == 0.0
    assert t4s.read()[0].energy == 30.0


def test_a_gpu_lost_from_the_start_does_not_hide_others(machine: Open) -> None:
    t4s = machine("t4_lost")
    t4s.go_on(1)
    (device,) = t4s.nvml.open()
    assert device.id.startswith("GPU-00000002")


def test_a_single_failure_of_a_counter_is_a_missing_value(machine: Open) -> None:
    a100s = machine("a100_pair")
    a100s.library.script["gpus"][0]["frames"][1]["nvlink"] = [None, 1]
    a100s.library.script["gpus"][0]["frames"][2]["nvlink"] = [1, 2]
    received = [a100s.read()[0].io_receive for _ in range(3)]
    assert received == [1000000 + 1024 * 1024, None, 9001000000 + 1024]


def test_a_counter_that_wraps_every_second_is_not_used(machine: Open) -> None:
    a100s = machine("a100_pair")
    a100s.library.script["gpus"][0]["narrow"] = ["pcie"]
    assert a100s.read()[0].io_receive == 1024 * 1024


def test_the_tasks_processes_are_identified_in_the_first_pid_namespace(machine: Open) -> None:
    a100s = machine("a100_pair")
    a100s.go_on(1)
    sample, _ = a100s.read()
    assert sample.process_memory == 7 * GIB
    assert a100s.nvml.processes_unknown is None


@pytest.mark.parametrize(
    ("listed", "known", "expected"),
    [
        ([["self", GIB, 50]], [], GIB),
        ([["self", GIB, 50], [777, GIB, 10]], [777], GIB),
        # A process id of the first namespace may belong to another process here.
        ([["self", GIB, 50], [777, GIB, 10]], [], None),
        ([[777, GIB, 10]], [777], None),
        ([], [], None),
    ],
)
def test_process_ids_in_another_pid_namespace_are_used_only_if_all_are_known(
    machine: Open, listed: list[Any], known: list[int], expected: int | None
) -> None:
    a100s = machine("a100_pair")
    (a100s.proc / "self/ns/pid").unlink()
    (a100s.proc / "self/ns/pid").symlink_to("pid:[4026532000]")
    for pid in known:
        (a100s.proc / str(pid)).mkdir()
    a100s.library.script["gpus"] = a100s.library.script["gpus"][:1]
    a100s.library.script["gpus"][0]["frames"] = [{"used": 2 * GIB, "processes": listed}]
    (sample,) = a100s.read()
    assert sample.process_memory == expected
    assert sample.process_utilization == (0.5 if expected else None)
    assert a100s.nvml.processes_unknown == (None if expected else "pid namespace")


def test_an_empty_process_list_is_0_and_a_failure_is_a_missing_value(machine: Open) -> None:
    a100s = machine("a100_pair")
    gpu = a100s.library.script["gpus"][0]
    gpu["frames"] = [{"used": GIB, "processes": [["self", GIB, 50]]}]
    gpu["fails"] = {"nvmlDeviceGetProcessUtilization": "not found"}
    assert a100s.read()[0].process_utilization == 0.0
    gpu["fails"] = {"nvmlDeviceGetProcessUtilization": "unknown"}
    assert a100s.read()[0].process_utilization is None
    gpu["fails"] = {}
    assert a100s.read()[0].process_utilization == 0.5


def test_a_missing_driver_is_not_tried_again(proc: Path, caplog: pytest.LogCaptureFixture) -> None:
    library = fake_nvml.Nvml({"driver": "none", "gpus": []})
    nvml = Nvml(library, {}, proc=proc)
    with caplog.at_level(logging.DEBUG, "otel_flyte"):
        for _ in range(3):
            assert nvml.open() == []
            assert nvml.read() == []
    assert library.calls == {"nvmlInit": 1}
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]


def test_the_real_module_finds_no_driver_here() -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has an NVIDIA driver")
    assert Nvml(environ={}).open() == []


def test_a_shutdown_by_other_code_is_undone(machine: Open) -> None:
    a100s = machine("a100_pair")
    assert len(a100s.read()) == 2
    a100s.library.nvmlShutdown()
    assert a100s.read() == []
    assert len(a100s.read()) == 2


def test_a_forked_child_initialises_the_library_again(machine: Open) -> None:
    a100s = machine("a100_pair")
    a100s.read()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        samples = a100s.nvml.read()
        os.write(writer, json.dumps([len(samples), a100s.library.initialized]).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    assert json.loads(os.read(reader, 100)) == [2, 2]
    os.close(reader)
    assert a100s.library.initialized == 1


def test_two_reads_make_the_minimum_of_calls(machine: Open) -> None:
    a100s = machine("a100_pair")
    a100s.read()
    before = dict(a100s.library.calls)
    a100s.read()
    asked = {name: count - before.get(name, 0) for name, count in a100s.library.calls.items()}
    assert "nvmlDeviceGetName" not in {name for name, count in asked.items() if count}
    # Two GPUs, one of which had an event.
    assert sum(asked.values()) <= 2 * 10 + 2 + 1


@dataclass
class Tpu:
    kind: str = "tpu"

    def open(self) -> list[Any]:
        return []

    def read(self) -> list[Any]:
        return []


class EntryPoint:
    def __init__(self, name: str, result: Any) -> None:
        self.name = name
        self._result = result

    def load(self) -> Any:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


def test_a_failing_third_party_reader_is_reported_once_and_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(semconv.RAISE_INTERNAL_ERRORS, raising=False)
    there = [EntryPoint("broken", ImportError("no libtpu")), EntryPoint("tpu", Tpu)]
    monkeypatch.setattr(discovery, "entry_points", lambda group: there if group == "otel_flyte_accelerator" else [])
    for _ in range(2):
        readers = discovery.accelerators({})
        assert [reader.kind for reader in readers] == ["gpu", "npu", "tpu"]
    assert sum("broken" in record.getMessage() for record in caplog.records) == 1


READ = """
import json, os, time
from dataclasses import asdict
from otel_flyte.usage.devices.nvml import Nvml
nvml = Nvml(pids=lambda: [os.getpid()])
nvml.open()
time.sleep(0.01)
nvml.read()
print(json.dumps([asdict(sample) for sample in nvml.read()]))
"""


def read_in_a_process(**environ: str) -> Any:
    names = ("PATH", "HOME", "LANG")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", READ], env={**kept, **environ}, check=True, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout)


def test_a_process_imports_the_stand_in_as_pynvml() -> None:
    samples = read_in_a_process(**fake_nvml.environment(8))
    assert [sample["device"]["index"] for sample in samples] == list(range(8))
    assert samples[7]["utilization"] == 0.83
    assert samples[7]["memory_used"] == 12 * GIB


def test_the_stand_in_follows_the_times_of_its_script(tmp_path: Path) -> None:
    frames = [{"utilization": 10, "used": GIB}, {"utilization": 90, "used": 2 * GIB}]
    script = {"period": 0.001, "gpus": [{**fake_nvml.EQUAL, "uuid": "GPU-1", "frames": frames}]}
    (tmp_path / "script.json").write_text(json.dumps(script))
    (sample,) = read_in_a_process(**fake_nvml.environment(tmp_path / "script.json"))
    assert (sample["utilization"], sample["memory_used"]) == (0.9, 2 * GIB)


def test_the_module_pynvml_reads_a_library_with_the_interface_of_nvml(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the library needs Linux and a C compiler")
    source = fake_nvml.FIXTURES / "library.c"
    subprocess.run(
        [compiler, "-w", "-shared", "-fPIC", "-o", tmp_path / "libnvidia-ml.so.1", source], check=True, timeout=60
    )
    (sample,) = read_in_a_process(LD_LIBRARY_PATH=str(tmp_path))
    own = (sample.pop("process_memory"), sample.pop("process_utilization"))
    assert own == (250, 0.35)
    assert sample == {
        "device": {
            "kind": "gpu",
            "index": 0,
            "id": "GPU-abi",
            "name": "ABI 1",
            "vendor": "NVIDIA",
            "memory_limit": 1000,
            "is_partition": False,
        },
        "utilization": 0.4,
        "memory_used": 300,
        "power": 123.456,
        "energy": 7000000.0,
        "temperature": 44,
        "errors": {"corrected": 5, "uncorrected": 1, "xid": 0},
        "io_receive": 9000000000 + 2048,
        "io_transmit": 6000000000 + 2048,
        "is_lost": False,
    }


# --- values that no device can have ---

ALL_ONES_32, ALL_ONES_64 = 2**32 - 1, 2**64 - 1
PLAUSIBLE: dict[str, Any] = fake_nvml.EQUAL["frames"][0]  # type: ignore[index]


def samples_of(proc: Path, *frames: dict[str, Any], **gpu: Any) -> list[DeviceSample]:
    script = {"gpus": [{**fake_nvml.EQUAL, "uuid": "GPU-1", "frames": [{**PLAUSIBLE, **frame} for frame in frames]}]}
    script["gpus"][0].update(gpu)
    machine = Machine(fake_nvml.Nvml(script), proc)
    machine.nvml.open()
    return [machine.read()[0] for _ in frames]


@pytest.mark.parametrize("percent", [ALL_ONES_32, 101, -1, 2**31])
def test_a_utilization_that_no_gpu_can_have_is_unknown(percent: int, proc: Path) -> None:
    samples = samples_of(proc, {"utilization": percent}, {"utilization": percent})
    assert [sample.utilization for sample in samples] == [None, None]


@pytest.mark.parametrize(
    ("key", "garbage", "unknown"),
    [
        ("used", ALL_ONES_64, {"memory_used"}),
        ("used", -1, {"memory_used"}),
        ("used", 85_520_809_985, {"memory_used"}),
        ("power", ALL_ONES_32, {"power"}),
        ("power", -1, {"power"}),
        ("energy", ALL_ONES_64, {"energy"}),
        ("energy", ALL_ONES_32, {"energy"}),
        ("temperature", ALL_ONES_32, {"temperature"}),
        ("temperature", 255, {"temperature"}),
        ("temperature", -273, {"temperature"}),
        ("pcie", [ALL_ONES_64, ALL_ONES_64], {"io_receive", "io_transmit"}),
        ("nvlink", [ALL_ONES_64, 0], {"io_receive"}),
        ("nvlink", [-1, 0], {"io_receive"}),
        ("processes", [["self", ALL_ONES_64, 80]], {"process_memory"}),
        ("processes", [["self", 2**41, 80]], {"process_memory"}),
    ],
)
def test_only_the_value_that_no_gpu_can_have_is_unknown(
    key: str, garbage: object, unknown: set[str], proc: Path
) -> None:
    (usual,), (sample,) = samples_of(proc, {}), samples_of(proc, {key: garbage})
    expected = {name: None if name in unknown else value for name, value in asdict(usual).items()}
    assert asdict(sample) == expected


@pytest.mark.parametrize("count", [ALL_ONES_32, ALL_ONES_64, -1])
def test_counts_of_errors_that_no_gpu_can_have_are_missing(count: int, proc: Path) -> None:
    (sample,) = samples_of(proc, {"ecc": [count, 2]})
    assert sample.errors == {"uncorrected": 2, "xid": 0}


def test_power_that_no_gpu_can_have_adds_no_energy(proc: Path) -> None:
    frames = [{"power": 100_000}, {"power": ALL_ONES_32}, {"power": 100_000}, {"power": 100_000}]
    samples = samples_of(proc, *frames, not_supported=["nvmlDeviceGetTotalEnergyConsumption"])
    assert [sample.energy for sample in samples] == [0.0, 0.0, 0.0, 100.0]


@pytest.mark.parametrize("memory", [ALL_ONES_64, -1, 0])
def test_a_size_of_memory_that_no_gpu_can_have_is_unknown(memory: int, proc: Path) -> None:
    (sample,) = samples_of(proc, {}, memory=memory)
    assert sample.device.memory_limit is None
    assert sample.memory_used == 12 * GIB


@pytest.mark.parametrize("percent", [float("nan"), float("inf"), 4294967295.0])
def test_a_utilization_that_no_mig_instance_can_have_is_unknown(percent: float, proc: Path) -> None:
    mig = {"uuid": "MIG-1", "name": "MIG", "instance": 1, "compute_instance": 0, "memory": GIB, "frames": [{}]}
    mig["frames"] = [{"utilization": percent, "used": 1}]
    script = {"gpus": [{**fake_nvml.EQUAL, "uuid": "GPU-1", "gpm": True, "migs": [mig]}]}
    machine = Machine(fake_nvml.Nvml(script), proc)
    machine.nvml.open()
    assert [machine.read()[0].utilization for _ in range(2)] == [None, None]


def test_values_of_other_readers_are_checked_too() -> None:
    device = Device("gpu", 0, "x", "X", "ACME", memory_limit=100)
    sample = DeviceSample(
        device, utilization=float("nan"), memory_used=101, power=-1, energy=float("inf"), temperature=1000
    )
    assert ranges.credible(sample) == DeviceSample(device)
    usual = DeviceSample(device, 1.0, 100, 350.5, 1e6, -5.0, {"xid": 3}, 1, 2, 50, 0.0)
    assert ranges.credible(usual) == usual
