"""The force held against published figures, each on its own basis.

What is compared are the delivered files, not the world they were written from. The figures are
``tables/published.csv`` and the published months of ``tables/strength.csv``; where published figures
conflict, one is compared and the others are listed with the reason.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peel.simulate import tables as t
from peel.simulate.nights import scale_of
from peel.simulate.write import SEQUENCE

if TYPE_CHECKING:
    import pandas as pd

POINTS, RELATIVE = 1.0, 0.03
"""How near a figure must come: in percentage points, or as a share of itself."""
FEW = 2000
"""Below this denominator a published share is itself uncertain: it must lie in the force's interval."""
_Z = 1.959964
_JOINS = ("JOIN", "TRANSFER_IN", "REJOIN")
_GROUPS = {"STAFF_DESIG": ("STAFF", "DESIG"), "ALL": ("OFF", "STAFF", "DESIG", "PCSO")}
_RANKS = {"CHIEF": ("CMD", "DAC", "ACO", "DCO", "COM")}


@dataclass(frozen=True)
class Compared:
    """One published figure beside the force's own.

    Attributes:
        figure: its number in the list of published figures, if it has one.
        measure: what is counted, such as ``minority_share`` or ``fte``.
        group: workforce group.
        segment: rank, or empty.
        day: last day of the period, or the day it is of.
        basis: of the published figure: fte, headcount, starts, or the share of all.
        published: heads, FTE or percent.
        simulated: the same, of a force of full size.
        people: the number the simulated share is a share of; 0 for counts.
        verdict: ``within``, ``outside``, ``conflict`` (not held to it) or ``extrapolated``.
        reason: where the figure comes from, or why it is not held to it.
    """

    figure: str
    measure: str
    group: str
    segment: str
    day: str
    basis: str
    published: float
    simulated: float
    people: int
    verdict: str
    reason: str


def compare(target: Path, night: dt.date) -> list[Compared]:
    """Hold a delivered night against everything published for days up to it.

    Args:
        target: the folder of feeds.
        night: business date of an HR delivery in it.

    Raises:
        PeelError: the simulated force did not deliver there for that date.
    """
    force = Force(target, night)
    return [*_shares_and_heads(force, night), *_strengths(force, night)]


def wilson(successes: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share by Wilson's method, both ends in percent; everything for no count."""
    if not count:
        return 0.0, 100.0
    share, square = successes / count, _Z * _Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _Z * (share * (1 - share) / count + square / (4 * count * count)) ** 0.5 / (1 + square / count)
    return 100 * (middle - half), 100 * (middle + half)


class Force:
    """What the HR files of one night say.

    Args:
        target: the folder of feeds.
        night: business date of an HR delivery in it.

    Attributes:
        scale: size of the force, 1 is the Met's.

    Raises:
        PeelError: the simulated force did not deliver there for that date.
    """

    def __init__(self, target: Path, night: dt.date) -> None:
        import pandas as pd

        self.scale = scale_of(target, night)

        def read(name: str) -> pd.DataFrame:
            file = target / "hr" / night.isoformat() / str(SEQUENCE) / f"hr_{name}_{night:%Y%m%d}_{SEQUENCE}.csv"
            return pd.read_csv(file, dtype=str, keep_default_na=False)

        self.posts, self.events, self.declared = read("assignment"), read("service_event"), read("sensitive")
        self.sex = read("person").drop_duplicates("person_id").set_index("person_id").sex

    def serving(self, group: str, day: str) -> pd.DataFrame:
        """The primary assignments of a group, or of several under one name, that are held on a day."""
        posts = self.posts
        return posts[
            posts.workforce_group.isin(_GROUPS.get(group, (group,)))
            & (posts.primary_flag == "Y")
            & (posts.effective_start_date <= day)
            & (posts.effective_end_date >= day)
            & (posts.assignment_status != "TERMINATED")
        ]

    def fte(self, group: str, day: dt.date) -> float:
        """Full-time equivalents of a group on a day, of a force of full size."""
        return float(self.serving(group, day.isoformat()).fte.astype(float).sum()) / self.scale

    def starting(self, group: str, first: str, last: str) -> pd.Series[str]:
        """Recruits of a period: neither transferees nor rejoiners."""
        events = self.events
        return events[
            (events.workforce_group == group)
            & events.event_type.isin(_JOINS)
            & ~events.joiner_type.isin(["TRANSFER", "REJOINER"])
            & events.event_date.between(first, last)
        ].person_id

    def of(self, measure: str, people: pd.Series[str], day: str) -> pd.Series[bool]:
        """Who of the people a share counts, by what was declared on a day."""
        if measure == "women_share":
            return people.map(self.sex) == "F"
        table = self.declared
        stands = (table.declared_ts.str[:10] <= day) & (
            (table.superseded_ts == "") | (table.superseded_ts.str[:10] > day)
        )
        codes = people.map(table[stands].drop_duplicates("person_id").set_index("person_id").value_code).fillna("NS")
        if measure == "minority_share":
            return ~codes.str.startswith("W") & (codes != "NS")
        return codes.str.startswith({"black_share": "B", "asian_share": "A"}[measure])


def _shares_and_heads(force: Force, night: dt.date) -> Iterator[Compared]:
    for row in t.rows("published"):
        day, group, unit = dt.date.fromisoformat(row["to_day"]), row["group_code"], row["unit"]
        if day > night:
            continue
        people, published, measure = _people(force, row), float(row["value"]), row["measure"]
        if unit == "percent":
            known = night if measure.startswith("joiner") else day
            chosen = int(force.of(measure.removeprefix("joiner_"), people, known.isoformat()).sum())
            simulated = 100 * chosen / max(len(people), 1)
            holds = _share_holds(row["denominator"], published, chosen, len(people))
        else:
            simulated = force.fte(group, day) if unit == "fte" else people.nunique() / force.scale
            holds = simulated >= published if unit == "at_least" else _near(simulated, published)
        yield Compared(
            row["figure"],
            measure,
            group,
            row["segment"],
            row["to_day"],
            row["basis"],
            published,
            simulated,
            len(people) if unit == "percent" else 0,
            "conflict" if row["conflict"] else _verdict(holds),
            row["conflict"] or row["provenance"],
        )


def _people(force: Force, row: dict[str, str]) -> pd.Series[str]:
    """Whom a published figure is about."""
    if row["measure"].startswith("joiner"):
        return force.starting(row["group_code"], row["from_day"], row["to_day"])
    holders = force.serving(row["group_code"], row["to_day"])
    if row["segment"]:
        holders = holders[holders.rank_code.isin(_RANKS.get(row["segment"], (row["segment"],)))]
    people = holders.person_id
    return people[force.of("minority_share", people, row["to_day"])] if row["measure"] == "minority" else people


def _near(simulated: float, published: float) -> bool:
    return abs(simulated - published) <= RELATIVE * published


def _share_holds(denominator: str, published: float, chosen: int, people: int) -> bool:
    if denominator and int(denominator) >= FEW:
        return abs(100 * chosen / max(people, 1) - published) <= max(POINTS, RELATIVE * published)
    low, high = wilson(chosen, people)
    return low <= published <= high


def _verdict(holds: bool) -> str:
    return "within" if holds else "outside"


def _strengths(force: Force, night: dt.date) -> Iterator[Compared]:
    for row in t.rows("strength"):
        day = last_day(*map(int, row["as_at"].split("-")))
        if day > night:
            continue
        series, published = row["series"], float(row["value"])
        heads = force.serving(series, day.isoformat()).person_id.nunique() / force.scale
        simulated = force.fte(series, day) if row["basis"] == "fte" else heads
        verdict = _verdict(_near(simulated, published)) if row["status"] == "published" else row["status"]
        about = ("", "strength", series, "", day.isoformat(), row["basis"])
        yield Compared(*about, published, simulated, 0, verdict, row["provenance"])


def last_day(year: int, month: int) -> dt.date:
    """The last day of a month."""
    return dt.date(year, month, calendar.monthrange(year, month)[1])


def lines(compared: list[Compared]) -> list[str]:
    """The comparison as a table of text, the many months of strength summed up by series."""
    head = ("figure", "measure", "group", "day", "basis", "published", "simulated", "people", "verdict")
    rows = [head]
    for one in compared:
        if one.measure != "strength":
            group = f"{one.group} {one.segment}".strip()
            figures = (f"{one.published:,.1f}", f"{one.simulated:,.1f}", f"{one.people:,}" if one.people else "")
            rows.append((one.figure, one.measure, group, one.day, one.basis, *figures, one.verdict))
    for series in dict.fromkeys(one.group for one in compared if one.measure == "strength"):
        months = [one for one in compared if one.measure == "strength" and one.group == series]
        held = [one for one in months if one.verdict in ("within", "outside")]
        if held:
            furthest = max(held, key=lambda one: abs(one.simulated / one.published - 1))
            away = f"{100 * (furthest.simulated / furthest.published - 1):+.1f}% at most"
            outside = sum(one.verdict == "outside" for one in held)
            verdict = f"{outside} of {len(held)} months outside" if outside else f"within in {len(held)} months"
            rows.append(("", "strength", series, furthest.day, furthest.basis, away, "", "", verdict))
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
