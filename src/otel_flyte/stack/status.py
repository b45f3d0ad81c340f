"""What is told of a stack, however it runs."""

from dataclasses import dataclass

READY = "ready"
STARTING = "not ready"
ENDED = "ended"
STOPPED = "stopped"
MISSING = "missing"


class StackError(Exception):
    """The stack can't do what was asked for; the message is one line that names the part."""


@dataclass(frozen=True)
class PartStatus:
    """How a part is."""

    name: str
    state: str
    url: str = ""
    note: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether a part that was started is not as it should be."""
        return self.state in (STARTING, ENDED)
