"""What readers saw of aggregates at earlier switches, kept for good in schema ``past``.

A model asks for it in its switch (``as_of: true``); it must hold no unit rows. ``past.<table>`` has the rows that went,
each with the switch that brought it and the one that took it away, and, without that, the keys of rows that came and
stand in ``core`` still. A row that stands and has no key there came when the table was made: ``audit.past`` says by
which switch that was, and from which switch on the table is kept at all. So a night costs what it changes.

Unlike schema ``undo`` it outlives a person's request: these are counts, as releases are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import psycopg
from psycopg import sql

from peel.builds.tables import Function, Table, TableColumn, View
from peel.builds.undo import GONE, NEW, ROWS, WHOLE, source_of

READERS = ("peel_bi", "peel_publish", "peel_analyst")

SWITCH = """
select
    s.switch_id,
    s.switched_at,
    s.build_id,
    b.business_date,
    s.undoes is not null as is_taken_back
from audit.switch as s
inner join audit.build as b on s.build_id = b.build_id
"""

SWITCH_EACH_ROW_IS = "a switch: from then on readers saw another night"
SWITCH_COLUMNS = (
    TableColumn("switch_id", "bigint", "Number of the switch."),
    TableColumn("switched_at", "timestamp with time zone", "When readers saw it first."),
    TableColumn("build_id", "text", "The build that readers saw from then on."),
    TableColumn("business_date", "date", "The night it is of."),
    TableColumn("is_taken_back", "boolean", "Whether readers were taken back to it from a later night."),
)
SEEN_EACH_ROW_IS = "as readers saw it from one switch until another"
SEEN_COLUMNS = (
    TableColumn("seen_from", "bigint", "The switch by which readers saw the row first."),
    TableColumn("seen_until", "bigint", "The switch by which they no longer saw it; empty while they do."),
)

_SWITCHED = """
declare
    found bigint;
    kept bigint;
begin
    select max(switch_id) into found from audit.switch where build_id = $1;
    select kept_from into kept from audit.past where table_name = $2;
    if found is null then
        raise invalid_parameter_value using message = 'readers never saw a build of that name; mart.switch lists them';
    elsif kept is null or found < kept then
        raise invalid_parameter_value
            using message = format('what readers saw of %s is kept since switch %s only', $2, kept);
    end if;
    return found;
end
"""


def views(members: Iterable[Table], mart: Iterable[View]) -> list[View]:
    """The views of ``mart`` that show what is kept, and the list of switches."""
    shown = [_as_seen(table, view) for table, view in _pairs(members, mart)]
    listed = View("switch", f"Each row is {SWITCH_EACH_ROW_IS}", SWITCH, SWITCH_COLUMNS)
    return [listed, *shown]


def functions(members: Iterable[Table], mart: Iterable[View]) -> list[Function]:
    """The functions that give a view of ``mart`` as readers saw it after a build's switch."""
    switched = Function(
        schema="mart",
        name="switched_by",
        arguments=(("build", "text"), ("of_table", "text")),
        columns=(),
        returns="bigint",
        language="plpgsql",
        options="stable parallel safe security definer set search_path = pg_catalog, pg_temp",
        body=_SWITCHED,
        description="The last switch by which readers saw a build; an error if they never did, or it is not kept",
        readers=READERS,
    )
    return [switched, *(_as_of(table, view) for table, view in _pairs(members, mart))]


def _pairs(members: Iterable[Table], mart: Iterable[View]) -> list[tuple[Table, View]]:
    """Each table that is kept, with the view of ``mart`` of that name, which shows it and nothing else."""
    kept = {table.name: table for table in members if table.as_of}
    return [(kept[view.name], view) for view in mart if view.name in kept and view.reads == (view.name,)]


def _as_seen(table: Table, view: View) -> View:
    listed = ", ".join(f'"{column.name}"' for column in table.columns)
    typed = ", ".join(f'"{column.name}"::{column.type} as "{column.name}"' for column in table.columns)
    standing = ", ".join(f'c."{column.name}"' for column in table.columns)
    same = " and ".join(f'o."{name}" = c."{name}"' for name in table.key)
    return View(
        name=f"{view.name}_as_seen",
        description=f"{view.description}, {SEEN_EACH_ROW_IS}",
        sql=(
            "select p.seen_from, p.seen_until, shown.* from ("
            f'select seen_from, seen_until, {typed} from past."{table.name}" where seen_until is not null'
            f" union all select coalesce(o.seen_from, made.made_by), null, {standing}"
            f' from core."{table.name}" as c'
            f" cross join (select made_by from audit.past where table_name = '{table.name}') as made"
            f' left join past."{table.name}" as o on o.seen_until is null and {same}'
            f") as p (seen_from, seen_until, {listed}) cross join lateral ("
            + view.sql.replace(f'"core"."{table.name}"', "(select p.*)")
            + ") as shown"
        ),
        columns=(*SEEN_COLUMNS, *view.columns),
    )


def _as_of(table: Table, view: View) -> Function:
    listed = ", ".join(f'seen."{column.name}"' for column in view.columns)
    switched = f"(select mart.switched_by($1, '{table.name}'))"
    return Function(
        schema="mart",
        name=f"{view.name}_as_of",
        arguments=(("build", "text"),),
        columns=view.columns,
        language="sql",
        options="stable parallel safe",
        body=(
            f'select {listed} from mart."{view.name}_as_seen" as seen'
            f" where seen.seen_from <= {switched} and (seen.seen_until > {switched} or seen.seen_until is null)"
        ),
        description=f"{view.description}, as readers saw it after the switch of a build",
        readers=READERS,
    )


def names(connection: psycopg.Connection) -> list[str]:
    """The tables of which is kept what readers saw."""
    return [row[0] for row in connection.execute("select table_name from audit.past order by table_name")]


def record(connection: psycopg.Connection, switch_id: int, members: Iterable[Table], how: Mapping[str, str]) -> None:
    """Keep what a switch has replaced, and begin or end with tables whose model says so since.

    Args:
        connection: in the switch's transaction, after the merge.
        switch_id: the switch.
        members: the tables of ``core``.
        how: by table how it was replaced, as `peel.builds.undo.Undo` has it.
    """
    for name in names(connection):
        kind, source = how.get(name), source_of(name, switch_id)
        if kind == ROWS:
            _rows(connection, switch_id, name, source, _columns(connection, source))
        elif kind in (WHOLE, GONE):
            _close(connection, switch_id, name, source)
    _settle(connection, switch_id, members, {name for name, kind in how.items() if kind in (WHOLE, NEW)})


def take_back(connection: psycopg.Connection, switch_id: int, undone: int, how: Mapping[str, str]) -> None:
    """Keep what readers saw until a switch is taken back; call it before, and :func:`settle_back` after.

    Args:
        connection: in the transaction that takes the switch back.
        switch_id: the switch by which that happens.
        undone: the switch that is taken back.
        how: by table how that one had replaced it.
    """
    for name in names(connection):
        kind, replaced = how.get(name), source_of(name, undone)
        if kind == ROWS:
            same = " and ".join(f'c."{key}" = u."{key}"' for key in _key(connection, name))
            columns = _columns(connection, replaced)
            listed = ", ".join(f'"{column}"' for column in columns)
            went = f'select true as is_old, {listed} from core."{name}" c'
            came = f"select false, {listed} from {replaced} where is_old"
            source = f"({went} where exists (select from {replaced} u where {same}) union all {came})"
            _rows(connection, switch_id, name, source, columns)
        elif kind in (WHOLE, NEW):
            _close(connection, switch_id, name, f'core."{name}"')


def settle_back(
    connection: psycopg.Connection, switch_id: int, members: Iterable[Table], how: Mapping[str, str]
) -> None:
    """Go on with the tables as they were put back."""
    _settle(connection, switch_id, members, {name for name, kind in how.items() if kind in (WHOLE, NEW, GONE)})


def _settle(connection: psycopg.Connection, switch_id: int, members: Iterable[Table], made: set[str]) -> None:
    wanted = {table.name: table for table in members if table.as_of}
    kept = names(connection)
    for name in kept:
        if name not in wanted:
            _end(connection, switch_id, name, is_closed=name in made)
        elif name in made:
            connection.execute(f'delete from past."{name}" where seen_until is null'.encode())
            _shape(connection, wanted[name])
            connection.execute("update audit.past set made_by = %s where table_name = %s", (switch_id, name))
    for name in wanted.keys() - kept:
        connection.execute(
            f'create table past."{name}" (seen_from bigint not null, seen_until bigint,'
            " check (seen_until > seen_from))".encode()
        )
        connection.execute(f'create index on past."{name}" (seen_until)'.encode())
        _shape(connection, wanted[name])
        connection.execute(
            "insert into audit.past (table_name, kept_from, made_by) values (%s, %s, %s)", (name, switch_id, switch_id)
        )


def _rows(connection: psycopg.Connection, switch_id: int, name: str, source: str, columns: list[str]) -> None:
    """Close the rows that went, and note the keys that came.

    Args:
        connection: in a switch's transaction.
        switch_id: the switch.
        name: the table.
        source: a relation of ``is_old`` and the table's columns: rows that went, and keys that came.
        columns: the table's columns.
    """
    keys = _key(connection, name)
    key = ", ".join(f'"{column}"' for column in keys)
    same = " and ".join(f'u."{column}" = o."{column}"' for column in keys)
    listed = ", ".join(f'"{column}"' for column in columns)
    went = ", ".join(f'u."{column}"' for column in columns)
    connection.execute(
        f'with o as (delete from past."{name}" as o using {source} as u where u.is_old and o.seen_until is null'
        f" and {same} returning o.*)"
        f' insert into past."{name}" (seen_from, seen_until, {listed})'
        f" select coalesce(o.seen_from, made.made_by), %(switch)s, {went} from {source} as u left join o on {same}"
        f" cross join (select made_by from audit.past where table_name = %(name)s) as made"
        f" where u.is_old and coalesce(o.seen_from, made.made_by) < %(switch)s".encode(),
        {"switch": switch_id, "name": name},
    )
    connection.execute(
        f'insert into past."{name}" (seen_from, {key}) select %s, {key} from {source} as u where not is_old'.encode(),
        (switch_id,),
    )


def _close(connection: psycopg.Connection, switch_id: int, name: str, source: str) -> None:
    """Close every row of a table that is made anew or goes, as it stood in a relation."""
    columns = _columns(connection, source)
    listed = ", ".join(f'"{column}"' for column in columns)
    _rows(connection, switch_id, name, f"(select true as is_old, {listed} from {source})", columns)


def _end(connection: psycopg.Connection, switch_id: int, name: str, *, is_closed: bool) -> None:
    """Keep no more of a table; what there is stays under a name that says until when."""
    standing = connection.execute("select to_regclass(%s)", (f'core."{name}"',)).fetchone()
    if not is_closed and standing is not None and standing[0] is not None:
        _close(connection, switch_id, name, f'core."{name}"')
    ended = f"{name[:40]}__until_{switch_id}"
    connection.execute(f'drop view if exists mart."{name}_as_seen" cascade'.encode())
    connection.execute(f'alter table past."{name}" rename to "{ended}"'.encode())
    connection.execute(f'drop index past."{name}_standing"'.encode())
    connection.execute("delete from audit.past where table_name = %s", (name,))


def _shape(connection: psycopg.Connection, table: Table) -> None:
    """Give ``past.<table>`` the columns and the key of a table of ``core`` that was just made; none is taken away."""
    relation = f'past."{table.name}"'
    there: dict[str, str] = dict(
        connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass"
            " and attnum > 0 and not attisdropped",
            (relation,),
        ).fetchall()
    )
    for column in table.columns:
        if column.name not in there:
            connection.execute(f'alter table {relation} add column "{column.name}" {column.type}'.encode())
        elif there[column.name] != _named(connection, column):
            # A view stands on the column; it is made anew with every table that is.
            connection.execute(f'drop view if exists mart."{table.name}_as_seen" cascade'.encode())
            connection.execute(
                sql.SQL(
                    "alter table {table} alter column {column} type {type} using"
                    " case when pg_input_is_valid({column}::text, {name}) then {column}::text::{type} end"
                ).format(
                    table=sql.SQL(relation),
                    column=sql.Identifier(column.name),
                    type=sql.SQL(column.type),
                    name=sql.Literal(column.type),
                )
            )
        connection.execute(
            sql.SQL("comment on column {}.{} is {}").format(
                sql.SQL(relation), sql.Identifier(column.name), sql.Literal(column.description)
            )
        )
    key = ", ".join(f'"{name}"' for name in table.key)
    connection.execute(f'drop index if exists past."{table.name}_standing"'.encode())
    connection.execute(
        f'create unique index "{table.name}_standing" on {relation} ({key}) where seen_until is null'.encode()
    )
    connection.execute(
        sql.SQL("comment on table {} is {}").format(
            sql.SQL(relation),
            sql.Literal(
                f"{table.description}, gone since a switch; or the key of one that came by a switch and stands"
            ),
        )
    )


def _key(connection: psycopg.Connection, name: str) -> list[str]:
    """The key by which ``past.<table>`` knows rows that stand."""
    return [
        row[0]
        for row in connection.execute(
            "select attname from pg_index join pg_attribute on attrelid = indexrelid"
            " where indexrelid = to_regclass(%s) order by attnum",
            (f'past."{name}_standing"',),
        )
    ]


def _columns(connection: psycopg.Connection, relation: str) -> list[str]:
    """The columns of a table of ``core`` or ``undo``, but for the mark of what is old."""
    return [
        row[0]
        for row in connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
            " and attname <> 'is_old' order by attnum",
            (relation,),
        )
    ]


def _named(connection: psycopg.Connection, column: TableColumn) -> str:
    """A column's type as PostgreSQL writes it."""
    row = connection.execute(
        "select format_type(to_regtype(%s), to_regtypemod(%s))", (column.type, column.type)
    ).fetchone()
    assert row is not None
    return str(row[0])
