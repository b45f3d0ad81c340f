"""The table of docs/faults.md has a row for each case."""

from pathlib import Path

import pytest

from faults.cases import CASES

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_table_of_the_documentation_has_the_rows_of_these_tests() -> None:
    rows = [line.split("|")[1:3] for line in PAGE.read_text().splitlines() if line.startswith("|")]

    _head, _rule, *documented = [tuple(cell.strip() for cell in row) for row in rows]
    assert documented == [(case.title, case.over) for case in CASES]
