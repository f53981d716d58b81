"""One snapshot of ``mart``, added up to what the draft shows, as plain numbers.

All queries run in one read-only transaction of level repeatable read: a switch in between changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg

from peel import london, warehouse
from peel.errors import PeelError
from peel.settings import Settings

LONDON = "E12000007"
MET = "E23000001"


@dataclass(frozen=True)
class AsOf:
    """Which build readers see, and where its figures come from."""

    business_date: dt.date
    build_id: str
    switched_at: dt.datetime
    police_source_kind: str
    residents_source_kind: str
    statement: str


@dataclass(frozen=True)
class Area:
    """One area: a borough (or the City of London), a command (BCU), the Met's area or London."""

    code: str
    name: str
    kind: str
    bcu: str | None
    in_mps_area: bool


@dataclass(frozen=True)
class Ethnicity:
    """One ethnic group at the finest grain, with the wider groups it belongs to."""

    code: str
    label: str
    five_group: str
    minority: bool
    non_white_british: bool


@dataclass(frozen=True)
class Mart:
    """What the draft is made of; all counts are people.

    Args:
        as_of: the build.
        areas: by code.
        ethnicities: by code, in their order.
        residents: by (census year, area, ethnicity code).
        residents_by_sex: by (census year, area, sex code).
        officers_on: the day officers are counted on.
        officers: by (bcu or None, borough or None, ethnicity code).
        officers_by_sex: by sex code.
        joiners: of officers, by (month end, whether a transfer, ethnicity code).
        applicants: to become an officer, by (financial year, its last day, ethnicity code).
    """

    as_of: AsOf
    areas: Mapping[str, Area]
    ethnicities: Mapping[str, Ethnicity]
    residents: Mapping[tuple[int, str, str], int]
    residents_by_sex: Mapping[tuple[int, str, str], int]
    officers_on: dt.date
    officers: Mapping[tuple[str | None, str | None, str], int]
    officers_by_sex: Mapping[str, int]
    joiners: Mapping[tuple[dt.date, bool, str], int]
    applicants: Mapping[tuple[str, dt.date, str], int]

    def boroughs(self, *, bcu: str | None = None, met: bool = False) -> list[str]:
        """Codes of London's 33 areas in order of name; of one command, or of the Met's 32, if asked."""
        chosen = [
            area
            for area in self.areas.values()
            if area.kind == "borough" and (bcu is None or area.bcu == bcu) and (area.in_mps_area or not met)
        ]
        return [area.code for area in sorted(chosen, key=lambda area: area.name)]

    def bcus(self) -> list[str]:
        """Codes of the commands in order of name."""
        chosen = [area for area in self.areas.values() if area.kind == "bcu"]
        return [area.code for area in sorted(chosen, key=lambda area: area.name)]


def read(settings: Settings) -> Mart:
    """Read the mart as role ``peel_publish``.

    Args:
        settings: the installation.

    Returns:
        The counts, added up over everything the draft does not show.

    Raises:
        PeelError: nothing has been switched to yet, there are no residents, or a database error.
    """
    with warehouse.connect(settings, "publish") as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        return _snapshot(connection)


def _snapshot(connection: psycopg.Connection) -> Mart:
    def rows(query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        return connection.execute(query, parameters).fetchall()

    switched = rows("select to_regclass('mart.as_of') is not null")[0][0]
    found = rows(_AS_OF) if switched else []
    if not found:
        raise PeelError("no build has been switched to yet.", do="Run a night first: `peel night DATE`.")
    as_of = AsOf(*found[0])
    residents = rows(_RESIDENTS)
    if not residents:
        raise PeelError("the mart holds no residents.", feed="census", do="Run a night with the census feed first.")
    month = rows(_LATEST_MONTH)[0][0] or as_of.business_date
    # the open month is keyed by its last day and counted as at the business date
    officers_on = as_of.business_date if month == london.month_end(as_of.business_date) else month
    return Mart(
        as_of=as_of,
        areas={row[0]: Area(*row) for row in rows(_AREAS)},
        ethnicities={row[0]: Ethnicity(*row) for row in rows(_ETHNICITIES)},
        residents={(row[0], row[1], row[2]): row[3] for row in residents},
        residents_by_sex={(row[0], row[1], row[2]): row[3] for row in rows(_RESIDENTS_BY_SEX)},
        officers_on=officers_on,
        officers={(row[0], row[1], row[2]): row[3] for row in rows(_OFFICERS, month)},
        officers_by_sex={row[0]: row[1] for row in rows(_OFFICERS_BY_SEX, month)},
        joiners={(row[0], row[1], row[2]): row[3] for row in rows(_JOINERS)},
        applicants={(row[0], row[1], row[2]): row[3] for row in rows(_APPLICANTS)},
    )


_AS_OF: Final = """
select business_date, build_id, switched_at, police_source_kind, residents_source_kind, statement
from mart.as_of
"""
_AREAS: Final = """
select area_code, area_name, area_type, bcu_code, in_mps_area
from mart.dim_area
where area_type in ('region', 'police_force_area', 'bcu', 'borough')
order by area_code collate "C"
"""
_ETHNICITIES: Final = """
select ethnicity_code, ethnicity_label, five_group, is_ethnic_minority, is_non_white_british
from mart.dim_ethnicity
order by sort_order, ethnicity_code collate "C"
"""
_RESIDENTS: Final = """
select census_year::integer, area_code, ethnicity_code, sum(residents)::bigint
from mart.population
where ethnicity_code is not null and sex_code is null
group by census_year, area_code, ethnicity_code
"""
_RESIDENTS_BY_SEX: Final = """
select census_year::integer, area_code, sex_code, sum(residents)::bigint
from mart.population
where sex_code is not null and ethnicity_code is null
group by census_year, area_code, sex_code
"""
_LATEST_MONTH: Final = """
select max(month_end) from mart.workforce_month where workforce_group = 'OFF'
"""
# An officer posted to a borough counts in that borough's command, so that boroughs add up to it.
_OFFICERS: Final = """
select
    coalesce(posted.bcu_code, nullif(nullif(month.posting_bcu_code, 'NONE'), 'UNK')),
    posted.area_code,
    coalesce(month.ethnicity_code, 'NC'),
    sum(month.headcount)::bigint
from mart.workforce_month as month
left join mart.dim_area as posted
    on posted.area_code = month.posting_borough_code and posted.area_type = 'borough' and posted.in_mps_area
where month.month_end = %s and month.workforce_group = 'OFF'
group by 1, 2, 3
having sum(month.headcount) > 0
"""
_OFFICERS_BY_SEX: Final = """
select coalesce(sex_code, 'U'), sum(headcount)::bigint
from mart.workforce_month
where month_end = %s and workforce_group = 'OFF'
group by 1
"""
_JOINERS: Final = """
select
    month_end,
    joiner_type is not distinct from 'TRANSFER',
    coalesce(ethnicity_code, 'NC'),
    sum(movements)::bigint
from mart.movement_month
where movement_type = 'join' and workforce_group = 'OFF' and month_end >= date '2022-01-31'
group by 1, 2, 3
"""
_APPLICANTS: Final = """
select financial_year, year_end, coalesce(ethnicity_code, 'NC'), sum(candidates)::bigint
from mart.applicant_year
where workforce_group = 'OFF'
group by 1, 2, 3
"""
