"""What ``docs/bi.md`` says, done: its SQL in the role of BI tools; pandas and DuckDB, while the night changes."""

from __future__ import annotations

import os
import re
from typing import Any

import duckdb
import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from peel.settings import Settings
from peel.warehouse import connect, dsn, parameters
from tests.conftest import HOME

pytestmark = pytest.mark.slow

TEXT = (HOME / "docs" / "bi.md").read_text("utf-8")
SQL = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
OFFICERS = "select sum(headcount) from mart.workforce_month where workforce_group = 'OFF'"


def one(settings: Settings, statement: str) -> Any:
    with psycopg.connect(**parameters(settings, "bi")) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def bi_dsn(night_copy: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PEEL_BI_DSN", dsn(night_copy, "bi"))
    return night_copy


def another_night(settings: Settings) -> None:
    """What a switch does to readers: in one transaction, other figures and another build."""
    with connect(settings, "owner") as connection:
        connection.execute("update core.workforce_month set headcount = headcount + 1")
        connection.execute("update audit.build set business_date = business_date + 1")


def test_every_statement_for_bi_is_one_that_the_role_of_bi_tools_may_run(london_night: Settings) -> None:
    assert len(SQL) >= 7
    for block in SQL:
        with psycopg.connect(**parameters(london_night, "bi"), autocommit=True) as connection:
            for statement in filter(None, (part.strip() for part in block.split(";"))):
                cursor = connection.execute(statement.encode())
                assert cursor.description is None or cursor.fetchall(), statement


def test_every_query_of_the_dashboard_that_is_measured_has_an_answer(london_night: Settings) -> None:
    text = (HOME / "benchmarks" / "dashboard" / "queries.sql").read_text("utf-8")
    queries = re.split(r"-- name: (\w+)\n", text)[1:]
    assert len(queries) == 2 * 12
    with connect(london_night, "bi") as connection:
        for name, query in zip(queries[::2], queries[1::2], strict=True):
            assert connection.execute(query.encode()).fetchall(), name


def test_pandas_reads_one_night_through_sqlalchemy(bi_dsn: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in PYTHON if "sqlalchemy" in block]
    found: dict[str, Any] = {}
    exec(block, found)
    assert found["officers"]["headcount"].sum() == one(bi_dsn, OFFICERS)
    assert found["as_of"]["build_id"] == one(bi_dsn, "select build_id from mart.as_of")
    assert set(found["officers"]["build_id"]) == {found["as_of"]["build_id"]}
    assert "simulated force, not real" in capsys.readouterr().out


def test_a_switch_between_two_statements_is_not_seen_through_sqlalchemy(bi_dsn: Settings) -> None:
    def read(connection: sa.Connection) -> tuple[Any, int]:
        as_of = pd.read_sql(sa.text("select business_date from mart.as_of"), connection).iloc[0, 0]
        return as_of, int(pd.read_sql(sa.text(OFFICERS), connection).iloc[0, 0])

    engine = sa.create_engine(os.environ["PEEL_BI_DSN"])
    with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        before = read(connection)
        another_night(bi_dsn)
        assert read(connection) == before
        with pytest.raises(sa.exc.DBAPIError, match="read-only"):
            connection.execute(sa.text("create temporary table mine as select 1"))
    with engine.connect() as connection:
        after = read(connection)
    assert (after[0] - before[0]).days == 1
    assert after[1] > before[1]
    engine.dispose()


def test_duckdb_reads_the_same_night_and_nothing_but_mart(bi_dsn: Settings) -> None:
    (block,) = [block for block in PYTHON if "duckdb" in block]
    found: dict[str, Any] = {}
    exec(block, found)
    assert found["officers"]["headcount"].sum() == one(bi_dsn, OFFICERS)
    assert found["as_of"][1] == one(bi_dsn, "select build_id from mart.as_of")
    db: duckdb.DuckDBPyConnection = found["db"]
    views = {
        row[0] for row in db.execute("select view_name from duckdb_views() where database_name = 'peel'").fetchall()
    }
    views |= {
        row[0] for row in db.execute("select table_name from duckdb_tables() where database_name = 'peel'").fetchall()
    }
    assert {"as_of", "workforce_wide", "dim_ethnicity"} <= views
    for statement in ("drop view peel.mart.as_of", "insert into peel.mart.dim_sex values ('X', 'X', false, 9)"):
        with pytest.raises(duckdb.Error, match="read-only"):
            db.execute(statement)
    with pytest.raises(duckdb.Error, match="does not exist"):
        db.execute("select * from peel.core.fct_workforce_snapshot")
    db.close()


def test_a_switch_between_two_statements_is_not_seen_through_duckdb(bi_dsn: Settings) -> None:
    (block,) = [block for block in PYTHON if "duckdb" in block]
    found: dict[str, Any] = {}
    exec(block.partition('db.execute("begin")')[0], found)
    db: duckdb.DuckDBPyConnection = found["db"]

    def read() -> list[Any]:
        statements = (
            "select business_date from peel.mart.as_of",
            OFFICERS.replace("from mart.", "from peel.mart."),
            "select sum(headcount) from peel.mart.workforce_wide",
        )
        return [row[0] for statement in statements if (row := db.execute(statement).fetchone())]

    db.execute("begin")
    before = read()
    another_night(bi_dsn)
    assert read() == before
    db.execute("commit")
    assert all(new > old for new, old in zip(read(), before, strict=True))
    db.close()


def test_the_wide_views_add_up_to_the_views_they_are_made_of(london_night: Settings) -> None:
    for wide, plain, measures in (
        ("workforce_wide", "workforce_month", "headcount, fte, working_strength, part_time"),
        ("movement_wide", "movement_month", "movements, headcount_movements, working_movements"),
        ("application_wide", "application_month", "applications"),
    ):
        sums = ", ".join(f"sum({measure})" for measure in measures.split(", "))
        totals = [one(london_night, f"select row(count(*), {sums})::text from mart.{name}") for name in (wide, plain)]
        assert totals[0] == totals[1], wide
    labels = {
        "workforce_wide": "workforce_group_label rank_label ethnicity_label sex_label age_band_label financial_year"
        " posting_bcu_name posting_borough_name",
        "movement_wide": "workforce_group_label rank_label ethnicity_label sex_label financial_year",
        "application_wide": "entry_route_label furthest_stage_label ethnicity_label sex_label residence_area_name",
        "representation_wide": "workforce_group_label area_name five_group residents_share",
    }
    for view, names in labels.items():
        for name in names.split():
            assert one(london_night, f"select count(*) from mart.{view} where {name} is null") == 0, (view, name)
    movements = "select sum({}) from mart.movement_wide where movement_type = '{}'"
    for kind, name in (("join", "joiners"), ("leave", "leavers")):
        of_kind = one(london_night, movements.format("movements", kind))
        assert one(london_night, f"select sum({name}) from mart.movement_wide") == of_kind > 0


def test_posted_beside_residents_are_the_indicators_own_figures(london_night: Settings) -> None:
    compared = (
        "from mart.representation_wide as wide join mart.indicator_observation as k on k.period_end = wide.month_end"
        " and k.area_code = wide.area_code and k.indicator_id = 'K02' and k.ethnic_group = wide.five_group"
        " and k.rank_group = 'all' and k.basis = 'HO_HEADCOUNT, stated' where wide.workforce_group = 'OFF'"
    )
    assert one(london_night, f"select count(distinct wide.area_code) {compared}") >= 33
    differing = "(wide.headcount, wide.headcount_stated) is distinct from (k.numerator, k.denominator)"
    assert one(london_night, f"select count(*) {compared} and {differing}") == 0
    residents = (
        "select sum(residents) from mart.representation_wide where area_code = 'E23000001' and workforce_group = 'OFF'"
        " and month_end = '{}'"
    )
    assert one(london_night, residents.format("2021-02-28")) == 8_173_941 - 7_375  # less the City of London
    assert one(london_night, residents.format("2021-03-31")) == 8_799_736 - 8_584
    wrong = "residents_share <> round(residents / all_residents::numeric, 6)"
    assert one(london_night, f"select count(*) from mart.representation_wide where {wrong}") == 0
