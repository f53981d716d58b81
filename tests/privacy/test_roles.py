"""Each role is tried at what it must not do; BI sees aggregates, never a unit row."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from peel.errors import PeelError
from peel.settings import Settings
from peel.warehouse import connect, dsn, parameters

pytestmark = pytest.mark.slow

READABLE = {
    "bi": {"mart.indicator_observation", "mart.workforce_month", "mart.as_of"},
    "publish": {"mart.indicator_observation", "mart.as_of", "audit.delivery"},
    "analyst": {"mart.indicator_observation", "core.fct_workforce_snapshot", "core.dim_ethnicity"},
    "gate": {"audit.delivery", "quarantine.hr_person", "sensitive.quarantine_hr_sensitive"},
    "transform": {
        "history.hr_person",
        "sensitive.history_hr_sensitive",
        "core.dim_ethnicity",
        "audit.delivery",
        "keyless.fact_row",
    },
    "ingest": {"history.hr_person", "quarantine.hr_person", "sensitive.history_hr_sensitive", "audit.delivery"},
}
EVERYTHING = set().union(*READABLE.values()) | {"core.person_input"}


def _try(settings: Settings, role: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(**parameters(settings, role), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("role", READABLE)
def test_a_role_reads_what_it_works_on(london_night: Settings, role: str) -> None:
    for relation in READABLE[role]:
        _try(london_night, role, f"select * from {relation} limit 1")


FORBIDDEN = [
    ("bi", "core.fct_workforce_snapshot"),
    ("bi", "core.dim_ethnicity"),
    ("bi", "history.hr_person"),
    ("bi", "sensitive.history_hr_sensitive"),
    ("bi", "quarantine.hr_person"),
    ("bi", "audit.delivery"),
    ("bi", "next.fct_workforce_snapshot"),
    ("publish", "core.fct_workforce_snapshot"),
    ("publish", "history.hr_person"),
    ("publish", "sensitive.history_hr_sensitive"),
    ("publish", "quarantine.hr_person"),
    ("analyst", "core.person_input"),
    ("analyst", "history.hr_person"),
    ("analyst", "sensitive.history_hr_sensitive"),
    ("analyst", "quarantine.hr_person"),
    ("gate", "history.hr_person"),
    ("gate", "sensitive.history_hr_sensitive"),
    ("gate", "core.fct_workforce_snapshot"),
    ("transform", "quarantine.hr_person"),
    ("transform", "sensitive.quarantine_hr_sensitive"),
    ("ingest", "core.fct_workforce_snapshot"),
    ("ingest", "mart.indicator_observation"),
    *((role, "keyless.fact_row") for role in ("bi", "publish", "analyst", "gate", "ingest")),
]


@pytest.mark.parametrize(("role", "relation"), FORBIDDEN)
def test_a_role_cannot_read_what_is_not_its_own(london_night: Settings, role: str, relation: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _try(london_night, role, f"select * from {relation} limit 1")


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("bi", "create table mart.mine (a int)"),
        ("bi", "create table public.mine (a int)"),
        ("bi", "create temporary table mine (a int)"),
        ("bi", "delete from mart.dim_ethnicity"),
        ("bi", "set role peel_transform"),
        ("bi", "select pg_read_file('/etc/hostname')"),
        ("bi", "copy (select 1) to program 'true'"),
        ("publish", "update audit.delivery set state = 'applied'"),
        ("publish", "delete from audit.release"),
        ("analyst", "update core.fct_workforce_snapshot set fte = 0"),
        ("analyst", "set role peel_owner"),
        ("gate", "insert into audit.decision (kind, who, reason) values ('accept', 'x', 'x')"),
        ("gate", "update audit.delivery set source_sha256 = ''"),
        ("ingest", "update audit.decision set who = 'x'"),
        ("ingest", "delete from audit.decision"),
        ("ingest", "delete from audit.look"),
        ("ingest", "update audit.look set who = 'x'"),
        ("ingest", "delete from audit.replay"),
        ("ingest", "delete from audit.delivery"),
        ("ingest", "truncate audit.delivery cascade"),
        ("gate", "insert into audit.look (who, table_name, delivery_id, rows) values ('x', 'x', 'x', 1)"),
        ("gate", "insert into audit.replay (feed, business_date, before) values ('x', now(), '{}')"),
        ("gate", "select audit.forget_never_landed('000000000000')"),
        ("publish", "select audit.forget_never_landed('000000000000')"),
        ("transform", "select audit.forget_never_landed('000000000000')"),
        ("transform", "insert into audit.decision (kind, who, reason) values ('accept', 'x', 'x')"),
        ("ingest", "delete from audit.key_epoch"),
        ("transform", "delete from history.hr_person"),
        ("transform", "delete from audit.switch"),
        ("transform", "update keyless.fact_row set attributes = '{}'"),
        ("transform", "update audit.delivery set state = 'applied'"),
    ],
)
def test_a_role_cannot_do_what_is_not_its_work(london_night: Settings, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _try(london_night, role, statement)


def test_ingest_records_decisions_and_looks_and_forgets_no_landed_delivery(london_night: Settings) -> None:
    for statement in (
        "insert into audit.decision (kind, feed, who, reason) values ('accept', 'nobody', 'x', 'x')",
        "insert into audit.look (who, table_name, delivery_id, rows)"
        " select 'x', 'hr_person', delivery_id, 1 from audit.delivery limit 1",
        "insert into audit.replay (feed, business_date, before) values ('nobody', '2026-01-01', '{}')",
        "vacuum (analyze) history.hr_person",
    ):
        with psycopg.connect(**parameters(london_night, "ingest"), autocommit="vacuum" in statement) as connection:
            connection.execute(statement)
            connection.rollback()
    forgotten = _try(
        london_night, "ingest", "select distinct audit.forget_never_landed(delivery_id) from audit.delivery"
    )
    assert forgotten == [(False,)]


def test_bi_finds_no_unit_rows(london_night: Settings) -> None:
    columns = _try(
        london_night,
        "owner",
        "select table_name, column_name from information_schema.columns where table_schema = 'mart'"
        " and column_name ~ '(person|candidate_id|application_id|event_id|_hash|postcode|birth)'",
    )
    assert columns == []


def test_special_category_data_is_nowhere_but_in_its_schema_before_the_star(london_night: Settings) -> None:
    columns = _try(
        london_night,
        "owner",
        "select table_schema, table_name, column_name from information_schema.columns"
        " where table_schema in ('delivery', 'quarantine', 'history') and column_name ~ '(ethnicity|value_code)'",
    )
    assert columns == []


def test_a_wrong_password_is_refused(london_night: Settings) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**parameters(london_night, "bi") | {"password": "wrong"})


def test_an_unknown_role_has_no_dsn(london_night: Settings) -> None:
    with pytest.raises(PeelError, match="There is no role nobody"):
        dsn(london_night, "nobody")


def test_a_database_error_leaves_without_its_values(london_night: Settings) -> None:
    canary = "QQ999999D"
    for statement in (f"select '{canary}'::date", f"select 1/0, '{canary}'", f"select * from {canary}"):
        with pytest.raises(PeelError) as error, connect(london_night, "bi") as connection:
            connection.execute(statement.encode())
        assert canary.lower() not in str(error.value).lower()
        assert "SQLSTATE" in str(error.value)
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__
