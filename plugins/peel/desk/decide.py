"""Decisions by a person, each with what follows from it at once.

A decision and its consequences for history are one transaction: one that history cannot take is not made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from peel import contracts
from peel.contracts import Contract, Feed
from peel.deliveries import decisions, ledger
from peel.deliveries.decisions import Signed
from peel.desk.again import Again
from peel.desk.ledger import known_feed, outcomes
from peel.errors import PeelError
from peel.gates.delivery import gate_feed
from peel.history.apply import apply_feed
from peel.settings import Settings
from peel.warehouse import connect


@dataclass(frozen=True)
class Decided:
    """What a decision changed, and how many deliveries were gated again for it."""

    again: Again
    waiting: int = 0
    missing_link: str | None = None


def accept(settings: Settings, delivery_id: str, signed: Signed) -> Decided:
    """Take in a delivery though a rule refused it.

    Raises:
        PeelError: it is not refused, was never landed, lies before the baseline, or history cannot take it.
    """
    with connect(settings, "ingest") as connection:
        found = decisions.find(connection, delivery_id)
    feed = known_feed(settings, found.feed)
    return _decide(settings, feed, lambda connection: decisions.accept(connection, found.delivery_id, signed))


def bridge(
    settings: Settings, feed_name: str, watermark_from: str | None, watermark_to: str, signed: Signed
) -> Decided:
    """Go on from one watermark to another across a delivery that is lost.

    Raises:
        PeelError: the feed has no chain, nothing is missing there, or no delivery goes on from there.
    """
    feed = known_feed(settings, feed_name)
    return _decide(
        settings, feed, lambda connection: decisions.bridge(connection, feed, watermark_from, watermark_to, signed)
    )


def on_row(settings: Settings, kind: str, delivery_id: str, table: str, row: int, signed: Signed) -> Decided:
    """Readmit or discard one row in quarantine.

    Raises:
        PeelError: there is no such row, or what is wrong with it cannot be decided away.
    """
    with connect(settings, "ingest") as connection:
        found = decisions.find(connection, delivery_id)
    feed = known_feed(settings, found.feed)
    contract = known_table(settings, table, feed)
    return _decide(
        settings,
        feed,
        lambda connection: decisions.on_row(connection, contract, kind, found.delivery_id, row, signed),
    )


def map_code(settings: Settings, table: str, column: str, old: str, new: str, signed: Signed) -> Decided:
    """Read a code that no contract lists as one that it does, in every delivery not before the baseline.

    Raises:
        PeelError: the column lists no codes, ``new`` is not one of them, or ``old`` is one or no code at all.
    """
    contract = known_table(settings, table)
    feed = known_feed(settings, contract.feed)
    with connect(settings, "ingest") as connection, ledger.feed_lock(connection, feed.name):
        before = outcomes(connection, feed.name, dt.date.min)
        decisions.map_code(connection, contract, column, old, new, signed)
        connection.commit()
    gated = gate_feed(settings, feed).gated
    return _applied(settings, feed, before, None, len(gated))


def known_table(settings: Settings, name: str, feed: Feed | None = None) -> Contract:
    """The contract of a delivered table.

    Raises:
        PeelError: there is none, or the feed does not bring it.
    """
    feeds = [feed] if feed else contracts.feeds(settings.contracts, validate=False)
    found = {contract.name: contract for each in feeds for contract in each.contracts}
    if name not in found:
        whose = f"feed {feed.name} brings no such table." if feed else "no feed brings such a table."
        raise PeelError(whose, file=name[:60], do=f"Tables are {', '.join(sorted(found))}.")
    return found[name]


def _decide(settings: Settings, feed: Feed, decide: Callable[[psycopg.Connection], object]) -> Decided:
    with connect(settings, "ingest") as connection:
        before = outcomes(connection, feed.name, dt.date.min)
    return _applied(settings, feed, before, decide)


def _applied(
    settings: Settings,
    feed: Feed,
    before: dict[str, dict[str, Any]],
    decide: Callable[[psycopg.Connection], object] | None,
    gated: int = 0,
) -> Decided:
    again = Again(feed.name, gated=gated)
    report = apply_feed(settings, feed, decide)
    again.applied(report)
    with connect(settings, "ingest") as connection:
        again.compare(before, outcomes(connection, feed.name, dt.date.min))
    return Decided(again, report.waiting, report.missing_link)
