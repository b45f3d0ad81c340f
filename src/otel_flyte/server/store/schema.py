"""The tables of the embedded database, and how it is opened.

Each record is kept as the bytes of its OTLP message, beside the columns by which it is found. Resources and scopes are
kept once. A record that is sent again has the key that it had.
"""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import IO

VERSION = 2
"""The version of the tables, in SQLite's ``user_version``."""

_TABLES = """
CREATE TABLE IF NOT EXISTS resources (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, message BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS scopes (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, message BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS uses (
    resource INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    PRIMARY KEY (resource, execution)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uses_by_execution ON uses (execution);
CREATE TABLE IF NOT EXISTS executions (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    domain TEXT NOT NULL,
    name TEXT NOT NULL,
    workflow TEXT NOT NULL,
    root TEXT NOT NULL DEFAULT '',
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS executions_by_start ON executions (start_ns DESC, id DESC);
CREATE INDEX IF NOT EXISTS executions_by_seen ON executions (seen_ns);
CREATE TABLE IF NOT EXISTS spans (
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    execution INTEGER NOT NULL,
    is_outline INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS spans_by_execution ON spans (execution, is_outline);
CREATE TABLE IF NOT EXISTS traces (trace_id BLOB PRIMARY KEY, execution INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS traces_by_execution ON traces (execution);
CREATE TABLE IF NOT EXISTS attempts (
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    execution INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL,
    result TEXT,
    name TEXT NOT NULL,
    node TEXT NOT NULL,
    is_execution INTEGER NOT NULL,
    outer BLOB NOT NULL DEFAULT x'',
    PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_by_execution ON attempts (execution, start_ns);
CREATE INDEX IF NOT EXISTS attempts_by_node ON attempts (execution, node, start_ns);
CREATE TABLE IF NOT EXISTS errors (
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    parent_id BLOB NOT NULL,
    execution INTEGER NOT NULL,
    is_innermost INTEGER NOT NULL,
    PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS errors_by_parent ON errors (trace_id, parent_id);
CREATE INDEX IF NOT EXISTS errors_by_execution ON errors (execution);
CREATE TABLE IF NOT EXISTS logs (
    digest BLOB PRIMARY KEY,
    execution INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    message BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS logs_by_execution ON logs (execution, time_ns);
CREATE TABLE IF NOT EXISTS metrics (
    digest BLOB PRIMARY KEY,
    execution INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    message BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS metrics_by_execution ON metrics (execution, time_ns);
CREATE TABLE IF NOT EXISTS attributes (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    execution INTEGER NOT NULL,
    PRIMARY KEY (name, value, execution)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attributes_by_execution ON attributes (execution);
"""


class DatabaseError(Exception):
    """The database can't be used. The message is one line: problem, then remedy."""


def lock(path: Path) -> IO[bytes]:
    """Return the lock of a database, which this process holds until it is closed.

    Raises:
        DatabaseError: another process holds it, or the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        raise DatabaseError(f"{path} can't be written ({error.strerror or error}): choose another by --store") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise DatabaseError(f"{path} is in use by another server: stop it, or choose another file by --store") from None
    return held


def create(path: Path) -> None:
    """Create the tables that a database lacks.

    Raises:
        DatabaseError: the file is damaged, is of another version, is no database, or can't be written.
    """
    try:
        version = _version(path)
        if version > VERSION:
            raise DatabaseError(f"{path} was written by a newer otel-flyte: update it, or choose another by --store")
        if 0 < version < VERSION:
            raise DatabaseError(f"{path} was written by an older otel-flyte: move it away, and a new one is created")
        connection = writable(path)
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.close()
    except sqlite3.Error as error:
        raise DatabaseError(problem(path, error)) from None


def _version(path: Path) -> int:
    """Return the version of the tables of a database, 0 for a new one; nothing is written.

    Raises:
        DatabaseError: another program's tables are in it.
    """
    if not path.exists():
        return 0
    with closing(readable(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "executions" not in tables:
        raise DatabaseError(f"{path} is a database of another program: choose another file by --store")
    return int(version)


def problem(path: Path, error: sqlite3.Error) -> str:
    """Return the line for an error of SQLite."""
    if isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error):
        return f"{path} can't grow, the disk is full: make room, or limit it by --keep-bytes"
    if type(error) is sqlite3.DatabaseError:
        return f"{path} is damaged or no database ({error}): move it away, and a new one is created"
    return f"{path} can't be used ({error}): check its permissions, or choose another by --store"


def writable(path: Path) -> sqlite3.Connection:
    """Return a connection whose commits are on disk when they return."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA cache_size = -32768")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


class Reading(sqlite3.Connection):
    """A connection that can have weak references."""


def readable(path: Path) -> Reading:
    """Return a connection that reads. Its SQL has a function ``casefold``: SQLite's own knows ASCII only."""
    connection = sqlite3.connect(
        f"file:{os.fspath(path.resolve())}?mode=ro".replace("#", "%23"),
        uri=True,
        timeout=10,
        check_same_thread=False,
        factory=Reading,
    )
    connection.execute("PRAGMA cache_size = -16384")
    _add_functions(connection)
    return connection


def in_memory() -> sqlite3.Connection:
    """Return a connection to empty tables of its own, which reads and writes."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(_TABLES)
    _add_functions(connection)
    return connection


def _add_functions(connection: sqlite3.Connection) -> None:
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
