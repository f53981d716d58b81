"""Apply: make each history table the fold of the deliveries that hold, in their order.

``deliveries.acceptance`` says which deliveries hold and in what order. Where that list differs from
the one a table stands on, its known ranges are taken back to the first date that differs, and the
landed deliveries from there on are applied again. All of a feed's tables in one transaction.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import psycopg

from peel.contracts import Contract, Feed
from peel.deliveries import acceptance, ledger
from peel.deliveries.landing import landing_folder
from peel.deliveries.loading import gate_view, load_table
from peel.deliveries.pseudonyms import Keys, load_keys
from peel.errors import PeelError
from peel.history.tables import ensure_tables, row_hash, row_key
from peel.settings import Settings
from peel.warehouse import connect


@dataclass
class ApplyReport:
    """What applying came to.

    Attributes:
        applied: deliveries newly applied, by (table, delivery).
        opened: versions opened, by table.
        refused: one line for each delivery newly refused.
        waiting: deliveries that wait for a missing link.
        missing_link: the link they wait for.
        states: number of the feed's deliveries by state.
    """

    applied: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    waiting: int = 0
    missing_link: str | None = None
    states: dict[str, int] = field(default_factory=dict)


def apply_feed(settings: Settings, feed: Feed) -> ApplyReport:
    """Bring a feed's history in line with what was delivered and decided.

    Raises:
        PeelError: a landed file is damaged or the database refused; history is as before.
    """
    report = ApplyReport()
    with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
        accepted_anyway, bridges = _decisions(connection, feed)
        deliveries = _deliveries(connection, feed)
        resolution = acceptance.resolve(deliveries, feed.tables, accepted_anyway=accepted_anyway, bridges=bridges)
        keys = load_keys(settings, create=False) if resolution.verdicts else None
        ensure_tables(connection, feed.contracts)
        for contract in feed.contracts:
            if keys is not None:
                _fold(settings, connection, feed, contract, resolution.folds[contract.name], keys, report)
        _record(connection, feed, resolution, report)
        _record_freshness(connection, feed, deliveries)
        connection.commit()
        _drop_delivery_tables(connection, feed)
        connection.commit()
    return report


def _deliveries(connection: psycopg.Connection, feed: Feed) -> list[acceptance.Delivery]:
    """Every gated delivery of the feed, as acceptance looks at it."""
    contracts = {contract.name: contract for contract in feed.contracts}
    tables: dict[str, list[acceptance.Table]] = {}
    for delivery_id, name, rows, refused_by in connection.execute(
        "select t.delivery_id, t.table_name, t.rows, t.refused_by from audit.delivery_table t"
        " join audit.delivery d using (delivery_id)"
        " where d.feed = %s and d.state <> 'landed' and t.accepted is not null order by t.table_name",
        (feed.name,),
    ):
        contract = contracts.get(name)
        if contract is not None:
            table = acceptance.Table(
                name,
                rows,
                tuple(refused_by or ()),
                contract.volume_band,
                contract.volume_floor,
                contract.independent,
            )
            tables.setdefault(delivery_id, []).append(table)
    return [
        acceptance.Delivery(
            delivery_id=row[0],
            business_date=row[1],
            seq=row[2],
            extract_ts=row[3],
            source_sha256=row[4],
            mode=feed.mode,
            tables=tuple(tables[row[0]]),
            watermark_from=row[5],
            watermark_to=row[6],
            refused_by=_stale(feed, row[1], row[3]),
        )
        for row in connection.execute(
            "select delivery_id, business_date, seq, extract_ts, source_sha256, watermark_from, watermark_to"
            " from audit.delivery where feed = %s and state <> 'landed'",
            (feed.name,),
        )
        if row[0] in tables
    ]


def _stale(feed: Feed, business_date: dt.date, extract_ts: dt.datetime) -> tuple[str, ...]:
    """Freshness compares the extract with the business date, never with now."""
    from peel.london import LONDON

    hours = min((c.freshness_hours for c in feed.contracts if c.freshness_hours is not None), default=None)
    if hours is None:
        return ()
    end = dt.datetime.combine(business_date + dt.timedelta(days=1), dt.time(0), LONDON)
    return ("freshness",) if end - extract_ts > dt.timedelta(hours=hours) else ()


def _decisions(connection: psycopg.Connection, feed: Feed) -> tuple[frozenset[str], list[acceptance.Bridge]]:
    rows = connection.execute(
        "select kind, source_sha256, watermark_from, watermark_to from audit.decision"
        " where feed = %s and kind in ('accept', 'bridge') order by decision_id",
        (feed.name,),
    ).fetchall()
    accepted_anyway = frozenset(row[1] for row in rows if row[0] == "accept")
    return accepted_anyway, [acceptance.Bridge(row[2], row[3]) for row in rows if row[0] == "bridge"]


def _fold(
    settings: Settings,
    connection: psycopg.Connection,
    feed: Feed,
    contract: Contract,
    wanted: tuple[tuple[dt.date, str], ...],
    keys: Keys,
    report: ApplyReport,
) -> None:
    standing = [
        (row[0], row[1])
        for row in connection.execute(
            "select apply_date, delivery_id from audit.applied where table_name = %s order by position",
            (contract.name,),
        )
    ]
    same = 0
    while same < min(len(standing), len(wanted)) and standing[same] == wanted[same]:
        same += 1
    if same == len(standing) == len(wanted):
        return
    # A date is applied whole: go back to the start of the first date that differs.
    differing = [date for date, _ in (*standing[same : same + 1], *wanted[same : same + 1])]
    back_to = min(differing)
    while same and wanted[same - 1][0] >= back_to:
        same -= 1
    if len(standing) > same:
        _take_back(connection, contract, back_to)
    connection.execute("delete from audit.applied where table_name = %s and position > %s", (contract.name, same))
    for position, (date, delivery_id) in enumerate(wanted[same:], start=same + 1):
        _ensure_loaded(settings, connection, feed, contract, delivery_id, keys)
        opened, closed = _apply(connection, contract, date, delivery_id)
        report.applied += 1
        report.opened[contract.name] = report.opened.get(contract.name, 0) + opened
        report.closed[contract.name] = report.closed.get(contract.name, 0) + closed
        connection.execute(
            "insert into audit.applied (table_name, position, apply_date, delivery_id) values (%s, %s, %s, %s)",
            (contract.name, position, date, delivery_id),
        )


def _take_back(connection: psycopg.Connection, contract: Contract, date: dt.date) -> None:
    """Undo everything known from a date on, in history and quarantine."""
    history, quarantine = contract.relation("history"), contract.relation("quarantine")
    connection.execute(f"delete from {history} where known_from >= %s".encode(), (date,))
    connection.execute(f"update {history} set known_to = null where known_to >= %s".encode(), (date,))
    connection.execute(
        f"update {quarantine} set applied_on = null, resolved_on = null, resolution = null"
        f" where applied_on >= %s".encode(),
        (date,),
    )
    connection.execute(
        f"update {quarantine} set resolved_on = null, resolution = null where resolved_on >= %s".encode(),
        (date,),
    )


def _ensure_loaded(
    settings: Settings,
    connection: psycopg.Connection,
    feed: Feed,
    contract: Contract,
    delivery_id: str,
    keys: Keys,
) -> None:
    """Bring a delivery's table, and those its rules look at, back from the landing store where they were dropped."""
    relations = feed.relations(delivery_id)
    if _exists(connection, f'{relations[contract.name][:-1]}_gate"'):
        return
    found = connection.execute(
        "select business_date, seq from audit.delivery where delivery_id = %s", (delivery_id,)
    ).fetchone()
    assert found is not None
    folder = landing_folder(settings, feed.name, found[0], found[1], delivery_id)
    needed = {contract.name}.union(*(rule.refers_to for rule in contract.rules))
    for member in feed.contracts:
        if member.name in needed and not _exists(connection, relations[member.name]):
            load_table(connection, member, folder / f"{member.name}.csv.gz", delivery_id, keys)
    gate_view(connection, contract, delivery_id, relations)


def _exists(connection: psycopg.Connection, relation: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", (relation,)).fetchone()
    return row is not None and bool(row[0])


def _apply(connection: psycopg.Connection, contract: Contract, date: dt.date, delivery_id: str) -> tuple[int, int]:
    """Apply one delivery's table at a date; versions opened and closed."""
    history, quarantine = contract.relation("history"), contract.relation("quarantine")
    view = f'{contract.relation("delivery", delivery_id)[:-1]}_gate"'
    names = [f'"{column.name}"' for column in contract.columns]
    typed = [f'v."{c.name}"' if c.is_text else f'v."typed_{c.name}" as "{c.name}"' for c in contract.columns]
    connection.execute(b"drop table if exists pg_temp.incoming")
    connection.execute(
        f"create temporary table incoming as select {', '.join(typed)}, {row_key(contract, 'v.')} as row_key,"
        f" {row_hash(contract, 'v.')} as row_hash from {view} v where not exists (select from {quarantine} q"
        f" where q.delivery_id = '{delivery_id}' and q._row = v._row)".encode()
    )
    connection.execute(b"create index on pg_temp.incoming (row_key)")
    connection.execute(b"analyze pg_temp.incoming")
    parameters = {"date": date, "delivery": delivery_id}
    _settle_quarantine(connection, contract, parameters)
    changed = f"""
        update {history} h set known_to = %(date)s
        from pg_temp.incoming i
        where h.known_to is null and h.row_key = i.row_key and h.row_hash <> i.row_hash"""
    closed = connection.execute(changed.encode(), parameters).rowcount
    if contract.mode == "full":
        # A key that is present but quarantined has not vanished; and a row whose key cannot be read
        # might be anyone's, so that nothing is closed at all.
        vanished = f"""
            update {history} h set known_to = %(date)s
            where h.known_to is null
              and not exists (select from pg_temp.incoming i where i.row_key = h.row_key)
              and not exists (
                select from {quarantine} q where q.delivery_id = %(delivery)s and q.row_key = h.row_key)
              and not exists (
                select from {quarantine} q where q.delivery_id = %(delivery)s and q.row_key is null)"""
        closed += connection.execute(vanished.encode(), parameters).rowcount
    # A version opened and replaced on the same date was never known at the end of a day.
    connection.execute(
        f"delete from {history} where known_from = %(date)s and known_to = %(date)s".encode(), parameters
    )
    opened = connection.execute(
        f"""
        insert into {history} (row_key, row_hash, known_from, delivery_id, {", ".join(names)})
        select i.row_key, i.row_hash, %(date)s, %(delivery)s, {", ".join(f"i.{name}" for name in names)}
        from pg_temp.incoming i
        where not exists (select from {history} h where h.row_key = i.row_key and h.known_to is null)""".encode(),
        parameters,
    ).rowcount
    return opened, closed


def _settle_quarantine(connection: psycopg.Connection, contract: Contract, parameters: dict[str, object]) -> None:
    """Earlier quarantined rows are settled by a later delivery of their key, or of the whole table."""
    quarantine = contract.relation("quarantine")
    whole = "true" if contract.mode == "full" else "false"
    connection.execute(
        f"""
        update {quarantine} q set
            resolved_on = %(date)s,
            resolution = case
                when exists (select from pg_temp.incoming i where i.row_key = q.row_key) then 'superseded'
                when exists (
                    select from {quarantine} n where n.delivery_id = %(delivery)s and n.row_key = q.row_key
                ) then 'repeated'
                else 'vanished'
            end
        where q.applied_on is not null and q.resolved_on is null and q.delivery_id <> %(delivery)s and ({whole}
            or exists (select from pg_temp.incoming i where i.row_key = q.row_key)
            or exists (
                select from {quarantine} n where n.delivery_id = %(delivery)s and n.row_key = q.row_key))""".encode(),
        parameters,
    )
    connection.execute(
        f"update {quarantine} set applied_on = %(date)s where delivery_id = %(delivery)s".encode(), parameters
    )


def _record(connection: psycopg.Connection, feed: Feed, resolution: acceptance.Resolution, report: ApplyReport) -> None:
    """Write the verdicts to the ledger."""
    before: dict[str, str] = dict(
        connection.execute("select delivery_id, state from audit.delivery where feed = %s", (feed.name,)).fetchall()
    )
    for delivery_id, verdict in resolution.verdicts.items():
        reason = verdict.reason
        if verdict.state == "refused":
            reason = _refusal_line(connection, feed, delivery_id, verdict)
            if before.get(delivery_id) != "refused":
                report.refused.append(reason)
        connection.execute(
            "update audit.delivery set state = %s, reason = %s"
            " where delivery_id = %s and (state, reason) is distinct from (%s, %s)",
            (verdict.state, reason, delivery_id, verdict.state, reason),
        )
        for volume in verdict.volumes:
            connection.execute(
                "insert into audit.gate_result (delivery_id, table_name, rule, severity, on_failure, outcome,"
                " checked, failed) values (%s, %s, 'volume', 'critical', 'refuse', %s, %s, %s)"
                " on conflict (delivery_id, table_name, column_name, rule) do update"
                " set outcome = excluded.outcome, checked = excluded.checked, failed = excluded.failed",
                (
                    delivery_id,
                    volume.table,
                    volume.outcome,
                    volume.rows,
                    volume.rows if volume.outcome == "failed" else 0,
                ),
            )
    report.waiting = sum(verdict.state == "waiting" for verdict in resolution.verdicts.values())
    report.missing_link = resolution.missing_link
    report.states = dict(
        connection.execute(
            "select state, count(*)::int from audit.delivery where feed = %s group by state order by state",
            (feed.name,),
        ).fetchall()
    )


def _record_freshness(connection: psycopg.Connection, feed: Feed, deliveries: list[acceptance.Delivery]) -> None:
    if all(contract.freshness_hours is None for contract in feed.contracts):
        return
    for delivery in deliveries:
        outcome = "failed" if "freshness" in delivery.refused_by else "passed"
        connection.execute(
            "insert into audit.gate_result (delivery_id, table_name, rule, severity, on_failure, outcome)"
            " values (%s, '', 'freshness', 'critical', 'refuse', %s)"
            " on conflict (delivery_id, table_name, column_name, rule) do nothing",
            (delivery.delivery_id, outcome),
        )


def _refusal_line(connection: psycopg.Connection, feed: Feed, delivery_id: str, verdict: acceptance.Verdict) -> str:
    """The first rule that refused the delivery, with file, column and count; how many more there are."""
    date, seq = connection.execute(
        "select business_date, seq from audit.delivery where delivery_id = %s", (delivery_id,)
    ).fetchone() or (None, None)
    files: dict[str, str] = dict(
        connection.execute(
            "select table_name, file from audit.delivery_table where delivery_id = %s", (delivery_id,)
        ).fetchall()
    )
    failed = connection.execute(
        "select table_name, column_name, rule, failed from audit.gate_result where delivery_id = %s"
        " and on_failure = 'refuse' and outcome = 'failed' order by table_name, column_name, rule",
        (delivery_id,),
    ).fetchall()
    failed += [(volume.table, "", "volume", volume.rows) for volume in verdict.volumes if volume.outcome == "failed"]
    unique = {(row[0], row[1], row[2]): row for row in failed}
    rows = list(unique.values()) or [("", "", "freshness", None)]
    table, column, rule, count = rows[0]
    more = f" and {len(rows) - 1} more rules" if len(rows) > 1 else ""
    volume = next((v for v in verdict.volumes if v.table == table and rule == "volume"), None)
    what = {
        "freshness": "the extract is older than its business date allows.",
        "quarantine_limit": "more rows broke row rules than the contract allows.",
    }.get(rule, "the gate refused it.")
    if volume is not None:
        what = f"rows are outside {volume.low} to {volume.high}, the band around the last dates."
    return str(
        PeelError(
            f"{what.removesuffix('.')}{more}; last night stands.",
            feed=feed.name,
            delivery=f"{date}/{seq}",
            file=files.get(table),
            column=column or None,
            rule=rule,
            count=count,
            do="Have the source deliver it again, or have a person accept it.",
        )
    )


def _drop_delivery_tables(connection: psycopg.Connection, feed: Feed) -> None:
    """Delivery tables are working copies: once applied or replaced, the landing store has them."""
    done = set(ledger.in_state(connection, feed.name, "applied", "replaced"))
    tables = {contract.relation("delivery", name): name for name in done for contract in feed.contracts}
    standing = connection.execute(
        "select format('%s.%I', relnamespace::regnamespace, relname) from pg_class where relkind = 'r'"
        " and relnamespace in ('delivery'::regnamespace, 'sensitive'::regnamespace)"
    ).fetchall()
    names = {relation.replace('"', ""): relation for relation in tables}
    for (name,) in standing:
        relation = names.get(name.replace('"', ""))
        if relation is not None:
            connection.execute(f"drop table {relation} cascade".encode())
