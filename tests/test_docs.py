"""README and docs agree with the code."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import otel_flyte
from otel_flyte import semconv
from otel_flyte.cli.main import main
from otel_flyte.config import endpoints, standard

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def _read(*names: str) -> str:
    return "\n".join((DOCS / name).read_text() for name in names)


def _example(page: str) -> str:
    (example,) = re.findall(r"```python\n(.*?)```", _read(page), re.DOTALL)
    return str(example)


# --- names -----------------------------------------------------------------------------------------------------------


def test_every_attribute_is_documented() -> None:
    pages = _read("attributes.md", "metrics.md")
    names = {
        value
        for value in vars(semconv).values()
        if isinstance(value, str) and re.match(r"(flyte|code|error|exception)\.", value)
    }
    undocumented = {name for name in names if name not in pages} - _fields_of_task_metadata(pages)
    assert undocumented == set()


def _fields_of_task_metadata(page: str) -> set[str]:
    return {f"flyte.task.{field}" for field in re.findall(r"`(\w+)`", page)}


def test_every_span_role_is_documented() -> None:
    page = _read("attributes.md")
    roles = [value for name, value in vars(semconv).items() if name.startswith("SPAN_ROLE_")]
    assert roles
    assert [role for role in roles if f"`{role}`" not in page] == []


def test_every_variable_is_documented() -> None:
    variables = {value for name, value in vars(semconv).items() if name.startswith("OTEL_FLYTE_")}
    rows = {
        page: set(re.findall(r"^\| `(OTEL_FLYTE_\w+)` \|", page.read_text(), re.MULTILINE))
        for page in (ROOT / "README.md", DOCS / "configuration.md")
    }
    assert all(documented == variables for documented in rows.values()), rows


def test_every_instrument_of_usage_is_documented_with_its_kind_and_unit() -> None:
    from otel_flyte.usage import instruments

    kinds = {instruments.GAUGE: "gauge", instruments.COUNTER: "counter", instruments.LEVEL: "up-down counter"}
    page = _read("metrics.md")
    rows = [f"| `{each.name}` | {kinds[each.kind]} | `{each.unit}` |" for each in instruments.INSTRUMENTS]
    assert [row for row in rows if row not in page] == []


def test_every_public_name_is_documented() -> None:
    documented = set(re.findall(r"^::: otel_flyte\.(\w+)$", _read("api.md"), re.MULTILINE))
    assert documented == set(otel_flyte.__all__) - {"__version__"}


# --- commands --------------------------------------------------------------------------------------------------------


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Return all commands except groups, by the words that call them."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _commands(each, (*path, name))
    else:
        yield path, command


COMMANDS = dict(_commands(main))
PASS_THEIR_ARGUMENTS_ON = (("run",), ("exec",))
CALL = re.compile(r"(?<!--namespace )(?<![\w-])otel-flyte ((?:[a-z]+ ?)+)([^\n`|;&#)]*)")


def test_every_command_is_documented() -> None:
    rows = re.findall(r"^\| `otel-flyte (.*)` \|", _read("cli.md"), re.MULTILINE)
    documented = {path for path in COMMANDS if any(set(path) <= set(re.findall(r"[a-z]+", row)) for row in rows)}
    assert documented == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_calls_name_commands_and_options_that_exist(page: Path) -> None:
    """Also in examples that are not run."""
    unknown = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for words, arguments in CALL.findall(block):
            path = next((path for path in COMMANDS if tuple(words.split()[: len(path)]) == path), None)
            if path is None:
                unknown.append(words)
            elif path not in PASS_THEIR_ARGUMENTS_ON:
                parameters = COMMANDS[path].params
                known = {option for each in parameters for option in (*each.opts, *each.secondary_opts)}
                unknown += [option for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", arguments) if option not in known]
    assert unknown == []


# --- error lines -----------------------------------------------------------------------------------------------------

PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]*[A-Z]\b|\b[XN]\b|\b(?:spans|traces|logs|opentelemetry-\w+|otel-flyte)\b")
"""In a documented line, words in capitals and the values that most readers see stand for values."""

GLUE = re.compile(r"[()`=:;,]|\b(?:at|by|in|is)\b")
"""The code puts messages together at these."""


@functools.cache
def _messages() -> tuple[str, ...]:
    """Return all texts of the code, with a line break for each value that is put in."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.JoinedStr(values=values):
                    found.append(
                        "".join(str(part.value) if isinstance(part, ast.Constant) else "\n" for part in values)
                    )
                case ast.Constant(value=str(text)):
                    found.append(re.sub(r"%[sdr]|%\.\d+f", "\n", text))
    return tuple(found)


def _fragments(line: str) -> list[str]:
    """Return the fixed parts of a documented line, as far as the code has them in one piece."""
    parts = (part for text in PLACEHOLDER.split(line) for part in GLUE.split(text))
    return [part.strip() for part in parts if len(part.split()) > 1]


DOCUMENTED_LINES = [
    line
    for page in sorted(DOCS.glob("*.md"))
    for line in re.findall(r"^\| `((?:otel-flyte: |FAIL |NOTE ).*?)` \|", page.read_text(), re.MULTILINE)
]


def test_there_are_documented_lines() -> None:
    assert len(DOCUMENTED_LINES) > 20


@pytest.mark.parametrize("line", DOCUMENTED_LINES)
def test_documented_lines_come_from_the_code(line: str) -> None:
    text = line.removeprefix("otel-flyte: ").replace("\\|", "|")
    assert [part for part in _fragments(text) if not any(part in message for message in _messages())] == []


def test_documented_lines_about_invalid_values_are_those_of_the_code() -> None:
    block = re.search(r"```text\n(otel-flyte: OTEL_BSP.*?)```", _read("configuration.md"), re.DOTALL)
    assert block is not None
    environ = {
        "OTEL_BSP_SCHEDULE_DELAY": "5s",
        "OTEL_EXPORTER_OTLP_HEADERS": "key=value,invalid",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://",
    }
    problems = (*standard.unusable(environ).values(), *endpoints.plan("traces", environ).problems)
    assert set(block[1].splitlines()) == {f"otel-flyte: {problem}" for problem in problems}


# --- links and the site ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_pages_of_the_site_link_to_the_site_only(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [target for target in targets if target.startswith("../")] == []


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- .*: ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))


def test_lines_are_at_most_120_characters() -> None:
    """Tables, links and examples cannot be wrapped."""
    too_long = []
    for page in PAGES:
        prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        too_long += [
            f"{page.name}: {line[:60]}…"
            for line in prose.splitlines()
            if len(line) > 120 and not line.lstrip().startswith(("|", "!", "("))
        ]
    assert too_long == []


# --- single statements -----------------------------------------------------------------------------------------------


def test_the_documented_derivation_gives_the_trace_id_of_pods() -> None:
    from otel_flyte.tasks.identity import Execution

    names: dict[str, object] = {}
    exec(compile(_example("traces.md"), "traces.md", "exec"), names)
    execution = Execution("flytesnacks", "development", "f1c0ffee0123456789ab")
    assert names["trace_id"] == f"{execution.trace_id():032x}"


def test_the_documented_accelerator_can_be_read() -> None:
    names: dict[str, Any] = {}
    exec(compile(_example("accelerators.md"), "accelerators.md", "exec"), names)
    accelerator: otel_flyte.Accelerator = names["Tpu"]()
    devices = accelerator.open()
    assert [sample.device for sample in accelerator.read()] == devices
    assert accelerator.kind == devices[0].kind


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text()
