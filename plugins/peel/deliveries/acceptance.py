"""Which deliveries hold, and in what order: a pure function of what was delivered and decided.

Nothing here knows when a delivery arrived. The same deliveries and decisions, in any order and any
number of times, give the same verdicts and the same ordered list that history is the fold of.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

LOOK_BACK = 7  # comparable business dates a volume is held against
LEAST_COMPARABLE = 3  # earlier dates a volume rule needs before it speaks


@dataclass(frozen=True)
class Table:
    """What a gate found in one table of a delivery, and what its contract asks.

    Attributes:
        name: the contract's name.
        rows: rows delivered.
        refused_by: labels of the suite's rules that refuse it; empty for none.
        quarantined: rows held back by row rules.
        quarantine_limit: share of rows that may be held back.
        first_load_limit: the same for the first load, which brings a force's whole past at once.
        first_load_leaves_out: names of rules not asked of the first load.
        content: hash of the landed rows, for contracts whose changes need a person's approval; else ``None``.
        volume_band: allowed share of deviation from the median of earlier dates, ``None`` for no rule.
        volume_floor: counts at or below this are never called a deviation.
        independent: refused alone.
    """

    name: str
    rows: int
    refused_by: tuple[str, ...] = ()
    quarantined: int = 0
    quarantine_limit: float = 1.0
    first_load_limit: float = 0.0
    first_load_leaves_out: tuple[str, ...] = ()
    content: str | None = None
    volume_band: float | None = None
    volume_floor: int = 0
    independent: bool = False


@dataclass(frozen=True)
class Delivery:
    """A gated delivery, as far as acceptance looks at it."""

    delivery_id: str
    business_date: dt.date
    seq: int
    extract_ts: dt.datetime
    source_sha256: str
    mode: str
    tables: tuple[Table, ...]
    watermark_from: str | None = None
    watermark_to: str | None = None
    refused_by: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[dt.date, int, dt.datetime, str]:
        """Where the delivery stands among all others."""
        return (self.business_date, self.seq, self.extract_ts, self.source_sha256)


@dataclass(frozen=True)
class Bridge:
    """A person's decision to go on from one watermark to another across a lost delivery."""

    watermark_from: str | None
    watermark_to: str


@dataclass(frozen=True)
class Volume:
    """A volume rule's outcome; ``low`` and ``high`` are ``None`` where it was not evaluated."""

    table: str
    rows: int
    low: int | None = None
    high: int | None = None

    @property
    def outcome(self) -> str:
        """``passed``, ``failed`` or ``not evaluated``."""
        if self.low is None or self.high is None:
            return "not evaluated"
        return "passed" if self.low <= self.rows <= self.high else "failed"


@dataclass(frozen=True)
class Finding:
    """A rule that looks back, held against the last fit delivery of an earlier business date.

    Attributes:
        table: the contract's name.
        rule: the rule's name.
        outcome: ``passed``, ``failed`` or ``not evaluated``.
        refuses: whether failing refuses the delivery; it is a warning else.
        checked: rows looked at, where that is known.
        failed: rows that broke it, where that is known; 1 for a rule about the table as a whole.
    """

    table: str
    rule: str
    outcome: str
    refuses: bool = True
    checked: int | None = None
    failed: int = 0


class LookBack(Protocol):
    """Holds a delivery against its predecessor; each must be a pure function of the two."""

    def findings(self, delivery: Delivery, previous: Delivery) -> Sequence[Finding]:
        """The outcomes of the contracts' rules that look back."""
        ...

    def held_before(self, delivery: Delivery, previous: Delivery, table: str) -> int:
        """How many of a table's quarantined rows were quarantined for the same reason in the predecessor."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What becomes of one delivery.

    Attributes:
        state: ``applied``, ``replaced``, ``waiting`` or ``refused``.
        reason: the line a person acts on, where there is something to do.
        volumes: the volume rules' outcomes.
        findings: the outcomes of the other rules that depend on what was accepted before.
        refused_tables: independent tables refused alone.
    """

    state: str
    reason: str | None = None
    volumes: tuple[Volume, ...] = ()
    refused_tables: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Resolution:
    """Verdicts by delivery id, and for each table the ordered (apply date, delivery id) list."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    folds: Mapping[str, tuple[tuple[dt.date, str], ...]] = field(default_factory=dict)
    missing_link: str | None = None


def resolve(
    deliveries: Iterable[Delivery],
    tables: Sequence[str],
    *,
    accepted_anyway: frozenset[str] = frozenset(),
    bridges: Sequence[Bridge] = (),
    look_back: LookBack | None = None,
) -> Resolution:
    """Decide every delivery of one feed.

    Args:
        deliveries: the feed's gated deliveries, in any order, repeats allowed.
        tables: names of the feed's tables.
        accepted_anyway: source hashes a person accepted in spite of their gate.
        bridges: gaps in the watermark chain a person decided to cross.
        look_back: holds a delivery of full mode against its predecessor.

    Returns:
        A verdict for each delivery and, for each table, the list that history must be the fold of.
    """
    ordered = sorted({d.delivery_id: d for d in deliveries}.values(), key=lambda d: d.order)
    verdicts: dict[str, Verdict] = {}
    fit: list[Delivery] = []
    for date in sorted({d.business_date for d in ordered}):
        earlier = [d for d in fit if d.business_date < date]
        for delivery in (d for d in ordered if d.business_date == date):
            verdict = _gate(delivery, earlier, accepted_anyway, look_back)
            verdicts[delivery.delivery_id] = verdict
            if verdict.state != "refused":
                fit.append(delivery)
    mode = ordered[0].mode if ordered else "full"
    chain, missing = _full(fit, verdicts) if mode == "full" else _delta(fit, verdicts, bridges)
    folds = {
        name: tuple((date, d.delivery_id) for date, d in chain if name not in verdicts[d.delivery_id].refused_tables)
        for name in tables
    }
    return Resolution(verdicts, folds, missing)


def _gate(
    delivery: Delivery, earlier: Sequence[Delivery], accepted_anyway: frozenset[str], look_back: LookBack | None
) -> Verdict:
    volumes = tuple(_volume(table, delivery, earlier) for table in delivery.tables if table.volume_band)
    is_first = delivery.watermark_from is None if delivery.mode == "delta" else not earlier
    previous = earlier[-1] if earlier and delivery.mode == "full" else None
    findings = []
    for table in delivery.tables:
        known = 0
        if look_back is not None and previous is not None and table.quarantined:
            known = look_back.held_before(delivery, previous, table.name)
        findings += _asked(table, earlier, is_first, known)
    if look_back is not None and previous is not None:
        findings += look_back.findings(delivery, previous)
    broken: dict[str, list[str]] = {}
    for table in delivery.tables:
        left_out = table.first_load_leaves_out if is_first else ()
        rules = [rule for rule in table.refused_by if rule.split(":")[-1] not in left_out]
        rules += ["volume" for volume in volumes if volume.table == table.name and volume.outcome == "failed"]
        rules += [f.rule for f in findings if f.table == table.name and f.refuses and f.outcome == "failed"]
        if rules:
            broken[table.name] = rules
    alone = tuple(t.name for t in delivery.tables if t.independent and t.name in broken)
    whole = {name: rules for name, rules in broken.items() if name not in alone}
    if delivery.source_sha256 in accepted_anyway:
        return Verdict("applied", None, volumes, (), tuple(findings))
    if delivery.refused_by or whole:
        parts = [
            *delivery.refused_by,
            *(f"{name}: {', '.join(rules)}" for name, rules in sorted(whole.items())),
        ]
        return Verdict("refused", f"refused by {'; '.join(parts)}", volumes, alone, tuple(findings))
    return Verdict("applied", None, volumes, alone, tuple(findings))


def _asked(table: Table, earlier: Sequence[Delivery], is_first: bool, known: int) -> list[Finding]:
    """The quarantine limit, and approval of a change where the contract asks for it.

    A full delivery brings again what is in quarantine already: only rows that are new there count.
    """
    limit = max(table.first_load_limit, table.quarantine_limit) if is_first else table.quarantine_limit
    fresh = table.quarantined - known
    over = fresh > table.rows * limit
    found = [Finding(table.name, "quarantine_limit", "failed" if over else "passed", True, table.rows, fresh)]
    if table.content is not None:
        before = next(
            (other.content for delivery in reversed(earlier) for other in delivery.tables if other.name == table.name),
            None,
        )
        outcome = "not evaluated" if before is None else "passed" if before == table.content else "failed"
        found.append(Finding(table.name, "approval", outcome, True, table.rows, 1 if outcome == "failed" else 0))
    return found


def _volume(table: Table, delivery: Delivery, earlier: Sequence[Delivery]) -> Volume:
    """Compare with the median of the last accepted delivery of each of the preceding comparable business dates.

    A delta brings what one day's work came to: a Sunday is comparable with Sundays only.
    """
    if delivery.mode == "delta" and delivery.watermark_from is None:
        return Volume(table.name, table.rows)
    counts: dict[dt.date, int] = {}
    for other in earlier:
        if other.mode == "delta" and other.watermark_from is None:
            continue  # an initial load is not comparable
        if delivery.mode == "delta" and other.business_date.weekday() != delivery.business_date.weekday():
            continue
        for candidate in other.tables:
            if candidate.name == table.name:
                counts[other.business_date] = candidate.rows  # in delivery order: the last one holds
    window = [counts[date] for date in sorted(counts)[-LOOK_BACK:]]
    if len(window) < LEAST_COMPARABLE:
        return Volume(table.name, table.rows)
    middle, band = median(window), table.volume_band or 0.0
    low, high = int(middle * (1 - band)), -int(-middle * (1 + band) // 1)
    if table.rows <= table.volume_floor and middle <= table.volume_floor:
        return Volume(table.name, table.rows, 0, max(high, table.volume_floor))
    return Volume(table.name, table.rows, low, max(high, table.volume_floor))


def _full(fit: Sequence[Delivery], verdicts: dict[str, Verdict]) -> tuple[list[tuple[dt.date, Delivery]], str | None]:
    """The last delivery of a date holds."""
    winners: dict[dt.date, Delivery] = {}
    for delivery in fit:
        previous = winners.get(delivery.business_date)
        if previous is not None:
            _restate(verdicts, previous, "replaced", "a later delivery of the same date holds")
        winners[delivery.business_date] = delivery
    return sorted(winners.items(), key=lambda item: item[0]), None


def _delta(
    fit: Sequence[Delivery], verdicts: dict[str, Verdict], bridges: Sequence[Bridge]
) -> tuple[list[tuple[dt.date, Delivery]], str | None]:
    """Follow the watermarks from the one empty start; only the same start replaces a link."""
    links: dict[str | None, Delivery] = {}
    for delivery in fit:
        previous = links.get(delivery.watermark_from)
        if previous is not None:
            _restate(verdicts, previous, "replaced", "a later delivery from the same watermark holds")
        links[delivery.watermark_from] = delivery
    crossings = {bridge.watermark_from: bridge.watermark_to for bridge in bridges}
    chain: list[tuple[dt.date, Delivery]] = []
    mark: str | None = None
    used: set[str] = set()
    passed: set[str | None] = set()
    while mark not in passed:
        passed.add(mark)
        link = links.get(mark)
        if link is not None:
            date = max(link.business_date, chain[-1][0]) if chain else link.business_date
            chain.append((date, link))
            used.add(link.delivery_id)
            mark = link.watermark_to
        elif mark in crossings:
            mark = crossings[mark]
    left = [d for d in links.values() if d.delivery_id not in used]
    if not left:
        return chain, None
    missing = "the chain's start (an empty watermark_from)" if mark is None else f"watermark_from {mark}"
    for delivery in left:
        _restate(verdicts, delivery, "waiting", f"waits for the delivery with {missing}")
    return chain, missing


def _restate(verdicts: dict[str, Verdict], delivery: Delivery, state: str, reason: str) -> None:
    old = verdicts[delivery.delivery_id]
    verdicts[delivery.delivery_id] = Verdict(state, reason, old.volumes, old.refused_tables, old.findings)
