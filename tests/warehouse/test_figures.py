"""The figures are right: census figures to the digit, and six indicators recomputed from the raw source files.

The recomputation reads what the simulated force dropped, with pandas, and shares no code with the pipeline.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import HOME, NIGHT

pytestmark = pytest.mark.slow

MINORITY = {"M1", "M2", "M3", "M9", "A1", "A2", "A3", "A4", "A9", "B1", "B2", "B9", "O2", "O9"}
WHITE = {"W1", "W2", "W3", "W4", "W9"}
FIVE = {"W": "White", "M": "Mixed", "A": "Asian", "B": "Black", "O": "Other"}
RANK_GROUP = {"CON": "CON", "SGT": "SGT", "INS": "INSP+", "CIN": "INSP+"}


def rows(settings: Settings, query: str, role: str = "bi") -> list[tuple[Any, ...]]:
    with connect(settings, role) as connection:
        return connection.execute(query.encode()).fetchall()


def test_london_and_the_mets_area_read_as_published(london_night: Settings) -> None:
    shares = rows(
        london_night,
        "select p.census_year, round(100.0 * sum(residents) filter (where is_ethnic_minority) / sum(residents), 1),"
        " round(100.0 * sum(residents) filter (where is_ethnic_minority and in_mps_area)"
        " / sum(residents) filter (where in_mps_area), 1), count(distinct area_code)"
        " from mart.population p join mart.dim_ethnicity using (ethnicity_code) join mart.dim_area using (area_code)"
        " group by 1 order by 1",
    )
    assert [(year, float(london), float(met), areas) for year, london, met, areas in shares] == [
        (2011, 40.2, 40.2, 33),
        (2021, 46.2, 46.3, 33),
    ]


def test_borough_shares_equal_the_published_ones_to_six_decimals(london_night: Settings, shared_data: Path) -> None:
    published = pd.read_csv(shared_data / "census" / "borough_summary.csv").set_index("borough_code")
    found = rows(
        london_night,
        "select area_code, census_year, round(sum(residents) filter (where is_ethnic_minority) / sum(residents), 6),"
        " round(sum(residents) filter (where is_non_white_british) / sum(residents), 6), sum(residents)"
        " from mart.population join mart.dim_ethnicity using (ethnicity_code) group by 1, 2",
    )
    assert len(found) == 66
    for area, year, minority, non_white_british, residents in found:
        assert float(minority) == pytest.approx(published.loc[area, f"bme_share_{year}"], abs=5e-7)
        assert float(non_white_british) == pytest.approx(published.loc[area, f"non_white_british_{year}"], abs=5e-7)
        assert int(residents) == published.loc[area, f"pop_{year}"]


class Force:
    """The simulated force as its own raw files tell it, at the night's business date."""

    def __init__(self, sources: Path) -> None:
        self.date = pd.Timestamp(NIGHT)
        self.read_at = sources
        self.person = self._read("hr", "hr_person").drop_duplicates("person_id", keep="last")
        self.assignment = self._read("hr", "hr_assignment")
        for end in ("effective_start_date", "effective_end_date"):
            # 4712 lies beyond what a nanosecond timestamp can hold: an open end is read as 2100.
            self.assignment[end] = pd.to_datetime(self.assignment[end].str.replace("4712-12-31", "2100-01-01"))
        self.declared = self._declared()
        latest = self._read("hr", "hr_person").sort_values("effective_start_date", kind="stable")
        latest = latest.drop_duplicates("person_id", keep="last").set_index("person_id")
        first = latest.sort_values(["original_hire_date"], na_position="last", kind="stable")
        self.same = latest["national_insurance_number"].map(
            first.reset_index()
            .drop_duplicates("national_insurance_number")
            .set_index("national_insurance_number")["person_id"]
        )
        self.sex = latest["sex"]

    def _read(self, feed: str, table: str) -> pd.DataFrame:
        files = sorted((self.read_at / feed).glob(f"{NIGHT}/*/{table}_*.csv"))
        assert len(files) == 1, files
        return pd.read_csv(files[0], dtype=str, keep_default_na=False)

    def _declared(self) -> pd.DataFrame:
        declared = self._read("hr", "hr_sensitive").query("attribute == 'ETHNICITY'").copy()
        declared["code"] = declared["value_code"].where(
            ~((declared["scheme"] == "16+1") & (declared["value_code"] == "O1")), "A4"
        )
        declared["day"] = (
            pd.to_datetime(declared["declared_ts"], utc=True)
            .dt.tz_convert("Europe/London")
            .dt.tz_localize(None)
            .dt.normalize()
        )
        return declared.sort_values("declared_ts")

    def ethnicity(self, at: pd.Timestamp) -> pd.Series:
        standing = self.declared[self.declared["day"] <= at].copy()
        standing["person"] = standing["person_id"].map(self.same)
        return (
            standing.sort_values(["day", "declared_ts"])
            .drop_duplicates("person", keep="last")
            .set_index("person")["code"]
        )

    def officers(self, month_end: str) -> pd.DataFrame:
        at = min(pd.Timestamp(month_end), self.date)
        a = self.assignment
        current = a[
            (a["workforce_group"] == "OFF")
            & (a["effective_start_date"] <= at)
            & (a["effective_end_date"] >= at)
            & ~a["assignment_status"].isin(["TERMINATED", "SECONDED_OUT", "SECONDED_IN"])
        ].copy()
        current["person"] = current["person_id"].map(self.same)
        current = current.sort_values(["primary_flag", "assignment_id"], ascending=[False, True]).drop_duplicates(
            "person"
        )
        acting = current["rank_basis"] == "ACT"
        current["rank"] = current["rank_code"].where(~acting, current["substantive_rank_code"])
        current["group"] = current["rank"].map(RANK_GROUP).fillna("SUPT+")
        current["code"] = current["person"].map(self.ethnicity(at)).fillna("NC")
        current["sex"] = current["person_id"].map(self.sex)
        return current

    def joiners(self) -> pd.DataFrame:
        events = self._read("hr", "hr_service_event")
        events["day"] = pd.to_datetime(events["event_date"])
        joined = events[
            events["event_type"].isin(["JOIN", "REJOIN", "TRANSFER_IN"])
            & (events["workforce_group"] == "OFF")
            & (events["day"] <= self.date)
        ].copy()
        joined["person"] = joined["person_id"].map(self.same)
        month_ends = joined["day"] + pd.offsets.MonthEnd(0)
        joined["code"] = [self._code_at(person, at) for person, at in zip(joined["person"], month_ends, strict=True)]
        return joined

    def _code_at(self, person: str, at: pd.Timestamp) -> str:
        if not hasattr(self, "_by_person"):
            declared = self.declared.assign(person=self.declared["person_id"].map(self.same))
            self._by_person = dict(tuple(declared.sort_values(["day", "declared_ts"]).groupby("person")))
        mine = self._by_person.get(person)
        standing = [] if mine is None else mine[mine["day"] <= at]["code"].tolist()
        return standing[-1] if standing else "NC"

    def applications(self) -> pd.DataFrame:
        applications = self._read("recruitment", "ats_application")
        candidates = self._read("recruitment", "ats_candidate").set_index("candidate_id")
        applications["code"] = applications["candidate_id"].map(candidates["ethnicity_code"]).replace("", "NC")
        hired = applications[applications["person_id"] != ""].drop_duplicates("candidate_id").set_index("candidate_id")
        person = applications["candidate_id"].map(hired["person_id"]).map(self.same)
        applications["person"] = person.fillna(applications["candidate_id"])
        local = pd.to_datetime(applications["applied_ts"], utc=True).dt.tz_convert("Europe/London").dt.tz_localize(None)
        applications["day"] = local.dt.normalize()
        return applications[(applications["workforce_group"] == "OFF") & (applications["day"] <= self.date)]


@pytest.fixture(scope="module")
def force(london_night: Settings) -> Force:
    return Force(london_night.sources)


MONTHS = ["2013-03-31", "2016-11-30", "2019-09-30", "2021-03-31", "2026-02-28", "2026-03-31"]


@pytest.mark.parametrize("month", MONTHS)
def test_k01_and_k02_are_what_the_files_say(london_night: Settings, force: Force, month: str) -> None:
    officers = force.officers(month)
    assert len(officers) > 300
    for rank_group, members in [("all", officers), *officers.groupby("group")]:
        minority, stated = members["code"].isin(MINORITY).sum(), members["code"].isin(MINORITY | WHITE).sum()
        found = rows(
            london_night,
            f"select numerator, denominator from mart.indicator_observation where indicator_id = 'K01'"
            f" and period_end = '{month}' and area_code = 'E23000001' and rank_group = '{rank_group}'"
            f" and basis = 'HO_HEADCOUNT, stated'",
        )
        assert found == [(minority, stated)], rank_group
    groups = officers[officers["code"].isin(MINORITY | WHITE)]["code"].str[0].map(FIVE).value_counts()
    found = rows(
        london_night,
        f"select ethnic_group, numerator from mart.indicator_observation where indicator_id = 'K02'"
        f" and period_end = '{month}' and area_code = 'E23000001' and numerator > 0",
    )
    assert dict(found) == groups.to_dict()


@pytest.mark.parametrize("month", MONTHS)
def test_k05_is_what_the_files_say(london_night: Settings, force: Force, month: str) -> None:
    sexes = force.officers(month)["sex"].value_counts()
    found = rows(
        london_night,
        f"select numerator, denominator from mart.indicator_observation where indicator_id = 'K05'"
        f" and period_end = '{month}' and area_code = 'E23000001' and rank_group = 'all'",
    )
    assert found == [(sexes["F"], sexes["F"] + sexes["M"])]


def test_k03_holds_officers_against_all_residents_of_32_boroughs(london_night: Settings, force: Force) -> None:
    census = pd.read_csv(HOME / "reference" / "census" / "census_ethnic_group.csv", keep_default_na=False)
    leaves = census[(census["is_total"] == "N") & (census["area_code"] != "E09000001")]
    for quarter_end, month, year in [("2019-09-30", "2019-09-30", 2011), ("2026-03-31", "2026-03-31", 2021)]:
        of_year = leaves[leaves["census_year"] == year]
        share = of_year[of_year["category_code"].isin(MINORITY)]["obs_value"].sum() / of_year["obs_value"].sum()
        codes = force.officers(month)["code"]
        value = codes.isin(MINORITY).sum() / codes.isin(MINORITY | WHITE).sum()
        found = rows(
            london_night,
            f"select comparator_value, ratio, comparator_source from mart.indicator_observation"
            f" where indicator_id = 'K03' and period_end = '{quarter_end}' and area_code = 'E23000001'"
            f" and ethnic_group = 'Ethnic minority'",
        )
        assert len(found) == 1
        assert float(found[0][0]) == pytest.approx(share, abs=5e-7)
        assert float(found[0][1]) == pytest.approx(round(value, 6) / round(share, 6), abs=1e-4)
        assert found[0][2] == f"Census {year}, all residents"


def test_k03_of_a_bcu_counts_the_officers_posted_to_it(london_night: Settings, force: Force) -> None:
    units = force._read("hr", "hr_org_unit")
    at = force.date
    units["from"] = pd.to_datetime(units["effective_start_date"])
    units["to"] = pd.to_datetime(units["effective_end_date"].str.replace("4712-12-31", "2100-01-01"))
    units = units[(units["from"] <= at) & (units["to"] >= at)].set_index("org_unit_id")
    officers = force.officers("2026-03-31")
    officers["bcu"] = officers["org_unit_id"].map(units["bcu_code"])
    posted = officers[officers["bcu"] == "NA"]
    found = rows(
        london_night,
        "select numerator, denominator from mart.indicator_observation where indicator_id = 'K03'"
        " and period_end = '2026-03-31' and area_code = 'NA' and ethnic_group = 'Ethnic minority'",
    )
    assert found == [(posted["code"].isin(MINORITY).sum(), posted["code"].isin(MINORITY | WHITE).sum())]


def test_k08_is_what_the_files_say(london_night: Settings, force: Force) -> None:
    joined = force.joiners()
    assert len(joined) > 100
    for start, end, kind in [
        ("2019-04-01", "2020-03-31", "financial_year"),
        ("2025-04-01", "2026-03-31", "financial_year"),
        ("2023-07-01", "2024-06-30", "rolling_12_months"),
    ]:
        within = joined[(joined["day"] >= start) & (joined["day"] <= end)]
        for scope, members in [
            ("all joiners", within),
            ("excluding transfers", within[within["joiner_type"] != "TRANSFER"]),
        ]:
            found = rows(
                london_night,
                f"select numerator, denominator from mart.indicator_observation where indicator_id = 'K08'"
                f" and period_start = '{start}' and period_end = '{end}' and dimension = '{kind}; {scope}'",
            )
            codes = members["code"]
            assert found == [(codes.isin(MINORITY).sum(), codes.isin(MINORITY | WHITE).sum())], (kind, scope)


def test_k07_counts_distinct_candidates(london_night: Settings, force: Force) -> None:
    applied = force.applications()
    assert len(applied) > 500
    busiest = applied["day"].dt.to_period("M").value_counts().index[:3]
    for start, end in [(f"{month}-01", f"{month.end_time:%Y-%m-%d}") for month in busiest]:
        within = applied[(applied["day"] >= start) & (applied["day"] <= end)]
        assert len(within) > 5
        for route, members in [("all", within), *within.groupby("entry_route")]:
            one_each = members.drop_duplicates(["person", "code"])
            found = rows(
                london_night,
                f"select numerator, denominator from mart.indicator_observation where indicator_id = 'K07'"
                f" and period_end = '{end}' and dimension = 'month; route {route or 'NONE'}'",
            )
            codes = one_each["code"]
            assert found == [(codes.isin(MINORITY).sum(), codes.isin(MINORITY | WHITE).sum())], route
    year = applied[(applied["day"] >= "2024-04-01") & (applied["day"] <= "2025-03-31")].drop_duplicates(
        ["person", "code"]
    )
    found = rows(
        london_night,
        "select numerator, denominator from mart.indicator_observation where indicator_id = 'K07'"
        " and period_end = '2025-03-31' and dimension = 'financial_year; route all'",
    )
    assert found == [(year["code"].isin(MINORITY).sum(), year["code"].isin(MINORITY | WHITE).sum())]


def test_no_person_counts_twice_in_a_group(london_night: Settings, force: Force) -> None:
    found = rows(
        london_night,
        "select sum(headcount) from mart.workforce_month where month_end = '2026-03-31' and workforce_group = 'OFF'",
    )
    assert found == [(len(force.officers("2026-03-31")),)]


def test_every_observation_says_whether_it_is_simulated(london_night: Settings) -> None:
    kinds = rows(london_night, "select distinct indicator_id, source_kind from mart.indicator_observation order by 1")
    assert kinds == [(indicator, "simulated") for indicator in ("K01", "K02", "K03", "K05", "K07", "K08")]
    night = rows(london_night, "select police_source_kind, residents_source_kind, statement from mart.as_of")
    assert night == [
        ("simulated", "real", "Police and applicant figures: simulated force, not real. Residents: ONS Census.")
    ]


def test_the_star_balances_from_month_to_month(london_night: Settings) -> None:
    """Opening + joiners + reclassified in − leavers − reclassified out = closing, by group and five-group."""
    unbalanced = rows(
        london_night,
        """
        with
        stock as (
            select s.month_end, s.person_key, s.workforce_group, e.five_group
            from core.fct_workforce_snapshot s join core.dim_ethnicity e using (ethnicity_code)
        ),
        months as (
            select distinct month_end,
                (month_end + interval '1 day' + interval '1 month' - interval '1 day')::date as following
            from stock
        ),
        closing as (select month_end, workforce_group, five_group, count(*) as n from stock group by 1, 2, 3),
        reclassified as (
            select b.month_end, b.workforce_group, b.five_group, count(*) as n
            from stock a join months m using (month_end)
            join stock b on b.month_end = m.following and b.person_key = a.person_key
                and b.workforce_group = a.workforce_group and b.five_group <> a.five_group
            group by 1, 2, 3
            union all
            select b.month_end, a.workforce_group, a.five_group, -count(*)
            from stock a join months m using (month_end)
            join stock b on b.month_end = m.following and b.person_key = a.person_key
                and b.workforce_group = a.workforce_group and b.five_group <> a.five_group
            group by 1, 2, 3
        ),
        moved as (
            select month_end, workforce_group, five_group,
                sum(case movement_type when 'join' then 1 when 'leave' then -1 else 0 end) as n
            from core.fct_workforce_movement join core.dim_ethnicity using (ethnicity_code) group by 1, 2, 3
        ),
        account as (
            select following as month_end, workforce_group, five_group, n from closing join months using (month_end)
            union all select * from reclassified
            union all select * from moved
            union all select month_end, workforce_group, five_group, -n from closing
        )
        select workforce_group, five_group, month_end, sum(n)
        from account
        where month_end between (select min(month_end) + 1 from closing) and (select max(month_end) from closing)
            and month_end > (select min(month_end) from closing)
        group by 1, 2, 3
        having sum(n) <> 0
        """,
        role="owner",
    )
    assert unbalanced == []


def test_status_lists_the_night(london_night: Settings) -> None:
    from peel.status import document

    found = json.loads(json.dumps(document(london_night), default=str))
    assert found["night"]["business_date"] == NIGHT
    deliveries = {delivery["feed"]: delivery for delivery in found["deliveries"]}
    assert set(deliveries) == {"census", "hr", "postcode", "recruitment"}
    for delivery in deliveries.values():
        assert delivery["state"] == "applied"
        assert len(delivery["source_sha256"]) == len(delivery["landed_sha256"]) == 64
        assert delivery["gate"]["passed"] >= 10
        assert delivery["gate"]["failed"] == 0
        assert all(table["accepted"] == table["rows"] > 0 for table in delivery["tables"])
        assert all(table["quarantined"] == 0 for table in delivery["tables"])
    assert found["builds"][0]["state"] == "switched"
    assert found["builds"][0]["switched_at"]
    assert found["warnings"] == []
    assert all(pair["share_limit"] is not None for pair in found["unknown"])
    shares = {(pair["fact_name"], pair["dimension_name"]): pair for pair in found["unknown"]}
    undeclared = shares["fct_workforce_snapshot", "dim_ethnicity"]
    month = "from mart.workforce_month where month_end = '2026-03-31'"
    counted = f"select sum(headcount) filter (where ethnicity_code = 'NC'), sum(headcount) {month}"
    assert rows(london_night, counted) == [(undeclared["unknown_rows"], undeclared["fact_rows"])]


def test_status_says_what_is_unknown_beyond_its_limit_and_what_the_gate_warned_of() -> None:
    from peel.status import doubts

    pair = {"fact_name": "fct_application", "dimension_name": "dim_source", "fact_rows": 4000, "unknown_rows": 1200}
    within = pair | {"unknown_share": 0.3, "share_limit": 0.4, "verdict_on_unknown": "within"}
    above = pair | {"unknown_share": 0.3, "share_limit": 0.02, "verdict_on_unknown": "warn"}
    warned = {
        "table_name": "int_roll_forward_total",
        "column_name": "",
        "rule": "roll_forward_is_told_in_time",
        "failed": 1,
    }
    assert doubts({"unknown": [within, above], "warnings": [warned]}) == [
        "unknown     1 of 2 shares of unknown members above their limits",
        "            fct_application, dim_source: 1,200 of 4,000, 30.0% (limit 2.0%)",
        "WARNED      of int_roll_forward_total: roll_forward_is_told_in_time, 1",
    ]
    assert doubts({"unknown": [], "warnings": []}) == []


def test_status_says_what_room_each_schema_takes(here: Settings) -> None:
    from peel.status import document

    with connect(here, "transform") as connection:
        connection.execute("create schema next")
    with connect(here, "owner") as connection:
        schemas = [
            row[0]
            for row in connection.execute(
                "select nspname from pg_namespace where nspname !~ '^pg_|^information_schema$|^public$'"
            )
        ]
        for schema in schemas:
            connection.execute(f"create table {schema}.takes_room as select 1 as one".encode())
    sizes = document(here)["sizes"]["tables"]
    assert sizes.keys() == set(schemas)
    assert all(size > 0 for size in sizes.values())
