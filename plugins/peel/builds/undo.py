"""What a switch replaces, kept in schema ``undo`` so that it can be taken back.

A table that keeps its shape has the rows that went and the keys that came; a table that was made anew is set aside
whole. Three switches are kept. Nothing is kept across a person's request or a change of keys: who was erased is not
brought back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import psycopg

from peel.builds.merge import kept_sql
from peel.builds.tables import Table

KEPT = 3
"""Switches that can be taken back, one after the other."""

ROWS, WHOLE, NEW, GONE = "rows", "whole", "new", "gone"


class Undo:
    """What one switch replaces.

    Args:
        connection: in the switch's transaction.
        switch_id: the switch.
        always: tables of which everything is noted until the switch is settled: `peel.builds.past` and
            `peel.builds.restatement` ask.

    Attributes:
        keeps: whether the switch can be taken back.
        tables: by table how it was replaced: ``rows`` of it, the ``whole`` table made anew, ``new``, or ``gone``.
    """

    def __init__(self, connection: psycopg.Connection, switch_id: int, always: Iterable[str] = ()) -> None:
        self._connection, self._id, self._always = connection, switch_id, frozenset(always)
        self.keeps = _may_keep(connection, switch_id)
        self.tables: dict[str, str] = {}

    def merging(self, table: Table, statement: str, kind: str) -> str:
        """The statement, made to keep what it replaces."""
        if not self._notes(table.name):
            return statement
        if table.name not in self.tables:
            self._connection.execute(
                f'create table undo."{_name(table.name, self._id)}" as'
                f' select true as is_old, c.* from core."{table.name}" as c with no data'.encode()
            )
            self.tables[table.name] = ROWS
        return kept_sql(statement, table, _name(table.name, self._id), kind)

    def set_aside(self, name: str, *, replaced: bool) -> None:
        """Take a table out of ``core``, because another takes its name or none does."""
        exists = self._connection.execute("select to_regclass(%s)", (f'core."{name}"',)).fetchone()
        if exists is None or exists[0] is None:
            if self._notes(name):
                self.tables[name] = NEW
        elif not self._notes(name):
            self._connection.execute(f'drop table core."{name}" cascade'.encode())
        else:
            _move(self._connection, "core", name, "undo", _name(name, self._id))
            self.tables[name] = WHOLE if replaced else GONE

    def _notes(self, name: str) -> bool:
        return self.keeps or name in self._always

    def settle(self) -> dict[str, str] | None:
        """Drop what is empty or older than the last switches, or everything where nothing is kept.

        Returns:
            How each table was replaced; ``None`` where the switch cannot be taken back.
        """
        kept: list[int] = []
        if self.keeps:
            for name in [name for name, how in self.tables.items() if how == ROWS]:
                source = source_of(name, self._id)
                if not self._connection.execute(f"select 1 from {source} limit 1".encode()).fetchone():
                    self._connection.execute(f"drop table {source}".encode())
                    del self.tables[name]
            kept = standing(self._connection, KEPT)
        for (name,) in self._connection.execute(
            "select relname from pg_class where relnamespace = 'undo'::regnamespace and relkind = 'r'"
        ).fetchall():
            if int(name.rsplit("__", 1)[1]) not in kept:
                self._connection.execute(f'drop table undo."{name}" cascade'.encode())
        return self.tables if self.keeps else None


def standing(connection: psycopg.Connection, count: int) -> list[int]:
    """The last switches that were not taken back, newest first."""
    rows = connection.execute(
        "select switch_id from audit.switch s where undoes is null"
        " and not exists (select from audit.switch b where b.undoes = s.switch_id)"
        " order by switch_id desc limit %s",
        (count,),
    )
    return [row[0] for row in rows]


def within_reach(connection: psycopg.Connection) -> set[str]:
    """The build that readers see, and those they can be taken back to."""
    rows = connection.execute(
        "select build_id from audit.switch where switch_id = any(%s)", (standing(connection, KEPT + 1),)
    )
    return {row[0] for row in rows}


def source_of(name: str, switch_id: int) -> str:
    """The table that keeps what a switch replaced of ``core.<name>``, with its schema."""
    return f'undo."{_name(name, switch_id)}"'


def restore(
    connection: psycopg.Connection, switch_id: int, how: Mapping[str, str], keys: Mapping[str, Iterable[str]]
) -> dict[str, int]:
    """Put back into ``core`` what a switch replaced.

    Args:
        connection: in the transaction that takes the switch back.
        switch_id: the switch.
        how: by table, as `Undo.settle` said.
        keys: the key of each table whose rows were replaced.

    Returns:
        Rows put back or taken away by table.
    """
    changed: dict[str, int] = {}
    for name, kind in how.items():
        undo = _name(name, switch_id)
        if kind == ROWS:
            same = " and ".join(f'c."{key}" = u."{key}"' for key in keys[name])
            gone = connection.execute(
                f'delete from core."{name}" c using undo."{undo}" u where {same}'.encode()
            ).rowcount
            listed = ", ".join(
                f'"{row[0]}"'
                for row in connection.execute(
                    "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
                    " and not attisdropped order by attnum",
                    (f'core."{name}"',),
                )
            )
            back = connection.execute(
                f'insert into core."{name}" ({listed}) select {listed} from undo."{undo}" where is_old'.encode()
            ).rowcount
            connection.execute(f'drop table undo."{undo}"'.encode())
            changed[name] = gone + back
            continue
        if kind in (WHOLE, NEW):
            connection.execute(f'drop table core."{name}" cascade'.encode())
        if kind in (WHOLE, GONE):
            _move(connection, "undo", undo, "core", name)
        changed[name] = 0
    return {name: count for name, count in changed.items() if count or how[name] != ROWS}


def _may_keep(connection: psycopg.Connection, switch_id: int) -> bool:
    """Whether there is a night to go back to, and nobody was erased and no key changed since it was switched."""
    row = connection.execute(
        "select not exists (select from audit.erasure where requested_at > s.switched_at)"
        " and not exists (select from audit.key_epoch where first_used_at > s.switched_at)"
        " from audit.switch s where s.switch_id < %s order by s.switch_id desc limit 1",
        (switch_id,),
    ).fetchone()
    return bool(row and row[0])


def _name(table: str, switch_id: int) -> str:
    return f"{table}__{switch_id}"


def _move(connection: psycopg.Connection, schema: str, name: str, to_schema: str, to_name: str) -> None:
    """Move a table, without the foreign keys that lead from it or to it: they are declared and proven anew."""
    for child, key in connection.execute(
        "select conrelid::regclass::text, conname from pg_constraint where contype = 'f'"
        " and %s::regclass in (conrelid, confrelid)",
        (f'{schema}."{name}"',),
    ).fetchall():
        connection.execute(f'alter table {child} drop constraint "{key}"'.encode())
    # Indexes move with their table, and those of several switches may not have one name.
    for index, renamed in connection.execute(
        "select c.relname, case when %s then left(c.relname, 50) || substr(%s, length(%s) + 1)"
        " else regexp_replace(c.relname, '__[0-9]+$', '') end"
        " from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = %s::regclass",
        (to_schema == "undo", to_name, name, f'{schema}."{name}"'),
    ).fetchall():
        connection.execute(f'alter index {schema}."{index}" rename to "{renamed}"'.encode())
    connection.execute(f'alter table {schema}."{name}" rename to "{to_name}"'.encode())
    connection.execute(f'alter table {schema}."{to_name}" set schema {to_schema}'.encode())
