"""Named persons read ``core`` until their day, and each read leaves a line: who, which table, and nothing of it."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from peel.desk import grants, lines
from peel.errors import ConfigurationError, PeelError
from peel.london import now
from peel.settings import Settings
from peel.status import lines as status_lines
from peel.warehouse import connect, parameters
from tests.conftest import NIGHT

pytestmark = pytest.mark.slow

CANARY = "QQ 99 99 99 D"
TOMORROW = now().date() + dt.timedelta(days=1)
Login = tuple[str, str]
_numbers = itertools.count(1)


@pytest.fixture
def person(london_night: Settings) -> Iterator[Login]:
    """An analyst's login and password."""
    login = f"founder_{os.getpid()}_{next(_numbers)}"
    password = grants.grant(london_night, login, "R. Mayne", TOMORROW)
    yield login, password
    with connect(london_night, "owner") as connection:
        connection.execute(f"drop role if exists {login}".encode())
        connection.execute("delete from audit.analyst where login = %s", (login,))


def enter(settings: Settings, person: Login) -> psycopg.Connection[tuple[Any, ...]]:
    login, password = person
    return psycopg.connect(**parameters(settings, "analyst") | {"user": login, "password": password}, autocommit=True)


def read(server: Settings, login: str) -> dict[str, int]:
    """Reads by table, as the server's log has them."""
    rows = grants.read_lines(server.logs / "postgres.log")
    return {row["table_name"]: row["reads"] for row in rows if row["login"] == login}


def test_each_read_is_logged_with_person_and_table_whatever_becomes_of_the_transaction(
    server: Settings, london_night: Settings, person: Login
) -> None:
    with enter(london_night, person) as connection:
        connection.execute("select count(*) from core.dim_rank")
        assert read(server, person[0]) == {"dim_rank": 1}
        connection.execute("begin transaction read only")
        connection.execute("select count(*) from core.dim_sex")
        connection.execute("commit")
        connection.execute("begin")
        connection.execute("select count(*) from core.dim_area")
        connection.execute("rollback")
        connection.execute("declare c cursor with hold for select * from core.dim_staff_band")
        with connection.cursor().copy("copy core.dim_stage to stdout") as copied:
            assert len(list(copied)) > 10
        connection.execute(f"select count(*) from core.headcount_as_known('2026-02-28', '{NIGHT}')")
        connection.execute("select count(*) from mart.dim_source")  # aggregates and names are not logged
    assert read(server, person[0]) == {
        "dim_rank": 1, "dim_sex": 1, "dim_area": 1, "dim_staff_band": 1, "dim_stage": 1, "headcount_as_known": 1,
    }  # fmt: skip
    (row, *_) = [row for row in grants.read_lines(server.logs / "postgres.log") if row["login"] == person[0]]
    assert row["day"] == dt.datetime.now(dt.UTC).date().isoformat()
    assert grants.read_lines(server.logs / "postgres.log", TOMORROW + dt.timedelta(days=1)) == []
    (line,) = lines.of_reads([row])
    assert person[0] in line
    assert "1 reads" in line


def test_neither_statement_nor_value_gets_into_the_log(server: Settings, london_night: Settings, person: Login) -> None:
    with enter(london_night, person) as connection:
        connection.execute(f"set application_name = '{CANARY}'")
        connection.execute(f"select * from core.dim_rank where rank_label = '{CANARY}'")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute(f"select * from core.fct_workforce_snapshot where fte = '{CANARY}'")
        # Nobody who reads can write a line of their own making, nor one of another person's.
        for statement in (
            f"do $$ begin raise log 'peel core read: role=other table=core.{CANARY}'; end $$",
            f"select core.read_is_logged('{CANARY}')",
            f"select core.read_is_logged('{CANARY}'::regprocedure)",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set log_min_messages = 'panic'")
    log = (server.logs / "postgres.log").read_text("utf-8", "replace")
    assert f"role={person[0]} table=core.dim_rank" in log
    assert CANARY not in log
    assert "dim_rank where" not in log
    assert "role=other" not in log


def test_every_table_that_analysts_read_is_logged(london_night: Settings) -> None:
    with connect(london_night, "owner") as connection:
        unlogged = connection.execute(
            "select c.relname from pg_class c where c.relnamespace = 'core'::regnamespace and c.relkind = 'r'"
            " and has_table_privilege('peel_analyst', c.oid, 'select') and not (c.relrowsecurity and exists"
            " (select from pg_policy p where p.polrelid = c.oid and pg_get_expr(p.polqual, c.oid)"
            " like format('%%core.read_is_logged(''core.%s''::regclass)%%', c.relname)))"
        ).fetchall()
        logged = connection.execute("select count(*) from pg_policy").fetchone()
    assert unlogged == []
    assert logged is not None
    assert logged[0] > 30


def test_a_log_line_costs_neither_the_index_nor_the_second_process(
    server: Settings, london_night: Settings, person: Login
) -> None:
    with enter(london_night, person) as connection:

        def plan(query: str) -> str:
            return "\n".join(row[0] for row in connection.execute(f"explain (costs off) {query}".encode()))

        key = "(select person_key from core.fct_workforce_movement limit 1)"
        by_key = plan(f"select * from core.fct_workforce_snapshot where person_key = {key}")
        assert "Filter: (InitPlan" in by_key
        assert "Index Scan using fct_workforce_snapshot" in by_key or "Bitmap Index Scan" in by_key
        by_month = plan("select count(*) from core.fct_workforce_snapshot where month_end = '2020-01-31'")
        assert "Index" in by_month
        for setting in ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"):
            connection.execute(f"set {setting}".encode())
        assert "Parallel Seq Scan" in plan("select sum(fte) from core.fct_workforce_snapshot")
        before = read(server, person[0])
        connection.execute("select sum(fte) from core.fct_workforce_snapshot")
        connection.execute("select count(*) from core.fct_workforce_snapshot where month_end = '1999-01-31'")
    assert before == {}  # what is only planned is not read, nor what finds no row; three processes read together once
    assert read(server, person[0]) == {"fct_workforce_snapshot": 1}


def test_a_grant_names_its_approver_and_ends(london_night: Settings, person: Login) -> None:
    login = person[0]
    (row,) = [row for row in grants.grants(london_night) if row["login"] == login]
    assert (row["approver"], row["valid_until"], row["stands"]) == ("R. Mayne", TOMORROW, True)
    assert any(
        line.startswith("analysts") and f"{login} until {TOMORROW}" in line for line in status_lines(london_night)
    )
    with enter(london_night, person) as connection:
        for statement in ("select * from history.hr_person", "set role peel_analyst", "create table core.mine (a int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        assert grants.revoke(london_night, login, "C. Rowan") == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    with pytest.raises(psycopg.OperationalError):
        enter(london_night, person)
    with pytest.raises(PeelError, match="no such grant"):
        grants.revoke(london_night, login, "C. Rowan")
    (line,) = [one for one in lines.of_grants(grants.grants(london_night, ended=True)) if one.startswith(login)]
    assert "by C. Rowan, approved by R. Mayne" in line


def test_an_expired_grant_lets_nobody_in_until_it_is_renewed(london_night: Settings, person: Login) -> None:
    login = person[0]
    with connect(london_night, "owner") as connection:
        (until,) = connection.execute(  # type: ignore[misc]
            "select rolvaliduntil at time zone 'Europe/London' from pg_roles where rolname = %s", (login,)
        ).fetchone()
        assert until == dt.datetime.combine(TOMORROW + dt.timedelta(days=1), dt.time())
        connection.execute(f"alter role {login} valid until '2026-01-01'".encode())
        connection.execute("update audit.analyst set valid_until = '2025-12-31' where login = %s", (login,))
    with pytest.raises(psycopg.OperationalError):
        enter(london_night, person)
    assert any(f"{login} EXPIRED 2025-12-31" in line for line in status_lines(london_night))
    renewed = grants.grant(london_night, login, "R. Peel", TOMORROW)
    with pytest.raises(psycopg.OperationalError):
        enter(london_night, person)  # the former password
    with enter(london_night, (login, renewed)) as connection:
        connection.execute("select 1 from core.dim_rank")
    assert [row["approver"] for row in grants.grants(london_night, ended=True) if row["login"] == login] == [
        "R. Mayne", "R. Peel",
    ]  # fmt: skip


def test_a_grant_is_refused_where_it_would_be_somebody_elses(london_night: Settings) -> None:
    for login in ("peel_bi", "pg_monitor", "A. Founder", "x", "a'; drop"):
        with pytest.raises(ConfigurationError, match="cannot be a login"):
            grants.grant(london_night, login, "R. Mayne", TOMORROW)
    with pytest.raises(ConfigurationError, match="has passed"):
        grants.grant(london_night, "founder", "R. Mayne", dt.date(2020, 1, 1))
    with pytest.raises(ConfigurationError, match="names who approves"):
        grants.grant(london_night, "founder", " ", TOMORROW)
    login = f"other_{os.getpid()}"
    with connect(london_night, "owner") as connection:
        connection.execute(f"create role {login}".encode())
    try:
        with pytest.raises(PeelError, match="is no grant"):
            grants.grant(london_night, login, "R. Mayne", TOMORROW)
        with pytest.raises(PeelError, match="no such grant"):
            grants.revoke(london_night, login, "R. Mayne")
    finally:
        with connect(london_night, "owner") as connection:
            connection.execute(f"drop role {login}".encode())
