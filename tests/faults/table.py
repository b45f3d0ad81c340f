"""The table of docs/faults.md: `python tests/faults/table.py [PART OF A CASE'S NAME]`."""

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults import harness
from faults.cases import CASES
from faults.harness import LIMIT_SECONDS, Case, Outcome, Runs

HEAD = """\
| case | over | SDK: made | received | exit | otel-flyte: made | received | spooled | replayed | dropped, and why | \
unaccounted | exit |
|---|---|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|
"""
_WHERE = re.compile(r" (?:at|by|for) \S+:\d+\S*(?<!:)| ?\(.*\)|; OTEL_.*|: .*")
"""The rest of a reason: the endpoint, and the protocol's own message."""


def main(part: str = "") -> None:
    """Print the table as Markdown, row by row as the cases end."""
    unavailable = harness.can_be_pid_1()
    if unavailable:
        sys.stderr.write(f"The cases of PID 1 are left out: {unavailable}\n")
    cases = [case for case in CASES if part in case.id and not (unavailable and case.how == "pid 1")]
    sys.stdout.write(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))
        for case in cases:
            runs.plan(case, "stock")
            runs.plan(case, "ours")
        for case in cases:
            sys.stdout.write(f"| {' | '.join(_cells(case, runs(case, 'stock'), runs(case, 'ours')))} |\n")
            sys.stdout.flush()


def _cells(case: Case, stock: Outcome, ours: Outcome) -> Iterator[str]:
    yield case.title
    yield case.over
    yield _number(len(stock.made))
    yield _number(_received(stock))
    yield _seconds(stock.delay)
    yield _number(len(ours.made))
    yield _number(_received(ours))
    yield _number(len(ours.spooled)) if case.spool else ""
    yield "" if ours.replay is None else _number(len(ours.replay.received))
    yield _reasons(ours)
    yield _number(ours.unaccounted)
    yield _seconds(ours.delay)


def _received(outcome: Outcome) -> int:
    return len(outcome.made & outcome.received.keys())


def _reasons(outcome: Outcome) -> str:
    reasons: Counter[str] = Counter()
    for of_kind in outcome.dropped.values():
        for reason, number in of_kind.items():
            reasons[_WHERE.sub("", reason)] += number
    return ", ".join(f"{_number(number)} {reason}" for reason, number in reasons.items())


def _number(number: int) -> str:
    return f"{number:,}"


def _seconds(seconds: float) -> str:
    return f"> {LIMIT_SECONDS:.0f} s" if seconds > LIMIT_SECONDS - 5 else f"{seconds:.1f} s"


if __name__ == "__main__":
    main(*sys.argv[1:])
