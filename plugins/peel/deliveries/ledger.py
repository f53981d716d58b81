"""The ledger: what came, in what state it is, and what each gate counted (``audit.*``)."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from peel.contracts import Contract, Feed
from peel.feeds.manifest import Manifest

LANDING_RULES = ("identifier_form", "undeclared_column", "encoding_cp1252", "byte_order_mark", "line_ends_crlf")
"""Warnings that landing gives; the gate leaves them standing."""


SEVERITY = {"refuse": "critical", "quarantine": "warning", "warn": "info"}
"""How what follows from a failure reads in Great Expectations and in the audit."""

MAPPED = "mapped_code"
"""Warning of the gate: values of a column were read as another code, as a person decided."""

ACCEPTANCE_RULES = ("volume", "quarantine_limit", "approval", "freshness")
"""Rules that depend on what was accepted before; acceptance evaluates them, not the gate."""


@dataclass
class Landed:
    """What one table of a delivery became in the landing store.

    Attributes:
        rows: data rows delivered.
        sha256: of the uncompressed canonical rows as they stand, header included.
        counts: how many values a landing rule concerns, by (column, rule).
        undeclared: names of columns the contract does not declare.
        notes: what the reader found worth telling, by rule.
    """

    rows: int = 0
    sha256: str = ""
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    undeclared: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Same:
    """An earlier delivery's table that was made of the same bytes."""

    delivery_id: str
    business_date: dt.date
    seq: int
    landed: Landed


@dataclass(frozen=True)
class Delivery:
    """What is recorded of a delivery when it is first seen."""

    delivery_id: str
    feed: str
    business_date: dt.date
    seq: int
    source_sha256: str
    mode: str
    source_kind: str
    manifest: Manifest | None


def delivery_id(feed: str, business_date: dt.date, seq: int, source_sha256: str) -> str:
    """The delivery's name everywhere: 12 hex digits of its identity's sha256."""
    return hashlib.sha256(f"{feed}|{business_date}|{seq}|{source_sha256}".encode()).hexdigest()[:12]


@contextmanager
def feed_lock(connection: psycopg.Connection, feed: str) -> Iterator[None]:
    """One process at a time works on a feed; the lock goes with the connection."""
    connection.execute("select pg_advisory_lock(hashtext('peel feed'), hashtext(%s))", (feed,))
    connection.rollback()  # the lock is the session's, not the transaction's: there is nothing to commit
    try:
        yield
    finally:
        if not connection.closed:
            connection.rollback()
            connection.execute("select pg_advisory_unlock(hashtext('peel feed'), hashtext(%s))", (feed,))
            connection.rollback()


def state(connection: psycopg.Connection, delivery_id_: str) -> str | None:
    """A delivery's state, ``None`` when it is not known."""
    row = connection.execute("select state from audit.delivery where delivery_id = %s", (delivery_id_,)).fetchone()
    return row[0] if row else None


def in_state(connection: psycopg.Connection, feed: str, *states: str) -> list[str]:
    """Ids of a feed's deliveries in any of the states, in delivery order."""
    rows = connection.execute(
        "select delivery_id from audit.delivery where feed = %s and state = any(%s)"
        " order by business_date, seq, extract_ts, source_sha256",
        (feed, list(states)),
    )
    return [row[0] for row in rows]


def known_folders(connection: psycopg.Connection, feed: str) -> dict[str, str]:
    """Fingerprints of the source folders already dealt with, by ``<business_date>/<seq>``."""
    rows = connection.execute("select path, fingerprint from audit.source_folder where feed = %s", (feed,))
    return dict(rows.fetchall())


def remember_folder(connection: psycopg.Connection, feed: str, path: str, fingerprint: str, delivery_id_: str) -> None:
    """Note a source folder as dealt with, so that it costs nothing while it does not change."""
    connection.execute(
        "insert into audit.source_folder (feed, path, fingerprint, delivery_id) values (%s, %s, %s, %s)"
        " on conflict (feed, path) do update"
        " set fingerprint = excluded.fingerprint, delivery_id = excluded.delivery_id",
        (feed, path, fingerprint, delivery_id_),
    )


def acceptance_rules(contract: Contract) -> tuple[str, ...]:
    """Names of a contract's rules that acceptance evaluates."""
    return (*ACCEPTANCE_RULES, *(rule.name for rule in contract.look_back))


def landed_dates(connection: psycopg.Connection, feed: str) -> frozenset[dt.date]:
    """Business dates with a delivery that was landed and is not refused."""
    rows = connection.execute(
        "select distinct business_date from audit.delivery where feed = %s and state <> 'refused'", (feed,)
    )
    return frozenset(row[0] for row in rows)


def last_landed(connection: psycopg.Connection, feed: str) -> tuple[str | None, dict[str, str]]:
    """The last landed delivery's ``watermark_to``, and its files' sha256 by table."""
    row = connection.execute(
        "select delivery_id, watermark_to from audit.delivery where feed = %s and state <> 'refused'"
        " order by business_date desc, seq desc, extract_ts desc, source_sha256 desc limit 1",
        (feed,),
    ).fetchone()
    if row is None:
        return None, {}
    files = connection.execute(
        "select table_name, source_sha256 from audit.delivery_table where delivery_id = %s", (row[0],)
    )
    return row[1], dict(files.fetchall())


def baseline(connection: psycopg.Connection, feed: str) -> dt.date | None:
    """The business date to which a feed's history is the baseline, ``None`` while all of it can be replayed."""
    row = connection.execute("select business_date from audit.baseline where feed = %s", (feed,)).fetchone()
    return row[0] if row else None


def crosswalk(connection: psycopg.Connection) -> dict[str, str]:
    """The first token a person was known by, for each token of a later epoch of k_land."""
    rows = connection.execute("select token, first_token from sensitive.crosswalk")
    return dict(rows.fetchall())


def record_crosswalk(connection: psycopg.Connection, pairs: Mapping[str, str]) -> None:
    """Note which token of the epoch before belongs to a new one; the first one known is kept."""
    known = crosswalk(connection)
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into sensitive.crosswalk (token, first_token) values (%s, %s) on conflict do nothing",
            [(new, known.get(old, old)) for new, old in sorted(pairs.items())],
        )


def is_landed(connection: psycopg.Connection, delivery_id_: str) -> bool:
    """Whether a delivery came as far as the landing store."""
    row = connection.execute(
        "select exists (select from audit.delivery_table where delivery_id = %s)", (delivery_id_,)
    ).fetchone()
    return row == (True,)


def landed_from(connection: psycopg.Connection, feed: str, since: dt.date) -> list[tuple[str, str, dt.date, int]]:
    """Deliveries that were landed: the offer they came as, their id, business date and number."""
    return connection.execute(
        "select f.path, d.delivery_id, d.business_date, d.seq from audit.delivery d"
        " join audit.source_folder f using (feed, delivery_id) where d.feed = %s and d.business_date >= %s"
        " and exists (select from audit.delivery_table t where t.delivery_id = d.delivery_id)",
        (feed, since),
    ).fetchall()


def refused_while_landing(connection: psycopg.Connection, feed: str, since: dt.date) -> dict[str, str]:
    """Deliveries that never came into the landing store: the id of each by the offer it came as."""
    rows = connection.execute(
        "select f.path, d.delivery_id from audit.delivery d join audit.source_folder f using (feed, delivery_id)"
        " where d.feed = %s and d.business_date >= %s and d.state = 'refused'"
        " and not exists (select from audit.delivery_table t where t.delivery_id = d.delivery_id)",
        (feed, since),
    )
    return dict(rows.fetchall())


def forget_folder(connection: psycopg.Connection, feed: str, path: str) -> None:
    """Have an offer looked at again."""
    connection.execute("delete from audit.source_folder where feed = %s and path = %s", (feed, path))


def record_probe(connection: psycopg.Connection, feed: str, outcome: str) -> None:
    """Note that a source was asked and had nothing new: it is fresh though nothing came."""
    connection.execute(
        "insert into audit.probe (feed, outcome) values (%s, %s)"
        " on conflict (feed) do update set outcome = excluded.outcome, probed_at = clock_timestamp()",
        (feed, outcome),
    )
    connection.commit()


def same_file(connection: psycopg.Connection, contract: Contract, sha256: str, land_epoch: int) -> Same | None:
    """An earlier landed table made of the same bytes under the same contract and key, if any."""
    row = connection.execute(
        "select t.delivery_id, d.business_date, d.seq, t.rows, t.landed_sha256 from audit.delivery_table t"
        " join audit.delivery d using (delivery_id) where t.table_name = %s and t.source_sha256 = %s"
        " and t.contract_checksum = %s and t.land_epoch = %s order by d.business_date desc, d.seq desc limit 1",
        (contract.name, sha256, contract.checksum, land_epoch),
    ).fetchone()
    if row is None:
        return None
    told = connection.execute(
        "select column_name, rule, failed from audit.gate_result where delivery_id = %s and table_name = %s"
        " and severity = 'warning' and rule = any(%s)",
        (row[0], contract.name, list(LANDING_RULES)),
    ).fetchall()
    landed = Landed(row[3], row[4])
    for column, rule, count in told:
        if rule == "undeclared_column":
            landed.undeclared.append(column)
        elif column:
            landed.counts[column, rule] = count
        else:
            landed.notes[rule] = count
    return Same(row[0], row[1], row[2], landed)


def record_unusable(connection: psycopg.Connection, feed: str, path: str, reason: str) -> bool:
    """Note a folder that cannot be landed as it is; true when it was not noted so before."""
    noted = connection.execute(
        "insert into audit.unusable_folder as u (feed, path, reason) values (%s, %s, %s)"
        " on conflict (feed, path) do update set reason = excluded.reason, seen_at = clock_timestamp()"
        " where u.reason <> excluded.reason",
        (feed, path, reason),
    )
    connection.commit()
    return noted.rowcount == 1


def forget_unusable(connection: psycopg.Connection, feed: str, noted: list[str]) -> None:
    """Take back the notes on a feed's folders but those just noted: the others were put right or are gone."""
    connection.execute("delete from audit.unusable_folder where feed = %s and path <> all(%s)", (feed, noted))
    connection.commit()


def record_landed(
    connection: psycopg.Connection, delivery: Delivery, feed: Feed, tables: dict[str, Landed], land_epoch: int
) -> None:
    """Record a delivery that stands in the landing store, with what landing counted."""
    manifest = delivery.manifest
    assert manifest is not None
    lines = "".join(f"{name} {tables[name].sha256}\n" for name in sorted(tables))
    _insert(
        connection,
        delivery,
        state="landed",
        reason=None,
        rows=sum(table.rows for table in tables.values()),
        landed_sha256=hashlib.sha256(lines.encode()).hexdigest(),
    )
    contracts = {contract.name: contract for contract in feed.contracts}
    for file in manifest.files:
        landed, contract = tables[file.table], contracts[file.table]
        connection.execute(
            "insert into audit.delivery_table (delivery_id, table_name, file, source_sha256, landed_sha256,"
            " rows, contract_version, contract_checksum, land_epoch) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                delivery.delivery_id,
                file.table,
                file.file,
                file.sha256,
                landed.sha256,
                landed.rows,
                contract.version,
                contract.checksum,
                land_epoch,
            ),
        )
        for (column, rule), count in landed.counts.items():
            _warn(connection, delivery.delivery_id, file.table, column, rule, landed.rows, count)
        for rule, count in landed.notes.items():
            _warn(connection, delivery.delivery_id, file.table, "", rule, landed.rows, count)
        for name in landed.undeclared:
            _warn(connection, delivery.delivery_id, file.table, name[:60], "undeclared_column", None, 1)


def record_landed_again(
    connection: psycopg.Connection, delivery_id_: str, feed: Feed, tables: dict[str, Landed], land_epoch: int
) -> None:
    """Record what a delivery came to that was landed from its source a second time; it is to be gated again."""
    for contract in feed.contracts:
        if contract.name in tables:
            landed = tables[contract.name]
            connection.execute(
                "update audit.delivery_table set landed_sha256 = %s, rows = %s, land_epoch = %s"
                " where delivery_id = %s and table_name = %s",
                (landed.sha256, landed.rows, land_epoch, delivery_id_, contract.name),
            )
    lines = "".join(f"{name} {tables[name].sha256}\n" for name in sorted(tables))
    connection.execute(
        "update audit.delivery set landed_sha256 = %s, state = 'landed' where delivery_id = %s",
        (hashlib.sha256(lines.encode()).hexdigest(), delivery_id_),
    )


def record_refused(connection: psycopg.Connection, delivery: Delivery, reason: str, rule: str) -> None:
    """Record a delivery that could not be landed, with the line a person acts on."""
    _insert(connection, delivery, state="refused", reason=reason, rows=0, landed_sha256=None)
    connection.execute(
        "insert into audit.gate_result (delivery_id, table_name, rule, severity, on_failure, outcome)"
        " values (%s, '', %s, 'critical', 'refuse', 'failed') on conflict do nothing",
        (delivery.delivery_id, rule),
    )


def _insert(
    connection: psycopg.Connection,
    delivery: Delivery,
    *,
    state: str,
    reason: str | None,
    rows: int,
    landed_sha256: str | None,
) -> None:
    manifest = delivery.manifest
    connection.execute(
        "insert into audit.delivery (delivery_id, feed, business_date, seq, source_sha256, landed_sha256,"
        " mode, watermark_from, watermark_to, extract_ts, schema_version, source_kind, rows, state, reason)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            delivery.delivery_id,
            delivery.feed,
            delivery.business_date,
            delivery.seq,
            delivery.source_sha256,
            landed_sha256,
            delivery.mode,
            manifest.watermark_from if manifest else None,
            manifest.watermark_to if manifest else None,
            manifest.extract_ts if manifest else None,
            manifest.schema_version if manifest else None,
            delivery.source_kind,
            rows,
            state,
            reason,
        ),
    )


def _warn(
    connection: psycopg.Connection,
    delivery_id_: str,
    table: str,
    column: str,
    rule: str,
    checked: int | None,
    failed: int,
) -> None:
    connection.execute(
        "insert into audit.gate_result (delivery_id, table_name, column_name, rule, severity, on_failure,"
        " outcome, checked, failed) values (%s, %s, %s, %s, 'warning', 'warn', 'failed', %s, %s)"
        " on conflict do nothing",
        (delivery_id_, table, column, rule, checked, failed),
    )
