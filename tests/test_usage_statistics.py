"""Windows and series of samples, with results that can be calculated by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv
from otel_flyte.config.settings import LONGEST_INTERVAL_SECONDS
from otel_flyte.formulas import LONGEST_SERIES, NO_VALUE, STEP_SECONDS
from otel_flyte.usage.devices.accelerators import Device, DeviceSample
from otel_flyte.usage.sample import Sample
from otel_flyte.usage.statistics import Level, Series, Share, TaskSeries, Window
from support import programs

pytestmark = pytest.mark.quick

GIB = 2**30


def sample(at: float, cpu: float | None = None, memory: int | None = None, **more: Any) -> Sample:
    return Sample(at, cpu_seconds=cpu, memory=memory, **more)


def window(*samples: Sample) -> Window:
    made = Window(samples[0])
    for each in samples[1:]:
        made.add(each)
    return made


def gpu(index: int, utilization: float | None, memory: int | None = None, **more: Any) -> DeviceSample:
    device = Device(semconv.DEVICE_GPU, index, f"GPU-{index}", "A100", "NVIDIA", memory_limit=80 * GIB)
    return DeviceSample(device, utilization=utilization, memory_used=memory, **more)


class TestLevel:
    def test_the_mean_is_weighted_by_time(self) -> None:
        level = Level()
        for at, value in ((0, 0), (10, 10), (12, 10)):
            level.add(at, value)
        assert level.mean == pytest.approx((50 + 20) / 12)
        assert level.peak == 10

    def test_the_mean_of_one_value_is_that_value(self) -> None:
        level = Level()
        level.add(0, 7)
        assert (level.mean, level.peak) == (7, 7)

    def test_unknown_values_are_ignored(self) -> None:
        level = Level()
        for at, value in ((0, 2), (1, 2), (2, None), (11, 8), (12, 8)):
            level.add(at, value)
        assert level.mean == 5

    def test_long_gaps_are_ignored(self) -> None:
        level = Level()
        for at, value in ((0, 2), (1, 2), (1000, 4), (1001, 4)):
            level.add(at, value)
        assert level.mean == 3

    def test_there_is_neither_mean_nor_peak_without_values(self) -> None:
        level = Level()
        level.add(0, None)
        assert (level.mean, level.peak) == (None, None)


class TestShare:
    def test_each_value_applies_to_the_time_since_the_previous_one(self) -> None:
        share = Share(0)
        for at, value in ((1, 1.0), (4, 0.0)):
            share.add(at, value)
        assert (share.mean, share.peak) == (0.25, 1.0)

    def test_a_gap_is_not_a_zero(self) -> None:
        share = Share(0)
        for at, value in ((1, 1.0), (5, None), (6, 0.5)):
            share.add(at, value)
        assert share.mean == 0.75


class TestWindow:
    def test_cores_are_cpu_seconds_per_second_and_the_peak_is_between_two_samples(self) -> None:
        used = window(sample(0, 100), sample(1, 100.5), sample(2, 103.5), sample(4, 103.5))
        assert used.growth("cpu_seconds") == 3.5
        assert used.mean_cores == 0.875
        assert used.peak_cores == 3

    def test_close_samples_are_ignored_for_the_peak(self) -> None:
        used = window(sample(0, 0), sample(0.01, 0.5), sample(1, 0.5))
        assert used.peak_cores == 0.5

    def test_the_peak_of_memory_is_the_largest_sample(self) -> None:
        used = window(sample(0, memory=3 * GIB), sample(1, memory=5 * GIB), sample(2, memory=GIB))
        assert used.memory_peak == 5 * GIB

    def test_the_peak_of_memory_is_the_kernels_if_it_rose_in_the_window(self) -> None:
        used = window(sample(0, memory=3 * GIB, mark=4 * GIB), sample(1, memory=GIB, mark=6 * GIB))
        assert used.memory_peak == 6 * GIB

    def test_the_kernels_peak_of_an_earlier_phase_is_ignored(self) -> None:
        used = window(sample(0, memory=GIB, mark=8 * GIB), sample(1, memory=2 * GIB, mark=8 * GIB))
        assert used.memory_peak == 2 * GIB

    def test_values_that_no_sample_has_are_missing(self) -> None:
        used = window(sample(0), sample(5))
        assert (used.mean_cores, used.peak_cores, used.memory_peak, used.memory.mean) == (None, None, None, None)
        assert used.growth("io_read") is None
        assert (used.devices, used.busy_gpus.mean) == ({}, None)

    def test_a_restarted_counter_is_never_negative(self) -> None:
        assert window(sample(0, 50), sample(1, 2)).growth("cpu_seconds") == 0

    def test_each_device_has_its_own_mean_peak_and_energy(self) -> None:
        used = window(
            sample(0),
            sample(1, devices=[gpu(0, 1.0, 10, energy=100.0), gpu(1, 0.0, 0)]),
            sample(2),
            sample(3, devices=[gpu(0, 0.4, 30, energy=400.0), gpu(1, 0.2, 20)]),
        )
        first, second = used.devices.values()
        assert first.utilization.mean == pytest.approx(0.6)
        assert first.utilization.peak == 1.0
        assert (first.memory.peak, first.energy.growth) == (30, 300)
        assert second.utilization.mean == pytest.approx(2 / 15)
        assert second.energy.growth is None
        assert used.busy_gpus.mean == pytest.approx((1 * 1.0 + 2 * 0.6) / 3)

    def test_the_energy_of_a_device_with_one_sample_is_unknown(self) -> None:
        used = window(sample(0), sample(1, devices=[gpu(0, 1.0, energy=100.0)]), sample(2))
        assert used.devices[semconv.DEVICE_GPU, 0].energy.growth is None

    def test_samples_at_the_longest_interval_are_not_a_gap(self) -> None:
        series = TaskSeries(0)
        used = Window(sample(0, 0, memory=100), series)
        # Samples are never exactly on time.
        for number in range(1, 5):
            used.add(sample(number * (LONGEST_INTERVAL_SECONDS + 0.5), number * 10, memory=100))
        assert used.memory.mean == 100
        assert NO_VALUE not in series.bytes.values(STEP_SECONDS)

    def test_a_lost_device_leaves_a_gap(self) -> None:
        used = window(
            sample(0),
            sample(1, devices=[gpu(0, 0.5, 10)]),
            sample(2, devices=[gpu(0, None, is_lost=True)]),
            sample(3, devices=[gpu(0, 0.7, 10)]),
        )
        assert used.devices[semconv.DEVICE_GPU, 0].utilization.mean == pytest.approx(0.6)


def filled(seconds: float, value: float = 1.0, step: float = 1.0) -> Series:
    series = Series(0)
    at = 0.0
    while at < seconds:
        series.add(at, at + step, value)
        at += step
    return series


class TestSeries:
    def test_each_value_is_the_average_of_a_minute(self) -> None:
        series = Series(1000)
        series.add(1000, 1030, 1)
        series.add(1030, 1060, 3)
        series.add(1060, 1090, 5)
        assert (series.step, series.values(60)) == (60, [2, 5])

    def test_a_span_of_time_across_a_border_belongs_to_both_minutes(self) -> None:
        series = Series(0)
        series.add(50, 70, 4)
        assert series.values(60) == [4, 4]

    def test_a_minute_without_a_value_is_marked(self) -> None:
        series = Series(0)
        series.add(0, 10, 1)
        series.add(130, 140, 2)
        series.add(140, 150, None)
        assert series.values(60) == [1, -1, 2]

    @pytest.mark.parametrize(("hours", "step"), [(24, 60), (24.1, 120), (47, 120), (49, 240), (97, 480)], ids=str)
    def test_the_length_of_a_series_is_bounded(self, hours: float, step: float) -> None:
        series = filled(hours * 3600, step=30)
        assert series.step == step
        values = series.values(60)
        assert len(values) == -(-hours * 3600 // step) <= LONGEST_SERIES
        assert set(values) == {1.0}

    def test_a_larger_step_can_be_configured(self) -> None:
        assert len(filled(600).values(240)) == 3


def series_of(*samples: Sample) -> TaskSeries:
    series = TaskSeries(samples[0].at)
    window = Window(samples[0], series)
    for each in samples[1:]:
        window.add(each)
    return series


def every_second(values: Sequence[tuple[float, int]]) -> list[Sample]:
    return [sample(at, cpu, memory) for at, (cpu, memory) in enumerate(values)]


class TestTaskSeries:
    def test_cores_and_bytes_are_averaged(self) -> None:
        series = series_of(*every_second([(0, 100), (1, 100), (3, 200)]))
        assert series.cores.values(60) == [1.5]
        assert series.bytes.values(60) == pytest.approx([125])

    def test_the_series_of_several_devices_is_their_mean(self) -> None:
        devices = [gpu(0, 0.2, 8 * GIB), gpu(1, 0.6, 24 * GIB)]
        series = series_of(sample(0), sample(1, devices=devices))
        assert series.utilization[semconv.DEVICE_GPU].values(60) == [pytest.approx(0.4)]
        assert series.memory[semconv.DEVICE_GPU].values(60) == [pytest.approx(0.2)]
        assert semconv.DEVICE_NPU not in series.utilization


# --- instruments -----------------------------------------------------------------------------------------------------

BROKEN_READERS = """
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from otel_flyte import providers
    from otel_flyte.usage import instruments

    def collect():
        raise ValueError("the readers are broken")

    reader = InMemoryMetricReader()
    providers.given_meter_provider = MeterProvider([reader])
    instruments.create(collect)
    for _ in range(3):
        reader.collect()
    print("null")
"""


def test_broken_readers_are_reported_in_one_line(tmp_path: Path) -> None:
    (line,) = programs.run(BROKEN_READERS, tmp_path, {}).stderr.splitlines()

    assert line.startswith("otel-flyte: ")
    assert "the readers are broken" in line
