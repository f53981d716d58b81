"""What a person looks things up in: deliveries and decisions, as rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg
from psycopg.rows import dict_row

from peel import contracts
from peel.errors import PeelError
from peel.settings import Settings
from peel.warehouse import connect

Rows = list[dict[str, Any]]

STATES = ("landed", "gated", "applied", "replaced", "waiting", "refused")


def known_feed(settings: Settings, name: str) -> contracts.Feed:
    """The feed of that name.

    Raises:
        PeelError: no contract says that it delivers.
    """
    found = {feed.name: feed for feed in contracts.feeds(settings.contracts, validate=False)}
    if name not in found:
        raise PeelError("there is no such feed.", feed=name[:40], do=f"Feeds are {', '.join(sorted(found))}.")
    return found[name]


def deliveries(
    settings: Settings, feed: str | None = None, state: str | None = None, since: dt.date | None = None
) -> Rows:
    """What came, in delivery order: identity, state, rows accepted and held back, watermarks, and why.

    Args:
        settings: the installation.
        feed: of this feed only.
        state: in this state only.
        since: from this business date on.

    Raises:
        PeelError: there is no such feed or state.
    """
    if feed is not None:
        known_feed(settings, feed)
    if state is not None and state not in STATES:
        raise PeelError("there is no such state.", do=f"States are {', '.join(STATES)}.")
    with connect(settings, "ingest") as connection:
        return (
            connection.cursor(row_factory=dict_row)
            .execute(
                "select d.business_date, d.feed, d.seq, d.delivery_id, d.state, d.rows,"
                " (select sum(t.quarantined)::bigint from audit.delivery_table t where t.delivery_id = d.delivery_id)"
                " as quarantined, d.mode, d.watermark_from, d.watermark_to, d.reason, d.landed_at from audit.delivery d"
                " where (%(feed)s::text is null or d.feed = %(feed)s)"
                " and (%(state)s::text is null or d.state = %(state)s)"
                " and (%(since)s::date is null or d.business_date >= %(since)s)"
                " order by d.business_date, d.feed, d.seq, d.extract_ts, d.source_sha256",
                {"feed": feed, "state": state, "since": since},
            )
            .fetchall()
        )


def decisions(settings: Settings, feed: str | None = None) -> Rows:
    """Every decision, newest last: of what kind, on what, by whom, when and why."""
    if feed is not None:
        known_feed(settings, feed)
    with connect(settings, "ingest") as connection:
        return (
            connection.cursor(row_factory=dict_row)
            .execute(
                "select c.decision_id, c.decided_at, c.kind, c.feed, c.who, c.reason, d.delivery_id, d.business_date,"
                " d.seq, c.table_name, c.row_number, c.row_key, c.column_name, c.value_from, c.value_to,"
                " c.watermark_from, c.watermark_to from audit.decision c"
                " left join audit.delivery d on d.feed = c.feed and d.source_sha256 = c.source_sha256"
                " where %(feed)s::text is null or c.feed = %(feed)s order by c.decision_id, d.business_date, d.seq",
                {"feed": feed},
            )
            .fetchall()
        )


def outcomes(connection: psycopg.Connection, feed: str, since: dt.date) -> dict[str, dict[str, Any]]:
    """What stands of each delivery from a date on: state, rules that refuse it, and rows held back."""
    found: dict[str, dict[str, Any]] = {}
    for delivery_id, name, state, reason, rules, held in connection.execute(
        "select d.delivery_id, d.business_date || '/' || d.seq, d.state, d.reason,"
        " coalesce((select array_agg(concat_ws(':', nullif(g.table_name, ''), nullif(g.column_name, ''), g.rule)"
        "  order by g.table_name, g.column_name, g.rule) from audit.gate_result g where g.delivery_id = d.delivery_id"
        "  and g.on_failure = 'refuse' and g.outcome = 'failed'), '{}'),"
        " (select coalesce(sum(t.quarantined), 0)::bigint from audit.delivery_table t"
        "  where t.delivery_id = d.delivery_id)"
        " from audit.delivery d where d.feed = %s and d.business_date >= %s"
        " order by d.business_date, d.seq, d.extract_ts, d.source_sha256",
        (feed, since),
    ):
        found[delivery_id] = {
            "delivery": name,
            "state": state,
            "reason": reason,
            "rules": list(rules),
            "quarantined": held,
        }
    return found
