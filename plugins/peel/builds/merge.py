"""Merging ``next`` into ``core``: plain SQL that touches only the rows that differ."""

from __future__ import annotations

from peel.builds.tables import Table


def delete_sql(table: Table) -> str:
    """SQL that deletes from ``core`` what tonight no longer says, within tonight's partitions."""
    names = [column.name for column in table.columns]
    same = " and ".join(f'n."{name}" = c."{name}"' for name in table.key)
    rest = [name for name in names if name not in table.key]
    equal = f" and ({_row('n', rest)}) is not distinct from ({_row('c', rest)})" if rest else ""
    stands = f'exists (select from next."{table.name}" n where {same}{equal})'
    within = " and ".join(f'a."{name}" = c."{name}"' for name in table.partition_by)
    return (
        f'delete from core."{table.name}" c'
        f' where exists (select from next."{table.affected}" a where {within}) and not {stands}'
    )


def upsert_sql(table: Table) -> str:
    """SQL that brings a dimension's changed rows up to date in place, so that its key never vanishes."""
    names = [column.name for column in table.columns]
    rest = [name for name in names if name not in table.key]
    listed = ", ".join(f'"{name}"' for name in names)
    key = ", ".join(f'"{name}"' for name in table.key)
    if not rest:
        action = "do nothing"
    else:
        sets = ", ".join(f'"{name}" = excluded."{name}"' for name in rest)
        action = f"do update set {sets} where ({_row('c', rest)}) is distinct from ({_row('excluded', rest)})"
    return (
        f'insert into core."{table.name}" as c ({listed}) select {listed} from next."{table.name}"'
        f" on conflict ({key}) {action}"
    )


def delete_vanished_sql(table: Table) -> str:
    """SQL that deletes a dimension's rows that tonight does not hold; run after the facts."""
    same = " and ".join(f'n."{name}" = c."{name}"' for name in table.key)
    return f'delete from core."{table.name}" c where not exists (select from next."{table.name}" n where {same})'


def insert_sql(table: Table) -> str:
    """SQL that inserts into ``core`` the rows of ``next`` that are not there."""
    listed = ", ".join(f'"{column.name}"' for column in table.columns)
    same = " and ".join(f'n."{name}" = c."{name}"' for name in table.key)
    return (
        f'insert into core."{table.name}" ({listed}) select {listed} from next."{table.name}" n'
        f' where not exists (select from core."{table.name}" c where {same}){_together(table)}'
    )


def fill_sql(table: Table) -> str:
    """SQL that fills a table of ``core`` that was just made; ``next`` then holds every partition."""
    listed = ", ".join(f'"{column.name}"' for column in table.columns)
    return f'insert into core."{table.name}" ({listed}) select {listed} from next."{table.name}"{_together(table)}'


def key_sql(table: Table) -> str:
    """SQL for the key of a table of ``core``, after it was filled."""
    key = ", ".join(f'"{name}"' for name in table.key)
    return f'alter table core."{table.name}" add primary key ({key})'


def index_sql(table: Table) -> list[str]:
    """SQL for the indexes of a table of ``core`` that are not there yet, after it was filled."""
    wanted = list(table.find_by)
    if table.partition_by and table.partition_by != table.key[: len(table.partition_by)]:
        wanted.append(table.partition_by)
    if any(column.name == "person_key" for column in table.columns) and table.key[0] != "person_key":
        wanted.append(("person_key",))
    statements = []
    for names in dict.fromkeys(wanted):
        index = "_".join((table.name, *names, "idx"))
        by = ", ".join(f'"{name}"' for name in names)
        statements.append(f'create index if not exists "{index}" on core."{table.name}" ({by})')
    return statements


def orphans_sql(child: str, column: str, parent: str, key: str, schema: str) -> str:
    """SQL that counts rows of ``<schema>.<child>`` whose reference leads nowhere in ``core``."""
    return (
        f'select count(*) from {schema}."{child}" c where c."{column}" is not null'
        f' and not exists (select from core."{parent}" p where p."{key}" = c."{column}")'
    )


def kept_sql(statement: str, table: Table, undo: str, kind: str) -> str:
    """SQL that merges as a statement above does, and keeps what it replaces in a table of schema ``undo``.

    Args:
        statement: of :func:`delete_sql`, :func:`upsert_sql`, :func:`delete_vanished_sql` or :func:`insert_sql`.
        table: what it merges.
        undo: the table, which has ``is_old`` and the columns of ``table``: rows that went, and keys that came.
        kind: ``delete``, ``upsert`` or ``insert``.
    """
    names = [column.name for column in table.columns]
    key = ", ".join(f'"{name}"' for name in table.key)
    if kind == "insert":
        given, into = f"false as is_old, {key}", f"is_old, {key}"
    elif kind == "delete":
        listed = ", ".join(f'c."{name}"' for name in names)
        given, into = f"true as is_old, {listed}", ", ".join(["is_old", *(f'"{name}"' for name in names)])
    else:
        rest = [name for name in names if name not in table.key]
        old = [f'new."{name}"' for name in table.key] + [f'old."{name}"' for name in rest]
        given = ", ".join([f'old."{table.key[0]}" is not null as is_old', *old])
        into = ", ".join(["is_old", *(f'"{name}"' for name in (*table.key, *rest))])
    return f'with merged as ({statement} returning {given}) insert into undo."{undo}" ({into}) select * from merged'


def _together(table: Table) -> str:
    """An order in which the rows of a month lie together, so that whoever reads one month reads few pages."""
    days = {column.name for column in table.columns if column.type == "date"}
    if not table.partition_by or table.partition_by[0] not in days:
        return ""
    return " order by " + ", ".join(f'"{name}"' for name in table.partition_by)


def _row(alias: str, names: list[str]) -> str:
    return "row(" + ", ".join(f'{alias}."{name}"' for name in names) + ")"
