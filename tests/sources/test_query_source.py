"""A database as a source, on PostgreSQL and on SQLite: one snapshot, exact bytes, deltas, faults that tell nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import logging
import sqlite3
import string
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peel import warehouse
from peel.feeds.manifest import MANIFEST, read_manifest
from peel.settings import Settings
from peel.sources.base import FileAbsent, Known, SourceUnavailable
from peel.sources.query import QuerySource
from tests.sourcing import DATE, feed, only, read, rows, shown, whole, yesterday

STAFF = {
    "*person_id": "text",
    "name_hash=Full Name": "text",
    "born": "date",
    "fte": "numeric(4,3)",
    "is_officer": "text",
    "joined_ts": "timestamptz",
}
CHANGES = {"*event_id": "bigint", "what": "text", "last_modified_ts": "timestamptz"}
_numbers = itertools.count(1)


@dataclasses.dataclass
class Database:
    connection: psycopg.Connection
    url: str
    password: str

    def execute(self, statement: str, *values: object) -> None:
        self.connection.execute(statement, values or None)


@pytest.fixture(scope="module")
def hr(server: Settings) -> Iterator[Database]:
    """An HR system's database with a user who may read it, under a password of her own."""
    owner = {**warehouse.parameters(server, "owner"), "dbname": "postgres"}
    name = f"hr_{next(_numbers)}"
    password = "p@ss/word:secret%41"
    with psycopg.connect(**owner, autocommit=True) as admin:
        admin.execute(f"create database {name}")
        admin.execute("create role hr_reader login password 'p@ss/word:secret%41'")
    quoted = "p%40ss%2Fword%3Asecret%2541"
    with psycopg.connect(**{**owner, "dbname": name}, autocommit=True) as connection:
        connection.execute("create schema hr; grant usage on schema hr to hr_reader")
        connection.execute("alter default privileges in schema hr grant select on tables to hr_reader")
        yield Database(connection, f"postgresql://hr_reader:{quoted}@{owner['host']}:{owner['port']}/{name}", password)
    with psycopg.connect(**owner, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")
        admin.execute("drop role hr_reader")


@pytest.fixture
def tables(hr: Database) -> Database:
    hr.execute("drop table if exists hr.staff, hr.changes, hr.moves cascade")
    hr.execute(
        'create table hr.staff (person_id int, "Full Name" text, born date, fte numeric, is_officer boolean,'
        " joined_ts timestamp, home_address text, badge bytea)"
    )
    hr.execute("create table hr.changes (event_id bigint, what text, last_modified_ts timestamptz)")
    return hr


def source(database: Database, **more: object) -> QuerySource:
    return QuerySource(database.url, "hr", business_date=yesterday, **more)  # type: ignore[arg-type]


def test_a_full_delivery_is_what_the_contract_declares(tables: Database, tmp_path: Path) -> None:
    tables.execute(
        "insert into hr.staff values"
        " (2, 'O''Brien, \"Bob\"', '1980-02-29', 0.500, true, '2026-07-01 12:00:00.25', 'secret street', '\\x00'),"
        " (1, null, null, null, null, null, null, null),"
        " (10, 'two' || chr(13) || chr(10) || 'lines', '1970-01-01', 1, false, '2026-01-01 12:00', '', null)"
    )
    of, here = feed(tmp_path, {"staff": STAFF}, never=["home_address"]), source(tables)
    offer = only(here, of)
    assert (offer.name, offer.business_date, offer.seq, offer.is_complete) == ("2026-03-10/1", DATE, 1, True)
    manifest, files = whole(here, offer)
    # ordered as text under collate "C"; a London summer's noon is 11:00 UTC; what is not declared is not read
    assert rows(files["staff"]) == [
        ["person_id", "Full Name", "born", "fte", "is_officer", "joined_ts"],
        ["1", "", "", "", "", ""],
        ["10", "two\r\nlines", "1970-01-01", "1", "false", "2026-01-01 12:00:00+00"],
        ["2", 'O\'Brien, "Bob"', "1980-02-29", "0.500", "true", "2026-07-01 11:00:00.25+00"],
    ]
    assert manifest["watermark_from"] is None
    claimed = read_manifest(read(here, offer, MANIFEST), of, DATE, 1)
    assert claimed.schema_version == "1.2.0"
    assert abs(claimed.extract_ts - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    with pytest.raises(FileAbsent):
        here.open(offer, "other.csv")
    here.close()


def test_both_readings_are_of_one_snapshot_whatever_is_written_in_between(tables: Database, tmp_path: Path) -> None:
    tables.execute("insert into hr.staff select n, 'n' || n from generate_series(1, 5000) n")
    of, here = feed(tmp_path, {"staff": STAFF}), source(tables)
    offer = only(here, of)
    tables.execute("delete from hr.staff where person_id % 2 = 0")
    tables.execute("update hr.staff set \"Full Name\" = 'changed'")
    tables.execute("insert into hr.staff (person_id) values (9999)")
    tables.execute("vacuum hr.staff")
    first = whole(here, offer)[1]["staff"]
    assert len(rows(first)) == 5001
    assert b"changed" not in first
    with here.open(offer, "staff_20260310_1.csv") as stream:
        assert stream.read(100) == first[:100]
        with pytest.raises(SourceUnavailable, match="still being read"):
            here.open(offer, "staff_20260310_1.csv")
    assert whole(here, offer)[1]["staff"] == first  # a reading given up halfway does no harm
    assert len(rows(whole(here, only(here, of))[1]["staff"])) == 2502
    with pytest.raises(SourceUnavailable, match="given back"):
        here.open(offer, "staff_20260310_1.csv")
    here.close()


def test_rows_that_are_alike_in_their_key_still_come_in_one_order(tables: Database, tmp_path: Path) -> None:
    tables.execute("insert into hr.staff select 1, md5(n::text) from generate_series(1, 3000) n")
    of, here = feed(tmp_path, {"staff": STAFF}), source(tables)
    before = only(here, of).fingerprint
    tables.execute("create table hr.moves as select * from hr.staff order by random()")
    tables.execute("truncate hr.staff")
    tables.execute("insert into hr.staff select * from hr.moves")
    assert only(here, of).fingerprint == before
    here.close()


def test_a_date_that_was_delivered_is_not_asked_for_again(tables: Database, tmp_path: Path) -> None:
    of = feed(tmp_path, {"staff": STAFF})
    nowhere = QuerySource("postgresql://nobody@127.0.0.1:1/none", business_date=yesterday)
    assert list(nowhere.offers(of, Known(dates=frozenset([DATE])))) == []


def test_the_manifest_can_be_read_after_landing_let_the_rows_go(tables: Database, tmp_path: Path) -> None:
    here = source(tables)
    offer = only(here, feed(tmp_path, {"staff": STAFF}))
    here.close()
    assert json.loads(read(here, offer, MANIFEST))["feed"] == "hr"


def delta(tmp_path: Path) -> object:
    return feed(tmp_path, {"changes": CHANGES, "moves": CHANGES}, name="recruitment", mode="delta")


@pytest.fixture
def chain(tables: Database) -> Database:
    tables.execute("create table hr.moves (like hr.changes)")
    tables.execute("insert into hr.changes values (1, 'a', '2026-03-01 10:00:00.123456+00')")
    tables.execute("insert into hr.moves values (7, 'm', '2026-03-02 09:00+01')")
    return tables


def events(data: bytes) -> list[str]:
    return [row[0] for row in rows(data)[1:]]


def test_deltas_follow_one_another_without_gap_or_repeat(chain: Database, tmp_path: Path) -> None:
    of, here = delta(tmp_path), source(chain)
    manifest, files = whole(here, only(here, of))
    assert (manifest["watermark_from"], manifest["watermark_to"]) == (None, "2026-03-02 08:00:00+00")
    assert (events(files["changes"]), events(files["moves"])) == (["1"], ["7"])

    known = Known(watermark=manifest["watermark_to"])
    offer = only(here, of, known)
    assert offer.unchanged
    assert offer.is_complete

    chain.execute("insert into hr.changes values (2, 'b', '2026-03-02 08:00:00.000001+00'), (3, 'c', '2026-03-03Z')")
    manifest, files = whole(here, only(here, of, known))
    assert (manifest["watermark_from"], manifest["watermark_to"]) == (known.watermark, "2026-03-03 00:00:00+00")
    assert (events(files["changes"]), events(files["moves"])) == (["2", "3"], [])
    assert files["moves"] == b"event_id,what,last_modified_ts\n"
    here.close()


def test_a_row_that_does_not_say_when_it_changed_is_in_every_delta(chain: Database, tmp_path: Path) -> None:
    chain.execute("insert into hr.moves values (8, 'when?', null)")
    of, here = delta(tmp_path), source(chain)
    assert events(whole(here, only(here, of))[1]["moves"]) == ["7", "8"]
    known = Known(watermark="2026-03-02 07:59:59+00")
    assert events(whole(here, only(here, of, known))[1]["moves"]) == ["7", "8"]
    assert only(here, of, Known(watermark="2026-03-02 08:00:00+00")).unchanged
    here.close()


def test_an_empty_source_has_no_delta(tables: Database, tmp_path: Path) -> None:
    tables.execute("create table hr.moves (like hr.changes)")
    assert only(source(tables), delta(tmp_path)).unchanged


def test_a_lag_leaves_what_was_changed_just_now(chain: Database, tmp_path: Path) -> None:
    chain.execute("insert into hr.changes values (4, 'd', now() - interval '5 minutes')")
    chain.execute("insert into hr.changes values (5, 'e', now() - interval '15 minutes')")
    of, here = delta(tmp_path), source(chain, lag=dt.timedelta(minutes=10))
    manifest, files = whole(here, only(here, of))
    assert events(files["changes"]) == ["1", "5"]
    assert manifest["watermark_to"] > "2026-03-02 08:00:00+00"
    here.close()


def test_a_watermark_may_be_a_number(chain: Database, tmp_path: Path) -> None:
    columns = {"*event_id": "bigint", "what": "text"}
    of = feed(tmp_path, {"changes": columns}, name="recruitment", mode="delta")
    chain.execute("insert into hr.changes select n from generate_series(2, 11) n")
    here = source(chain, watermark_column="event_id")
    manifest, files = whole(here, only(here, of, Known(watermark="9")))
    assert (manifest["watermark_to"], events(files["changes"])) == ("11", ["10", "11"])
    here.close()


def test_a_view_is_as_good_as_a_table(tables: Database, tmp_path: Path) -> None:
    tables.execute("insert into hr.staff values (1, 'x')")
    tables.execute("create view hr.people as select * from hr.staff")
    here = source(tables)
    assert b"\n1,x," in whole(here, only(here, feed(tmp_path, {"people": STAFF})))[1]["people"]
    here.close()


def test_a_missing_table_or_column_is_named(tables: Database, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"^feed hr: .*table nothing: the table is not there") as caught:
        only(source(tables), feed(tmp_path, {"nothing": STAFF}))
    with pytest.raises(SourceUnavailable, match=r"^feed hr, column rank: .*table staff: .*no such column"):
        only(source(tables), feed(tmp_path, {"staff": {**STAFF, "rank": "text"}}))
    assert tables.password not in shown(caught.value)


def test_an_error_tells_no_value_and_no_password(tables: Database, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    tables.execute("create view hr.bad as select *, (what::int) as number from hr.changes")
    tables.execute("insert into hr.changes values (1, 'Ann Example QQ123456C', now())")
    with pytest.raises(SourceUnavailable, match=r"table bad: .*SQLSTATE 22P02") as caught:
        only(source(tables), feed(tmp_path, {"bad": {"*event_id": "bigint", "number": "int"}}))
    assert "Example" not in shown(caught.value) + caplog.text

    tables.execute("revoke select on hr.staff from hr_reader")
    with pytest.raises(SourceUnavailable, match="SQLSTATE 42501"):
        only(source(tables), feed(tmp_path, {"staff": STAFF}))

    wrong = QuerySource(tables.url.replace("secret", "wrong-secret"), "hr", business_date=yesterday)
    with pytest.raises(SourceUnavailable, match="OperationalError") as caught:
        only(wrong, feed(tmp_path, {"staff": STAFF}))
    told = shown(caught.value) + caplog.text + repr(wrong)
    assert "secret" not in told
    assert "hr_reader" not in told


def test_a_server_that_ends_the_connection_is_told_of(tables: Database, tmp_path: Path) -> None:
    tables.execute("insert into hr.staff select n, repeat('x', 100) from generate_series(1, 60000) n")
    here = source(tables)
    offer = only(here, feed(tmp_path, {"staff": STAFF}))
    stream = here.open(offer, "staff_20260310_1.csv")
    stream.read(1000)
    tables.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'hr_reader'")
    with pytest.raises(SourceUnavailable, match="table staff: the database refused"):
        stream.read()
    here.close()


def test_rows_are_never_held_as_a_whole(tables: Database, tmp_path: Path) -> None:
    tables.execute("insert into hr.staff select n, repeat('x', 400) from generate_series(1, 100000) n")
    of, here = feed(tmp_path, {"staff": STAFF}), source(tables)
    only(here, of)  # whatever is imported on first use
    tracemalloc.start()
    offer = only(here, of)
    size = 0
    with here.open(offer, "staff_20260310_1.csv") as stream:
        while block := stream.read(1 << 16):
            size += len(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    here.close()
    assert size > 40_000_000
    assert peak < 6_000_000


# SQLite stands for every database that is reached through SQLAlchemy and has no COPY.


def lite(path: Path, **more: object) -> QuerySource:
    return QuerySource(f"sqlite:///{path}", business_date=yesterday, **more)  # type: ignore[arg-type]


def test_another_database_gives_the_same_delivery(tmp_path: Path) -> None:
    path = tmp_path / "hr.db"
    with sqlite3.connect(path) as database:
        database.execute("pragma journal_mode = wal")
        database.execute(
            'create table staff (person_id integer, "Full Name" text, born date, fte numeric(4,3),'
            " is_officer boolean, joined_ts timestamp)"
        )
        database.executemany(
            "insert into staff values (?, ?, ?, ?, ?, ?)",
            [
                (2, 'O\'Brien, "Bob"', "1980-02-29", 0.5, 1, "2026-07-01 12:00:00.250000"),
                (1, None, None, None, None, None),
                (10, "two\rlines", "1970-01-01", 1, 0, "2026-01-01 12:00:00.000000"),
            ],
        )
    of, here = feed(tmp_path, {"staff": STAFF}), lite(path)
    offer = only(here, of)
    with sqlite3.connect(path) as database:
        database.execute("delete from staff")
    assert rows(whole(here, offer)[1]["staff"]) == [
        ["person_id", "Full Name", "born", "fte", "is_officer", "joined_ts"],
        ["1", "", "", "", "", ""],
        ["2", 'O\'Brien, "Bob"', "1980-02-29", "0.500", "true", "2026-07-01T11:00:00.250000+00:00"],
        ["10", "two\rlines", "1970-01-01", "1.000", "false", "2026-01-01T12:00:00+00:00"],
    ]
    assert len(rows(whole(here, only(here, of))[1]["staff"])) == 1
    here.close()


def test_another_database_gives_deltas(tmp_path: Path) -> None:
    path = tmp_path / "ats.db"
    with sqlite3.connect(path) as database:
        database.execute("create table changes (event_id integer, what text, last_modified_ts timestamp)")
        database.execute("insert into changes values (1, 'a', '2026-03-01 10:00:00.123456'), (2, 'b', null)")
    of, here = feed(tmp_path, {"changes": CHANGES}, name="recruitment", mode="delta"), lite(path)
    manifest, files = whole(here, only(here, of))
    assert (manifest["watermark_to"], events(files["changes"])) == ("2026-03-01T10:00:00.123456", ["1", "2"])
    known = Known(watermark=manifest["watermark_to"])
    assert only(here, of, known).unchanged
    with sqlite3.connect(path) as database:
        database.execute("insert into changes values (3, 'c', '2026-03-01 10:00:00.123457')")
        database.execute("insert into changes values (4, 'd', '2999-03-01 10:00:00.123457')")
    here = lite(path, lag=dt.timedelta(minutes=1))
    manifest, files = whole(here, only(here, of, known))
    assert (manifest["watermark_to"], events(files["changes"])) == ("2026-03-01T10:00:00.123457", ["2", "3"])
    here.close()


def test_a_value_another_database_cannot_read_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "hr.db"
    with sqlite3.connect(path) as database:
        database.execute("create table changes (event_id integer, what text, last_modified_ts timestamp)")
        database.execute("insert into changes values (1, 'a', 'Ann Example')")
    with pytest.raises(SourceUnavailable, match="ValueError") as caught:
        only(lite(path), feed(tmp_path, {"changes": CHANGES}))
    assert "Example" not in shown(caught.value)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.text(
    string.punctuation + " \t\r\n", max_size=6
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), TEXTS | st.none()), max_size=20))
def test_any_rows_come_through_both_ways(tables: Database, tmp_path: Path, data: list[tuple[int, str | None]]) -> None:
    of = feed(tmp_path, {"changes": {"*event_id": "bigint", "what": "text"}})
    tables.execute("truncate hr.changes")
    with tables.connection.cursor() as cursor:
        cursor.executemany("insert into hr.changes values (%s, %s)", data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hr.db"
        with sqlite3.connect(path) as database:
            database.execute("create table changes (event_id integer, what varchar)")
            database.executemany("insert into changes values (?, ?)", data)
        expected = sorted([str(number), text or ""] for number, text in data)
        for here in (source(tables), lite(path)):
            got = rows(whole(here, only(here, of))[1]["changes"])
            assert got[0] == ["event_id", "what"]
            assert sorted(got[1:]) == expected
            here.close()
