"""flytekit's own SQL task, and its database."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import sqlite3
import tempfile
from pathlib import Path

from flytekit import kwtypes
from flytekit.extras.sqlite3.task import SQLite3Config, SQLite3Task

DATABASE = Path(tempfile.mkdtemp()) / "tracks.db"

with sqlite3.connect(DATABASE) as connection:
    connection.execute("create table tracks (name text)")
    connection.execute("insert into tracks values ('Solveig')")

tracks = SQLite3Task(
    name="traced_query.tracks",
    query_template="select name from tracks limit {{.inputs.limit}}",
    inputs=kwtypes(limit=int),
    task_config=SQLite3Config(uri=str(DATABASE)),
)
