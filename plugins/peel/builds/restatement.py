"""Which figures of closed periods a switch changed, by how much, and on what account.

A period is closed once a night of a later month has been switched. A model says in its switch how it is restated:
the column that ends its period, the columns that name a figure, and the measures.
"""

from __future__ import annotations

from typing import Any

import psycopg

from peel.builds.tables import Restated, Table, TableColumn
from peel.builds.undo import ROWS, WHOLE, source_of

RESTATEMENT = """
create or replace view mart.restatement as
select
    r.switch_id,
    s.switched_at,
    b.business_date as as_known_on,
    r.table_name,
    r.cell,
    r.measure,
    r.before,
    r.after,
    r.after - r.before as change,
    case
        when s.undoes is not null then 'taken back'
        else concat_ws(
            '; ',
            case when (s.because ->> 'definitions')::boolean then 'changed definitions' end,
            case when (s.because ->> 'people')::integer > 0 then 'requests of people' end,
            case
                when jsonb_array_length(s.because -> 'decisions') > 0
                    then 'decisions ' || translate(s.because ->> 'decisions', '[]"', '')
            end,
            case
                when jsonb_array_length(s.because -> 'deliveries') > 0
                    then 'deliveries ' || translate(s.because ->> 'deliveries', '[]"', '')
            end
        )
    end as because
from audit.restatement as r
inner join audit.switch as s on r.switch_id = s.switch_id
inner join audit.build as b on s.build_id = b.build_id
"""

EACH_ROW_IS = "a figure of a closed period that a later night changed"
COLUMNS = (
    TableColumn("switch_id", "bigint", "Number of the switch that changed the figure."),
    TableColumn("switched_at", "timestamp with time zone", "When readers saw it first."),
    TableColumn("as_known_on", "date", "The night it is of."),
    TableColumn("table_name", "text", "The table of the star the figure is in."),
    TableColumn("cell", "jsonb", "What names the figure: its period and its attributes."),
    TableColumn("measure", "text", "The column that is counted or summed."),
    TableColumn("before", "numeric", "The figure as it was."),
    TableColumn("after", "numeric", "The figure as it is."),
    TableColumn("change", "numeric", "After less before."),
    TableColumn(
        "because",
        "text",
        "What had changed since the switch before: definitions, deliveries, decisions, requests of people.",
    ),
)


def because(connection: psycopg.Connection, build_id: str) -> dict[str, Any]:
    """What a build stands on that what readers see does not; empty before the first switch."""
    row = connection.execute(
        "select b.checksum <> s.checksum,"
        " array(select unnest(b.deliveries) except select unnest(s.deliveries) order by 1),"
        " array(select unnest(b.decisions) except select unnest(s.decisions) order by 1),"
        " (select count(*) from audit.erasure e where e.requested_at > (select max(switched_at) from audit.switch))"
        " from audit.build b cross join audit.switched_build s where b.build_id = %s",
        (build_id,),
    ).fetchone()
    if row is None:
        return {}
    return {"definitions": row[0], "deliveries": row[1], "decisions": row[2], "people": row[3]}


def record(connection: psycopg.Connection, switch_id: int, members: list[Table], how: dict[str, str]) -> int:
    """Write down the figures of closed periods that a switch has changed; how many.

    Args:
        connection: in the switch's transaction, after the merge.
        switch_id: the switch.
        members: the tables of ``core``.
        how: by table how it was replaced, as `peel.builds.undo.Undo` keeps it.
    """
    row = connection.execute(
        "select date_trunc('month', b.business_date)::date from audit.switch s join audit.build b using (build_id)"
        " where s.switch_id < %s order by s.switch_id desc limit 1",
        (switch_id,),
    ).fetchone()
    if row is None:
        return 0
    written = 0
    for table in members:
        kind = how.get(table.name)
        if table.restated is not None and kind in (ROWS, WHOLE):
            statement = _record_sql(connection, table, table.restated, switch_id, whole=kind == WHOLE)
            if statement:
                written += connection.execute(
                    statement.encode(), {"switch_id": switch_id, "before_day": row[0]}
                ).rowcount
    return written


def take_back(connection: psycopg.Connection, switch_id: int, undone: int) -> None:
    """Write down that a switch took back what another had restated."""
    connection.execute(
        "insert into audit.restatement (switch_id, table_name, cell, measure, before, after)"
        " select %s, table_name, cell, measure, after, before from audit.restatement where switch_id = %s",
        (switch_id, undone),
    )


def _record_sql(
    connection: psycopg.Connection, table: Table, restated: Restated, switch_id: int, *, whole: bool
) -> str | None:
    """SQL that compares a table before and after a switch, cell by cell; none where nothing can be compared."""
    source = source_of(table.name, switch_id)
    was = connection.execute(
        "select o.attname, o.atttypid = c.atttypid, t.typcategory = 'N' from pg_attribute o"
        " join pg_attribute c on c.attrelid = %s::regclass and c.attname = o.attname and not c.attisdropped"
        " join pg_type t on t.oid = o.atttypid where o.attrelid = %s::regclass and o.attnum > 0 and not o.attisdropped",
        (f'core."{table.name}"', source),
    ).fetchall()
    # What a column meant under another type is not held against what it means now.
    alike, numbers = {name for name, same, _ in was if same}, {name for name, _, number in was if number}
    cell = [name for name in restated.cell if name in alike]
    measures = [name for name in restated.measures if name in numbers]
    if restated.period not in alike or not measures:
        return None
    by = ", ".join(f'"{name}"' for name in (restated.period, *cell))
    sums = ", ".join(f'sum("{name}") as "{name}"' for name in measures)
    closed = f'"{restated.period}" < %(before_day)s'
    same = " and ".join(f'u."{name}" = c."{name}"' for name in table.key)
    old = "" if whole else " and is_old"
    touched = "" if whole else f" and exists (select from {source} u where {same})"
    names = ", ".join(f"'{restated.called.get(name, name)}', \"{name}\"" for name in (restated.period, *cell))
    # What a cell holds beside the rows that were touched is the same before and after.
    values = ", ".join(
        f'(\'{name}\', coalesce(whole."{name}", 0), coalesce(before."{name}", 0), coalesce(after."{name}", 0))'
        for name in measures
    )
    return (
        f"with before as (select {by}, {sums} from {source} where {closed}{old} group by {by}),"
        f' after as (select {by}, {sums} from core."{table.name}" c where c.{closed}{touched} group by {by}),'
        f' whole as (select {by}, {sums} from core."{table.name}" c where c.{closed}'
        f" and ({by}) in (select {by} from before union select {by} from after) group by {by})"
        " insert into audit.restatement (switch_id, table_name, cell, measure, before, after)"
        f" select %(switch_id)s, '{table.name}', jsonb_build_object({names}), m.measure,"
        " m.whole - m.came + m.went, m.whole"
        f" from before full join after using ({by}) left join whole using ({by})"
        f" cross join lateral (values {values}) as m (measure, whole, went, came)"
        " where m.went <> m.came"
    )
