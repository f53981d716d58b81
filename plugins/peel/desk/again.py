"""Doing it again: one delivery's gate, or a feed from a date on.

Both are the ordinary steps of a night on deliveries marked as not yet gated. So whatever kills them, the
next night goes on where they were, and so does the same command.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from peel import contracts
from peel.deliveries import decisions, ledger
from peel.deliveries.landing import look_again
from peel.desk.ledger import known_feed, outcomes
from peel.errors import PeelError
from peel.gates.delivery import gate_feed
from peel.history.apply import ApplyReport, apply_feed
from peel.settings import Settings
from peel.warehouse import connect


@dataclass
class Flip:
    """A delivery whose outcome is not what it was.

    Attributes:
        delivery_id: 12 hex digits.
        delivery: business date and number.
        before: the state it had; empty where it was not known.
        after: the state it has.
        rules: the rules that refused it before, and do not now, or the other way round.
        reason: the line that goes with the state it has.
    """

    delivery_id: str
    delivery: str
    before: str
    after: str
    rules: list[str]
    reason: str | None = None


@dataclass
class Again:
    """What doing it again came to.

    Attributes:
        feed: the feed.
        landed: ids of deliveries landed again from their source.
        gated: number of deliveries gated again.
        flips: deliveries whose outcome changed.
        quarantined: rows held back before and after, where that differs, by delivery.
        refused: one line for each delivery that is newly refused.
        opened: versions opened, by table.
        closed: versions closed, by table.
        taken_back: versions taken back before that, by table.
    """

    feed: str
    landed: list[str] = field(default_factory=list)
    gated: int = 0
    flips: list[Flip] = field(default_factory=list)
    quarantined: dict[str, tuple[int, int]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    opened: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    taken_back: dict[str, int] = field(default_factory=dict)

    def applied(self, report: ApplyReport) -> None:
        """Take over what applying came to."""
        self.opened, self.closed, self.taken_back = report.opened, report.closed, report.taken_back

    def compare(self, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> None:
        """Find the deliveries whose outcome differs."""
        for delivery_id, now in after.items():
            then = before.get(delivery_id, {"state": "", "rules": [], "quarantined": 0})
            if then["state"] != now["state"]:
                rules = sorted(set(then["rules"]) ^ set(now["rules"]))
                self.flips.append(Flip(delivery_id, now["delivery"], then["state"], now["state"], rules, now["reason"]))
                if now["state"] == "refused":
                    self.refused.append(now["reason"])
            if then["quarantined"] != now["quarantined"]:
                self.quarantined[now["delivery"]] = (then["quarantined"], now["quarantined"])


@dataclass
class RuleAgain:
    """One rule on one table of a delivery, before and now: outcome, rows checked, rows that broke it."""

    table: str
    rule: str
    before: tuple[str, int | None, int | None] | None
    after: tuple[str, int | None, int | None] | None


def gate(settings: Settings, delivery_id: str) -> tuple[Again, list[RuleAgain]]:
    """Run a delivery's rules whatever was found before, and resolve anew what becomes of it.

    Raises:
        PeelError: there is no such delivery, it was never landed, or it lies before the baseline.
    """
    with connect(settings, "ingest") as connection:
        found = decisions.find(connection, delivery_id)
        decisions.refuse_before_baseline(connection, found.feed, found.business_date, found.name)
        if not ledger.is_landed(connection, found.delivery_id):
            raise PeelError(
                "it was refused while landing: there is nothing to gate.",
                feed=found.feed,
                delivery=found.name,
                do=f"`peel replay {found.feed} {found.business_date}` looks at its source again.",
            )
        before = outcomes(connection, found.feed, dt.date.min)
        rules_before = _rules(connection, found.delivery_id)
    feed = known_feed(settings, found.feed)
    _mark(settings, feed, [found.delivery_id])
    again = _through(settings, feed, frozenset({found.delivery_id}))
    with connect(settings, "ingest") as connection:
        again.compare(before, outcomes(connection, found.feed, dt.date.min))
        rules_after = _rules(connection, found.delivery_id)
    keys = sorted(rules_before.keys() | rules_after.keys())
    return again, [RuleAgain(*key, rules_before.get(key), rules_after.get(key)) for key in keys]


def replay(settings: Settings, feed_name: str, since: dt.date) -> Again:
    """Gate a feed's deliveries from a business date on under the present contracts, and apply them again.

    What was refused while landing, and is still at its source, is landed as if it came now. A replay that was
    killed is gone on with, and still tells what differs from before its first start.

    Raises:
        PeelError: the date is not after the baseline, or nothing was delivered from then on.
        SourceUnavailable: the source could not be asked; nothing was changed.
    """
    feed = known_feed(settings, feed_name)
    with connect(settings, "ingest") as connection:
        decisions.refuse_before_baseline(connection, feed.name, since)
        present = outcomes(connection, feed.name, dt.date.min)
        if not outcomes(connection, feed.name, since):
            raise PeelError(
                f"nothing was delivered for {since} or later.", feed=feed.name, do="`peel deliveries` lists what was."
            )
        replay_id, before, resumed = _begin(connection, feed.name, since, present)
    landed = look_again(settings, feed, since)
    with connect(settings, "ingest") as connection:
        ids = [
            row[0]
            for row in connection.execute(
                "select distinct d.delivery_id from audit.delivery d join audit.delivery_table t using (delivery_id)"
                " where d.feed = %s and d.business_date >= %s",
                (feed.name, since),
            )
        ]
        # What an earlier start has gated already need not have its rules run once more.
        left = set(ledger.in_state(connection, feed.name, "landed")) if resumed else set(ids)
    _mark(settings, feed, ids)
    again = _through(settings, feed, frozenset(left))
    again.landed = landed.landed
    with connect(settings, "ingest") as connection:
        again.compare(before, outcomes(connection, feed.name, dt.date.min))
        connection.execute("update audit.replay set finished_at = clock_timestamp() where replay_id = %s", (replay_id,))
    return again


def _begin(
    connection: psycopg.Connection, feed: str, since: dt.date, present: dict[str, dict[str, Any]]
) -> tuple[int, dict[str, dict[str, Any]], bool]:
    """The replay of a feed that is not finished, or a new one; and the outcomes from before it."""
    row = connection.execute(
        "select replay_id, business_date, before from audit.replay where feed = %s and finished_at is null"
        " order by replay_id desc limit 1",
        (feed,),
    ).fetchone()
    if row is not None:
        return row[0], present | row[2], row[1] <= since
    made = connection.execute(
        "insert into audit.replay (feed, business_date, before) values (%s, %s, %s) returning replay_id",
        (feed, since, Jsonb(present)),
    ).fetchone()
    assert made is not None
    return made[0], present, False


def _mark(settings: Settings, feed: contracts.Feed, ids: list[str]) -> None:
    """Have deliveries gated and applied again."""
    with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
        connection.execute("update audit.delivery set state = 'landed' where delivery_id = any(%s)", (ids,))
        # The same rows in quarantine are new rows there: what they held back is to be applied again.
        connection.execute("update audit.applied set content = '' where delivery_id = any(%s)", (ids,))
        connection.commit()


def _through(settings: Settings, feed: contracts.Feed, rerun: frozenset[str]) -> Again:
    again = Again(feed.name)
    again.gated = len(gate_feed(settings, feed, again=rerun).gated)
    again.applied(apply_feed(settings, feed))
    return again


def _rules(
    connection: psycopg.Connection, delivery_id: str
) -> dict[tuple[str, str], tuple[str, int | None, int | None]]:
    rows = connection.execute(
        "select table_name, concat_ws(':', nullif(column_name, ''), rule), outcome, checked, failed"
        " from audit.gate_result where delivery_id = %s",
        (delivery_id,),
    )
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}
