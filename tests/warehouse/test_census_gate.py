"""The census feed's gate: Peel's own tables pass it, and a table that is not what it was is refused."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from peel import contracts, night
from peel.feeds.reference import deliver_reference
from peel.settings import Settings
from peel.warehouse import connect

pytestmark = pytest.mark.slow

DATE = dt.date(2026, 3, 10)
Change = Callable[[str], str]


def delivered(settings: Settings, changes: dict[str, Change]) -> None:
    """Deliver the reference tables, some of them changed, with a manifest that is true."""
    folder = deliver_reference(settings, contracts.feed(settings.contracts, "census"), DATE)
    assert folder is not None
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for file in manifest["files"]:
        if file["table"] in changes:
            target: Path = folder / file["file"]
            text = target.read_text("utf-8")
            changed = changes[file["table"]](text)
            assert changed != text
            target.write_text(changed, "utf-8")
            file |= {"sha256": hashlib.sha256(changed.encode()).hexdigest(), "rows": changed.count("\n") - 1}
    path.write_text(json.dumps(manifest))


def gated(settings: Settings, changes: dict[str, Change]) -> tuple[set[str], set[str]]:
    """Which tables' rules refused, and which only warned, as ``table: rule``."""
    delivered(settings, changes)
    landed = night.land("census", DATE)
    assert landed["refused"] == []
    night.gate("census")
    with connect(settings, "owner") as connection:
        failed = connection.execute(
            "select table_name || ': ' || rule, on_failure from audit.gate_result where outcome = 'failed'"
        ).fetchall()
    return {rule for rule, follows in failed if follows != "warn"}, {
        rule for rule, follows in failed if follows == "warn"
    }


def test_the_reference_tables_pass_every_rule(here: Settings) -> None:
    assert gated(here, {}) == (set(), set())


def swapped(first: str, second: str) -> Change:
    return lambda text: text.replace(first, second)


def without(start: str) -> Change:
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if not line.startswith(start))


@pytest.mark.parametrize(
    ("table", "change", "rules"),
    [
        ("census_ethnic_group", swapped("White: Roma", "White: Romany"), {"label_set"}),
        ("census_ethnic_group", without("2021,E09000033,"), {"row_count"}),
        # Two groups' figures change places in every area: every sum still holds, London's share does not.
        (
            "census_ethnic_group",
            lambda text: text.replace(",W1,", ",#,").replace(",A1,", ",W1,").replace(",#,", ",A1,"),
            {"parts_equal_totals", "london_share_is_known"},
        ),
        ("census_ethnic_group", swapped("residents,Y,8584,", "residents,Y,8585,"), {"parts_equal_totals"}),
        ("census_sex", swapped("residents,Y,8584,A", "residents,Y,8584,Q"), {"suppressed_is_empty"}),
        ("census_ethnic_group_by_sex", swapped("E09000033", ""), {"merged_areas_are_marked"}),
        ("census_ethnic_group_by_sex", without("2021,E09000002,F,W1,"), {"row_count"}),
        ("census_ethnic_group_by_age", swapped(",,Q\n", ",0,Q\n"), {"suppressed_is_empty"}),
        ("census_ethnic_group_by_age", without("2021,E12000007,"), {"row_count", "every_area"}),
    ],
    ids=["relabelled", "an area gone", "two groups swapped", "a total off by one", "suppressed with a figure",
         "merging not marked", "a row gone", "suppressed read as nought", "london gone"],
)  # fmt: skip
def test_a_table_that_is_not_what_it_was_is_refused(
    here: Settings, table: str, change: Change, rules: set[str]
) -> None:
    refused, _ = gated(here, {table: change})
    assert {f"{table}: {rule}" for rule in rules} <= refused
    with connect(here, "owner") as connection:
        by = connection.execute(
            "select refused_by from audit.delivery_table where table_name = %s", (table,)
        ).fetchone()
    assert by is not None
    assert by[0]


@pytest.mark.parametrize(
    ("change", "label"),
    [
        (lambda text: text.replace("\n2021,", "\n1801,", 1), "census_year_in_range"),
        (lambda text: text.replace(",N,", ",N,-", 1), "residents_not_negative"),
        (lambda text: text + text.splitlines(keepends=True)[-1], "key_is_unique"),
        (without("2021,E09000001,"), "thirty_three_areas"),
    ],
    ids=["another year", "below nought", "a row twice", "an area gone"],
)
def test_a_row_that_cannot_be_is_named_by_its_fault(here: Settings, change: Change, label: str) -> None:
    refused, _ = gated(here, {"census_sex": change})
    assert f"census_sex: {label}" in refused


def test_figures_that_cannot_come_from_the_rounded_table_are_told(here: Settings) -> None:
    refused, warned = gated(
        here, {"census_ethnic_group_by_sex": swapped("2021,E12000007,F,W1,Y,,", "2021,E12000007,F,W1,Y,,1")}
    )
    assert refused == set()
    assert warned == {"census_ethnic_group_by_sex: areas_equal_london"}
