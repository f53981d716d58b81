"""The HR system's own database, for a feed that is asked by SQL instead of delivered as files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import psycopg
from psycopg import sql

from peel.errors import PeelError
from peel.simulate.text import Table
from peel.simulate.write import csv_bytes

SCHEMA = "hr"
_NUMBERS = {"fte": "numeric(6,3)", "establishment_fte": "numeric(9,3)", "hours": "numeric(5,1)"}
_TEXT_IDS = ("board_id",)


def write_database(url: str, night: dt.date, tables: Iterable[tuple[str, Table]]) -> int:
    """Make the tables of schema ``hr`` what the HR system shows at the end of a day, in one transaction.

    Args:
        url: libpq URL of a database in which the role may create a schema.
        night: the day, kept in ``hr.as_at``.
        tables: names and tables, each a dict of equally long columns of text.

    Returns:
        Rows written.

    Raises:
        PeelError: the database cannot be reached or refused.
    """
    rows = 0
    try:
        with psycopg.connect(url) as connection:
            connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(SCHEMA)))
            for name, table in tables:
                rows += _put(connection, name, table)
            as_at = sql.Identifier(SCHEMA, "as_at")
            connection.execute(sql.SQL("create table if not exists {} (business_date date not null)").format(as_at))
            connection.execute(sql.SQL("truncate {}").format(as_at))
            connection.execute(sql.SQL("insert into {} values (%s)").format(as_at), (night,))
    except psycopg.Error as error:
        raise PeelError(
            f"the HR database could not be written (SQLSTATE {error.sqlstate or 'none'}).",
            feed="hr",
            do="Check the URL, that the server is running and that the role may create schema hr.",
        ) from None
    return rows


def _put(connection: psycopg.Connection, name: str, table: Table) -> int:
    target = sql.Identifier(SCHEMA, name)
    columns = sql.SQL(", ").join(sql.SQL("{} " + _type(column)).format(sql.Identifier(column)) for column in table)
    connection.execute(sql.SQL("create table if not exists {} ({})").format(target, columns))
    connection.execute(sql.SQL("truncate {}").format(target))
    with connection.cursor().copy(sql.SQL("copy {} from stdin (format csv, header match)").format(target)) as copy:
        copy.write(csv_bytes(table))
    return len(next(iter(table.values())))


def _type(column: str) -> str:
    """The type of a column as a database would have it, by the name it has in every table."""
    if column in _NUMBERS:
        return _NUMBERS[column]
    if column.endswith("_ts"):
        return "timestamptz"
    if column.endswith("_date") or column == "date_of_birth":
        return "date"
    return "bigint" if column.endswith("_id") and column not in _TEXT_IDS else "text"
