"""A mart of invented officers and real residents: rows as the warehouse would hold them, and the snapshot of them.

The rows are for a database, the snapshot is worked out here, apart from ``peel.releases.read``: where both are
used, the one checks the other.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from peel.releases.read import Area, AsOf, Ethnicity, Mart

ROOT = Path(__file__).parents[2]
BUSINESS_DATE = dt.date(2026, 11, 20)
BUILD_ID = "5eed0fa11b01"
STATEMENT = "Police and applicant figures: simulated force, not real. Residents: ONS Census."

_BOROUGHS = """E09000001 - City of London|E09000002 EA Barking and Dagenham|E09000003 NW Barnet|E09000004 SE Bexley|
E09000005 NW Brent|E09000006 SN Bromley|E09000007 CN Camden|E09000008 SN Croydon|E09000009 WA Ealing|
E09000010 NA Enfield|E09000011 SE Greenwich|E09000012 CE Hackney|E09000013 AW Hammersmith and Fulham|
E09000014 NA Haringey|E09000015 NW Harrow|E09000016 EA Havering|E09000017 WA Hillingdon|E09000018 WA Hounslow|
E09000019 CN Islington|E09000020 AW Kensington and Chelsea|E09000021 SW Kingston upon Thames|E09000022 AS Lambeth|
E09000023 SE Lewisham|E09000024 SW Merton|E09000025 NE Newham|E09000026 EA Redbridge|
E09000027 SW Richmond upon Thames|E09000028 AS Southwark|E09000029 SN Sutton|E09000030 CE Tower Hamlets|
E09000031 NE Waltham Forest|E09000032 SW Wandsworth|E09000033 AW Westminster"""
_BCUS = {
    "AS": "Central South",
    "AW": "Central West",
    "CE": "Central East",
    "CN": "Central North",
    "EA": "East Area",
    "NA": "North Area",
    "NE": "North East",
    "NW": "North West",
    "SE": "South East",
    "SN": "South Area",
    "SW": "South West",
    "WA": "West Area",
}
_ETHNICITIES = """W1 White English, Welsh, Scottish, Northern Irish or British|W2 White Irish|
W3 White Gypsy or Irish Traveller|W4 White Roma|W9 White Any other White background|
M1 Mixed White and Black Caribbean|M2 Mixed White and Black African|M3 Mixed White and Asian|
M9 Mixed Any other Mixed or Multiple ethnic background|A1 Asian Indian|A2 Asian Pakistani|A3 Asian Bangladeshi|
A4 Asian Chinese|A9 Asian Any other Asian background|B1 Black Caribbean|B2 Black African|
B9 Black Any other Black, Black British or Caribbean background|O2 Other Arab|O9 Other Any other ethnic group|
NS Not-stated Prefer not to say|NC Unknown Not collected"""
_OFFICERS = {
    "W1": 66,
    "W2": 3,
    "W9": 8,
    "M1": 1,
    "M3": 1,
    "M9": 1,
    "A1": 3,
    "A2": 2,
    "A3": 1.5,
    "A9": 1,
    "B1": 1.6,
}
_OFFICERS |= {"B2": 2, "B9": 0.4, "O9": 1, "O2": 0.4, "NS": 2.5, "NC": 1.5}
_JOINERS = _OFFICERS | {"A1": 4, "A2": 4, "A3": 3, "B2": 4, "M9": 2, "O9": 1.5}
_APPLICANTS = _OFFICERS | {"A1": 6, "A2": 7, "A3": 5, "B2": 9, "B1": 3, "M9": 3, "O9": 2, "W1": 50}


def _lines(text: str) -> list[list[str]]:
    return [part.split(" ", 2) for part in text.replace("\n", "").split("|")]


@dataclass
class Rows:
    """Rows of each view of ``mart``, in the order of its columns."""

    as_of: list[tuple[object, ...]] = field(default_factory=list)
    dim_area: list[tuple[object, ...]] = field(default_factory=list)
    dim_ethnicity: list[tuple[object, ...]] = field(default_factory=list)
    workforce_month: list[tuple[object, ...]] = field(default_factory=list)
    movement_month: list[tuple[object, ...]] = field(default_factory=list)
    population: list[tuple[object, ...]] = field(default_factory=list)
    applicant_year: list[tuple[object, ...]] = field(default_factory=list)


SQL = """
create table mart.as_of (business_date date, build_id text, switched_at timestamptz, police_source_kind text,
    residents_source_kind text, statement text);
create table mart.dim_area (area_code text, area_name text, area_type text, bcu_code text, in_mps_area boolean);
create table mart.dim_ethnicity (ethnicity_code text, ethnicity_label text, five_group text, is_known boolean,
    is_ethnic_minority boolean, is_non_white_british boolean, sort_order integer);
create table mart.workforce_month (month_end date, workforce_group text, rank_code text, rank_group text,
    ethnicity_code text, sex_code text, age_band_code text, org_type text, posting_bcu_code text,
    posting_borough_code text, headcount integer, fte numeric);
create table mart.movement_month (month_end date, movement_type text, workforce_group text, joiner_type text,
    entry_route text, leaving_reason text, ethnicity_code text, sex_code text, movements integer);
create table mart.population (census_year smallint, area_code text, ethnicity_code text, sex_code text,
    residents bigint);
create table mart.applicant_year (financial_year text, year_end date, workforce_group text, ethnicity_code text,
    sex_code text, candidates integer);
grant select on all tables in schema mart to peel_publish;
"""


def rows(*, officers: int = 8500, seed: int = 1829, kind: str = "simulated") -> Rows:
    """Invent a force of about so many officers; the same for the same arguments."""
    draw = random.Random(f"{officers} {seed}")
    made = Rows()
    statement = STATEMENT if kind == "simulated" else "Police and applicant figures: the Met. Residents: ONS Census."
    switched = dt.datetime(2026, 11, 21, 4, 30, tzinfo=dt.UTC)
    made.as_of.append((BUSINESS_DATE, BUILD_ID, switched, kind, "real", statement))
    made.dim_area += [("E12000007", "London", "region", None, False)]
    made.dim_area += [("E23000001", "Metropolitan Police", "police_force_area", None, True)]
    made.dim_area += [(code, name, "bcu", code, True) for code, name in _BCUS.items()]
    boroughs = {code: (None if bcu == "-" else bcu, name) for code, bcu, name in _lines(_BOROUGHS)}
    made.dim_area += [(code, name, "borough", bcu, bcu is not None) for code, (bcu, name) in boroughs.items()]
    for number, (code, five, label) in enumerate(_lines(_ETHNICITIES)):
        known = code not in ("NS", "NC")
        group = five.replace("-", " ")
        made.dim_ethnicity.append(
            (code, label, group, known, known and five != "White", known and code != "W1", number)
        )
    places = [(bcu, code) for code, (bcu, _) in boroughs.items() if bcu for _ in range(draw.randrange(3, 9))]
    places += [(bcu, None) for bcu in _BCUS for _ in range(2)] + [(None, None)] * 150

    def people(number: int, mix: dict[str, float]) -> Counter[tuple[str, str]]:
        codes = draw.choices(list(mix), list(mix.values()), k=number)
        sexes = draw.choices(["F", "M", "U"], [310, 689, 0.6], k=number)
        return Counter(zip(codes, sexes, strict=True))

    for month in (dt.date(2026, 10, 31), dt.date(2026, 11, 30)):
        cells: Counter[tuple[str, str, str | None, str | None]] = Counter()
        for (code, sex), number in people(officers, _OFFICERS).items():
            for bcu, borough in draw.choices(places, k=number):
                cells[code, sex, bcu, borough] += 1
        for (code, sex, bcu, borough), number in cells.items():
            ranks = ("CON", "SGT") if number > 1 else ("CON",)
            for rank in ranks:
                part = number // 2 if rank == "SGT" else number - (number // 2 if len(ranks) > 1 else 0)
                made.workforce_month.append(
                    (
                        month,
                        "OFF",
                        rank,
                        rank,
                        code,
                        sex,
                        "26-40",
                        "BCU" if bcu else "HQ",
                        bcu,
                        borough,
                        part,
                        part,
                    )
                )
        made.workforce_month.append((month, "STAFF", "D", "STAFF", "B2", "F", "26-40", "HQ", None, None, 77, 70))
    month = dt.date(2021, 10, 31)
    while month < dt.date(2026, 12, 1):
        for kind_, share in (
            ("STANDARD", 0.8),
            ("REJOINER", 0.03),
            ("PREVIOUSLY_SPECIAL", 0.07),
            ("TRANSFER", 0.1),
        ):
            number = round(officers * 0.07 / 12 * share * draw.uniform(0.5, 1.5))
            for (code, sex), moved in people(number, _JOINERS).items():
                made.movement_month.append((month, "join", "OFF", kind_, "PCDA", None, code, sex, moved))
        made.movement_month.append((month, "leave", "OFF", None, None, "RES", "W1", "M", 11))
        made.movement_month.append((month, "join", "STAFF", "STANDARD", None, None, "B2", "F", 5))
        month = (month + dt.timedelta(days=1)).replace(day=28) + dt.timedelta(days=4)
        month -= dt.timedelta(days=month.day)
    for year in range(2014, 2027):
        for (code, sex), number in people(round(officers * draw.uniform(0.25, 0.5)), _APPLICANTS).items():
            made.applicant_year.append(
                (f"{year}/{(year + 1) % 100}", dt.date(year + 1, 3, 31), "OFF", code, sex, number)
            )
        made.applicant_year.append((f"{year}/{(year + 1) % 100}", dt.date(year + 1, 3, 31), "SC", "W1", "M", 99))
    made.population += _census()
    return made


def _census() -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for name, sexes in (("census_ethnic_group", False), ("census_sex", True)):
        with (ROOT / "reference" / "census" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["is_total"] == "N":
                    code = row["category_code"]
                    keys = (None, code) if sexes else (code, None)
                    found.append((int(row["census_year"]), row["area_code"], *keys, int(row["obs_value"])))
    return found


def snapshot(made: Rows) -> Mart:
    """What ``peel.releases.read.read`` returns of these rows."""
    areas = {row[0]: Area(*row) for row in made.dim_area}  # type: ignore[arg-type]
    bcu_of = {code: area.bcu for code, area in areas.items() if area.kind == "borough" and area.in_mps_area}
    officers: Counter[tuple[str | None, str | None, str]] = Counter()
    sexes: Counter[str] = Counter()
    latest = max(row[0] for row in made.workforce_month)  # type: ignore[type-var]
    for month, group, _, _, code, sex, _, _, bcu, borough, heads, _ in made.workforce_month:
        if group == "OFF" and month == latest:
            officers[bcu_of.get(borough, bcu), borough if borough in bcu_of else None, code] += heads  # type: ignore[arg-type,index,operator]
            sexes[sex] += heads  # type: ignore[index,operator]
    joiners: Counter[tuple[dt.date, bool, str]] = Counter()
    for month, movement, group, kind, _, _, code, _, number in made.movement_month:
        if movement == "join" and group == "OFF" and month >= dt.date(2022, 1, 31):  # type: ignore[operator]
            joiners[month, kind == "TRANSFER", code] += number  # type: ignore[index,operator]
    applicants: Counter[tuple[str, dt.date, str]] = Counter()
    for year, end, group, code, _, number in made.applicant_year:
        if group == "OFF":
            applicants[year, end, code] += number  # type: ignore[index,operator]
    return Mart(
        as_of=AsOf(*made.as_of[0]),  # type: ignore[arg-type]
        areas=areas,
        ethnicities={row[0]: Ethnicity(*row[:3], *row[4:6]) for row in made.dim_ethnicity},  # type: ignore[arg-type,misc]
        residents={row[:3]: row[4] for row in made.population if row[2] is not None},  # type: ignore[misc]
        residents_by_sex={(row[0], row[1], row[3]): row[4] for row in made.population if row[3] is not None},  # type: ignore[misc]
        officers_on=min(latest, BUSINESS_DATE),  # type: ignore[type-var]
        officers=officers,
        officers_by_sex=sexes,
        joiners=joiners,
        applicants=applicants,
    )
