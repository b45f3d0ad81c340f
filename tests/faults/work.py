"""The work of a program: the harness writes it, and the programs read it."""

import json
import os
from dataclasses import asdict, dataclass

LEDGER = "FAULTS_LEDGER"
"""The file of the ledger."""
PROGRAM = "FAULTS_PROGRAM"
"""The module that runs a function where spans are recorded: that of the stock SDK, or ours."""
_WORK = "FAULTS_WORK"


@dataclass(frozen=True)
class Work:
    """The acts of a program and its end, by their names in the programs' tables."""

    act: str = "make"
    end: str = "finish"
    spans: int = 3
    points: int = 0
    logs: int = 0
    bulk: int = 0
    """Bytes of an attribute of the first span."""
    seconds: float = 0.0
    """Seconds to wait, for acts that wait."""

    @classmethod
    def ordered(cls) -> "Work":
        return cls(**json.loads(os.environ[_WORK]))

    def environment(self) -> dict[str, str]:
        return {_WORK: json.dumps(asdict(self))}
