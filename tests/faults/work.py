"""A piece of work, as the harness orders it and the programs read it."""

import json
import os
from dataclasses import asdict, dataclass

LEDGER = "FAULTS_LEDGER"
"""The file in which the programs note what they do."""
PROGRAM = "FAULTS_PROGRAM"
"""The module that runs a function where spans are recorded: that of the stock SDK, or ours."""
_WORK = "FAULTS_WORK"


@dataclass(frozen=True)
class Work:
    """What a program does, and how it ends; both are names in the programs' tables."""

    act: str = "make"
    end: str = "finish"
    spans: int = 3
    points: int = 0
    logs: int = 0
    bulk: int = 0
    """Bytes of an attribute of the first span."""
    seconds: float = 0.0
    """How long to wait, where the act waits."""

    @classmethod
    def ordered(cls) -> "Work":
        return cls(**json.loads(os.environ[_WORK]))

    def environment(self) -> dict[str, str]:
        return {_WORK: json.dumps(asdict(self))}
