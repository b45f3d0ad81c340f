"""The status of the stack's parts, as containers or as processes."""

from dataclasses import dataclass

READY = "ready"
STARTING = "not ready"
ENDED = "ended"
STOPPED = "stopped"
MISSING = "missing"


class StackError(Exception):
    """A command on the stack failed; the message is one line: the problem and the remedy."""


@dataclass(frozen=True)
class PartStatus:
    """The status of one part."""

    name: str
    state: str
    url: str = ""
    note: str = ""

    @property
    def line(self) -> str:
        """The status as one line of a table."""
        return f"{self.name:<10}  {self.state:<9}  {self.url:<28}  {self.note}".rstrip()

    @property
    def is_bad(self) -> bool:
        """Whether a part that was started is not ready."""
        return self.state in (STARTING, ENDED)
