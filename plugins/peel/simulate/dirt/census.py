"""Traps of the published census tables: faulty variants of a delivery, each named.

The tables are real and delivered by the pipeline's own reader; here they are text, as it writes them, one CSV per
table. A trap is the fault of a careless reader or a changed publication, so it befalls a whole table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping

from peel.errors import PeelError
from peel.simulate.dirt.catalogue import CATALOGUE, KEYS
from peel.simulate.dirt.ledger import Entry

Row = dict[str, str]
Change = Callable[[list[Row]], list[Row]]

TRUNCATED_AT = 25_000
"""Rows that Nomis gives to who has no key, without a word about the rest."""
_CITY, _WESTMINSTER = "E09000001", "E09000033"


def spoil(name: str, tables: Mapping[str, str], business_date: str = "") -> tuple[dict[str, str], list[Entry]]:
    """Spoil one of the census tables.

    Args:
        name: the trap.
        tables: every table's CSV text by name.
        business_date: of which delivery, for the ledger.

    Returns:
        The tables, one of them spoilt, and an entry for each row that is not as it was; one without a row number
        for a row that is gone.

    Raises:
        PeelError: there is no such trap.
    """
    if name not in TRAPS:
        raise PeelError("there is no such trap of the census tables.", rule=name, do="Name one of the catalogue's.")
    trap = CATALOGUE[name]
    before = list(csv.DictReader(io.StringIO(tables[trap.table])))
    after = TRAPS[name]([dict(row) for row in before])
    keys = KEYS[trap.table]
    as_published: dict[str, list[Row]] = {}
    for row in before:
        as_published.setdefault(_key(row, keys), []).append(row)
    entries = []
    for place, row in enumerate(after, 1):
        if row not in as_published.get(_key(row, keys), []):
            entries.append(_entry(name, business_date, _key(row, keys), str(place)))
    left = {_key(row, keys) for row in after}
    entries += [_entry(name, business_date, key, "") for key in as_published if key not in left]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(before[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(after)
    return {**tables, trap.table: text.getvalue()}, entries


def _key(row: Row, columns: tuple[str, ...]) -> str:
    return "|".join(row[column] for column in columns)


def _entry(name: str, business_date: str, key: str, row: str) -> Entry:
    trap = CATALOGUE[name]
    columns = "|".join(KEYS[trap.table])
    return Entry(name, trap.feed, business_date, trap.table, columns, key, row, trap.expected, trap.rule, "")


def _cells(change: Callable[[Row], Row]) -> Change:
    return lambda rows: [row | change(row) for row in rows]


def _subtotal_as_part(row: Row) -> Row:
    return {"is_total": "N"} if row["is_total"] == "Y" and row["category_code"] != "TOTAL" else {}


def _zero_for_suppressed(row: Row) -> Row:
    return {"obs_value": "0"} if row["obs_status"] == "Q" else {}


def _zero_unmarked(row: Row) -> Row:
    return {"obs_value": "0", "obs_status": "A"} if row["obs_status"] == "Q" and row["is_total"] == "N" else {}


def _percent(rows: list[Row]) -> list[Row]:
    """Per cent of the area's residents with one decimal, for a table that has a total of each area."""
    totals = {
        (row["census_year"], row["area_code"]): int(row["obs_value"]) for row in rows if row["category_code"] == "TOTAL"
    }
    for row in rows:
        tenths = 1000 * int(row["obs_value"]) // totals[row["census_year"], row["area_code"]]
        row["obs_value"] = f"{tenths // 10}.{tenths % 10}"
    return rows


def _rounded(row: Row) -> Row:
    return {"obs_value": str((int(row["obs_value"]) + 2) // 5 * 5)} if row["obs_value"] else {}


def _without(area: str) -> Change:
    return lambda rows: [row for row in rows if row["area_code"] != area]


def _merged_as_one(rows: list[Row]) -> list[Row]:
    """City and Westminster under Westminster's code alone, as the publisher merges them."""
    return [row | {"merged_with": ""} for row in rows if row["area_code"] != _CITY]


def _relabelled(row: Row) -> Row:
    return {"category_label": row["category_label"].replace("Roma", "Romany")}


def _does_not_apply(rows: list[Row]) -> list[Row]:
    """A category -8 for each area, as the dataset builder adds it."""
    areas = {(row["census_year"], row["area_code"]): row for row in rows}
    extra = [row | {"category_code": "-8", "category_label": "Does not apply", "is_total": "N", "obs_value": "0"}
             for row in areas.values()]  # fmt: skip
    return rows + extra


TRAPS: dict[str, Change] = {
    "census_subtotals": _cells(_subtotal_as_part),
    "census_suppressed_zero": _cells(_zero_for_suppressed),
    "census_suppressed_zero_unmarked": _cells(_zero_unmarked),
    "census_merged_unmarked": _cells(lambda row: {"merged_with": ""}),
    "census_merged_as_one": _merged_as_one,
    "census_city_missing": _without(_CITY),
    "census_percent": _percent,
    "census_truncated": lambda rows: rows[:TRUNCATED_AT],
    "census_rounded": _cells(_rounded),
    "census_relabelled": _cells(_relabelled),
    "census_does_not_apply": _does_not_apply,
}
"""Every trap by name: what it makes of a table's rows."""
