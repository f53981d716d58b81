"""dbt itself: its unit tests, what it builds, its freshness and its docs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peel.builds import dbt
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import NIGHT

pytestmark = pytest.mark.slow


def switched_build(settings: Settings) -> str:
    with connect(settings, "owner") as connection:
        row = connection.execute("select build_id from mart.as_of").fetchone()
    assert row is not None
    return str(row[0])


def run_dbt(settings: Settings, *arguments: str, **told: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*dbt.command(settings), *arguments],
        env=dbt.environment(settings) | told,
        cwd=settings.dbt_project,
        capture_output=True,
        text=True,
        check=False,
    )


def test_dbts_unit_tests_pass(night_copy: Settings) -> None:
    run = run_dbt(night_copy, "--quiet", "test", "--select", "test_type:unit")
    assert run.returncode == 0, run.stdout[-3000:]
    results = json.loads((night_copy.var / "dbt" / "by_hand" / "run_results.json").read_text())["results"]
    assert len(results) >= 4
    assert {result["status"] for result in results} <= {"pass", "success"}


def test_a_night_builds_every_model_with_the_columns_it_describes_and_without_a_warning(london_night: Settings) -> None:
    manifest = dbt.manifest(london_night, switched_build(london_night))
    described = {
        (node["schema"], node["alias"]): list(node["columns"])
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed")
    }
    assert len(described) > 100
    with connect(london_night, "owner") as connection:
        built = connection.execute(
            "select c.relnamespace::regnamespace::text, c.relname, array_agg(a.attname::text order by a.attnum)"
            " from pg_class as c join pg_attribute as a on a.attrelid = c.oid where a.attnum > 0"
            " and c.relnamespace in ('next'::regnamespace, 'next_mart'::regnamespace) and c.relkind in ('r', 'v')"
            " group by 1, 2"
        ).fetchall()
    assert {(schema, name): sorted(columns) for schema, name, columns in built} == {
        relation: sorted(columns) for relation, columns in described.items()
    }
    log = (london_night.logs / "dbt" / "dbt.log").read_text("utf-8")
    assert "Finished running" in log
    assert [line for line in log.splitlines() if re.search(r"\[(warn|error)\s*\]", line)] == []


def public_views(settings: Settings) -> dict[str, dict[str, Any]]:
    nodes = dbt.manifest(settings, switched_build(settings))["nodes"].values()
    views = {node["alias"]: node for node in nodes if node["config"].get("access") == "public"}
    assert len(views) >= 30
    return views


def test_each_view_for_bi_has_one_row_for_each_value_of_its_key(london_night: Settings) -> None:
    with connect(london_night, "bi") as connection:
        for name, node in public_views(london_night).items():
            key = ", ".join(node["config"]["meta"]["key"])
            row = connection.execute(f"select count(*), count(distinct ({key})) from mart.{name}".encode()).fetchone()
            assert row is not None
            assert row[0] == row[1], name


def test_what_a_view_for_bi_refers_to_is_there(london_night: Settings) -> None:
    referring = 0
    with connect(london_night, "bi") as connection:
        for name, node in public_views(london_night).items():
            for column in node["columns"].values():
                table, _, key = column["config"]["meta"].get("references", "").partition(".")
                if not table:
                    continue
                referring += 1
                lost = connection.execute(
                    f"select count(*) from mart.{name} as x left join mart.{table} as y on x.{column['name']} = y.{key}"
                    f" where x.{column['name']} is not null and y.{key} is null".encode()
                ).fetchone()
                assert lost == (0,), (name, column["name"])
    assert referring > 50


def test_freshness_is_told_in_nights_behind_the_newest_business_date(night_copy: Settings) -> None:
    def freshness(**told: str) -> dict[str, set[str]]:
        run_dbt(night_copy, "--quiet", "source", "freshness", **told)
        results = json.loads((night_copy.var / "dbt" / "by_hand" / "sources.json").read_text("utf-8"))["results"]
        found: dict[str, set[str]] = {}
        for result in results:
            feed = "hr" if "hr_" in result["unique_id"] else "recruitment"
            found.setdefault(feed, set()).add(result["status"])
        return found

    assert freshness() == {"hr": {"pass"}, "recruitment": {"pass"}}
    with connect(night_copy, "owner") as connection:
        connection.execute(
            "update audit.delivery set business_date = business_date + 1 where feed = 'hr' and state = 'applied'"
        )
    assert freshness() == {"hr": {"pass"}, "recruitment": {"warn"}}
    assert freshness(PEEL_BUSINESS_DATE="2026-03-12") == {"hr": {"warn"}, "recruitment": {"error"}}


def test_dbts_docs_describe_what_readers_see_and_nothing_builds_there(night_copy: Settings) -> None:
    run = run_dbt(night_copy, "docs", "generate", "--target", "readers", "--static")
    assert run.returncode == 0, run.stdout[-3000:]
    folder = night_copy.var / "dbt" / "by_hand"
    assert (folder / "static_index.html").stat().st_size > 1_000_000
    catalog = json.loads((folder / "catalog.json").read_text("utf-8"))["nodes"]
    assert catalog["model.peel.fct_workforce_snapshot"]["metadata"]["schema"] == "core"
    assert catalog["model.peel.mart__workforce_month"]["metadata"]["schema"] == "mart"
    assert not any("next" in node["metadata"]["schema"] for node in catalog.values())
    refused = run_dbt(night_copy, "build", "--select", "dim_sex", "--target", "readers")
    assert refused.returncode != 0
    assert "core and mart are made by the switch" in refused.stdout


def test_what_stands_in_the_warehouse_is_what_the_manifest_says(london_night: Settings) -> None:
    with connect(london_night, "owner") as connection:
        undescribed = connection.execute(
            "select c.oid::regclass::text, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
            " where c.relnamespace in ('core'::regnamespace, 'mart'::regnamespace) and c.relkind in ('r', 'v')"
            " and a.attnum > 0 and col_description(c.oid, a.attnum) is null"
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


def test_an_error_of_the_database_puts_no_value_into_what_dbt_writes(
    night_copy: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "home" / "dbt_project"
    left_out = shutil.ignore_patterns(".venv", "target", "logs", "*.egg-info")
    shutil.copytree(night_copy.dbt_project, project, ignore=left_out)
    monkeypatch.setenv("PEEL_DBT", str(night_copy.dbt_project / ".venv" / "bin" / "dbt"))
    here = replace(night_copy, home=project.parent)
    broken = {
        "a_null": "select 'QQ123456C' as told, null::text as ethnicity_code",
        "a_cast": "select ('QQ' || '123456C')::integer::text as told, 'W1' as ethnicity_code",
        "a_name": "select no_such_column as told, 'W1' as ethnicity_code",
    }
    for name, sql in broken.items():
        (project / "models" / "staging" / f"{name}.sql").write_text("{{ config(materialized='table') }}\n" + sql)
    declared = "".join(
        f"  - name: {name}\n    config: {{group: shared, contract: {{enforced: true}}, meta: {{each_row_is: one}}}}\n"
        "    columns:\n      - {name: told, data_type: text}\n"
        "      - {name: ethnicity_code, data_type: text, constraints: [{type: not_null}]}\n"
        for name in broken
    )
    (project / "models" / "staging" / "broken.yml").write_text(f"version: 2\nmodels:\n{declared}")
    log = night_copy.logs / "dbt" / "dbt.log"
    log.unlink(missing_ok=True)
    run = run_dbt(here, "run", "--select", *broken)
    assert run.returncode == 1
    results = night_copy.var / "dbt" / "by_hand" / "run_results.json"
    written = {"terminal": run.stdout + run.stderr, "log": log.read_text(), "results": results.read_text()}
    for where, text in written.items():
        assert "SQLSTATE 23502, table a_null, column ethnicity_code" in text, where
        assert "SQLSTATE 22P02" in text, where
        assert re.search(r"SQLSTATE 42703.*no_such_column.*does not exist", text), where
        assert "QQ123456C" not in text.replace(broken["a_null"], ""), where


def test_dbt_is_given_its_own_password_and_no_other_secret(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEEL_SECRET_HMAC_KEYS", "hush")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "hush")
    monkeypatch.setenv("PEEL_WAREHOUSE_DSN", "postgresql://admin:hush@127.0.0.1:1/peel")
    monkeypatch.setenv("PEEL_SOURCE_HR", "sftp://peel:hush@sftp.example/out")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    given = dbt.environment(here)
    assert [name for name, value in given.items() if "hush" in value] == []
    passwords = {path.read_text().strip() for path in here.secrets.iterdir() if path.name.startswith("peel_")}
    assert len(passwords) > 3
    assert {name for name, value in given.items() if value in passwords} == {"DBT_ENV_SECRET_PASSWORD"}


def test_models_built_again_by_hand_take_the_place_of_what_stood(night_copy: Settings) -> None:
    def build(*selected: str) -> None:
        subprocess.run(
            [*dbt.command(night_copy), "--quiet", "run", "--select", *selected],
            env=dbt.environment(night_copy, "nightly")
            | {"PEEL_BUSINESS_DATE": NIGHT, "PEEL_LAST_BUSINESS_DATE": "", "PEEL_REBUILD_ALL": "true"},
            cwd=night_copy.dbt_project,
            check=True,
        )

    def made() -> dict[str, int]:
        with connect(night_copy, "owner") as connection:
            found = connection.execute(
                "select relname, oid::integer from pg_class where relnamespace = 'next'::regnamespace"
                " and relkind in ('r', 'v')"
            )
            return dict(found.fetchall())

    before = made()
    build("stg_hr__person", "int_person")
    after = made()
    assert set(before) >= {"stg_hr__person", "int_person", "int_person_input"}
    assert {name for name in after if after[name] != before[name]} >= {"stg_hr__person", "int_person"}
    assert not [name for name in after if "__dbt" in name]
    with connect(night_copy, "owner") as connection:
        told = connection.execute(
            "select obj_description('next.int_person'::regclass), col_description('next.int_person'::regclass, 1),"
            " reltuples > 0 from pg_class where oid = 'next.int_person'::regclass"
        ).fetchone()
    assert told is not None
    assert all(told)
