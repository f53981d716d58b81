"""Both keys can be changed: everyone stays joined to themselves, and nothing of the old key is left."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pytest

from peel import night
from peel.deliveries import pseudonyms
from peel.deliveries.decisions import Signed
from peel.deliveries.pseudonyms import load_keys
from peel.errors import ConfigurationError, PeelError
from peel.history import erasure, rotation
from peel.history.rewrite import rewrite
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import TEST_KEYS, dump
from tests.deliveries import deliver, landed_text
from tests.toys import DELTA, FULL, row

WithContracts = Callable[[dict[str, str]], Settings]
SIGNED = Signed("A. Founder", "yearly change")


@pytest.fixture
def here(with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two feeds that name the same people, and keys in a file as a local installation has them."""
    settings = with_contracts({**FULL, **DELTA})
    monkeypatch.delenv("PEEL_SECRET_HMAC_KEYS")
    pseudonyms.write_keys(settings, json.loads(TEST_KEYS))
    return settings


def person(number: int, **values: object) -> dict[str, object]:
    return row(number, ni_number=f"QQ{number:06d}A", **values)


def toy(here: Settings, date: str, people: list[dict[str, object]]) -> dict[str, object]:
    deliver(here.sources, "toy", date, {"toy": people})
    return take_in("toy", date)


def drip(
    here: Settings, date: str, people: list[dict[str, object]], marks: tuple[str | None, str]
) -> dict[str, object]:
    deliver(here.sources, "drip", date, {"drip": people}, mode="delta", watermarks=marks)
    take_in("drip", date)


def take_in(feed: str, date: str) -> dict[str, object]:
    landed = night.land(feed, dt.date.fromisoformat(date))
    night.gate(feed)
    return night.apply(feed, list(landed["refused"]))


def two_nights(here: Settings) -> None:
    toy(here, "2026-01-01", [person(n) for n in range(6)])
    drip(here, "2026-01-01", [person(n) for n in range(3)], (None, "a"))
    toy(here, "2026-01-02", [person(n, **({"born": "never"} if n == 4 else {})) for n in range(5)])


def joined(here: Settings) -> list[tuple[object, ...]]:
    """Who is who across the two feeds, by number and not by key."""
    with connect(here, "owner") as connection:
        return connection.execute(
            "select t.toy_id, d.toy_id, count(*) from history.toy t join history.drip d"
            " on t.person_id = d.person_id and t.ni_hash = d.ni_hash group by 1, 2 order by 1, 2"
        ).fetchall()


def keys_in(here: Settings) -> set[str]:
    with connect(here, "owner") as connection:
        rows = connection.execute(
            "select person_id from history.toy union select person_id from history.drip"
            " union select person_id from quarantine.toy union select ni_hash from history.toy"
            " union select ni_hash from quarantine.toy union select ni_hash from history.drip"
        )
        return {row[0] for row in rows}


def everywhere(here: Settings, sought: set[str]) -> list[str]:
    with connect(here, "owner") as connection:
        schemas = [row[0] for row in connection.execute("select nspname from pg_namespace where nspname !~ '^pg_'")]
    found = [name for name, rows in dump(here, *schemas).items() if any(one in text for text in rows for one in sought)]
    for path in here.var.rglob("*"):
        if path.is_file() and "sources" not in path.parts:
            text = landed_text(path) if path.suffix == ".zst" else path.read_text("utf-8", "replace")
            found += [str(path)] if any(one in text for one in sought) else []
    return found


def test_writing_history_anew_without_a_change_makes_the_same_keys_and_hashes(here: Settings) -> None:
    from peel import contracts

    two_nights(here)
    before = dump(here, "history", "quarantine")
    contract = contracts.contracts(here.contracts)["toy"]
    with connect(here, "ingest") as connection:
        assert rewrite(connection, contract, lambda batch: (batch, batch.num_rows)) == 6
        assert rewrite(connection, contract, lambda batch: (batch, batch.num_rows), "quarantine") == 1
    assert dump(here, "history", "quarantine") == before


def test_the_warehouse_key_changes_and_nothing_of_the_old_one_is_left(here: Settings) -> None:
    two_nights(here)
    before, who = keys_in(here), joined(here)
    assert who == [(0, 0, 1), (1, 1, 1), (2, 2, 1)]
    report = rotation.rotate_warehouse_key(here, SIGNED)
    assert (report.epoch, report.persons, report.left) == (2, 12, 0)
    assert joined(here) == who
    assert len(keys_in(here)) == len(before)
    assert everywhere(here, before | {"2" * 64}) == []

    in_place = dump(here, "history", "quarantine")
    with connect(here, "owner") as connection:
        connection.execute("truncate history.toy, history.drip, quarantine.toy, quarantine.drip, audit.applied")
        connection.execute("update audit.delivery set state = 'landed'")
        connection.execute("update audit.delivery_table set accepted = null, gate_input = null")
    take_in("toy", "2026-01-02")
    take_in("drip", "2026-01-02")
    assert dump(here, "history", "quarantine") == in_place, "it is what a rebuild from landing gives"

    assert toy(here, "2026-01-03", [person(n) for n in range(5)])["opened"] == {"toy": 0}


def test_a_change_of_the_warehouse_key_that_was_interrupted_is_finished_or_undone(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_nights(here)
    before = dump(here, "history", "quarantine")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "rewrite", killed)
        with pytest.raises(KeyboardInterrupt):
            rotation.rotate_warehouse_key(here, SIGNED)
    assert (here.secrets / pseudonyms.NEXT).exists()
    toy(here, "2026-01-03", [person(n) for n in range(5)])
    assert not (here.secrets / pseudonyms.NEXT).exists()
    assert load_keys(here, create=False).warehouse_epoch == 1
    with connect(here, "owner") as connection:
        connection.execute("delete from history.toy where known_from = '2026-01-03'")
    assert dump(here, "history")["history.drip"] == before["history.drip"]

    settle, calls = pseudonyms.settle, iter((True, False))
    with monkeypatch.context() as patch:
        patch.setattr(pseudonyms, "settle", lambda *them: settle(*them) if next(calls) else killed())
        with pytest.raises(KeyboardInterrupt):
            rotation.rotate_warehouse_key(here, SIGNED)
    who = joined(here)
    assert load_keys(here, create=False).warehouse_epoch == 1, "the file still holds the old key"
    assert toy(here, "2026-01-04", [person(n) for n in range(5)])["opened"] == {"toy": 0}
    assert load_keys(here, create=False).warehouse_epoch == 2
    assert joined(here) == who


def test_someone_of_whom_no_token_is_left_keeps_their_joins(here: Settings) -> None:
    two_nights(here)
    for path in here.landing.rglob("*.zst"):
        path.unlink()  # as retention does with what lies before the baseline
    before, who = keys_in(here), joined(here)
    report = rotation.rotate_warehouse_key(here, SIGNED)
    assert report.left == len(before)
    assert joined(here) == who
    assert everywhere(here, before) == []


def test_the_landing_key_changes_by_an_overlap(here: Settings) -> None:
    two_nights(here)
    old = load_keys(here, create=False)
    before, who = dump(here, "history"), joined(here)
    assert rotation.begin_landing_key(here).epoch == 2
    with pytest.raises(PeelError, match="changing already"):
        rotation.begin_landing_key(here)
    with pytest.raises(PeelError, match="nothing has landed"):
        rotation.close_landing_key(here)

    summary = toy(here, "2026-01-03", [person(n) for n in range(5)])
    assert summary["opened"] == {"toy": 0}, "nobody is anybody else"
    assert joined(here) == who
    assert dump(here, "history")["history.drip"] == before["history.drip"]
    seen = rotation.overlap(here)
    assert (seen.persons, seen.left) == (10, 0)
    drip(here, "2026-01-03", [person(1, amount="9.00")], ("a", "b"))
    rotation.close_landing_key(here)

    keys = load_keys(here, create=False)
    assert (keys.land_epoch, keys.before) == (2, None)
    assert old.land.hex() not in (here.secrets / "hmac_keys").read_text()
    assert toy(here, "2026-01-04", [person(n) for n in range(5)])["opened"] == {"toy": 0}
    assert joined(here) == [(0, 0, 1), (1, 1, 2), (2, 2, 1)]
    (landed,) = (here.landing / "toy" / "2026-01-04").rglob("toy.csv.zst")
    assert old.landing_token("person_id", "901") not in landed_text(landed)
    assert keys.landing_token("person_id", "901") in landed_text(landed)

    both = joined(here)
    rotation.rotate_warehouse_key(here, SIGNED)
    assert joined(here) == both, "the other key can change afterwards"
    assert toy(here, "2026-01-05", [person(n) for n in range(5)])["opened"] == {"toy": 0}


def test_someone_the_overlap_has_not_seen_is_somebody_new(here: Settings) -> None:
    two_nights(here)
    rotation.begin_landing_key(here)
    toy(here, "2026-01-03", [person(n) for n in range(1, 5)])
    assert rotation.close_landing_key(here).left == 2, "of nobody but the one who left: a number and an NI number"
    toy(here, "2026-01-04", [person(n) for n in range(5)])
    with connect(here, "owner") as connection:
        keys = connection.execute("select count(distinct person_id) from history.toy where toy_id = 0").fetchone()
    assert keys == (2,)


def test_whoever_is_erased_stays_erased_under_a_new_landing_key(here: Settings) -> None:
    two_nights(here)
    erasure.erase(here, [("person_id", "902")], SIGNED)
    take_in("toy", "2026-01-02")
    take_in("drip", "2026-01-02")
    rotation.begin_landing_key(here)
    toy(here, "2026-01-03", [person(n) for n in range(5)])
    rotation.close_landing_key(here)
    toy(here, "2026-01-04", [person(n, amount="3.00") for n in range(5)])
    with connect(here, "owner") as connection:
        there = connection.execute("select distinct toy_id from history.toy order by 1").fetchall()
    assert [row[0] for row in there] == [0, 1, 3, 4, 5]


def test_keys_that_are_injected_are_not_changed_here(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    two_nights(here)
    monkeypatch.setenv("PEEL_SECRET_HMAC_KEYS", TEST_KEYS)
    with pytest.raises(ConfigurationError, match="injected"):
        rotation.rotate_warehouse_key(here, SIGNED)
    with pytest.raises(ConfigurationError, match="injected"):
        rotation.begin_landing_key(here)
