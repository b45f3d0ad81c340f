"""The documentation says what the code does."""

import re
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import semconv

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_attribute_is_documented() -> None:
    page = (ROOT / "docs" / "attributes.md").read_text()
    names = {
        value
        for value in vars(semconv).values()
        if isinstance(value, str) and re.match(r"(flyte|code|error|exception)\.", value)
    }
    undocumented = {name for name in names if name not in page} - _fields_of_task_metadata(page)
    assert undocumented == set()


def _fields_of_task_metadata(page: str) -> set[str]:
    return {f"flyte.task.{field}" for field in re.findall(r"`(\w+)`", page)}


def test_every_variable_is_documented() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    variables = [value for name, value in vars(semconv).items() if name.startswith("OTEL_FLYTE_")]
    assert variables
    assert [variable for variable in variables if variable not in pages] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_derivation_rule_that_users_are_told_gives_the_ids_that_pods_have() -> None:
    from otel_flyte.tasks.identity import Execution

    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "traces.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "traces.md", "exec"), names)
    execution = Execution("flytesnacks", "development", "f1c0ffee0123456789ab")
    assert names["trace_id"] == f"{execution.trace_id():032x}"


def test_the_accelerator_that_users_are_shown_can_be_read() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "usage.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "usage.md", "exec"), names)
    accelerator = names["Tpu"]()
    devices = accelerator.open()
    assert [sample.device for sample in accelerator.read()] == devices
    assert accelerator.kind == devices[0].kind


def test_every_instrument_of_usage_is_documented_with_its_kind_and_unit() -> None:
    from otel_flyte.usage import instruments

    kinds = {instruments.GAUGE: "gauge", instruments.COUNTER: "counter", instruments.LEVEL: "up-down counter"}
    page = (ROOT / "docs" / "usage.md").read_text()
    rows = [f"| `{each.name}` | {kinds[each.kind]} | `{each.unit}` |" for each in instruments.INSTRUMENTS]
    assert [row for row in rows if row not in page] == []


def test_continuous_integration_runs_the_command_that_the_readme_gives() -> None:
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text()
