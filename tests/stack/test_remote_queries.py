"""Names in queries of Tempo, Loki and Prometheus: whatever they are, a query stays one of the language."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from otel_flyte.server.remote import logql, promql, traceql
from otel_flyte.server.remote.go_text import literal, pattern
from otel_flyte.server.store.reader import Filter
from otel_flyte.tasks.identity import Execution
from support import grammars

pytestmark = pytest.mark.newest_only

HOSTILE = (
    "plain",
    "",
    'a"b',
    "a\\",
    "a\\" * 21,
    "a\nb\r\tc",
    "a`b`",
    "}",
    'a} || {} | select("x")',
    '") || (.flyte.run_name =~ ".*',
    "\u202eevil",
    "a\x00b\x7f",
    "$(x)${y}{{z}}",
    ".*|(?i)[a-z]+",
    "\N{PILE OF POO}é\ufffe",
    "x" * 10**6,
    '"}' * 500_000,
)
_ESCAPES = re.compile(r"\\(?:u[0-9a-f]{4}|U[0-9a-f]{8})")


def executions(name: str) -> str:
    return traceql.executions(Filter(name, name, name, "", name, attributes={"x": name}))


def attribute(name: str) -> str:
    return traceql.executions(Filter(attributes={name: "x"}))


def of_execution(name: str) -> Execution:
    return Execution(name, name, name)


def test_go_reads_the_texts_as_they_are() -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH: the literals are not read by Go")
    program = Path(__file__).parents[1] / "support" / "go_literals.go"
    answer = subprocess.run(
        ["go", "run", program], input=json.dumps([*map(literal, HOSTILE)]), capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout) == list(HOSTILE)


@pytest.mark.parametrize("made", [executions, lambda name: traceql.of_execution(of_execution(name))])
def test_traceql_stays_traceql(made: object) -> None:
    assert callable(made)
    assert problems("traceql", [made(name) for name in HOSTILE]) == []


def test_names_of_attributes_stay_names() -> None:
    searched = [name for name in HOSTILE if traceql.can_be_searched(name)]
    assert len(searched) == len(HOSTILE) - 3
    assert problems("traceql", [attribute(name) for name in searched if len(name) < 1000]) == []


@pytest.mark.parametrize("made", [lambda name: logql.of_execution(of_execution(name), name), logql.of_trace])
def test_logql_stays_logql(made: object) -> None:
    assert callable(made)
    assert problems("logql", [made(name) for name in HOSTILE]) == []


def test_promql_stays_promql() -> None:
    short = [name for name in HOSTILE if len(name) < 1000]
    queries = [promql.of_execution(of_execution(name), 60) for name in short]
    queries += [made([name, "b"], 60) for name in short for made in (promql.of_processes, promql.of_shared_processes)]
    assert [problem for query in queries if (problem := grammars.promql_problem(query))] == []


def test_a_pattern_means_its_text() -> None:
    for name in HOSTILE:
        assert re.fullmatch(pattern(name), name)
        assert not re.fullmatch(pattern(name), f"{name}x")


def test_an_unquoted_name_is_found_by_these_tests() -> None:
    assert problems("traceql", ['{ .a = "a"b" }', '{ .a = "a\\" }']) != []
    assert problems("logql", ['{a="x"} | b="a"b"']) != []
    assert grammars.promql_problem('{a="a"b"}')


def problems(language: str, queries: list[str]) -> list[str]:
    """Return errors. The published grammars know the escapes of quotes and backslashes; Go reads the others."""
    plain = [(language, _ESCAPES.sub("_", query)) for query in queries]
    return [f"{problem:.300}" for problem in grammars.problems(plain) if problem]
