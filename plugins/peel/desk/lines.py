"""What the desk found, as lines for a terminal; never a value unless values were asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from peel.desk.again import Again, RuleAgain
from peel.desk.decide import Decided
from peel.desk.ledger import Rows


def of_deliveries(rows: Rows) -> list[str]:
    """A line for each delivery, and its reason below it."""
    told = []
    for row in rows:
        marks = ""
        if row["mode"] == "delta":
            marks = f"  {row['watermark_from'] or '(start)'} > {row['watermark_to'] or '(none)'}"
        told.append(
            f"{row['business_date']}  {row['feed']:<12} seq {row['seq']}  {row['delivery_id']}  {row['state']:<8}"
            f" {row['rows']:>9,} rows, {row['quarantined'] or 0:,} quarantined{marks}"
        )
        if row["reason"]:
            told.append(f"            {row['reason']}")
    return told or ["No delivery is like that."]


def of_decisions(rows: Rows) -> list[str]:
    """A line for each decision."""
    told = []
    for row in rows:
        what = {
            "bridge": f"from {row['watermark_from'] or '(start)'} to {row['watermark_to']}",
            "map": f"{row['table_name']}.{row['column_name']}: {row['value_from']} as {row['value_to']}",
            "rotate": _epochs(row),
        }.get(row["kind"], "")
        if row["delivery_id"]:
            what = f"{row['business_date']}/{row['seq']} ({row['delivery_id']})"
            if row["row_number"] is not None:
                what += f", {row['table_name']} row {row['row_number']}"
        told.append(
            f"{row['decision_id']:>5}  {row['decided_at']:%Y-%m-%d %H:%M}  {row['kind']:<8} {row['feed'] or '':<12}"
            f" {what}  {row['who']}: {row['reason']}"
        )
    return told or ["Nobody has decided anything."]


def _epochs(row: dict[str, Any]) -> str:
    if row["column_name"] is None:
        return ""
    if row["value_from"] is None:
        return f"{row['column_name']}: epoch {row['value_to']} begins beside the one before"
    return f"{row['column_name']}: epoch {row['value_from']} is gone, {row['value_to']} holds"


def of_grants(rows: Rows) -> list[str]:
    """A line for each grant to read ``core``."""
    told = []
    for row in rows:
        state = f"until {row['valid_until']}" if row["stands"] else f"EXPIRED {row['valid_until']}"
        if row["ended_at"]:
            state = f"ended {row['ended_at']:%Y-%m-%d} by {row['ended_by']}"
        told.append(f"{row['login']:<24} since {row['granted_at']:%Y-%m-%d} {state}, approved by {row['approver']}")
    return told or ["Nobody has a login to read core."]


def of_reads(rows: Rows) -> list[str]:
    """A line for each person, table and day."""
    told = [f"{row['day']}  {row['login']:<24} {row['table_name']:<28} {row['reads']:>7,} reads" for row in rows]
    return told or ["Nobody has read core."]


def of_again(again: Again) -> list[str]:
    """What gating and applying again came to."""
    told = []
    if again.landed:
        told.append(f"{len(again.landed)} landed again: {', '.join(again.landed)}")
    told.append(f"{again.gated} gated again; {_versions(again)}")
    for flip in again.flips:
        rules = f" ({', '.join(flip.rules)})" if flip.rules else ""
        told.append(f"  {flip.delivery}  {flip.delivery_id}  {flip.before or 'unknown'} -> {flip.after}{rules}")
    told += [f"REFUSED  {line}" for line in again.refused]
    for delivery, (before, after) in again.quarantined.items():
        told.append(f"  {delivery}  {before:,} rows quarantined before, {after:,} now")
    if not again.flips:
        told.append("No delivery's outcome changed.")
    return told


def of_rules(rules: Sequence[RuleAgain]) -> list[str]:
    """Each rule of a delivery, before and now; what differs is marked."""
    told = []
    for rule in rules:
        mark = " " if rule.before == rule.after else "*"
        told.append(f"{mark} {rule.table or '(delivery)':<28} {rule.rule:<44} {_said(rule.before, rule.after)}")
    return told


def _said(before: tuple[str, int | None, int | None] | None, after: tuple[str, int | None, int | None] | None) -> str:
    if before == after:
        return _outcome(after)
    return f"{_outcome(before)} -> {_outcome(after)}"


def _outcome(found: tuple[str, int | None, int | None] | None) -> str:
    if found is None:
        return "not there"
    outcome, checked, failed = found
    counts = f"{failed or 0:,} of {checked:,}" if checked is not None else (f"{failed:,}" if failed else "")
    return f"{outcome} {counts}".rstrip()


def of_decided(decided: Decided) -> list[str]:
    """What a decision changed."""
    told = ["Recorded.", *of_again(decided.again)]
    if decided.waiting:
        told.append(f"{decided.waiting} deliveries wait for {decided.missing_link}.")
    return told


def of_held(rows: Rows) -> list[str]:
    """The worklist of quarantined rows."""
    told = []
    for row in rows:
        since = f", held since {row['held_since']}" if row["held_since"] else ""
        told.append(
            f"{row['table']:<24} {row['business_date']}/{row['seq']}  {row['delivery_id']}  {row['rule']:<40}"
            f" {row['rows']:>7,} rows  {row['standing']}, first seen {row['first_seen']}{since}"
        )
    return told or ["Nothing is in quarantine."]


def of_shown(rows: Rows) -> list[str]:
    """Quarantined rows one by one."""
    told = []
    for row in rows:
        settled = f" on {row['resolved_on']}" if row["resolved_on"] else ""
        told.append(
            f"row {row['row']}  key {row['row_key'] or '(cannot be read)'}  {', '.join(row['rules'])}"
            f"  first seen {row['first_seen']}  {row['standing']}{settled}"
        )
        if "values" in row:
            told.append(f"    {json.dumps(row['values'], ensure_ascii=False)}")
    return told or ["Nothing is in quarantine."]


def of_codes(rows: Rows, hidden: int) -> list[str]:
    """The worklist of codes that no contract lists."""
    told = [
        f"{row['table']}.{row['column']:<28} {row['code']:<20} {row['rows']:>7,} rows"
        f" in {row['deliveries']} deliveries, {row['first']} to {row['last']}"
        for row in rows
    ]
    if hidden:
        told.append(f"{hidden} more not shown: they look like no code, or fewer than five keys have them.")
    return told or ["Every code is listed or mapped."]


def _versions(again: Again) -> str:
    parts = (("taken back", again.taken_back), ("opened", again.opened), ("closed", again.closed))
    return "versions " + ", ".join(f"{sum(counts.values()):,} {name}" for name, counts in parts)
