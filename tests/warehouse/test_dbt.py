"""dbt's own unit tests, and what every model must say about itself."""

from __future__ import annotations

import json
import subprocess

import pytest

from peel.builds import dbt
from peel.settings import Settings
from peel.warehouse import connect

pytestmark = pytest.mark.slow


def switched_build(settings: Settings) -> str:
    with connect(settings, "owner") as connection:
        row = connection.execute("select build_id from mart.as_of").fetchone()
    assert row is not None
    return str(row[0])


def test_dbts_unit_tests_pass(night_copy: Settings) -> None:
    run = subprocess.run(
        [str(dbt.program(night_copy)), "--quiet", "test", "--select", "test_type:unit"],
        env=dbt.environment(night_copy),
        cwd=night_copy.dbt_project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    results = json.loads((night_copy.var / "dbt" / "by_hand" / "run_results.json").read_text())["results"]
    assert len(results) >= 4
    assert {result["status"] for result in results} <= {"pass", "success"}


def test_every_table_says_what_a_row_is_and_every_column_what_it_holds(london_night: Settings) -> None:
    nodes = [
        node
        for node in dbt.manifest(london_night, switched_build(london_night))["nodes"].values()
        if node["resource_type"] in ("model", "seed") and node["package_name"] == "peel"
    ]
    assert len(nodes) > 60
    for node in nodes:
        assert node["config"]["meta"].get("each_row_is"), node["name"]
        assert node["columns"], node["name"]
        for column in node["columns"].values():
            assert column["description"], (node["name"], column["name"])


def test_what_stands_in_the_warehouse_is_what_the_manifest_says(london_night: Settings) -> None:
    with connect(london_night, "owner") as connection:
        undescribed = connection.execute(
            "select c.oid::regclass::text, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
            " where c.relnamespace in ('core'::regnamespace, 'mart'::regnamespace) and c.relkind in ('r', 'v')"
            " and a.attnum > 0 and c.relname <> 'as_of' and col_description(c.oid, a.attnum) is null"
        ).fetchall()
        unnamed = connection.execute(
            "select oid::regclass::text from pg_class where relkind in ('r', 'v') and relnamespace in"
            " ('core'::regnamespace, 'mart'::regnamespace, 'history'::regnamespace, 'audit'::regnamespace,"
            " 'keyless'::regnamespace)"
            " and obj_description(oid, 'pg_class') is null"
        ).fetchall()
        keys = connection.execute(
            "select count(*) filter (where contype = 'p'), count(*) filter (where contype = 'f' and not conenforced)"
            " from pg_constraint where connamespace = 'core'::regnamespace"
        ).fetchone()
        stray = connection.execute(
            "select distinct v.oid::regclass::text from pg_depend d join pg_rewrite r on r.oid = d.objid"
            " join pg_class v on v.oid = r.ev_class join pg_class t on t.oid = d.refobjid"
            " where v.relnamespace = 'mart'::regnamespace and t.relnamespace = 'next'::regnamespace"
        ).fetchall()
    assert undescribed == []
    assert unnamed == []
    assert keys is not None
    assert keys[0] >= 18
    assert keys[1] >= 20
    assert stray == []
