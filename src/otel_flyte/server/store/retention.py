"""Removes old executions while the server runs, whole ones only."""

import sqlite3
import time
from typing import NamedTuple

AT_ONCE = 50
"""The number of executions that are removed in one transaction: requests wait meanwhile."""

_TABLES = ("spans", "attempts", "errors", "logs", "metrics", "attributes", "traces")


class Limits(NamedTuple):
    """The limits of the database.

    Attributes:
        seconds: the age of the last sign of an execution at which it is removed, ``None`` for no limit.
        size: bytes of the file above which the oldest are removed, ``None`` for no limit.
    """

    seconds: float | None = None
    size: int | None = None


def prune(connection: sqlite3.Connection, limits: Limits, now_ns: int | None = None) -> int:
    """Remove what exceeds the limits, ``AT_ONCE`` executions at most, and return their number."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    old: list[tuple[int, int]] = []
    if limits.seconds is not None:
        before = max(0, now_ns - int(limits.seconds * 1e9))
        old = connection.execute(_OLDEST + " WHERE seen_ns < ?" + _FIRST, (before, AT_ONCE)).fetchall()
        _remove_unowned(connection, before)
    if not old and limits.size is not None and used(connection) > limits.size:
        old = connection.execute(_OLDEST + _FIRST, (max(1, _share(connection)),)).fetchall()
        _remove_unowned(connection, old[-1][1] if old else now_ns)
    if old:
        _remove(connection, [execution for execution, _ in old])
    return len(old)


def used(connection: sqlite3.Connection) -> int:
    """Return the bytes of the pages that are in use."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


_OLDEST = "SELECT id, seen_ns FROM executions"
_FIRST = " ORDER BY seen_ns LIMIT ?"


def _share(connection: sqlite3.Connection) -> int:
    """Return the number of executions that are a twentieth of all, so that the file stays below its limit a while."""
    (number,) = connection.execute("SELECT count(*) FROM executions").fetchone()
    return min(AT_ONCE, int(number) // 20)


def _remove(connection: sqlite3.Connection, executions: list[int]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    marks = ",".join("?" * len(executions))
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table} WHERE execution IN ({marks})", executions)  # noqa: S608
    connection.execute(f"DELETE FROM uses WHERE execution IN ({marks})", executions)  # noqa: S608
    connection.execute("DELETE FROM resources WHERE id NOT IN (SELECT resource FROM uses)")
    connection.execute(f"DELETE FROM executions WHERE id IN ({marks})", executions)  # noqa: S608
    connection.execute("COMMIT")
    connection.execute("PRAGMA incremental_vacuum(2000)").fetchall()


def _remove_unowned(connection: sqlite3.Connection, before_ns: int) -> None:
    """Remove records that belong to no execution."""
    removed = 0
    for table in ("logs", "metrics"):
        query = f"DELETE FROM {table} WHERE execution = 0 AND time_ns <= ?"  # noqa: S608
        removed += connection.execute(query, (before_ns,)).rowcount
    if removed:
        connection.execute(_UNUSED)
        connection.execute("PRAGMA incremental_vacuum(2000)").fetchall()


_UNUSED = """
DELETE FROM uses WHERE execution = 0 AND resource NOT IN (
    SELECT resource FROM logs WHERE execution = 0 UNION SELECT resource FROM metrics WHERE execution = 0
)
"""
