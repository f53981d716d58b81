"""Dirt that is life, through a whole night: what the star makes of it, worked out again from the files."""

from __future__ import annotations

import csv
import datetime as dt

import pytest

from peel import night
from peel.settings import Settings
from peel.simulate import deliver
from peel.simulate.dirt import CATALOGUE, read_ledger
from peel.warehouse import connect

pytestmark = pytest.mark.slow

NIGHT, MONTH_END = dt.date(2026, 3, 10), "2026-02-28"
LIFE = {name: 100_000 for name, dirt in CATALOGUE.items() if dirt.feed != "census" and not dirt.rule}
LIFE["unit_closed"] = 1_000  # so many more would refuse the build


def read(settings: Settings, table: str) -> list[dict[str, str]]:
    path = settings.sources / "hr" / str(NIGHT) / "1" / f"{table}_{NIGHT:%Y%m%d}_1.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_star_counts_each_person_once_in_each_group(here: Settings) -> None:
    deliver(here.sources, NIGHT, scale=here.scale, seed=here.seed, since=None, dirt=LIFE)
    night.run_direct(NIGHT, lambda _: None, drafts=False)
    insured = {row["person_id"]: row["national_insurance_number"] for row in read(here, "hr_person")}
    fte: dict[tuple[str, str], int] = {}
    seconded: set[tuple[str, str]] = set()
    for row in read(here, "hr_assignment"):
        serves = row["effective_start_date"] <= MONTH_END <= row["effective_end_date"]
        if serves and row["assignment_status"] != "TERMINATED":
            one = (insured[row["person_id"]], row["workforce_group"])
            fte[one] = fte.get(one, 0) + int(row["fte"].replace(".", ""))
            if row["assignment_status"] == "SECONDED_IN":
                seconded.add(one)
    planted = {entry.dirt for entry in read_ledger(here.sources)}
    assert {"person_twice", "second_post", "staff_and_special", "seconded_in", "hire_cancelled"} <= planted
    with connect(here, "owner") as connection:
        persons = connection.execute("select count(distinct person_key), count(*) from next.int_person").fetchone()
        found = connection.execute(
            "select workforce_group, count(*), count(distinct person_key), count(*) filter (where is_fte_capped),"
            " max(fte) from core.fct_workforce_snapshot where month_end = %s group by 1",
            (MONTH_END,),
        ).fetchall()
        away = connection.execute(
            "select count(*) from core.fct_workforce_snapshot s where month_end = %s and not is_ho_headcount",
            (MONTH_END,),
        ).fetchone()
        to_come = connection.execute(
            "select count(*) from core.fct_workforce_movement where month_end > %s", (dt.date(2026, 3, 31),)
        ).fetchone()
    assert persons == (len(set(insured.values())), len(insured))
    assert {group: heads for group, heads, *_ in found} == {
        group: sum(1 for _, of in fte if of == group) for group in {of for _, of in fte}
    }
    assert all(heads == distinct and most <= 1 for _, heads, distinct, _, most in found)
    assert sum(capped for *_, capped, _ in found) == sum(1 for whole in fte.values() if whole > 1000) > 0
    assert away is not None
    assert away[0] >= len(seconded) > 0
    assert to_come == (0,)
