"""Retention: what has served its time goes, in an order in which being killed loses nothing.

History is never touched. Before the landed files of old dates go, the date up to which they do is committed as
the feed's baseline: from then on nothing asks for them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from peel import contracts, moments
from peel.contracts import Feed
from peel.deliveries import ledger
from peel.errors import PeelError
from peel.history.apply import drop_delivery_tables
from peel.settings import Settings
from peel.warehouse import connect


@dataclass
class Retained:
    """What retention came to.

    Attributes:
        baselines: the date up to which history stands alone, by feed, where it moved.
        removed: deliveries whose landed files were removed.
        dropped: delivery tables dropped.
    """

    baselines: dict[str, dt.date] = field(default_factory=dict)
    removed: int = 0
    dropped: int = 0


def retention(settings: Settings) -> Retained:
    """Let go of working copies and of landed files past their retention, feed by feed.

    Raises:
        PeelError: a folder cannot be removed or the database refused; run it again.
    """
    done = Retained()
    for feed in contracts.feeds(settings.contracts, validate=False):
        with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
            done.dropped += drop_delivery_tables(connection, feed, _refused_long_ago(settings, connection, feed))
            moved = _move_baseline(connection, feed)
            connection.commit()
            if moved is not None:
                done.baselines[feed.name] = moved
            done.removed += _remove_landed(settings, connection, feed)
    return done


def vacuum(settings: Settings) -> int:
    """Have PostgreSQL make room and learn anew what is where in history, quarantine and the star; tables done."""
    with connect(settings, "ingest", autocommit=True) as connection:
        done = _vacuum(
            connection,
            [
                relation
                for feed in contracts.feeds(settings.contracts, validate=False)
                for contract in feed.contracts
                for relation in (contract.relation("history"), contract.relation("quarantine"))
            ],
        )
    with connect(settings, "transform", autocommit=True) as connection:
        rows = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables"
            " where schemaname in ('core', 'past') order by 1"
        )
        return done + _vacuum(connection, [row[0] for row in rows])


def _vacuum(connection: psycopg.Connection, relations: Iterable[str]) -> int:
    done = 0
    for relation in relations:
        there = connection.execute("select to_regclass(%s)", (relation,)).fetchone()
        if there is not None and there[0] is not None:
            connection.execute(sql.SQL("vacuum (analyze) {}").format(sql.SQL(relation)))
            done += 1
    return done


def _refused_long_ago(settings: Settings, connection: psycopg.Connection, feed: Feed) -> list[str]:
    """Refused deliveries that nobody has looked into for the days their tables are kept."""
    rows = connection.execute(
        "select d.delivery_id from audit.delivery d where d.feed = %s and d.state = 'refused'"
        " and greatest(d.landed_at, (select max(g.evaluated_at) from audit.gate_result g"
        "  where g.delivery_id = d.delivery_id)) < clock_timestamp() - make_interval(days => %s)",
        (feed.name, settings.keep_refused_days),
    )
    return [row[0] for row in rows]


def _move_baseline(connection: psycopg.Connection, feed: Feed) -> dt.date | None:
    """Set the feed's baseline where landed deliveries have passed their retention; the date, if it moved.

    A feed's tables are landed, gated and replayed together: the longest retention of its contracts holds.
    """
    days = max(max(contract.retention_days for contract in feed.contracts), 1)
    row = connection.execute(
        "select max(business_date) filter (where state = 'applied') - %(days)s from audit.delivery"
        " where feed = %(feed)s",
        {"feed": feed.name, "days": days},
    ).fetchone()
    date: dt.date | None = row[0] if row else None
    standing = ledger.baseline(connection, feed.name)
    if date is None or (standing is not None and date <= standing):
        return None
    row = connection.execute(
        "select count(*), count(*) filter (where d.state in ('landed', 'gated')) from audit.delivery d"
        " where d.feed = %s and d.business_date <= %s and d.business_date > coalesce(%s, '-infinity'::date)"
        " and exists (select from audit.delivery_table t where t.delivery_id = d.delivery_id)",
        (feed.name, date, standing),
    ).fetchone()
    assert row is not None
    if row[0] == 0 or row[1] > 0:
        return None  # nothing to let go of, or some of it is still on its way to history
    connection.execute(
        "insert into audit.baseline (feed, business_date) values (%s, %s) on conflict (feed) do update"
        " set business_date = excluded.business_date, set_at = clock_timestamp()",
        (feed.name, date),
    )
    return date


def _remove_landed(settings: Settings, connection: psycopg.Connection, feed: Feed) -> int:
    """Remove the landed files of deliveries up to the baseline; those removed already are not missed."""
    baseline = ledger.baseline(connection, feed.name)
    root = settings.landing / feed.name
    if baseline is None or not root.is_dir():
        return 0
    # A link of a chain may be applied later than its own date, or may still wait for the one before it.
    kept = {
        row[0]
        for row in connection.execute(
            "select delivery_id from audit.delivery d where feed = %(feed)s and business_date <= %(date)s"
            " and (state = 'waiting' or exists (select from audit.applied a where a.delivery_id = d.delivery_id"
            " and a.apply_date > %(date)s))",
            {"feed": feed.name, "date": baseline},
        )
    }
    removed = 0
    for day in sorted(root.iterdir()):
        if not _is_until(day, baseline):
            continue
        for number in sorted(day.iterdir()):
            for folder in sorted(number.iterdir()):
                if folder.name not in kept:
                    _remove(folder)
                    removed += not folder.name.startswith(".")
            _remove_if_empty(number)
        _remove_if_empty(day)
    return removed


def _is_until(day: Path, baseline: dt.date) -> bool:
    try:
        return day.is_dir() and dt.date.fromisoformat(day.name) <= baseline
    except ValueError:
        return False


def _remove(folder: Path) -> None:
    moments.before("landed folder removal")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise PeelError(
            f"a landed folder past its retention cannot be removed ({error.strerror or type(error).__name__}).",
            delivery=folder.name,
            rule="retention",
            do="Put its rights in order, then run the step again.",
        ) from None
    moments.after("landed folder removal")


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
