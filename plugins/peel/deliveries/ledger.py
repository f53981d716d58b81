"""The ledger: what came, in what state it is, and what each gate counted (``audit.*``)."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from peel.contracts import Feed
from peel.feeds.manifest import Manifest

if TYPE_CHECKING:
    from peel.deliveries.landing import Landed


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
    connection.commit()
    try:
        yield
    finally:
        if not connection.closed:
            connection.rollback()
            connection.execute("select pg_advisory_unlock(hashtext('peel feed'), hashtext(%s))", (feed,))
            connection.commit()


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


def record_unusable(connection: psycopg.Connection, feed: str, path: str, reason: str) -> bool:
    """Note a folder that names no delivery; true when it was not noted before."""
    inserted = connection.execute(
        "insert into audit.unusable_folder (feed, path, reason) values (%s, %s, %s) on conflict do nothing",
        (feed, path, reason),
    )
    connection.commit()
    return inserted.rowcount == 1


def record_landed(connection: psycopg.Connection, delivery: Delivery, feed: Feed, tables: dict[str, Landed]) -> None:
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
            " rows, contract_version, contract_checksum) values (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                delivery.delivery_id,
                file.table,
                file.file,
                file.sha256,
                landed.sha256,
                landed.rows,
                contract.version,
                contract.checksum,
            ),
        )
        for (column, rule), count in landed.counts.items():
            _warn(connection, delivery.delivery_id, file.table, column, rule, landed.rows, count)
        for name in landed.undeclared:
            _warn(connection, delivery.delivery_id, file.table, name[:60], "undeclared_column", None, 1)


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
