"""Usage of Ascend NPUs, from a library with the interface of DCMI or from recorded output of ``npu-smi``."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_flyte.runtime import guard
from otel_flyte.usage.devices.accelerators import DeviceSample
from otel_flyte.usage.devices.ascend import Ascend
from otel_flyte.usage.devices.ascend_chip import MIB

pytestmark = pytest.mark.quick

FIXTURES = Path(__file__).parent / "fixtures" / "ascend"
NOWHERE = ("libdcmi-that-is-nowhere.so",)
DIE = "000000A0-000000A1-000000A2-000000A3-000000A4"


@pytest.fixture(autouse=True)
def _forget_reported_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_reported", set())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the library needs Linux and a C compiler")
    path = tmp_path_factory.mktemp("dcmi") / "libdcmi.so"
    subprocess.run([compiler, "-w", "-shared", "-fPIC", "-o", path, FIXTURES / "dcmi.c"], check=True, timeout=60)
    return str(path)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- DCMI ---


def test_the_chips_of_all_cards_are_devices_in_logical_order(library: str) -> None:
    first, second, third = Ascend({}, [library]).open()
    assert (first.kind, first.index, first.id, first.name, first.vendor) == ("npu", 0, DIE, "Ascend 910B3", "Huawei")
    assert first.memory_limit == 65536 * MIB
    assert [(device.index, device.id, device.name) for device in (second, third)] == [
        (1, "7-0", "Ascend 310P3"),
        (2, "7-1", "Ascend 310P3"),
    ]
    assert second.memory_limit == 44280 * MIB


def test_a_sample_has_all_values_of_dcmi(library: str, clock: Clock) -> None:
    ascend = Ascend({}, [library], clock)
    ascend.open()
    ascend.read()
    clock.seconds = 2.0
    sample = ascend.read()[0]
    assert sample.utilization == 0.87
    assert sample.memory_used == 3425 * MIB
    assert sample.power == 164.0
    assert sample.energy == 328.0
    assert sample.temperature == 48
    assert sample.errors == {"corrected": 3, "uncorrected": 1}
    assert (sample.process_memory, sample.io_receive, sample.is_lost) == (None, None, False)


def test_unsupported_values_of_a_chip_are_missing_and_requested_once(library: str) -> None:
    ascend = Ascend({}, [library])
    ascend.open()
    calls = ctypes.c_int.in_dll(ctypes.CDLL(library), "calls_of_hbm")
    before = calls.value
    for _ in range(3):
        _, profiled, other = ascend.read()
    # Three calls for the chip with HBM: the other chips were called when they were opened.
    assert calls.value - before == 3
    # 239 percent means that a profiler uses the counters.
    assert profiled.utilization is None
    # A chip without values of its cores has values of the whole chip.
    assert other.utilization == 0.55
    assert other.memory_used == 44280 * MIB // 4
    assert (other.power, other.energy, other.errors) == (None, None, {})


def test_a_lost_chip_has_missing_values_and_is_retried_once_a_minute(
    library: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ascend = Ascend({}, [library], clock)
    ascend.open()
    monkeypatch.setenv("FAKE_DCMI_LOST", "1")
    lost, other, _ = ascend.read()
    assert lost == DeviceSample(lost.device, is_lost=True)
    assert other.memory_used
    monkeypatch.delenv("FAKE_DCMI_LOST")
    assert ascend.read()[0].is_lost
    clock.seconds = 60.0
    assert not ascend.read()[0].is_lost
    assert sum("can't reach the NPU" in record.getMessage() for record in caplog.records) == 1


def test_a_missing_driver_is_not_looked_for_again(tmp_path: Path) -> None:
    ascend = Ascend({"PATH": str(tmp_path)}, NOWHERE)
    assert ascend.open() == []
    assert ascend.read() == []
    (tmp_path / "npu-smi").symlink_to(FIXTURES / "npu-smi")
    assert ascend.open() == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"ASCEND_RT_VISIBLE_DEVICES": "2,0"}, ["7-1", DIE]),
        ({"ASCEND_RT_VISIBLE_DEVICES": "0-1"}, [DIE, "7-0"]),
        ({"ASCEND_RT_VISIBLE_DEVICES": "1,5,0"}, ["7-0"]),
        ({"ASCEND_RT_VISIBLE_DEVICES": ""}, []),
        # The container's devices have the machine's numbers, which are 8, 9 and 10 by the library.
        ({"ASCEND_VISIBLE_DEVICES": "9-10"}, ["7-0", "7-1"]),
        ({"ASCEND_VISIBLE_DEVICES": "0,1"}, [DIE, "7-0", "7-1"]),
        ({"ASCEND_VISIBLE_DEVICES": "9", "ASCEND_RT_VISIBLE_DEVICES": "0"}, [DIE]),
        ({"ASCEND_VISIBLE_DEVICES": ""}, [DIE, "7-0", "7-1"]),
    ],
)
def test_the_variables_select_the_chips(library: str, environ: dict[str, str], expected: list[str]) -> None:
    assert [device.id for device in Ascend(environ, [library]).open()] == expected


# --- npu-smi ---

Open = Callable[[str], Ascend]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def npu_smi(tmp_path: Path, log: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Open:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/npu-smi").symlink_to(FIXTURES / "npu-smi")
    monkeypatch.setenv("FAKE_NPU_SMI_LOG", str(log))

    def opened(name: str) -> Ascend:
        monkeypatch.setenv("FAKE_NPU_SMI", str(FIXTURES / name))
        return Ascend({"PATH": str(tmp_path / "bin")}, NOWHERE, clock)

    return opened


def started(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if "common" in line]


def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it has not come true within 10 s")


def all_read(ascend: Ascend, count: int) -> list[DeviceSample]:
    samples: list[DeviceSample] = []

    def are_there() -> bool:
        samples[:] = ascend.read()
        return len(samples) == count

    until(are_there)
    return samples


def test_npu_smi_is_used_if_the_library_is_missing(npu_smi: Open) -> None:
    ascend = npu_smi("910b_pair")
    first, second = ascend.open()
    assert (first.id, first.name, first.memory_limit) == ("4-0", "Ascend 910B3", 65536 * MIB)
    assert second.index == 1
    busy, idle = all_read(ascend, 2)
    assert busy.utilization == 0.06
    assert busy.memory_used == 65536 * MIB * 91 // 100
    # Not the values of the card's own controller, which are below it.
    assert (busy.power, busy.temperature) == (130.4, 46)
    assert (idle.utilization, idle.power) == (0.0, 93.1)


def test_npu_smi_is_used_if_the_library_is_broken(library: str, npu_smi: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    npu_smi("910b_pair")
    monkeypatch.setenv("FAKE_DCMI_BROKEN", "1")
    path = str(Path(os.environ["FAKE_NPU_SMI_LOG"]).parent / "bin")
    assert [device.id for device in Ascend({"PATH": path}, [library]).open()] == ["4-0", "5-0"]


def test_each_chip_of_a_card_is_queried(npu_smi: Open) -> None:
    ascend = npu_smi("310p_duo")
    assert [device.id for device in ascend.open()] == ["2944-0", "2944-1"]
    samples = all_read(ascend, 2)
    assert [sample.utilization for sample in samples] == [0.70, 0.71]
    assert samples[0].memory_used == 44280 * MIB // 2
    assert samples[0].power is None


def test_a_table_without_logical_numbers_is_read(npu_smi: Open) -> None:
    ascend = npu_smi("950")
    (device,) = ascend.open()
    assert (device.id, device.name) == ("5-0", "Ascend950PR")
    (sample,) = all_read(ascend, 1)
    assert (sample.utilization, sample.temperature, sample.power) == (0.37, 62, 203.3)


def test_a_process_for_a_chip_is_started_every_ten_seconds(npu_smi: Open, log: Path, clock: Clock) -> None:
    ascend = npu_smi("910b_pair")
    ascend.open()
    all_read(ascend, 2)
    for second in range(1, 10):
        clock.seconds = float(second)
        assert len(ascend.read()) == 2
    assert len(started(log)) == 2
    clock.seconds = 10.0
    ascend.read()
    until(lambda: ascend.read() and len(started(log)) == 4)


@pytest.fixture
def _slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.delenv("FAKE_NPU_SMI_SLEEP", raising=False)


@pytest.mark.usefixtures("_slow")
def test_a_sample_does_not_wait_for_a_hanging_command(
    npu_smi: Open, log: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ascend = npu_smi("950")
    ascend.open()
    monkeypatch.setenv("FAKE_NPU_SMI_SLEEP", "1000")
    assert ascend.read() == []
    until(lambda: started(log))
    clock.seconds = 5.0
    assert ascend.read() == []
    monkeypatch.delenv("FAKE_NPU_SMI_SLEEP")
    # The killed command ends after a while, then the next one is started.
    clock.seconds = 10.0
    (sample,) = all_read(ascend, 1)
    assert sample.utilization == 0.37


def test_the_command_is_detached_from_the_tasks_terminal(npu_smi: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ascend = npu_smi("950")
    others = children_of(os.getpid())
    ascend.open()
    monkeypatch.setenv("FAKE_NPU_SMI_SLEEP", "1000")
    ascend.read()
    (child,) = (int(pid) for pid in children_of(os.getpid()) - others)
    assert os.getsid(child) == child
    os.kill(child, signal.SIGKILL)
    until(lambda: ascend.read() == [] and children_of(os.getpid()) == others)


def test_chips_are_read_in_a_task_that_ignores_sigchld(npu_smi: Open) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ascend = npu_smi("950")
        ascend.open()
        assert all_read(ascend, 1)[0].utilization == 0.37
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_forked_child_starts_its_own_processes(npu_smi: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ascend = npu_smi("950")
    ascend.open()
    monkeypatch.setenv("FAKE_NPU_SMI_SLEEP", "0.2")
    ascend.read()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.environ.pop("FAKE_NPU_SMI_SLEEP")
        os.write(writer, json.dumps([sample.utilization for sample in all_read(ascend, 1)]).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    assert json.loads(os.read(reader, 100)) == [0.37]
    os.close(reader)


def children_of(pid: int) -> set[str]:
    task = Path(f"/proc/{pid}/task/{pid}/children")
    if not task.exists():
        pytest.skip("the kernel does not list children here")
    return set(task.read_text().split())


# --- values that no device can have ---


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("Aicore Usage Rate(%) : 4294967295", "utilization"),
        ("Aicore Usage Rate(%) : -1", "utilization"),
        ("Aicore Usage Rate(%) : nan", "utilization"),
        ("HBM Usage Rate(%) : 255", "memory_used"),
        ("HBM Usage Rate(%) : 1e400", "memory_used"),
        ("NPU Real-time Power(W) : 429496729.5", "power"),
        ("NPU Real-time Power(W) : -0.1", "power"),
        ("Temperature(C) : 32767", "temperature"),
        ("Temperature(C) : NA", "temperature"),
    ],
)
def test_a_value_of_npu_smi_that_no_npu_can_have_is_unknown(
    line: str, unknown: str, npu_smi: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(FIXTURES / "910b_pair", tmp_path / "recorded")
    output = tmp_path / "recorded/info_-t_common_-i_4"
    text = output.read_text()
    name = line.partition(" :")[0]
    there = next(each for each in text.splitlines() if each.strip().startswith(name))
    output.write_text(text.replace(there, f"\t{line}", 1))
    ascend = npu_smi("910b_pair")
    monkeypatch.setenv("FAKE_NPU_SMI", str(tmp_path / "recorded"))
    ascend.open()
    sample, other = all_read(ascend, 2)
    assert getattr(sample, unknown) is None
    assert getattr(other, unknown) is not None
    values = {"utilization", "memory_used", "power", "temperature"} - {unknown}
    assert all(getattr(sample, name) is not None for name in values)


@pytest.mark.parametrize("capacity", ["nan", "inf", "-1", "18446744073709551615", "NA"])
def test_a_capacity_that_no_npu_can_have_is_unknown(
    capacity: str, npu_smi: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(FIXTURES / "910b_pair", tmp_path / "recorded")
    (tmp_path / "recorded/info_-t_usages_-i_4").write_text(f"HBM Capacity(MB) : {capacity}\n")
    ascend = npu_smi("910b_pair")
    monkeypatch.setenv("FAKE_NPU_SMI", str(tmp_path / "recorded"))
    assert [device.memory_limit for device in ascend.open()] == [None, None]


def test_values_of_dcmi_that_no_npu_can_have_are_unknown(tmp_path: Path, clock: Clock) -> None:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the library needs Linux and a C compiler")
    source = (FIXTURES / "dcmi.c").read_text()
    for usual, garbage in (
        ("*percent = card == 4 ? 87", "*percent = card == 4 ? 4294967295u"),
        ("hbm->used = 3425", "hbm->used = 18446744073709551615ull"),
        ("*power = 1640", "*power = 0x7fffffff"),
        ("*temperature = 48", "*temperature = -2147483647"),
        ("ecc->single_bit = 3", "ecc->single_bit = 4294967295u"),
        ("memory->percent = 25", "memory->percent = 4294967295u"),
    ):
        assert usual in source
        source = source.replace(usual, garbage)
    (tmp_path / "dcmi.c").write_text(source)
    path = tmp_path / "libdcmi_garbage.so"
    subprocess.run([compiler, "-w", "-shared", "-fPIC", "-o", path, tmp_path / "dcmi.c"], check=True, timeout=60)
    ascend = Ascend({}, [str(path)], clock)
    hbm, ddr, _ = ascend.open()
    assert (hbm.memory_limit, ddr.memory_limit) == (65536 * MIB, 44280 * MIB)
    sample, other, _ = ascend.read()
    assert sample == DeviceSample(sample.device, errors={"uncorrected": 1})
    assert other == DeviceSample(other.device)
