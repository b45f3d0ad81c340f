"""Tasks with a Deck."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from flytekit import Deck, task


@task(enable_deck=True)
def report(value: int) -> int:
    Deck("Findings", f"<p>{value}</p>")
    return value


@task(enable_deck=True)
def report_early(value: int) -> int:
    Deck("Findings", f"<p>{value}</p>")
    Deck.publish()
    return value


@task(enable_deck=True)
def report_failure(value: int) -> int:
    Deck("Findings", f"<p>{value}</p>")
    raise ValueError("no result")
