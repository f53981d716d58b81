"""The switch: one transaction by which a build becomes what readers see.

``core`` is created and altered from dbt's manifest. Dimensions are brought up to date by key, facts
merged by partition, then vanished dimension rows deleted; foreign keys are declared without being
enforced and proven here by anti-joins. Readers see last night or tonight, never between.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from peel.builds import as_known, dbt, past, restatement
from peel.builds.merge import (
    delete_sql,
    delete_vanished_sql,
    fill_sql,
    index_sql,
    insert_sql,
    key_sql,
    orphans_sql,
    upsert_sql,
)
from peel.builds.tables import Function, Table, TableColumn, View, names_the_gone, tables, views
from peel.builds.undo import Undo
from peel.errors import PeelError
from peel.settings import Settings
from peel.warehouse import connect

AS_OF = """
create or replace view mart.as_of as
select
    b.business_date,
    b.build_id,
    (select s.switched_at from audit.switch as s order by s.switch_id desc limit 1) as switched_at,
    k.police_source_kind,
    k.residents_source_kind,
    case k.police_source_kind
        when 'simulated' then 'Police and applicant figures: simulated force, not real.'
        else 'Police and applicant figures: the Met''s HR and recruitment systems.'
    end
    || case k.residents_source_kind
        when 'simulated' then ' Residents: simulated, not real.'
        else ' Residents: ONS Census.'
    end as statement,
    b.deliveries,
    l.business_date as latest_attempt_of,
    l.state as latest_attempt_state,
    (select h.reason from audit.hold as h where h.lifted_at is null order by h.hold_id desc limit 1) as held_because
from audit.switched_build as b
cross join lateral (
    select
        case when bool_or(d.source_kind = 'simulated' and d.feed <> 'census') then 'simulated' else 'real' end
            as police_source_kind,
        case when bool_or(d.source_kind = 'simulated' and d.feed = 'census') then 'simulated' else 'real' end
            as residents_source_kind
    from audit.delivery as d
    where d.feed || ':' || d.delivery_id = any(b.deliveries)
) as k
left join lateral (
    select a.business_date, a.state from audit.build as a order by a.started_at desc limit 1
) as l on true
"""

AS_OF_EACH_ROW_IS = "the night that readers see; there is one row"
AS_OF_COLUMNS = (
    TableColumn("business_date", "date", "The day whose deliveries the figures stand on."),
    TableColumn("build_id", "text", "The build readers see: the same in two statements means the same figures."),
    TableColumn("switched_at", "timestamp with time zone", "When readers first saw it."),
    TableColumn("police_source_kind", "text", "simulated or real: where police and applicant figures come from."),
    TableColumn("residents_source_kind", "text", "simulated or real: where residents come from."),
    TableColumn(
        "statement", "text", "What to show beside every figure: whether it is of a simulated force or of the Met."
    ),
    TableColumn("deliveries", "text[]", "The deliveries the build stands on, each as feed:delivery_id."),
    TableColumn("latest_attempt_of", "date", "Business date of the latest build."),
    TableColumn(
        "latest_attempt_state",
        "text",
        "What became of the latest build: switched or failed; building, built or gated while it is under way.",
    ),
    TableColumn("held_because", "text", "Why a person holds readers at this night; empty when nobody does."),
)
MADE_BY_THE_SWITCH = (
    ("as_of", AS_OF_EACH_ROW_IS, AS_OF_COLUMNS),
    ("restatement", restatement.EACH_ROW_IS, restatement.COLUMNS),
)
"""Views of ``mart`` that are no models of dbt: name, what each row is, and columns."""


def switch(settings: Settings, build_id: str) -> dict[str, int]:
    """Make a gated build what readers see.

    Args:
        settings: the installation.
        build_id: a build in state ``gated``.

    Returns:
        Rows inserted, updated or deleted in ``core``, by table; only tables that changed.

    Raises:
        PeelError: the build is not gated, or a foreign key leads nowhere; nothing is changed.
    """
    manifest = dbt.manifest(settings, build_id)
    members, mart, asked = readable(manifest)
    with connect(settings, "transform") as connection:
        connection.execute("select pg_advisory_lock(hashtext('peel build'))")
        connection.rollback()  # the lock is the session's: there is nothing to commit
        state = connection.execute("select state from audit.build where build_id = %s", (build_id,)).fetchone()
        if state is not None and state[0] == "switched":
            return {}
        if state is None or state[0] != "gated":
            raise PeelError("the build has not passed its gate.", rule="build_gated", do="Build again.")
        switch_id = begin(connection, build_id, restatement.because(connection, build_id))
        compared = [table.name for table in members if table.as_of or table.restated]
        undo = Undo(connection, switch_id, [*past.names(connection), *compared])
        reshaped = {table.name for table in members if _shape(connection, table, undo)}
        changed, thinned = _merge(connection, members, reshaped, undo)
        prove_keys(connection, members, reshaped | thinned)
        drop_orphans(connection, members, mart, asked, undo)
        past.record(connection, switch_id, members, undo.tables)
        publish(connection, members, mart, asked, remake=bool(reshaped))
        for name in names_the_gone(manifest):
            connection.execute(f'truncate next."{name}"'.encode())
        restatement.record(connection, switch_id, members, undo.tables)
        end(connection, switch_id, changed, undo.settle())
        connection.execute(
            "update audit.build set state = 'switched', finished_at = clock_timestamp() where build_id = %s",
            (build_id,),
        )
        connection.commit()
        connection.autocommit = True
        for relation in _much_changed(connection, changed):
            connection.execute(f"analyze {relation}".encode())
    return changed


def readable(manifest: dict[str, Any]) -> tuple[list[Table], list[View], list[Function]]:
    """The tables of ``core``, the views of ``mart`` and the functions that a build's manifest describes."""
    members, mart = tables(manifest), views(manifest)
    asked = [*as_known.functions(manifest), *past.functions(members, mart)]
    return members, [*mart, *past.views(members, mart)], asked


def begin(
    connection: psycopg.Connection,
    build_id: str,
    because: dict[str, Any],
    undoes: int | None = None,
    who: str | None = None,
) -> int:
    """Enter a switch in the audit, at the start of its transaction; its number.

    Args:
        connection: in the switch's transaction.
        build_id: what readers will see.
        because: what it stands on that the build before did not.
        undoes: the switch that this one takes back.
        who: who takes it back.
    """
    row = connection.execute(
        "insert into audit.switch (build_id, rows, because, undoes, who) values (%s, '{}', %s, %s, %s)"
        " returning switch_id",
        (build_id, Jsonb(because), undoes, who),
    ).fetchone()
    assert row is not None
    return int(row[0])


def end(connection: psycopg.Connection, switch_id: int, changed: dict[str, int], undo: dict[str, str] | None) -> None:
    """Say at the end of a switch what it changed, and how it can be taken back."""
    connection.execute(
        "update audit.switch set rows = %s, undo = %s where switch_id = %s",
        (Jsonb(changed), None if undo is None else Jsonb(undo), switch_id),
    )


def give_up(connection: psycopg.Connection, reason: str) -> None:
    """Give up builds that wait for their gate or their switch: what they stand on is no longer what readers see.

    Args:
        connection: as ``transform``, holding the lock of builds.
        reason: what came between.
    """
    connection.execute(
        "update audit.build set state = 'failed', reason = %s where state in ('built', 'gated')", (reason,)
    )


def _shape(connection: psycopg.Connection, table: Table, undo: Undo) -> bool:
    """Make ``core.<table>`` or make it anew where its columns differ; true when it was made.

    A changed shape comes with a changed checksum, and then ``next`` holds every partition.
    """
    existing = connection.execute(
        "select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
        (f'core."{table.name}"',),
    ).fetchall()
    wanted = connection.execute(
        "select n, format_type(to_regtype(t), to_regtypemod(t)), k from"
        " unnest(%s::text[], %s::text[], %s::boolean[]) with ordinality as w (n, t, k, position)"
        " order by position",
        (
            [column.name for column in table.columns],
            [column.type for column in table.columns],
            [column.not_null for column in table.columns],
        ),
    ).fetchall()
    if existing != wanted:
        undo.set_aside(table.name, replaced=True)
        columns = ", ".join(
            f'"{column.name}" {column.type}{" not null" if column.not_null else ""}' for column in table.columns
        )
        connection.execute(f'create table core."{table.name}" ({columns})'.encode())
    _comment(connection, f'core."{table.name}"', "table", table.description)
    _comment_columns(connection, f'core."{table.name}"', table.columns)
    return existing != wanted


def _merge(
    connection: psycopg.Connection, members: list[Table], reshaped: set[str], undo: Undo
) -> tuple[dict[str, int], set[str]]:
    """Merge every table; rows changed by table, and the dimensions that lost rows."""
    changed: dict[str, int] = {}
    thinned: set[str] = set()

    def run(table: Table, statement: str) -> int:
        count = connection.execute(statement.encode()).rowcount
        if count:
            changed[table.name] = changed.get(table.name, 0) + count
        return count

    for table in members:
        if table.name in reshaped:
            run(table, fill_sql(table))
            connection.execute(key_sql(table).encode())
        for statement in index_sql(table):
            connection.execute(statement.encode())
    for table in members:
        if table.is_dimension and table.name not in reshaped:
            run(table, undo.merging(table, upsert_sql(table), "upsert"))
    for table in members:
        if not table.is_dimension and table.name not in reshaped:
            run(table, undo.merging(table, delete_sql(table), "delete"))
            run(table, undo.merging(table, insert_sql(table), "insert"))
    for table in members:
        if not table.is_dimension or table.name in reshaped:
            continue
        if run(table, undo.merging(table, delete_vanished_sql(table), "delete")):
            thinned.add(table.name)
    return dict(sorted(changed.items())), thinned


def _much_changed(connection: psycopg.Connection, changed: dict[str, int]) -> list[str]:
    """Tables of which a switch has changed so much that what the planner knows of them is out of date."""
    rows = connection.execute(
        "select oid::regclass::text from pg_class join unnest(%s::text[], %s::bigint[]) as c (name, rows)"
        " on relname = c.name where relnamespace in ('core'::regnamespace, 'past'::regnamespace) and relkind = 'r'"
        " and c.rows >= reltuples / 200 order by 1",
        (list(changed), list(changed.values())),
    )
    return [row[0] for row in rows]


def prove_keys(connection: psycopg.Connection, members: list[Table], suspect: set[str]) -> None:
    """Declare each foreign key, not enforced, and prove it by one anti-join.

    Rows that were there before were proven then: tonight's are proven, and all of a table's where it or
    the table it refers to is new or has lost rows.

    Raises:
        PeelError: a reference leads nowhere; names table, column and count.
    """
    for table in members:
        for column in table.columns:
            if column.references is None:
                continue
            parent, key = column.references
            schema = "core" if {table.name, parent} & suspect else "next"
            row = connection.execute(orphans_sql(table.name, column.name, parent, key, schema).encode()).fetchone()
            if row is not None and row[0]:
                raise PeelError(
                    f"rows of {table.name} refer to no row of {parent}; last night stands.",
                    column=column.name,
                    rule="foreign_key",
                    count=row[0],
                )
            name = f"{table.name}_{column.name}_fkey"
            exists = connection.execute(
                "select 1 from pg_constraint where conrelid = to_regclass(%s) and conname = %s",
                (f'core."{table.name}"', name),
            ).fetchone()
            if not exists:
                connection.execute(
                    f'alter table core."{table.name}" add constraint "{name}" foreign key ("{column.name}")'
                    f' references core."{parent}" ("{key}") not enforced'.encode()
                )


def publish(
    connection: psycopg.Connection, members: list[Table], mart: list[View], asked: list[Function], *, remake: bool
) -> None:
    """Make the views of ``mart`` and the functions where they are missing or differ, and grant what readers may read.

    Args:
        connection: in the switch's transaction.
        members: the tables of ``core``.
        mart: the views.
        asked: the functions.
        remake: make every view anew, because a table it stands on was.
    """
    for table in members:
        connection.execute(f'revoke all on core."{table.name}" from peel_analyst'.encode())
        if not table.internal:
            connection.execute(f'grant select on core."{table.name}" to peel_analyst'.encode())
            _log_reads(connection, table.name)
    for view in mart:
        stamp = connection.execute(
            "select obj_description(to_regclass(%s), 'pg_class')", (f'mart."{view.name}"',)
        ).fetchone()
        definition = connection.execute("select md5(%s)", (view.sql,)).fetchone()
        label = f"{view.description} (definition {definition[0][:8] if definition else ''})"
        if not remake and stamp is not None and stamp[0] == label:
            continue
        connection.execute(f'drop view if exists mart."{view.name}" cascade'.encode())
        connection.execute(f'create view mart."{view.name}" as {view.sql}'.encode())
        _comment(connection, f'mart."{view.name}"', "view", label)
        _comment_columns(connection, f'mart."{view.name}"', view.columns)
    for function in asked:
        _make_function(connection, function)
    connection.execute(AS_OF.encode())
    connection.execute(restatement.RESTATEMENT.encode())
    for name, each_row_is, columns in MADE_BY_THE_SWITCH:
        _comment(connection, f'mart."{name}"', "view", f"Each row is {each_row_is}")
        _comment_columns(connection, f'mart."{name}"', columns)
    connection.execute("grant select on all tables in schema mart to peel_bi, peel_publish, peel_analyst")


def _log_reads(connection: psycopg.Connection, name: str) -> None:
    """Have every scan of a table by an analyst leave a line in the server's log, by a policy that lets all rows pass.

    As a subquery it is asked once for a statement that finds a row, not once for a row; in read-only transactions
    too, and what is logged outlives a rollback. The owner of the table, and so every view of ``mart``, is not
    concerned.
    """
    logs = connection.execute(
        "select relrowsecurity and exists (select from pg_policy where polrelid = c.oid and polname = 'read_is_logged')"
        " from pg_class as c where c.oid = to_regclass(%s)",
        (f'core."{name}"',),
    ).fetchone()
    if logs is None or not logs[0]:
        connection.execute(f'alter table core."{name}" enable row level security'.encode())
        connection.execute(
            f'create policy read_is_logged on core."{name}" for select to peel_analyst'
            f" using ((select core.read_is_logged('core.\"{name}\"'::regclass)))".encode()
        )


def _make_function(connection: psycopg.Connection, function: Function) -> None:
    """Make a function, unless it stands as it is; nobody but its readers may call it."""
    arguments = ", ".join(f"{name} {kind}" for name, kind in function.arguments)
    head = f"({arguments}) returns {function.result} language {function.language} {function.options} as "
    stamp = connection.execute(
        "select obj_description(to_regprocedure(%s), 'pg_proc'), md5(%s)", (function.signature, head + function.body)
    ).fetchone()
    assert stamp is not None
    label = f"{function.description} (definition {stamp[1][:8]})"
    if stamp[0] != label:
        connection.execute(f"drop function if exists {function.signature}".encode())
        connection.execute(
            sql.SQL("create function {} {} {}").format(
                sql.Identifier(function.schema, function.name), sql.SQL(head), sql.Literal(function.body)
            )
        )
        _comment(connection, function.signature, "function", label)
    connection.execute(f"revoke all on function {function.signature} from public".encode())
    connection.execute(f"grant execute on function {function.signature} to {', '.join(function.readers)}".encode())


def drop_orphans(
    connection: psycopg.Connection, members: list[Table], mart: list[View], asked: list[Function], undo: Undo | None
) -> None:
    """Take away what the manifest does not describe; its tables are kept where a switch can be taken back."""
    for (signature,) in connection.execute(
        "select oid::regprocedure::text from pg_proc where pronamespace in ('core'::regnamespace, 'mart'::regnamespace)"
        " and proowner = current_user::regrole"
        " and oid <> all (select to_regprocedure(s) from unnest(%s::text[]) as s where to_regprocedure(s) is not null)",
        ([function.signature for function in asked],),
    ).fetchall():
        connection.execute(f"drop function {signature}".encode())
    kept = {
        "core": {table.name for table in members},
        "mart": {view.name for view in mart} | {name for name, _, _ in MADE_BY_THE_SWITCH},
    }
    for schema, name, kind in connection.execute(
        "select relnamespace::regnamespace::text, relname, relkind from pg_class"
        " where relnamespace in ('core'::regnamespace, 'mart'::regnamespace) and relkind in ('r', 'v')"
    ).fetchall():
        if name in kept[schema]:
            continue
        if kind == "r" and undo is not None:
            undo.set_aside(name, replaced=False)
        else:
            what = "table" if kind == "r" else "view"
            connection.execute(f'drop {what} if exists {schema}."{name}" cascade'.encode())


def _comment(connection: psycopg.Connection, target: str, kind: str, text: str) -> None:
    connection.execute(sql.SQL("comment on {} {} is {}").format(sql.SQL(kind), sql.SQL(target), sql.Literal(text)))


def _comment_columns(connection: psycopg.Connection, target: str, columns: tuple[TableColumn, ...]) -> None:
    for column in columns:
        _comment(connection, f'{target}."{column.name}"', "column", column.description)
