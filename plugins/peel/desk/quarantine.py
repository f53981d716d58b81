"""Quarantine as a worklist: what is held back, since when, by which rule, and how it was settled.

Rows are named by their number in the delivery's file and the hash of their key. Their values are shown to a
named person only, and that they were is on record before they are.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from peel import contracts
from peel.contracts import Contract
from peel.deliveries import decisions
from peel.deliveries.shapes import identifier_shape
from peel.desk.decide import known_table
from peel.desk.ledger import Rows, known_feed
from peel.errors import PeelError
from peel.settings import Settings
from peel.warehouse import connect

LEAST_ROWS = 5
"""A code that fewer keys have is not shown: it might be anything that one person has."""

MOST_SHOWN = 500

# A row is open while it keeps its key held, or while the delivery it came with is refused or waits and none of
# a later date has been applied since. All else is settled: by a later delivery, or by a decision.
_WITH_STATE = """
with
newest as (
    select max(business_date) as business_date
    from audit.delivery
    where feed = {feed} and state = 'applied'
),

held as (
    select
        q.*,
        d.seq as _seq,
        case
            when q.resolution is not null then q.resolution
            when q.applied_on is not null then 'held'
            when d.state in ('refused', 'waiting') and d.business_date > coalesce(newest.business_date, '-infinity')
                then d.state
            else 'not applied'
        end as _standing
    from {quarantine} as q
    inner join audit.delivery as d on d.delivery_id = q.delivery_id
    cross join newest
),

first_seen as (
    select
        q.row_key,
        r.rule,
        min(q.business_date) as business_date
    from {quarantine} as q
    cross join lateral unnest(q.rules) as r (rule)
    where q.row_key is not null
    group by q.row_key, r.rule
)
"""
_OPEN = "_standing in ('held', 'refused', 'waiting')"


def _query(contract: Contract, select: str) -> sql.Composed:
    parts = {"feed": sql.Literal(contract.feed), "quarantine": sql.SQL(contract.relation("quarantine"))}
    return sql.SQL(_WITH_STATE).format(**parts) + sql.SQL(select)


def _tables(settings: Settings, what: str | None) -> list[Contract]:
    """Tables of a feed, one table, or all."""
    feeds = contracts.feeds(settings.contracts, validate=False)
    if what is None:
        return [contract for feed in feeds for contract in feed.contracts]
    for feed in feeds:
        if feed.name == what:
            return list(feed.contracts)
    return [known_table(settings, what)]


def _standing(settings: Settings, tables: list[Contract]) -> list[Contract]:
    """Those of the tables that have a quarantine: a feed that never delivered has none yet."""
    with connect(settings, "ingest") as connection:
        return [
            contract
            for contract in tables
            if connection.execute("select to_regclass(%s) is not null", (contract.relation("quarantine"),)).fetchone()
            == (True,)
        ]


def held(settings: Settings, what: str | None = None, rule: str | None = None, everything: bool = False) -> Rows:
    """Rows in quarantine, by table, delivery and rule.

    Args:
        settings: the installation.
        what: a feed or a table; all if left out.
        rule: a rule's name, or ``column:rule``.
        everything: settled rows too.

    Returns:
        ``table``, ``delivery_id``, ``business_date``, ``seq``, ``rule``, ``standing``, ``rows``, ``first_seen``
        (the earliest date on which one of these keys was held back by this rule) and ``held_since``.
    """
    found: Rows = []
    tables = _standing(settings, _tables(settings, what))
    with connect(settings, "ingest") as connection:
        cursor = connection.cursor(row_factory=dict_row)
        for contract in tables:
            query = _query(
                contract,
                "select held.delivery_id, held.business_date, held._seq as seq, r.rule, held._standing as standing,"
                " count(*) as rows,"
                " min(coalesce(f.business_date, held.business_date)) as first_seen,"
                " min(held.applied_on) as held_since from held cross join lateral unnest(held.rules) as r (rule)"
                " left join first_seen as f on f.row_key = held.row_key and f.rule = r.rule"
                f" where (%(rule)s::text is null or %(rule)s in (r.rule, split_part(r.rule, ':', 2)))"
                f" and (%(everything)s or {_OPEN}) group by 1, 2, 3, 4, 5"
                ' order by 2, 3, 1, r.rule collate "C", 5',
            )
            rows = cursor.execute(query, {"rule": rule, "everything": everything}).fetchall()
            found += [{"table": contract.name, **row} for row in rows]
    return found


def show(
    settings: Settings,
    delivery_id: str,
    table: str,
    row: int | None = None,
    *,
    values: bool = False,
    who: str | None = None,
) -> Rows:
    """The rows of a delivery's table that are in quarantine, the first 500 or one.

    Args:
        settings: the installation.
        delivery_id: the delivery.
        table: the table.
        row: the number of one row.
        values: whether to show the rows' values too.
        who: who wants to see them; their look is recorded first.

    Returns:
        ``row``, ``row_key``, ``rules``, ``first_seen``, ``standing``, ``resolved_on`` and, asked for, ``values``.

    Raises:
        PeelError: there is no such delivery, table or row, or values are asked for without a name.
    """
    if values and not (who or "").strip():
        raise PeelError("Values are shown to a named person only.", do="Give --who: it is recorded.")
    if who is not None and (len(who) > 500 or identifier_shape(who) is not None):
        raise PeelError("The name is too long, or has the shape of a personal identifier in it.")
    with connect(settings, "ingest") as connection:
        found = decisions.find(connection, delivery_id)
    contract = known_table(settings, table, known_feed(settings, found.feed))
    if not _standing(settings, [contract]):
        return []
    with connect(settings, "ingest") as connection:
        columns = "".join(f', held."{c.name}" as "value {c.name}"' for c in contract.columns) if values else ""
        query = _query(
            contract,
            "select held._row as row, encode(held.row_key, 'hex') as row_key, held.rules,"
            " coalesce((select min(f.business_date) from first_seen as f where f.row_key = held.row_key"
            " and f.rule = any(held.rules)), held.business_date) as first_seen, held._standing as standing,"
            " held.resolved_on"
            f"{columns} from held where held.delivery_id = %(id)s and (%(row)s::bigint is null or held._row = %(row)s)"
            " order by held._row limit %(most)s",
        )
        members = (
            connection.cursor(row_factory=dict_row)
            .execute(query, {"id": found.delivery_id, "row": row, "most": MOST_SHOWN})
            .fetchall()
        )
        if not members:
            what = f"row {row} is not in quarantine." if row is not None else "no row of it is in quarantine."
            raise PeelError(what, feed=found.feed, delivery=found.name, file=table, do="See `peel quarantine list`.")
        if values:
            connection.execute(
                "insert into audit.look (who, table_name, delivery_id, rows) values (%s, %s, %s, %s)",
                ((who or "").strip(), contract.name, found.delivery_id, len(members)),
            )
            connection.commit()  # on record before anything is seen
    names = [column.name for column in contract.columns] if values else []
    return [_shown(member, names) for member in members]


def _shown(member: dict[str, Any], names: list[str]) -> dict[str, Any]:
    shown = {key: member[key] for key in ("row", "row_key", "rules", "first_seen", "standing", "resolved_on")}
    return shown | {"values": {name: member[f"value {name}"] for name in names}} if names else shown


def codes(settings: Settings, feed: str | None = None) -> tuple[Rows, int]:
    """Codes that no contract lists and nobody mapped, of rows that are open, the most frequent first.

    Shown are only texts that look like codes and that at least five keys have; how many others there are
    comes second.

    Returns:
        Rows of ``table``, ``column``, ``code``, ``rows`` (keys that have it), ``deliveries``, ``first`` and
        ``last`` (business dates); and the number of texts not shown.
    """
    tables = _tables(settings, None) if feed is None else list(known_feed(settings, feed).contracts)
    found: Rows = []
    hidden = 0
    with_codes = [contract for contract in tables if any(column.values is not None for column in contract.columns)]
    standing = _standing(settings, with_codes)
    with connect(settings, "ingest") as connection:
        mapped: dict[str, dict[str, dict[str, dict[str, str]]]] = defaultdict(dict)
        for contract in standing:
            if contract.feed not in mapped:
                mapped[contract.feed] = decisions.mappings(connection, contract.feed)
            for column in contract.columns:
                if column.values is None:
                    continue
                query = _query(
                    contract,
                    f'select held."{column.name}" as code, count(distinct held.row_key),'
                    " count(distinct held.delivery_id), min(held.business_date), max(held.business_date) from held"
                    f" where %(rule)s = any(held.rules) group by 1 having bool_or({_OPEN})"
                    f' order by 2 desc, held."{column.name}" collate "C"',
                )
                already = mapped[contract.feed].get(contract.name, {}).get(column.name, {})
                for code, rows, deliveries, first, last in connection.execute(
                    query, {"rule": f"{column.name}:listed_code"}
                ):
                    if code in already:
                        continue
                    if rows < LEAST_ROWS or not decisions.CODE.fullmatch(code) or identifier_shape(code) is not None:
                        hidden += 1
                        continue
                    found.append(
                        {
                            "table": contract.name,
                            "column": column.name,
                            "code": code,
                            "rows": rows,
                            "deliveries": deliveries,
                            "first": first,
                            "last": last,
                        }
                    )
    found.sort(key=lambda each: -each["rows"])
    return found, hidden
