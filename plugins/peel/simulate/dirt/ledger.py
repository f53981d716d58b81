"""The ledger: every planted row, so that a test can say planted so often, caught so often.

It holds keys only, never a name or a National Insurance number.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

LEDGER = ".dirt-ledger.csv"
"""Kept beside the feeds."""


@dataclass(frozen=True)
class Entry:
    """One planted row.

    Attributes:
        dirt: the kind.
        feed: the feed.
        business_date: of which night, ISO.
        table: in which table.
        key_columns: the table's key columns, joined by ``|``.
        key: their values as delivered, joined likewise.
        row: number of the row in the file, from 1; empty for a row that dirt keeps out of the file.
        expected: what is to become of it.
        rule: label of the rule that names it; empty where none does.
        also: labels of further rules that the same row breaks by nature, joined by a space.
    """

    dirt: str
    feed: str
    business_date: str
    table: str
    key_columns: str
    key: str
    row: str
    expected: str
    rule: str
    also: str


COLUMNS = tuple(field.name for field in fields(Entry))


def read_ledger(target: Path) -> list[Entry]:
    """Every entry beside the feeds of a folder; none when no dirt was ever planted."""
    path = target / LEDGER
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [Entry(**row) for row in csv.DictReader(file)]


def write_ledger(target: Path, feed: str, business_date: str, entries: Iterable[Entry]) -> None:
    """Put a delivery's entries in place of those it may have, the rest left as it is; whole or not at all."""
    found = read_ledger(target)
    kept = [entry for entry in found if (entry.feed, entry.business_date) != (feed, business_date)]
    new = list(entries)
    if not new and len(kept) == len(found):
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(entry) for entry in [*kept, *new])
    partial = target / f"{LEDGER}.partial"
    target.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        file.write(text.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target / LEDGER)
