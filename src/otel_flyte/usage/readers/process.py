"""One process as it was when it was looked at, and who can look."""

from typing import NamedTuple, Protocol


class Key(NamedTuple):
    """What no two processes share: a process id is given again, but not with the same time of birth."""

    pid: int
    born: float


class Process(NamedTuple):
    """What a process has used, in seconds and bytes."""

    key: Key
    parent: int
    ended: bool
    """It is a zombie: its parent has yet to wait for it."""
    user: float
    system: float
    waited: float
    """CPU time of its children that have ended and were waited for, and of theirs."""
    resident: int
    anonymous: int
    """The part of ``resident`` that is backed by no file; what a fork shares is in each process's."""
    virtual: int
    layout: tuple[int, int] | None
    """Where its code and its stack are: a fork's are its parent's, a new program's are not."""
    io_read: int | None
    """Bytes from storage, children that were waited for included; ``None`` where it may not be read."""
    io_write: int | None

    @property
    def cpu(self) -> float:
        """All CPU time that the process accounts for: its own, and what it has waited for."""
        return self.user + self.system + self.waited


class Source(Protocol):
    """Whoever can look at the processes of this machine."""

    def own_pid(self) -> int:
        """The calling process."""

    def pids(self, *, anew: bool = False) -> set[int]:
        """All processes there are; some may have ended unless they are listed ``anew``.

        Raises:
            OSError: nobody can say.
        """

    def parent(self, pid: int) -> int | None:
        """The parent of a process, ``None`` where it is gone."""

    def age(self, key: Key) -> float:
        """For how many seconds a process has been there at most."""

    def reader(self, pid: int, *, held: bool) -> "Reader":
        """Look at a process again and again; ``held`` allows to keep descriptors."""

    def close(self) -> None:
        """Let go what is held open, readers apart."""


class Reader(Protocol):
    """Looks at one process."""

    def read(self) -> Process | None:
        """Look at it, ``None`` where it is gone."""

    def close(self) -> None:
        """Let it go."""
