"""An erased person is nowhere: not in history, quarantine, landing or what comes later; nobody else is touched."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from peel import contracts, night
from peel.deliveries.decisions import Signed
from peel.deliveries.pseudonyms import load_keys
from peel.errors import PeelError
from peel.history import erasure
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import dump
from tests.deliveries import deliver, landed_text
from tests.toys import FULL, SENSITIVE, contract, row

WithContracts = Callable[[dict[str, str]], Settings]
SIGNED = Signed("A. Founder", "request 17")
GONE = 2
OBJECTING = {"deliveries/secretive/secretive.odcs.yaml": contract("secretive", "secretive", "full", special=True)}


def person(number: int, **values: object) -> dict[str, object]:
    """A row of somebody with a National Insurance number of their own."""
    return row(number, ni_number=f"QQ{number:06d}A", **values)


def nights(without: int | None = None) -> dict[str, list[dict[str, object]]]:
    """Three nights; on the second, two people break a rule, one of them the person who will be gone."""
    found = {
        "2026-01-01": [person(n) for n in range(6)],
        "2026-01-02": [person(n, **({"born": "never"} if n in (GONE, 4) else {})) for n in range(6)],
        "2026-01-03": [person(n, amount="2.00" if n == 3 else "1.50") for n in range(6)],
    }
    return {date: [r for r in rows if r["toy_id"] != without] for date, rows in found.items()}


def take_in(here: Settings, feed: str, date: str = "2026-01-01") -> dict[str, object]:
    """Land, gate and apply."""
    landed = night.land(feed, dt.date.fromisoformat(date))
    night.gate(feed)
    return night.apply(feed, list(landed["refused"]))


def run(here: Settings, feed: str, rows: dict[str, list[dict[str, object]]]) -> None:
    for date, members in rows.items():
        deliver(here.sources, feed, date, {feed: members})
        take_in(here, feed, date)


def everything(here: Settings, table: str) -> list[tuple[object, ...]]:
    """History and quarantine without the names of deliveries and the numbers of rows."""
    relation = "sensitive.history_secretive" if table == "secretive" else f"history.{table}"
    held = relation.replace("history", "quarantine")
    with connect(here, "owner") as connection:
        versions = connection.execute(
            f"select encode(row_key, 'hex'), encode(row_hash, 'hex'), known_from, known_to, toy_id, person_id, code,"
            f" amount from {relation} order by toy_id, known_from".encode()
        ).fetchall()
        rows = connection.execute(
            f"select toy_id, rules, applied_on, resolved_on, resolution from {held}"
            f" order by toy_id, business_date".encode()
        ).fetchall()
    return [*versions, *rows]


def traces(here: Settings, number: int) -> list[str]:
    """Where a person's tokens or keys are still to be found: landing, warehouse, everything Peel wrote."""
    keys = load_keys(here, create=False)
    tokens = [keys.landing_token("person_id", f"90{number}"), keys.landing_token("ni_number", f"QQ{number:06d}A")]
    sought = [*tokens, *keys.person_keys()(pa.array(tokens, pa.string())).to_pylist()]
    found = [str(path) for path in here.landing.rglob("*.zst") if any(one in landed_text(path) for one in sought)]
    with connect(here, "owner") as connection:
        schemas = [row[0] for row in connection.execute("select nspname from pg_namespace where nspname !~ '^pg_'")]
    for name, rows in dump(here, *schemas).items():
        found += [name for one in sought if any(one in text for text in rows)]
    for path in here.var.rglob("*"):
        if path.is_file() and path.suffix != ".zst" and "sources" not in path.parts:
            data = path.read_bytes()
            found += [str(path) for one in sought if one.encode() in data]
    return found


@pytest.fixture
def toy(with_contracts: WithContracts) -> Settings:
    return with_contracts(FULL)


def test_what_is_left_is_as_if_the_person_had_never_been_delivered(toy: Settings) -> None:
    run(toy, "toy", nights())
    assert traces(toy, GONE)
    report = erasure.erase(toy, [("person_id", f"90{GONE}")], SIGNED)
    take_in(toy, "toy")
    left = everything(toy, "toy")
    assert traces(toy, GONE) == []
    assert report.identifiers == {"person_id": 1, "ni_number": 1}, "the number that is known leads to the other"
    assert (report.objects, report.rows) == (3, 3)

    with connect(toy, "owner") as connection:
        connection.execute("truncate history.toy, quarantine.toy, audit.applied")
        connection.execute("update audit.delivery set state = 'landed'")
        connection.execute("update audit.delivery_table set accepted = null, gate_input = null")
    take_in(toy, "toy")
    assert everything(toy, "toy") == left, "a replay from landing comes to the same"


def test_nobody_else_changes(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    run(here, "toy", nights())
    erasure.erase(here, [("person_id", f"90{GONE}")], SIGNED)
    take_in(here, "toy")
    left = everything(here, "toy")
    with connect(here, "owner") as connection:
        for table in ("audit.applied", "history.toy", "quarantine.toy", "audit.redaction", "audit.gate_result"):
            connection.execute(f"delete from {table}".encode())
        for table in ("audit.delivery_table", "audit.delivery", "audit.source_folder", "audit.tombstone"):
            connection.execute(f"delete from {table}".encode())
    shutil.rmtree(here.sources)
    shutil.rmtree(here.landing)
    run(here, "toy", nights(without=GONE))
    assert everything(here, "toy") == left


def test_the_person_is_not_taken_in_again(toy: Settings) -> None:
    run(toy, "toy", nights())
    erasure.erase(toy, [("ni_number", f"QQ{GONE:06d}A")], SIGNED)
    deliver(toy.sources, "toy", "2026-01-04", {"toy": [person(n) for n in range(7)]})
    take_in(toy, "toy", "2026-01-04")
    assert traces(toy, GONE) == []
    with connect(toy, "owner") as connection:
        there = connection.execute("select toy_id from history.toy where known_to is null order by 1").fetchall()
        rows = connection.execute("select rows from audit.delivery order by business_date").fetchall()
    assert [row[0] for row in there] == [0, 1, 3, 4, 5, 6]
    assert [row[0] for row in rows] == [6, 6, 6, 7], "the ledger still says what was delivered"


def test_a_request_that_was_interrupted_is_finished(toy: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run(toy, "toy", nights())

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "_carry", stop)  # after the first object has been written anew
        with pytest.raises(KeyboardInterrupt):
            erasure.erase(toy, [("person_id", f"90{GONE}")], SIGNED)
    assert any(str(toy.landing) in trace for trace in traces(toy, GONE))
    take_in(toy, "toy")  # the gate begins with finishing it
    assert traces(toy, GONE) == []
    assert erasure.resume(toy) == []


def test_an_erasure_is_a_decision_that_makes_a_build_due_and_says_nobody_s_name(toy: Settings) -> None:
    run(toy, "toy", nights())
    erasure.erase(toy, [("person_id", f"90{GONE}")], SIGNED)
    with connect(toy, "owner") as connection:
        assert connection.execute("select kind, who, reason from audit.decision").fetchall() == [
            ("erase", "A. Founder", "request 17")
        ]
        redacted = connection.execute("select rows_removed, old_sha256 <> new_sha256 from audit.redaction").fetchall()
    assert redacted == [(1, True)] * 3


@pytest.mark.parametrize(
    "identifiers", [[], [("email", "a@example.invalid")], [("ni_number", "nonsense")], [("person_id", " ")]]
)
def test_who_cannot_be_told_apart_is_not_erased(toy: Settings, identifiers: list[tuple[str, str]]) -> None:
    run(toy, "toy", nights())
    before = everything(toy, "toy")
    with pytest.raises(PeelError, match=r"erase|identifi"):
        erasure.erase(toy, identifiers, SIGNED)
    assert everything(toy, "toy") == before


def test_an_objection_takes_what_is_special_and_leaves_the_rest(with_contracts: WithContracts) -> None:
    here = with_contracts(SENSITIVE)
    rows = {
        "2026-01-01": [person(n, code="A") for n in range(4)],
        "2026-01-02": [person(n, code="B") for n in range(4)],
    }
    run(here, "secretive", rows)
    erasure.erase(here, [("person_id", f"90{GONE}")], SIGNED, kind="objection")
    take_in(here, "secretive")
    with connect(here, "owner") as connection:
        seen = connection.execute(
            "select toy_id, code, known_from::text, known_to::text from sensitive.history_secretive"
            " where toy_id in (1, 2) order by toy_id, known_from"
        ).fetchall()
    assert seen == [
        (1, "A", "2026-01-01", "2026-01-02"),
        (1, "B", "2026-01-02", None),
        (2, None, "2026-01-01", None),
    ]
    deliver(here.sources, "secretive", "2026-01-03", {"secretive": [person(n, code="A") for n in range(4)]})
    take_in(here, "secretive", "2026-01-03")
    with connect(here, "owner") as connection:
        objected = connection.execute(
            "select distinct code from sensitive.history_secretive where toy_id = 2"
        ).fetchall()
    assert objected == [(None,)]
    for path in here.landing.rglob("*.zst"):
        mine = [line for line in landed_text(path).splitlines() if line.split(",")[1] == str(GONE)]
        assert all(",A," not in line and ",B," not in line for line in mine), path


def test_a_linked_landing_object_is_redacted_wherever_it_stands(toy: Settings) -> None:
    same = [person(n) for n in range(4)]
    run(toy, "toy", {"2026-01-01": same, "2026-01-02": same, "2026-01-03": same})
    objects: list[Path] = sorted(toy.landing.rglob("toy.csv.zst"))
    assert len({path.stat().st_ino for path in objects}) == 1, "an identical file is landed once"
    erasure.erase(toy, [("person_id", f"90{GONE}")], SIGNED)
    assert traces(toy, GONE) == []
    assert contracts.feed(toy.contracts, "toy").tables == ("toy",)


def test_what_a_killed_landing_left_behind_goes_too(toy: Settings) -> None:
    run(toy, "toy", nights())
    (recorded, *_) = sorted(toy.landing.glob("toy/*/*/*"))
    left = recorded.with_name("0123456789ab")
    shutil.copytree(recorded, left)
    erasure.erase(toy, [("person_id", f"90{GONE}")], SIGNED)
    assert not left.exists()
    assert recorded.exists()
    assert traces(toy, GONE) == []
