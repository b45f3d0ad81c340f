"""Curves at the sampling interval: their means, their maxima, their length and their texts."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_flyte import semconv
from otel_flyte.formulas import LONGEST_CURVE
from otel_flyte.usage import attributes
from otel_flyte.usage.curves import ALL, Curve, TaskCurves
from otel_flyte.usage.devices.accelerators import Device, DeviceSample
from otel_flyte.usage.sample import Sample
from otel_flyte.usage.statistics import SHORTEST_RATE_SECONDS

pytestmark = pytest.mark.quick

GIB = 2**30
MIB = 2**20
LARGEST_BYTES = 40_000
"""Of all curves of a task, as JSON: a span must stay well below 64 KiB."""


def curves_of(samples: Sequence[Sample], interval: float = 1.0) -> TaskCurves:
    made = TaskCurves(samples[0].at, interval)
    for last, sample in pairwise(samples):
        made.add(last, sample)
    return made


def values(curves: TaskCurves, curve: Curve) -> list[tuple[float, float] | None]:
    return list(curve.values(curves.count))


def gpus(*utilizations: float | None) -> list[DeviceSample]:
    return [
        DeviceSample(
            Device(semconv.DEVICE_GPU, index, f"GPU-{index}", "A100", "NVIDIA", memory_limit=80 * GIB),
            utilization=utilization,
            memory_used=None if utilization is None else round(utilization * 40 * GIB),
        )
        for index, utilization in enumerate(utilizations)
    ]


def texts(curves: TaskCurves) -> dict[str, Any]:
    return dict(attributes._curves(curves))


def seconds_of(count: int, interval: float = 1.0) -> list[Sample]:
    """Return samples of a task whose second ``n`` uses ``n % 4`` cores."""
    used = 0.0
    samples = [Sample(0.0, 0.0, memory=0)]
    for step in range(count):
        used += step % 4 * interval
        samples.append(Sample((step + 1) * interval, used, memory=step % 4 * MIB))
    return samples


@pytest.mark.parametrize(
    ("count", "interval", "step", "length"),
    [
        pytest.param(3, 1.0, 1.0, 3, id="three seconds"),
        pytest.param(240, 1.0, 1.0, 240, id="four minutes"),
        pytest.param(241, 1.0, 2.0, 121, id="a second more"),
        pytest.param(480, 1.0, 2.0, 240, id="eight minutes"),
        pytest.param(3600, 1.0, 16.0, 225, id="an hour"),
        pytest.param(241, 0.1, 0.2, 121, id="ten samples a second"),
        pytest.param(241, 30.0, 60.0, 121, id="two samples a minute"),
    ],
)
def test_the_step_doubles_where_a_curve_gets_too_long(count: int, interval: float, step: float, length: int) -> None:
    curves = curves_of(seconds_of(count, interval), interval)
    assert curves.step == pytest.approx(step)
    assert len(values(curves, curves.cores)) == length


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        pytest.param(0.3, [1.0], id="less than a step"),
        pytest.param(2.9, [1.0, 1.0, 1.0], id="almost three steps"),
        pytest.param(3.2, [1.0, 1.0, 1.0], id="three steps and a rest"),
    ],
)
def test_a_rest_of_less_than_half_a_step_belongs_to_the_value_before(end: float, expected: list[float]) -> None:
    curves = curves_of(
        [Sample(0.0, 0.0), Sample(min(end, 1.0), min(end, 1.0)), Sample(end, end)]
        if end > 1
        else [Sample(0.0, 0.0), Sample(end, end)]
    )
    assert [value and value[0] for value in values(curves, curves.cores)] == pytest.approx(expected)


def test_each_step_has_its_mean_and_its_maximum() -> None:
    curves = curves_of(
        [Sample(0, 0, memory=0), Sample(0.5, 1, memory=8), Sample(1, 1, memory=2), Sample(2, 1, memory=2)]
    )
    assert values(curves, curves.cores) == [(1.0, 2.0), (0.0, 0.0)]
    assert values(curves, curves.bytes) == [(4.5, 8.0), (2.0, 2.0)]


def test_a_sample_that_is_a_moment_late_gives_its_maximum_to_one_step() -> None:
    curves = curves_of([Sample(0, 0), Sample(1.001, 2.002), Sample(2.002, 2.002), Sample(3, 2.002)])
    assert [peak for _, peak in filter(None, values(curves, curves.cores))] == pytest.approx([2.0, 0.002, 0.0])


def test_a_rate_over_a_moment_is_no_maximum() -> None:
    curves = curves_of([Sample(0, 0), Sample(0.01, 0.5), Sample(1, 0.5)])
    assert values(curves, curves.cores) == [pytest.approx((0.5, 0.5))]


def test_unknown_time_is_no_value() -> None:
    curves = curves_of([Sample(0, 0), Sample(1, 1), Sample(2), Sample(3, 1), Sample(4, 2)])
    assert texts(curves)[semconv.USAGE_CURVE_CPU] == "1.00 - - 1.00"
    assert semconv.USAGE_CURVE_MEMORY not in texts(curves)


def test_the_time_in_which_a_process_was_stopped_is_no_value() -> None:
    curves = curves_of([Sample(0, 0), Sample(1, 1), Sample(121, 1), Sample(122, 2)])
    assert texts(curves)[semconv.USAGE_CURVE_CPU] == " ".join(["1.00", *"-" * 120, "1.00"])


def test_nothing_is_described_where_nothing_was_measured() -> None:
    assert texts(curves_of([Sample(0), Sample(1)])) == {}


# --- devices ---------------------------------------------------------------------------------------------------------


def test_each_device_has_a_curve() -> None:
    shares = ((0.1, 0.9), (0.3, None), (1.0, 0.9))
    samples = [Sample(at, devices=gpus(*each)) for at, each in enumerate(shares, 1)]
    described = texts(curves_of([Sample(0), *samples]))
    assert described[semconv.USAGE_CURVE_DEVICE.format(kind="gpu")] == ["0: 10 30 100", "1: 90 - 90"]
    assert described[semconv.USAGE_CURVE_DEVICE_MEMORY.format(kind="gpu")] == ["0: 5 15 50", "1: 45 - 45"]


def test_more_than_eight_devices_have_one_curve_of_their_mean_and_maximum() -> None:
    curves = curves_of([Sample(0), Sample(1, devices=gpus(*[0.0] * 8, 0.9))])
    assert list(curves.utilization[semconv.DEVICE_GPU]) == [ALL]
    assert texts(curves)[semconv.USAGE_CURVE_DEVICE.format(kind="gpu")] == ["all: 10/90"]


def test_the_utilisation_is_that_since_the_previous_sample_of_the_devices() -> None:
    samples = [Sample(0), Sample(1, devices=gpus(0.0)), Sample(1.5), Sample(3, devices=gpus(1.0))]
    assert texts(curves_of(samples))[semconv.USAGE_CURVE_DEVICE.format(kind="gpu")] == ["0: 0 100 100"]


def test_the_curves_of_eight_devices_fit_into_a_span() -> None:
    samples = [
        Sample(at + 0.4, at + at % 7 / 7, memory=(300_000 + at * 7919 % 50_000) * MIB, devices=gpus(*shares))
        for at in range(LONGEST_CURVE)
        for shares in [[(at * 37 + index * 11) % 101 / 100 for index in range(8)]]
    ]
    described = texts(curves_of([Sample(0, 0.0), *samples]))
    assert len(json.dumps(described)) < LARGEST_BYTES
    assert len(described) == 5


# --- any samples -----------------------------------------------------------------------------------------------------

STRETCHES = st.lists(
    st.tuples(st.floats(0.05, 40.0), st.floats(0.0, 64.0), st.integers(0, 2**40), st.floats(0.0, 1.0)),
    min_size=1,
    max_size=60,
)


@example([(29.0, 0.0, 0, 0.0), (18.75, 0.0, 0, 0.0), (0.4, 1.0, 0, 0.0)], 0.05)
@given(STRETCHES, st.sampled_from([0.05, 0.3, 1.0, 30.0]))
def test_the_mean_of_a_curve_is_the_mean_of_the_samples_and_no_maximum_is_lost(
    stretches: list[tuple[float, float, int, float]], interval: float
) -> None:
    at, used = 0.0, 0.0
    samples = [Sample(0.0, 0.0, memory=0)]
    rates = []
    for length, rate, memory, share in stretches:
        before, at, used = at, at + length, used + length * rate
        samples.append(Sample(at, used, memory=memory, devices=gpus(share)))
        # The difference of two times may be a little less than the length.
        if at - before >= SHORTEST_RATE_SECONDS:
            rates.append(rate)
    curves = curves_of(samples, interval)

    def mean(curve: Curve) -> float:
        known = values(curves, curve)
        assert None not in known
        weights = [curves.step] * (len(known) - 1) + [at - curves.step * (len(known) - 1)]
        return sum(weight * each[0] for weight, each in zip(weights, known, strict=True) if each) / at

    def peak(curve: Curve) -> float:
        return max(each[1] for each in values(curves, curve) if each)

    busy = curves.utilization[semconv.DEVICE_GPU][0]
    assert len(values(curves, busy)) <= LONGEST_CURVE
    assert mean(curves.cores) == pytest.approx(used / at, abs=1e-6)
    assert mean(busy) == pytest.approx(sum(length * share for length, _, _, share in stretches) / at, abs=1e-6)
    areas = ((b.at - a.at) * ((a.memory or 0) + (b.memory or 0)) / 2 for a, b in pairwise(samples))
    assert mean(curves.bytes) == pytest.approx(sum(areas) / at, abs=1)
    assert peak(curves.bytes) == pytest.approx(max(memory for _, _, memory, _ in stretches))
    assert peak(busy) == pytest.approx(max(share for *_, share in stretches))
    assert peak(curves.cores) >= 0.999 * max(rates, default=0.0) - 1e-6 or len(rates) < len(stretches)
