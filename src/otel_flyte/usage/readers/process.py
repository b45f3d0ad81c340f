"""The reading of one process, and the protocols of its sources."""

from typing import NamedTuple, Protocol


class Key(NamedTuple):
    """The identity of a process: its id may be reused, but not with the same time of birth."""

    pid: int
    born: float


class Process(NamedTuple):
    """The usage of a process, in seconds and bytes."""

    key: Key
    parent: int
    ended: bool
    """Whether it is a zombie, which its parent has not waited for."""
    user: float
    system: float
    waited: float
    """CPU time of its descendants that have ended and were waited for."""
    resident: int
    anonymous: int
    """The part of ``resident`` without a file; memory that a fork shares counts in each process."""
    virtual: int
    layout: tuple[int, int] | None
    """The addresses of its code and its stack: a fork has those of its parent, a new program has not."""
    io_read: int | None
    """Bytes read from storage, waited-for children included; ``None`` where it may not be read."""
    io_write: int | None
    delayed: float | None = None
    """Seconds for which its threads waited for a CPU; no other process accounts for them."""

    @property
    def cpu(self) -> float:
        """All CPU time that the process accounts for: its own, and that of children it has waited for."""
        return self.user + self.system + self.waited


class Source(Protocol):
    """A source of the processes of this machine."""

    def own_pid(self) -> int:
        """Return the calling process."""

    def pids(self, *, anew: bool = False) -> set[int]:
        """Return all processes; some may have ended unless they are listed ``anew``.

        Raises:
            OSError: they can't be listed.
        """

    def parent(self, pid: int) -> int | None:
        """Return the parent of a process, ``None`` where it is gone."""

    def age(self, key: Key) -> float:
        """Return the largest possible age of a process in seconds."""

    def reader(self, pid: int, *, held: bool) -> "Reader":
        """Return a reader of one process; ``held`` allows it to keep descriptors open."""

    def close(self) -> None:
        """Close descriptors, except those of readers."""


class Reader(Protocol):
    """A reader of one process."""

    def read(self) -> Process | None:
        """Read the process, ``None`` where it is gone."""

    def close(self) -> None:
        """Close its descriptors."""
