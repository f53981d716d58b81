"""Officers the Home Office published, by the star's own dimensions: the Met's totals come out."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from peel.settings import Settings
from peel.warehouse import connect
from tests.readers.test_published_files import read

pytestmark = pytest.mark.slow

FILE = "home_office/officer-rank-2003-2005.csv"
CHINESE_OR_OTHER = "Chinese or Other Ethnic Group (pre 2021 category)"
# A group of the tables of 2003 to 2005 is some categories of 16+1, each of which is some of the 21 leaves.
MAPPED = """
with
ethnicity as (
    select
        bridge.home_office_label,
        array_agg(distinct leaf.five_group order by leaf.five_group) as five_groups,
        array_agg(distinct leaf.is_ethnic_minority) as is_ethnic_minority,
        array_agg(distinct leaf.is_known) as is_known
    from mart.bridge_ethnicity as bridge
    join mart.dim_ethnicity as leaf using (ethnicity_code)
    where bridge.classification = '2001'
    group by bridge.home_office_label
),
rank as (
    select home_office_label, array_agg(distinct rank_group) as rank_groups
    from mart.dim_rank
    where home_office_label <> ''
    group by home_office_label
)
select
    officer.year,
    officer.ethnic_group,
    sex.sex_code,
    rank.rank_groups[1] as rank_group,
    ethnicity.five_groups,
    ethnicity.is_ethnic_minority[1] as is_ethnic_minority,
    ethnicity.is_known[1] as is_known,
    officer.headcount,
    cardinality(rank.rank_groups) = 1
    and cardinality(ethnicity.is_ethnic_minority) = 1
    and cardinality(ethnicity.is_known) = 1 as is_whole
from officer
join mart.dim_sex as sex on officer.sex = sex.sex_label
join rank on officer.rank = rank.home_office_label
join ethnicity on officer.ethnicity = ethnicity.home_office_label
where officer.force = 'Metropolitan Police'
"""


def plainly(path: Path, *columns: str) -> Counter[tuple[str, ...]]:
    """The Met's officers summed by some of the file's own columns, without Peel's readers and dimensions."""
    found: Counter[tuple[str, ...]] = Counter()
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["Force Name"] == "Metropolitan Police":
                written = row["Total (headcount)"].replace(",", "").strip()
                found[tuple(row[column] for column in columns)] += 0 if written == "-" else int(written)
    return found


@pytest.fixture
def met(london_night: Settings, shared_data: Path) -> Iterator[psycopg.Connection]:
    """The file, read by its contract, mapped as the temporary table ``met``; gone with the connection."""
    frame = read("officer_ranks", shared_data / FILE)
    with connect(london_night, "owner") as connection:
        connection.execute(
            "create temporary table officer (year smallint, force text, sex text, rank text, ethnicity text,"
            " ethnic_group text, headcount integer)"
        )
        names = ["year", "force", "sex", "rank", "ethnicity", "ethnic_group", "headcount"]
        with connection.cursor() as cursor, cursor.copy("copy officer from stdin") as copy:
            for row in frame[names].itertuples(index=False):
                copy.write_row(row)
        connection.execute(f"create temporary table met as {MAPPED}".encode())
        yield connection
        connection.rollback()


def summed(connection: psycopg.Connection, columns: str, where: str = "true") -> dict[tuple[object, ...], int]:
    rows = connection.execute(f"select {columns}, sum(headcount) from met where {where} group by {columns}".encode())
    return {tuple(row[:-1]): row[-1] for row in rows}


def test_every_row_finds_its_sex_rank_and_ethnicity(met: psycopg.Connection) -> None:
    row = met.execute(
        "select count(*), count(*) filter (where is_whole), (select count(*) from officer"
        " where force = 'Metropolitan Police') from met"
    ).fetchone()
    assert row == (252, 252, 252)  # 3 years, 2 sexes, 7 ranks, 6 groups


def test_the_mets_totals_are_those_published(met: psycopg.Connection, shared_data: Path) -> None:
    assert summed(met, "year") == {(2003,): 28_569, (2004,): 30_385, (2005,): 31_454}
    plain = plainly(shared_data / FILE, "As at 31 March...")
    assert summed(met, "year::text") == dict(plain)


def test_sexes_and_ranks_add_up_as_in_the_file(met: psycopg.Connection, shared_data: Path) -> None:
    by_sex = plainly(shared_data / FILE, "As at 31 March...", "Gender")
    assert summed(met, "year::text, case sex_code when 'F' then 'Female' else 'Male' end") == dict(by_sex)
    assert by_sex["2005", "Female"] == 6_392
    groups = {
        "Constable": "CON",
        "Sergeant": "SGT",
        "Inspector": "INSP+",
        "Chief Inspector": "INSP+",
        "Superintendent": "SUPT+",
        "Chief Superintendent": "SUPT+",
        "Chief Officer": "SUPT+",
    }
    by_group: Counter[tuple[str, ...]] = Counter()
    for (year, rank), heads in plainly(shared_data / FILE, "As at 31 March...", "Rank description").items():
        by_group[year, groups[rank]] += heads
    assert summed(met, "year::text, rank_group") == dict(by_group)


def test_ethnic_groups_add_up_as_in_the_file(met: psycopg.Connection, shared_data: Path) -> None:
    by_label = plainly(shared_data / FILE, "As at 31 March...", "Ethnicity")
    told = {
        "White": "White",
        "Mixed": "Mixed",
        "Asian": "Asian or Asian British",
        "Black": "Black or Black British",
        # Chinese were Other until 2011 and are Asian since: what was counted together cannot be told apart.
        "Asian, Other": CHINESE_OR_OTHER,
        "Not stated": "Not stated",
    }
    mapped = summed(met, "year::text, array_to_string(five_groups, ', ')")
    found = {(year, told[str(groups)]): heads for (year, groups), heads in mapped.items()}
    assert found == dict(by_label)


def test_ethnic_minorities_are_those_the_home_office_says(met: psycopg.Connection, shared_data: Path) -> None:
    published = plainly(shared_data / FILE, "As at 31 March...", "Ethnic group")
    assert published["2005", "Black, Asian and Minority Ethnic"] == 2_191
    label = (
        "case when is_ethnic_minority then 'Black, Asian and Minority Ethnic' when is_known then 'White'"
        " else 'Not stated' end"
    )
    assert summed(met, f"year::text, {label}") == dict(published)
    assert summed(met, "ethnic_group", f"ethnic_group <> {label}") == {}
    minority, known = (summed(met, "year", where)[2005,] for where in ("is_ethnic_minority", "is_known"))
    assert round(100 * minority / known, 1) == 7.0
