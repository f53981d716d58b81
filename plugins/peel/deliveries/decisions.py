"""Decisions by a person: rows that are an input of every replay, each with a name and a reason.

| kind | says | keyed by |
|---|---|---|
| accept | this delivery is true though a rule refused it | source hash |
| bridge | the chain goes on from one watermark to another, what lay between is lost | feed, watermarks |
| readmit | this quarantined row is right | source hash, row |
| discard | this quarantined row is nobody's: its key is as if it had not been delivered | source hash, row |
| map | this code, which no contract lists, is to be read as that one | table, column, code |

Two more are on record and no input: ``erase`` and ``rotate`` say that a person's request or a change of keys made a
feed's history anew. A change of the landing key is on record without a feed: nothing in the warehouse changes by it.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

import psycopg

from peel.contracts import Contract, Feed
from peel.deliveries import acceptance, ledger
from peel.deliveries.shapes import identifier_shape
from peel.errors import PeelError

CODE = re.compile(r"[^\W_]([\w /+&.-]{0,18}\w)?")
"""What a code may look like that a person maps or a worklist shows: short, and no sentence."""


@dataclass(frozen=True)
class Signed:
    """Who decides, and why."""

    who: str
    reason: str

    def __post_init__(self) -> None:
        """Refuse a decision without a name or a reason."""
        if not self.who.strip() or not self.reason.strip():
            raise PeelError("A decision needs the name of who makes it, and a reason.", do="Give --who and --reason.")
        for text in (self.who, self.reason):
            shape = identifier_shape(text)
            if len(text) > 500 or shape is not None:
                raise PeelError(
                    "A name or reason is too long, or has the shape of a personal identifier in it.",
                    do="Say it without: decisions are shown in the audit.",
                )


def mappings(connection: psycopg.Connection, feed: str) -> dict[str, dict[str, dict[str, str]]]:
    """Codes to be read as others, by table and column; of several decisions on a code the last holds."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for table, column, old, new in connection.execute(
        "select table_name, column_name, value_from, value_to from audit.decision"
        " where feed = %s and kind = 'map' order by decision_id",
        (feed,),
    ):
        found.setdefault(table, {}).setdefault(column, {})[old] = new
    return found


def on_deliveries(connection: psycopg.Connection, feed: str) -> tuple[frozenset[str], list[acceptance.Bridge]]:
    """Source hashes a person accepted in spite of their gate, and gaps a person bridged."""
    rows = connection.execute(
        "select kind, source_sha256, watermark_from, watermark_to from audit.decision"
        " where feed = %s and kind in ('accept', 'bridge') order by decision_id",
        (feed,),
    ).fetchall()
    accepted_anyway = frozenset(row[1] for row in rows if row[0] == "accept")
    return accepted_anyway, [acceptance.Bridge(row[2], row[3]) for row in rows if row[0] == "bridge"]


def accept(connection: psycopg.Connection, delivery_id: str, signed: Signed) -> str:
    """Accept a delivery in spite of its gate; the name of its feed.

    Raises:
        PeelError: it is not refused, was never landed, or lies before the baseline.
    """
    row = _to_be_decided(connection, delivery_id)
    if row.state != "refused":
        raise PeelError(f"it is {row.state}, not refused.", feed=row.feed, delivery=row.name, rule="decision")
    landed = connection.execute(
        "select 1 from audit.delivery_table where delivery_id = %s limit 1", (row.delivery_id,)
    ).fetchone()
    if landed is None:
        raise PeelError(
            "it was refused while landing: nothing of it is there to accept.",
            feed=row.feed,
            delivery=row.name,
            rule="decision",
            do="Have the source deliver it again, or replay the feed if the contract was mended.",
        )
    _insert(connection, "accept", row.feed, signed, source_sha256=row.source_sha256)
    return row.feed


def bridge(
    connection: psycopg.Connection, feed: Feed, watermark_from: str | None, watermark_to: str, signed: Signed
) -> None:
    """Go on from one watermark to another across a lost delivery.

    Raises:
        PeelError: the feed has no chain, nothing is missing at ``watermark_from``, or no delivery begins at
            ``watermark_to``.
    """
    if feed.mode != "delta":
        raise PeelError("only a delta feed has a chain of watermarks.", feed=feed.name, rule="decision")
    row = connection.execute(
        "select coalesce(bool_or(watermark_from is not distinct from %(start)s), false),"
        " coalesce(bool_or(watermark_to = %(start)s), false) or %(start)s::text is null,"
        " coalesce(bool_or(watermark_from = %(end)s), false)"
        " from audit.delivery where feed = %(feed)s and state <> 'refused'",
        {"feed": feed.name, "start": watermark_from, "end": watermark_to},
    ).fetchone()
    goes_on, is_reached, leads_on = row or (False, False, False)
    for wrong, what in (
        (goes_on, "a delivery begins at the watermark the bridge starts from: nothing is missing there."),
        (not is_reached, "no delivery ends at the watermark the bridge starts from."),
        (not leads_on, "no delivery begins at the watermark the bridge leads to."),
    ):
        if wrong:
            do = f"`peel deliveries {feed.name}` shows the watermarks."
            raise PeelError(what, feed=feed.name, rule="decision", do=do)
    _insert(connection, "bridge", feed.name, signed, watermark_from=watermark_from, watermark_to=watermark_to)


def on_row(
    connection: psycopg.Connection, contract: Contract, kind: str, delivery_id: str, row_number: int, signed: Signed
) -> None:
    """Readmit or discard one quarantined row; a later decision on the row takes the place of an earlier one.

    Raises:
        PeelError: there is no such row in quarantine, or what it breaks cannot be decided away: a value
            without a type, a missing one that is required, a key that another accepted row has.
    """
    found = _to_be_decided(connection, delivery_id)
    quarantine = contract.relation("quarantine")
    row = connection.execute(
        f"select encode(row_key, 'hex'), rules from {quarantine} where delivery_id = %s and _row = %s".encode(),
        (found.delivery_id, row_number),
    ).fetchone()

    def fail(what: str, do: str | None = None) -> PeelError:
        return PeelError(what, feed=found.feed, delivery=found.name, file=contract.name, rule="decision", do=do)

    if row is None:
        raise fail(f"row {row_number} is not in quarantine.", "`peel quarantine list` shows what is.")
    key, rules = row
    if kind == "readmit":
        formless = [rule for rule in rules if rule.endswith((":type", ":required"))]
        if formless or key is None:
            raise fail(
                f"row {row_number} breaks {', '.join(formless) or 'its key'}: there is no value to take in.",
                "Map the code, or have the source deliver the row again.",
            )
        decided = on_rows(connection, found.feed).get((found.source_sha256, contract.name), ())
        readmitted = [row.row_number for row in decided if row.kind == "readmit" and row.row_number != row_number]
        others = connection.execute(
            f"select min(_row) from {quarantine} where delivery_id = %s and row_key = decode(%s, 'hex')"
            f" and _row = any(%s)".encode(),
            (found.delivery_id, key, readmitted),
        ).fetchone()
        if others is not None and others[0] is not None:
            raise fail(
                f"row {row_number} has the key of row {others[0]}, which is readmitted already.",
                "Discard that one first.",
            )
    _insert(
        connection,
        kind,
        found.feed,
        signed,
        source_sha256=found.source_sha256,
        table_name=contract.name,
        row_key=key,
        row_number=row_number,
    )


def map_code(
    connection: psycopg.Connection, contract: Contract, column: str, old: str, new: str, signed: Signed
) -> int:
    """Read a code that the contract does not list as one that it does; deliveries to be gated again.

    Raises:
        PeelError: the column lists no codes, ``new`` is not one of them, or ``old`` is one or no code at all.
    """
    described = next((c for c in contract.columns if c.name == column), None)
    if described is None or described.values is None:
        raise PeelError("only a column with listed codes can be mapped.", file=contract.name, column=column)
    if new not in described.values or old in described.values:
        raise PeelError(
            "a code the contract does not list is mapped to one it lists.", file=contract.name, column=column
        )
    if not CODE.fullmatch(old) or identifier_shape(old) is not None:
        raise PeelError("what is to be mapped does not look like a code.", file=contract.name, column=column)
    is_mapped = old in mappings(connection, contract.feed).get(contract.name, {}).get(column, {})
    _insert(
        connection,
        "map",
        contract.feed,
        signed,
        table_name=contract.name,
        column_name=column,
        value_from=old,
        value_to=new,
    )
    return _regate(connection, contract, column, old, is_mapped)


def _regate(connection: psycopg.Connection, contract: Contract, column: str, old: str, is_mapped: bool) -> int:
    """Have the deliveries gated again in which a code was quarantined, or read as another; how many."""
    quarantine = contract.relation("quarantine")
    return connection.execute(
        f"update audit.delivery d set state = 'landed' where d.feed = %(feed)s and d.state <> 'landed'"
        f" and d.business_date > coalesce((select b.business_date from audit.baseline b where b.feed = d.feed),"
        f" '-infinity') and (exists (select from {quarantine} q where q.delivery_id = d.delivery_id"
        f' and q."{column}" = %(old)s) or %(is_mapped)s and exists (select from audit.gate_result g'
        f" where g.delivery_id = d.delivery_id and g.table_name = %(table)s and g.column_name = %(column)s"
        f" and g.rule = '{ledger.MAPPED}'))".encode(),
        {"feed": contract.feed, "old": old, "is_mapped": is_mapped, "table": contract.name, "column": column},
    ).rowcount


def record_erasure(connection: psycopg.Connection, feed: str, signed: Signed) -> None:
    """Note that a feed's history changed by a request, so that a build is due."""
    _insert(connection, "erase", feed, signed)


def record_rotation(
    connection: psycopg.Connection, key: str, before: int | None, after: int, signed: Signed, feed: str | None = None
) -> None:
    """Note a change of keys.

    Args:
        connection: in the transaction of the change, or before it where it is none of the warehouse.
        key: ``k_wh`` or ``k_land``.
        before: the epoch that is given up, ``None`` where none is yet.
        after: the epoch in force from now on.
        signed: who decides, and why.
        feed: whose person keys were made again, so that a build is due; ``None`` where nobody's were.
    """
    _insert(
        connection,
        "rotate",
        feed,
        signed,
        column_name=key,
        value_from=None if before is None else str(before),
        value_to=str(after),
    )


@dataclass(frozen=True)
class Row:
    """A person's decision on one quarantined row."""

    kind: str
    row_number: int


def on_rows(connection: psycopg.Connection, feed: str) -> dict[tuple[str, str], tuple[Row, ...]]:
    """The decisions on quarantined rows that hold, by (source hash, table)."""
    last: dict[tuple[str, str], dict[int, str]] = {}
    for source, table, number, kind in connection.execute(
        "select source_sha256, table_name, row_number, kind from audit.decision"
        " where feed = %s and kind in ('readmit', 'discard') order by decision_id",
        (feed,),
    ):
        last.setdefault((source, table), {})[number] = kind
    return {key: tuple(Row(kind, number) for number, kind in sorted(rows.items())) for key, rows in last.items()}


@dataclass(frozen=True)
class Found:
    """A delivery that a person named."""

    delivery_id: str
    feed: str
    business_date: dt.date
    seq: int
    source_sha256: str
    state: str

    @property
    def name(self) -> str:
        """The delivery as people know it: its business date and number."""
        return f"{self.business_date}/{self.seq}"


def find(connection: psycopg.Connection, delivery_id: str) -> Found:
    """The delivery a person names by its id, or by enough of its beginning.

    Raises:
        PeelError: there is none, or several.
    """
    rows = connection.execute(
        "select delivery_id, feed, business_date, seq, source_sha256, state from audit.delivery"
        " where starts_with(delivery_id, %s) limit 2",
        (delivery_id,),
    ).fetchall()
    if len(rows) != 1 or len(delivery_id) < 4:
        what = "that id fits several deliveries." if rows else "no delivery has that id."
        raise PeelError(what, delivery=delivery_id[:12], do="`peel deliveries` lists them.")
    return Found(*rows[0])


def _to_be_decided(connection: psycopg.Connection, delivery_id: str) -> Found:
    found = find(connection, delivery_id)
    refuse_before_baseline(connection, found.feed, found.business_date, found.name)
    return found


def refuse_before_baseline(
    connection: psycopg.Connection, feed: str, business_date: dt.date, delivery: str | None = None
) -> None:
    """Refuse to touch what history stands on without the landing store.

    Raises:
        PeelError: the date is the baseline's or lies before it.
    """
    baseline = ledger.baseline(connection, feed)
    if baseline is not None and business_date <= baseline:
        raise PeelError(
            f"history to {baseline} is the baseline; nothing up to it can be replayed or decided any more.",
            feed=feed,
            delivery=delivery,
            rule="baseline",
            do="Have the source deliver what is to be corrected under a later business date.",
        )


def _insert(connection: psycopg.Connection, kind: str, feed: str | None, signed: Signed, **more: object) -> None:
    names = "".join(f", {name}" for name in more)
    places = ", %s" * len(more)
    connection.execute(
        f"insert into audit.decision (kind, feed, who, reason{names}) values (%s, %s, %s, %s{places})".encode(),
        (kind, feed, signed.who.strip(), signed.reason.strip(), *more.values()),
    )
