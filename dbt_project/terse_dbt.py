"""Runs dbt so that no error of the database puts a value into its log, its results or a terminal.

PostgreSQL's message, detail and context quote values and whole rows. What dbt is told instead is the SQLSTATE and the
names of what it is about; of errors in the SQL itself (classes 42 and 0A) the message too, which names only names.

Run by dbt's own interpreter, which has nothing else of Peel.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from dbt.adapters.postgres.connections import PostgresConnectionManager
from dbt.cli.main import cli

_OF_THE_SQL = ("42", "0A")
_handler = PostgresConnectionManager.exception_handler


def told(error: psycopg2.Error) -> str:
    """What may be said of an error."""
    state = error.pgcode or ""
    if not state:
        return str(error)  # the connection's own, which knows no row
    about = [f"SQLSTATE {state}"]
    if state.startswith(_OF_THE_SQL):
        about.append(str(error.diag.message_primary))
    for kind in ("table", "column", "constraint"):
        name = getattr(error.diag, f"{kind}_name")
        if name:
            about.append(f"{kind} {name}")
    return ", ".join(about)


@contextmanager
def _terse(self: PostgresConnectionManager, sql: str) -> Iterator[Any]:
    with _handler(self, sql):
        try:
            yield
        except psycopg2.DatabaseError as error:
            raise type(error)(told(error)) from None


PostgresConnectionManager.exception_handler = _terse

if __name__ == "__main__":
    sys.argv[0] = "dbt"
    cli()
