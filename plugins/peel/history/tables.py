"""History and quarantine tables, generated from contracts; a new column is a generated migration."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql

from peel.contracts import Contract
from peel.errors import ConfigurationError


def ensure_tables(connection: psycopg.Connection, contracts: Iterable[Contract]) -> None:
    """Make or widen ``history.<table>`` and ``quarantine.<table>``, in the caller's transaction.

    Raises:
        ConfigurationError: a contract retypes or drops a column that history holds.
    """
    for contract in contracts:
        _quarantine(connection, contract)
        _history(connection, contract)


_SUBJECTS = (
    "person_id",
    "candidate_id",
    "application_id",
    "org_unit_id",
    "national_insurance_hash",
    "email_hash",
)
"""Columns by which a build finds all rows of those of whom one has changed."""


def indexes(contract: Contract) -> dict[str, str]:
    """SQL making the indexes of a history table, by name with its schema.

    One open version of a key, and one that begins on a date; what began or ended on a date; rows of a subject.
    """
    relation = contract.relation("history")
    schema = relation.split(".")[0]
    wanted = {
        "version": ("unique ", "(row_key, known_from)"),
        "open": ("unique ", "(row_key) where known_to is null"),
        "known_from": ("", "(known_from)"),
        "known_to": ("", "(known_to) where known_to is not null"),
        **{column.name: ("", f'("{column.name}")') for column in contract.columns if column.name in _SUBJECTS},
    }
    return {
        f'{schema}."{contract.name}_{name}"': (
            f'create {unique}index if not exists "{contract.name}_{name}" on {relation} {what}'
        )
        for name, (unique, what) in wanted.items()
    }


def analyze_sql(contract: Contract) -> str:
    """SQL that gathers statistics on what a history table is joined and searched by."""
    subjects = [f'"{column.name}"' for column in contract.columns if column.name in _SUBJECTS]
    return f"analyze {contract.relation('history')} ({', '.join(['row_key', 'known_from', 'known_to', *subjects])})"


def _history(connection: psycopg.Connection, contract: Contract) -> None:
    relation = contract.relation("history")
    columns = "".join(f', "{column.name}" {column.type}' for column in contract.columns)
    connection.execute(
        f"create table if not exists {relation} (row_key bytea not null, row_hash bytea not null,"
        f" known_from date not null, known_to date, delivery_id text not null{columns},"
        f" check (known_to >= known_from))".encode()
    )
    _widen(connection, contract, relation)
    for statement in indexes(contract).values():
        connection.execute(statement.encode())
    text = f"Each row is a version of {contract.each_row_is}; known from and to by business date"
    _comment(connection, relation, text, {column.name: column.description for column in contract.columns})
    held = f'{relation[:-1]}_held"'
    quarantine = contract.relation("quarantine")
    person = ", q.person_id" if any(column.name == "person_id" for column in contract.columns) else ""
    connection.execute(
        f"create or replace view {held} as select distinct q.row_key, q.applied_on as held_from,"
        f" q.resolved_on as held_to{person} from {quarantine} q where q.applied_on is not null"
        f" and (q.resolved_on is null or q.resolved_on > q.applied_on)".encode()
    )
    connection.execute(
        f"comment on view {held} is 'Each row is a key that was delivered and is in quarantine'".encode()
    )
    for name in (relation, held):
        connection.execute(sql.SQL("grant select on {} to peel_transform").format(sql.SQL(name)))


def _widen(connection: psycopg.Connection, contract: Contract, relation: str) -> None:
    existing = {
        row[0]: row[1]
        for row in connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (relation,),
        )
    }
    for column in contract.columns:
        if column.name not in existing:
            connection.execute(f'alter table {relation} add column "{column.name}" {column.type}'.encode())
            continue
        row = connection.execute("select format_type(to_regtype(%s), to_regtypemod(%s))", (column.type,) * 2)
        wanted = row.fetchone()
        if wanted is not None and wanted[0] != existing[column.name]:
            raise ConfigurationError(
                f"contract {contract.name} retypes a column that history holds as {existing[column.name]}.",
                column=column.name,
                do="Give the new form a new column.",
            )


def _quarantine(connection: psycopg.Connection, contract: Contract) -> None:
    relation = contract.relation("quarantine")
    columns = "".join(f', "{column.name}" text' for column in contract.columns)
    connection.execute(
        f"create table if not exists {relation} (delivery_id text not null references audit.delivery,"
        f" _row bigint not null, business_date date not null, row_key bytea, rules text[] not null,"
        f" applied_on date, resolved_on date, resolution text, is_readmitted boolean not null default false,"
        f" is_discarded boolean not null default false{columns}, primary key (delivery_id, _row))".encode()
    )
    for column in contract.columns:
        connection.execute(f'alter table {relation} add column if not exists "{column.name}" text'.encode())
    connection.execute(
        f'create index if not exists "{contract.name}_unresolved" on {relation} (row_key)'
        f" where resolved_on is null".encode()
    )
    _comment(
        connection,
        relation,
        f"Each row is {contract.each_row_is}, held back by a row rule",
        {
            "row_key": "Hash of the key; empty where the key cannot be read",
            "rules": "The rules the row broke, as column:rule",
            "applied_on": "Business date from which the row is held; empty while its delivery is not applied",
            "resolved_on": "Business date on which a later delivery or a decision settled the row",
            "is_readmitted": "Whether a person decided that the row is right after all",
            "is_discarded": "Whether a person decided that the row is nobody's",
            "resolution": "How it was settled: superseded, vanished, repeated, readmitted or discarded",
        },
    )
    connection.execute(sql.SQL("grant select, insert, delete on {} to peel_gate").format(sql.SQL(relation)))


def _comment(connection: psycopg.Connection, relation: str, table: str, columns: dict[str, str]) -> None:
    target = sql.SQL(relation)
    connection.execute(sql.SQL("comment on table {} is {}").format(target, sql.Literal(table)))
    for name, text in columns.items():
        connection.execute(
            sql.SQL("comment on column {}.{} is {}").format(target, sql.Identifier(name), sql.Literal(text))
        )
