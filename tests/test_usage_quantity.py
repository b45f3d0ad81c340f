"""Kubernetes quantities are read as Kubernetes reads them."""

from typing import Any

import pytest
from flytekit import Resources

from otel_flyte.quantity import as_cores, as_size, cores, size

pytestmark = pytest.mark.quick

LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("2.", 2.0),
        ("+1.5", 1.5),
        ("-1", -1.0),
        ("0", 0.0),
        ("100m", 0.1),
        ("1500m", 1.5),
        ("250000u", 0.25),
        ("1n", 1e-9),
        ("2k", 2000.0),
        ("1e3", 1000.0),
        ("1E3", 1000.0),
        ("5e-1", 0.5),
        ("1E+2", 100.0),
        (2, 2.0),
        (0.5, 0.5),
    ],
)
def test_cores_are_read_in_every_notation(text: Any, expected: float) -> None:
    assert cores(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1024", 1024),
        ("128974848", 128974848),
        ("129e6", 129_000_000),
        ("129M", 129_000_000),
        ("128974848000m", 128974848),
        ("123Mi", 123 * 2**20),
        ("1Ki", 2**10),
        ("1Gi", 2**30),
        ("1.5Gi", 1536 * 2**20),
        (".5Ti", 2**39),
        ("1Pi", 2**50),
        ("1Ei", 2**60),
        ("1k", 10**3),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("-1Ki", -1024),
        ("0", 0),
        (1024, 1024),
    ],
)
def test_sizes_are_read_in_every_notation_that_kubernetes_documents(text: Any, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("400m", 1), ("1.1", 2), ("0.1Ki", 103), ("1n", 1), ("1e-99", 1)])
def test_a_fraction_of_a_byte_is_rounded_up(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["9Ei", "1e30", "1E999999999999", "9" * 99, 10**400, 1e300])
def test_values_beyond_64_bits_are_capped(text: Any) -> None:
    assert size(text) == LARGEST
    assert cores(text) == float(LARGEST)


def test_a_tiny_quantity_is_close_to_0() -> None:
    assert cores("1e-999999999999") == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 Gi",
        " 1",
        "1\n",
        "Gi",
        "m",
        ".",
        "+",
        "1.2.3",
        "--1",
        "1K",
        "1ki",
        "1mi",
        "1GB",
        "1e",
        "1e1.5",
        "1e3Gi",
        "0x10",
        "1_000",
        "1,5",
        "inf",
        "nan",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "9" * 100_000,
        float("nan"),
        float("inf"),
        True,
        None,
        b"1",
        {},
        ("1", "2"),
        ["1"],
    ],
)
def test_an_invalid_quantity_is_none_and_never_an_error(text: Any) -> None:
    assert cores(text) is None
    assert size(text) is None


def test_quantities_that_flytekit_accepts_are_read() -> None:
    declared = Resources(cpu=0.5, mem=1024, gpu="1")
    assert (cores(declared.cpu), size(declared.mem), cores(declared.gpu)) == (0.5, 1024, 1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2, "2"), (1.5, "1500m"), (0.1, "100m"), (1.1, "1100m"), (0.0011, "2m"), (1e-12, "0"), (0, "0"), (64.0, "64")],
)
def test_cores_are_rounded_up_to_a_thousandth(value: float, text: str) -> None:
    assert as_cores(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1536 * 2**20, "1536Mi"),
        (2**31, "2Gi"),
        (2**31 + 1, "2049Mi"),
        (1, "1Mi"),
        (0, "0"),
        (2**40, "1Ti"),
        (3 * 2**50, "3Pi"),
        (2**61, "2048Pi"),
    ],
)
def test_sizes_are_rounded_up_to_a_mebibyte(value: int, text: str) -> None:
    assert as_size(value) == text


@pytest.mark.parametrize("value", [0.1, 0.25, 1, 1.75, 3.3, 128])
def test_written_quantities_are_read_back(value: float) -> None:
    assert cores(as_cores(value)) == value
    assert size(as_size(value * 2**30)) == pytest.approx(value * 2**30, abs=2**20)
