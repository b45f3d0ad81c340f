"""Measured and known usage of real processes and cgroups: `python tests/usage_truth_table.py`.

Prints the table of docs/accuracy.md as Markdown. The cases are the tests of `test_usage_truth.py`: each comparison by
`pytest.approx` is a line.
"""

import io
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).with_name("test_usage_truth.py")
MIB = 2**20


@dataclass(eq=False)
class Table:
    """A plugin of pytest that collects the comparisons of tests."""

    rows: list[str] = field(default_factory=list)
    _case: str = ""

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Store the name of the next test."""
        self._case = _words(item.name)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store the tests that cannot run here."""
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self.rows.append(f"| {_words(report.nodeid.rpartition('::')[2])} | | | not here: {reason} |")

    def compare(self, known: float, measured: float) -> None:
        """Store a comparison."""
        error = abs(measured / known - 1)
        self.rows.append(f"| {self._case} | {_value(known)} | {_value(measured)} | {100 * error:.1f} % |")


class Noted:
    """Compares like `pytest.approx`, and stores the values."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, table: Table, known: float, compared: Any) -> None:
        self._table, self._known, self._compared = table, known, compared

    def __eq__(self, measured: object) -> bool:
        if isinstance(measured, (int, float)):
            self._table.compare(self._known, measured)
        return bool(self._compared == measured)


def main() -> int:
    """Print the table; return pytest's exit code."""
    table, approx = Table(), pytest.approx
    pytest.approx = lambda known, **tolerance: Noted(table, known, approx(known, **tolerance))  # type: ignore[assignment]
    with redirect_stdout(io.StringIO()):
        code = pytest.main(["--override-ini", "addopts=", "--quiet", str(TESTS)], plugins=[table])
    rows = ["| case | known | measured | error |", "|---|---|---|---|", *table.rows]
    sys.stdout.write("\n".join(rows) + "\n")
    return int(code)


def _words(test: str) -> str:
    return test.removeprefix("test_").replace("_", " ")


def _value(value: float) -> str:
    return f"{value / MIB:.1f} MiB" if value >= MIB else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
