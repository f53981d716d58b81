"""What is due, and how a build is merged: plain SQL on some twenty rows each."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import psycopg
import pytest

from peel import contracts
from peel.builds import build as building
from peel.builds import dbt, undo
from peel.builds.build import Due, find_due
from peel.builds.merge import delete_sql, delete_vanished_sql, insert_sql, orphans_sql, upsert_sql
from peel.builds.switch import switch
from peel.builds.tables import Table, TableColumn
from peel.errors import PeelError
from peel.london import LONDON
from peel.settings import Settings
from peel.warehouse import connect

FIRST = dt.date(2026, 1, 1)


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


class Ledger:
    """An audit filled by hand."""

    def __init__(self, settings: Settings, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.feeds = contracts.feeds(settings.contracts)

    def came(self, feed: str, number: int, state: str = "applied", seq: int = 1) -> str:
        delivery_id = f"{'hrc'.index(feed[0])}{number:02d}{seq:09d}"
        self.connection.execute(
            "insert into audit.delivery (delivery_id, feed, business_date, seq, source_sha256, mode,"
            " source_kind, state) values (%s, %s, %s, %s, %s, 'full', 'simulated', %s)",
            (delivery_id, feed, day(number), seq, delivery_id, state),
        )
        if state == "applied":
            self.connection.execute(
                "insert into audit.applied (table_name, position, apply_date, delivery_id)"
                " values (%s, (select count(*) + 1 from audit.applied where table_name = %s), %s, %s)",
                (f"{feed}_table", f"{feed}_table", day(number), delivery_id),
            )
        return delivery_id

    def due(self, at: dt.datetime, checksum: str = "a", arriving: tuple[str, ...] = ()) -> Due | None:
        return find_due(self.connection, self.feeds, checksum, at, list(arriving))

    def switched(self, due: Due) -> None:
        self.connection.execute(
            "insert into audit.build"
            " (build_id, business_date, deliveries, decisions, checksum, history_digest, state)"
            " values (%s, %s, %s, %s, %s, %s, 'switched')",
            (
                due.build_id,
                due.business_date,
                list(due.deliveries),
                list(due.decisions),
                due.checksum,
                due.history_digest,
            ),
        )
        self.connection.execute("insert into audit.switch (build_id, rows) values (%s, '{}')", (due.build_id,))


@pytest.fixture
def ledger(here: Settings) -> Any:
    with connect(here, "owner") as connection:
        yield Ledger(here, connection)
        connection.rollback()


EARLY = dt.datetime(2026, 1, 2, 1, tzinfo=LONDON)  # before any due time of the first night
LATE = dt.datetime(2026, 2, 1, 12, tzinfo=LONDON)


def test_nothing_is_due_before_anything_came(ledger: Ledger) -> None:
    assert ledger.due(LATE) is None


def test_a_night_is_due_once_every_nightly_feed_is_there(ledger: Ledger) -> None:
    ledger.came("hr", 0)
    assert ledger.due(EARLY) is None
    ledger.came("recruitment", 0)
    due = ledger.due(EARLY)
    assert due is not None
    assert (due.business_date, due.rebuild_all, due.last_business_date) == (day(0), True, None)
    assert [name.split(":")[0] for name in due.deliveries] == ["hr", "recruitment"]


def test_an_overdue_feed_is_not_waited_for_unless_it_is_on_its_way(ledger: Ledger) -> None:
    ledger.came("hr", 0)
    assert ledger.due(dt.datetime(2026, 1, 2, 3, 29, tzinfo=LONDON)) is None
    assert ledger.due(dt.datetime(2026, 1, 2, 3, 30, tzinfo=LONDON)) is not None
    assert ledger.due(LATE, arriving=("recruitment",)) is None
    ledger.came("recruitment", 0, state="landed")
    assert ledger.due(LATE) is None


def test_a_backlog_is_one_build_up_to_the_newest_date(ledger: Ledger) -> None:
    for number in range(10):
        ledger.came("hr", number)
        ledger.came("recruitment", number)
    ledger.came("census", 0)
    due = ledger.due(LATE)
    assert due is not None
    assert due.business_date == day(9)
    assert len(due.deliveries) == 21


def test_what_readers_see_is_not_due_again_and_any_change_is(ledger: Ledger) -> None:
    ledger.came("hr", 0)
    ledger.came("recruitment", 0)
    first = ledger.due(LATE)
    assert first is not None
    ledger.switched(first)
    assert ledger.due(LATE) is None

    changed = ledger.due(LATE, checksum="b")
    assert changed is not None
    assert changed.rebuild_all

    ledger.came("hr", 1)
    later = ledger.due(LATE)
    assert later is not None
    assert (later.business_date, later.last_business_date, later.rebuild_all) == (day(1), day(0), False)
    assert later.build_id != first.build_id


def test_a_decision_makes_a_build_due(ledger: Ledger) -> None:
    ledger.came("hr", 0)
    first = ledger.due(LATE)
    assert first is not None
    ledger.switched(first)
    ledger.connection.execute(
        "insert into audit.decision (kind, who, reason) values ('accept', 'R. Peel', 'a true change')"
    )
    assert ledger.due(LATE) is not None


def test_the_manifests_of_nights_that_can_be_taken_back_are_kept_however_many_builds_failed_since(
    here: Settings, ledger: Ledger
) -> None:
    def built(build_id: str, number: int) -> None:
        path = dbt.manifest_path(here, build_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        os.utime(path, (number, number))

    switched = []
    for number in range(6):
        ledger.came("hr", number)
        due = ledger.due(LATE)
        assert due is not None
        ledger.switched(due)
        built(due.build_id, number)
        switched.append(due.build_id)
    # the last is taken back, which the audit tells as one more switch
    back = "insert into audit.switch (build_id, rows, undoes) select %s, '{}', max(switch_id) from audit.switch"
    ledger.connection.execute(back, (switched[4],))
    failed = [f"failed{number}" for number in range(7)]
    for number, build_id in enumerate(failed, start=6):
        built(build_id, number)

    assert undo.within_reach(ledger.connection) == set(switched[1:5])
    dbt.drop_manifests(here, undo.within_reach(ledger.connection))
    left = {path.stem for path in (here.var / "dbt" / "builds").iterdir()}
    assert left == {*switched[1:5], *failed[-5:]}


def test_a_change_of_the_landing_key_makes_no_build_due(ledger: Ledger) -> None:
    ledger.came("hr", 0)
    first = ledger.due(LATE)
    assert first is not None
    ledger.switched(first)
    rotated = "insert into audit.decision (kind, feed, who, reason) values ('rotate', %s, 'R. Peel', 'yearly')"
    ledger.connection.execute(rotated, (None,))
    assert ledger.due(LATE) is None
    ledger.connection.execute(rotated, ("hr",))
    assert ledger.due(LATE) is not None


def test_a_build_that_waits_is_given_up_when_another_takes_its_place(here: Settings, ledger: Ledger) -> None:
    ledger.came("hr", 0)
    first = ledger.due(LATE)
    assert first is not None
    building.begin(ledger.connection, first)
    ledger.connection.execute("update audit.build set state = 'gated'")
    dbt.manifest_path(here, first.build_id).parent.mkdir(parents=True)
    dbt.manifest_path(here, first.build_id).write_text('{"nodes": {}}')
    ledger.came("hr", 1)
    second = ledger.due(LATE)
    assert second is not None
    building.begin(ledger.connection, second)
    states = ledger.connection.execute("select build_id, state, reason from audit.build order by started_at").fetchall()
    reason = "another build took its place before it was switched"
    assert states == [(first.build_id, "failed", reason), (second.build_id, "building", None)]
    with pytest.raises(PeelError, match="has not passed its gate"):
        switch(here, first.build_id)
    building.begin(ledger.connection, second)
    assert ledger.connection.execute("select state from audit.build").fetchall() == [("failed",), ("building",)]


def _two_nights_and_the_next(ledger: Ledger) -> None:
    for number in range(2):
        ledger.came("hr", number)
        ledger.came("recruitment", number)
    before = ledger.due(LATE)
    assert before is not None
    ledger.switched(before)
    ledger.came("hr", 2)


def test_an_ordinary_night_stands_on_the_history_of_the_night_before(ledger: Ledger) -> None:
    _two_nights_and_the_next(ledger)
    after = ledger.due(LATE)
    assert after is not None
    assert after.history_stands


@pytest.mark.parametrize(
    "written_anew",
    [
        "insert into audit.decision (kind, who, reason) values ('accept', 'R. Peel', 'a true change')",
        "delete from audit.applied where apply_date = '2026-01-01' and table_name = 'hr_table'",
        "update audit.applied set content = 'another' where apply_date = '2026-01-01'",
        "update audit.applied set applied_at = clock_timestamp() where apply_date = '2026-01-01'",  # gated again, alike
        "insert into audit.key_epoch (key_name, epoch, fingerprint) values ('warehouse', 2, 'f')",
        "update audit.build set checksum = 'of other models'",
    ],
)
def test_history_that_was_written_anew_is_looked_at_whole(ledger: Ledger, written_anew: str) -> None:
    _two_nights_and_the_next(ledger)
    ledger.connection.execute(written_anew.encode())
    after = ledger.due(LATE)
    assert after is not None
    assert not after.history_stands


def test_the_first_night_of_a_month_looks_at_everything(ledger: Ledger) -> None:
    ledger.came("hr", 30)
    before = ledger.due(LATE + dt.timedelta(days=1))
    assert before is not None
    ledger.switched(before)
    ledger.came("hr", 31)
    after = ledger.due(LATE + dt.timedelta(days=1))
    assert after is not None
    assert (after.last_business_date, after.history_stands) == (day(30), False)


def test_readers_are_not_taken_back_while_newer_deliveries_are_gated_again(ledger: Ledger) -> None:
    for number in range(3):
        ledger.came("hr", number)
        ledger.came("recruitment", number)
    due = ledger.due(LATE)
    assert due is not None
    ledger.switched(due)
    replayed = "update audit.delivery set state = %s where feed = 'hr' and business_date >= %s"
    for state in ("landed", "gated"):
        ledger.connection.execute(replayed, (state, day(1)))
        assert ledger.due(LATE) is None
    ledger.connection.execute(replayed, ("refused", day(1)))
    ledger.connection.execute("delete from audit.applied where apply_date >= %s", (day(1),))
    back = ledger.due(LATE)
    assert back is not None  # nothing newer holds any more: that is what readers are to see
    assert back.business_date == day(0)


def test_a_refused_delivery_does_not_make_its_night_ready(ledger: Ledger) -> None:
    ledger.came("hr", 0)
    ledger.came("recruitment", 0, state="refused")
    assert ledger.due(EARLY) is None


def _column(name: str, type_: str, references: tuple[str, str] | None = None) -> TableColumn:
    return TableColumn(name, type_, "", False, references)


DIMENSION = Table("d", "", (_column("k", "text"), _column("v", "text")), ("k",), (), None, False)
FACT = Table(
    "f",
    "",
    (_column("m", "integer"), _column("p", "text"), _column("k", "text", ("d", "k"))),
    ("m", "p"),
    ("m",),
    "affected",
    False,
)


@pytest.fixture
def merging(here: Settings) -> Any:
    with connect(here, "owner") as connection:
        connection.execute("create schema next")
        for schema in ("core", "next"):
            connection.execute(f"create table {schema}.d (k text primary key, v text)".encode())
            connection.execute(f"create table {schema}.f (m integer, p text, k text, primary key (m, p))".encode())
        connection.execute("create table next.affected (m integer)")
        connection.execute("insert into core.d values ('a', 'old'), ('b', 'same'), ('gone', 'x')")
        connection.execute("insert into next.d values ('a', 'new'), ('b', 'same'), ('c', 'added')")
        connection.execute(
            "insert into core.f values (1, 'x', 'a'), (1, 'y', 'a'), (2, 'x', 'a'), (2, 'y', 'b'),"
            " (2, 'z', 'gone'), (3, 'x', 'b')"
        )
        connection.execute("insert into next.affected values (2), (2), (4)")
        connection.execute("insert into next.f values (2, 'x', 'a'), (2, 'y', 'c'), (4, 'x', 'c')")
        yield connection
        connection.rollback()


def test_a_fact_is_merged_within_its_affected_partitions_and_nowhere_else(merging: psycopg.Connection) -> None:
    assert merging.execute(delete_sql(FACT).encode()).rowcount == 2  # (2, y) differs, (2, z) left
    assert merging.execute(insert_sql(FACT).encode()).rowcount == 2
    found = merging.execute("select m, p, k from core.f order by 1, 2").fetchall()
    assert found == [(1, "x", "a"), (1, "y", "a"), (2, "x", "a"), (2, "y", "c"), (3, "x", "b"), (4, "x", "c")]
    assert merging.execute(delete_sql(FACT).encode()).rowcount == 0
    assert merging.execute(insert_sql(FACT).encode()).rowcount == 0


def test_an_emptied_partition_is_emptied(merging: psycopg.Connection) -> None:
    merging.execute("truncate next.f")
    merging.execute(delete_sql(FACT).encode())
    assert merging.execute("select distinct m from core.f order by 1").fetchall() == [(1,), (3,)]


def test_a_dimension_is_merged_by_key_and_touches_only_what_differs(merging: psycopg.Connection) -> None:
    assert merging.execute(upsert_sql(DIMENSION).encode()).rowcount == 2
    assert merging.execute(delete_vanished_sql(DIMENSION).encode()).rowcount == 1
    assert merging.execute("select k, v from core.d order by 1").fetchall() == [
        ("a", "new"),
        ("b", "same"),
        ("c", "added"),
    ]
    assert merging.execute(upsert_sql(DIMENSION).encode()).rowcount == 0


def test_an_orphan_is_counted(merging: psycopg.Connection) -> None:
    orphans = orphans_sql("f", "k", "d", "k", "core").encode()
    assert merging.execute(orphans).fetchone() == (0,)
    merging.execute("delete from core.d where k = 'gone'")
    assert merging.execute(orphans).fetchone() == (1,)
