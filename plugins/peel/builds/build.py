"""Build what is due: one run of dbt over an exact, recorded list of deliveries and decisions."""

from __future__ import annotations

import datetime as dt
import hashlib
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files

import psycopg

from peel.builds import dbt, keyless, undo
from peel.contracts import Feed, feeds
from peel.deliveries import ledger
from peel.errors import PeelError
from peel.history.tables import ensure_tables
from peel.london import now
from peel.settings import Settings
from peel.sources.base import Known, SourceUnavailable
from peel.sources.configure import source_of
from peel.warehouse import connect


@dataclass(frozen=True)
class Due:
    """A build that is due.

    Attributes:
        business_date: the night it is of.
        deliveries: what it stands on, as feed:delivery_id.
        decisions: persons' decisions.
        last_business_date: the night readers see.
        rebuild_all: every month is built, because models, seeds or contracts are others.
        history_digest: of what history up to the business date consists of.
        history_stands: history up to the night readers see is as it was when that was built, and no month opens:
            only what began, ended or came since need be looked at.
        checksum: of models, seeds and contracts.
    """

    business_date: dt.date
    deliveries: tuple[str, ...]
    decisions: tuple[int, ...]
    last_business_date: dt.date | None
    rebuild_all: bool
    history_digest: str
    history_stands: bool
    checksum: str

    @property
    def build_id(self) -> str:
        """12 hex digits of what the build stands on: the same contents have the same name."""
        contents = "\n".join([str(self.business_date), self.checksum, *self.deliveries, *map(str, self.decisions)])
        return hashlib.sha256(contents.encode()).hexdigest()[:12]


def find_due(
    connection: psycopg.Connection, all_feeds: list[Feed], checksum: str, at: dt.datetime, arriving: list[str]
) -> Due | None:
    """Ask ``sql/due.sql`` what is due.

    Args:
        connection: as a role that reads ``audit``.
        all_feeds: the feeds, from the contracts.
        checksum: of models, seeds and contracts.
        at: the moment due times are compared with.
        arriving: feeds with a delivery at the source that is not landed yet.
    """
    query = files("peel.builds").joinpath("sql/due.sql").read_text("utf-8")
    row = connection.execute(
        query.encode(),
        {
            "now": at,
            "checksum": checksum,
            "feeds": [feed.name for feed in all_feeds],
            "cadences": [feed.cadence for feed in all_feeds],
            "due_times": [f"{feed.due_time:%H:%M}" if feed.due_time else "" for feed in all_feeds],
            "arriving": arriving,
        },
    ).fetchone()
    if row is None:
        return None
    return Due(row[0], tuple(row[1]), tuple(row[2]), row[4], row[5], row[6], row[7], checksum)


def build(settings: Settings) -> str | None:
    """Build what is due into schema ``next``.

    Returns:
        The build's id, or ``None`` when nothing is due.

    Raises:
        PeelError: dbt failed; ``core`` and ``mart`` are untouched and the build is marked failed.
    """
    all_feeds = feeds(settings.contracts)
    with connect(settings, "ingest") as connection:  # a feed that never delivered has empty tables
        ensure_tables(connection, [contract for feed in all_feeds for contract in feed.contracts])
    with connect(settings, "transform") as connection:
        connection.execute("select pg_advisory_lock(hashtext('peel build'))")
        connection.rollback()  # the lock is the session's: there is nothing to commit
        due = find_due(connection, all_feeds, dbt.checksum(settings), now(), arriving(settings, connection, all_feeds))
        if due is None:
            return None
        keyless.settle(connection)
        begin(connection, due)
        told = {
            "PEEL_BUSINESS_DATE": due.business_date.isoformat(),
            "PEEL_LAST_BUSINESS_DATE": due.last_business_date.isoformat() if due.last_business_date else "",
            "PEEL_REBUILD_ALL": str(due.rebuild_all).lower(),
            "PEEL_HISTORY_STANDS": str(due.history_stands).lower(),
        }
        try:
            dbt.build(settings, due.build_id, told)
        except PeelError as error:
            _end(connection, due.build_id, "failed", str(error))
            raise
        dbt.drop_manifests(settings, undo.within_reach(connection))
        months = [
            row[0]
            for row in connection.execute("select month_end from next.int_affected_workforce_month order by month_end")
        ]
        connection.execute("update audit.build set months = %s where build_id = %s", (months, due.build_id))
        _end(connection, due.build_id, "built", None)
    return due.build_id


def arriving(settings: Settings, connection: psycopg.Connection, all_feeds: list[Feed]) -> list[str]:
    """Feeds whose source has a complete delivery that is not landed yet; one that cannot be asked has none."""
    found = []
    for feed in all_feeds:
        known = Known(ledger.known_folders(connection, feed.name), dates=ledger.landed_dates(connection, feed.name))
        try:
            with closing(source_of(settings, feed)) as source:
                offers = list(source.offers(feed, known))
        except SourceUnavailable:
            continue
        if any(
            offer.is_complete
            and not offer.unchanged
            and offer.business_date is not None
            and offer.business_date <= now().date()  # else it waits for its day
            and offer.seq is not None
            and known.fingerprints.get(offer.name) != offer.fingerprint
            for offer in offers
        ):
            found.append(feed.name)
    return found


def begin(connection: psycopg.Connection, due: Due) -> None:
    """Enter a build in the audit and clear the floor for it.

    Args:
        connection: as ``transform``, holding the lock of builds; committed here.
        due: what is built. A build that waits for its gate or its switch is given up: its rows go.
    """
    connection.execute(
        "insert into audit.build (build_id, business_date, deliveries, decisions, checksum, history_digest, state)"
        " values (%s, %s, %s, %s, %s, %s, 'building') on conflict (build_id) do update"
        " set state = 'building', reason = null, started_at = clock_timestamp(), finished_at = null,"
        " history_digest = excluded.history_digest",
        (
            due.build_id,
            due.business_date,
            list(due.deliveries),
            list(due.decisions),
            due.checksum,
            due.history_digest,
        ),
    )
    # A clean floor: nothing of an earlier build can be taken for tonight's, and none that waits finds its rows again.
    connection.execute(
        "update audit.build set state = 'failed', reason = 'another build took its place before it was switched'"
        " where state in ('building', 'built', 'gated') and build_id <> %s",
        (due.build_id,),
    )
    for schema in ("next_mart", "next"):
        connection.execute(f"drop schema if exists {schema} cascade".encode())
        connection.execute(f"create schema {schema}".encode())
    connection.execute("comment on schema next is 'What dbt builds tonight; readers use core and mart'")
    connection.execute("comment on schema next_mart is 'Tonight''s views for mart, before the switch'")
    connection.commit()


def _end(connection: psycopg.Connection, build_id: str, state: str, reason: str | None) -> None:
    connection.execute(
        "update audit.build set state = %s, reason = %s, finished_at = clock_timestamp() where build_id = %s",
        (state, reason, build_id),
    )
    connection.commit()
