"""Both keys can be changed: everyone stays joined to themselves, and nothing of the old key is left."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pyarrow as pa
import pytest

from peel import night
from peel.deliveries import decisions, pseudonyms
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


def changes_on_record(here: Settings) -> list[tuple[object, ...]]:
    with connect(here, "owner") as connection:
        return connection.execute(
            "select feed, column_name, value_from, value_to, who, reason from audit.decision where kind = 'rotate'"
            " order by decision_id"
        ).fetchall()


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
    assert rotation.begin_landing_key(here, SIGNED).epoch == 2
    with pytest.raises(PeelError, match="changing already"):
        rotation.begin_landing_key(here, SIGNED)
    with pytest.raises(PeelError, match="nothing has landed"):
        rotation.close_landing_key(here, SIGNED)

    summary = toy(here, "2026-01-03", [person(n) for n in range(5)])
    assert summary["opened"] == {"toy": 0}, "nobody is anybody else"
    assert joined(here) == who
    assert dump(here, "history")["history.drip"] == before["history.drip"]
    seen = rotation.overlap(here)
    assert (seen.persons, seen.left) == (10, 0)
    drip(here, "2026-01-03", [person(1, amount="9.00")], ("a", "b"))
    rotation.close_landing_key(here, SIGNED)

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


def test_each_change_of_a_key_is_on_record_with_who_and_why(here: Settings) -> None:
    two_nights(here)
    rotation.begin_landing_key(here, Signed("A. Founder", "a leaver knew it"))
    begun = (None, "k_land", None, "2", "A. Founder", "a leaver knew it")
    with pytest.raises(PeelError, match="changing already"):
        rotation.begin_landing_key(here, SIGNED)
    with pytest.raises(PeelError, match="nothing has landed"):
        rotation.close_landing_key(here, SIGNED)
    assert changes_on_record(here) == [begun], "what was refused was not done"
    toy(here, "2026-01-03", [person(n) for n in range(5)])
    rotation.close_landing_key(here, Signed("R. Peel", "everyone is known in both"))
    closed = (None, "k_land", "1", "2", "R. Peel", "everyone is known in both")
    assert changes_on_record(here) == [begun, closed]
    rotation.rotate_warehouse_key(here, SIGNED)
    of_feeds = [(feed, "k_wh", "1", "2", SIGNED.who, SIGNED.reason) for feed in ("drip", "toy")]
    assert sorted(changes_on_record(here)[2:], key=str) == of_feeds


@pytest.mark.parametrize("step", ["begin_landing_key", "close_landing_key"])
def test_a_landing_key_is_not_changed_before_it_is_on_record(
    here: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    two_nights(here)
    if step == "close_landing_key":
        rotation.begin_landing_key(here, SIGNED)
        toy(here, "2026-01-03", [person(n) for n in range(5)])
    before = (here.secrets / "hmac_keys").read_text()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decisions, "record_rotation", killed)
        with pytest.raises(KeyboardInterrupt):
            getattr(rotation, step)(here, SIGNED)
    assert (here.secrets / "hmac_keys").read_text() == before
    with monkeypatch.context() as patch:
        patch.setattr(pseudonyms, "write_keys", killed)
        with pytest.raises(KeyboardInterrupt):
            getattr(rotation, step)(here, SIGNED)
    assert (here.secrets / "hmac_keys").read_text() == before
    assert changes_on_record(here)[-1][-2:] == (SIGNED.who, SIGNED.reason)


def test_someone_the_overlap_has_not_seen_is_somebody_new(here: Settings) -> None:
    two_nights(here)
    rotation.begin_landing_key(here, SIGNED)
    toy(here, "2026-01-03", [person(n) for n in range(1, 5)])
    assert rotation.close_landing_key(here, SIGNED).left == 2, (
        "of nobody but the one who left: a number and an NI number"
    )
    toy(here, "2026-01-04", [person(n) for n in range(5)])
    with connect(here, "owner") as connection:
        keys = connection.execute("select count(distinct person_id) from history.toy where toy_id = 0").fetchone()
    assert keys == (2,)


def test_whoever_is_erased_stays_erased_under_a_new_landing_key(here: Settings) -> None:
    two_nights(here)
    erasure.erase(here, [("person_id", "902")], SIGNED)
    take_in("toy", "2026-01-02")
    take_in("drip", "2026-01-02")
    rotation.begin_landing_key(here, SIGNED)
    toy(here, "2026-01-03", [person(n) for n in range(5)])
    rotation.close_landing_key(here, SIGNED)
    toy(here, "2026-01-04", [person(n, amount="3.00") for n in range(5)])
    with connect(here, "owner") as connection:
        there = connection.execute("select distinct toy_id from history.toy order by 1").fetchall()
    assert [row[0] for row in there] == [0, 1, 3, 4, 5]


def test_someone_can_be_erased_under_a_later_landing_key(here: Settings) -> None:
    two_nights(here)
    old = load_keys(here, create=False)
    rotation.begin_landing_key(here, SIGNED)
    toy(here, "2026-01-03", [person(n) for n in range(5)])
    rotation.close_landing_key(here, SIGNED)
    erasure.erase(here, [("person_id", "902")], SIGNED)
    take_in("toy", "2026-01-03")
    new = load_keys(here, create=False)
    sought = {
        keys.landing_token(*known)
        for keys in (old, new)
        for known in (("person_id", "902"), ("ni_number", "QQ000002A"))
    }
    sought |= set(old.person_keys()(pa.array(sorted(sought), pa.string())).to_pylist())
    assert everywhere(here, sought) == []
    toy(here, "2026-01-04", [person(n, amount="3.00") for n in range(5)])
    assert everywhere(here, sought) == []


def test_keys_that_are_injected_are_not_changed_here(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    two_nights(here)
    monkeypatch.setenv("PEEL_SECRET_HMAC_KEYS", TEST_KEYS)
    with pytest.raises(ConfigurationError, match="injected"):
        rotation.rotate_warehouse_key(here, SIGNED)
    with pytest.raises(ConfigurationError, match="injected"):
        rotation.begin_landing_key(here, SIGNED)


def test_the_commands_do_the_same(
    here: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    from peel.cli import main

    two_nights(here)
    who = ["--who", "A. Founder", "--reason", "drill"]
    monkeypatch.setattr("sys.stdin", io.StringIO("person_id 902\n"))
    assert main(["erase", *who]) == 0
    assert "known by 1 ni_number, 1 person_id" in capsys.readouterr().out
    assert main(["rotate", "warehouse", *who]) == 0
    assert "epoch 2" in capsys.readouterr().out
    assert main(["rotate", "warehouse", "--show", *who]) == 1
    assert main(["rotate", "land"]) == 1, "nobody has signed"
    assert "Give --who and --reason" in capsys.readouterr().err
    assert main(["rotate", "land", *who]) == 0
    toy(here, "2026-01-03", [person(n) for n in range(5)])
    capsys.readouterr()
    assert main(["rotate", "land", "--show"]) == 0
    assert capsys.readouterr().out.splitlines() == ["k_land changes to epoch 2: 8 identifiers known in both, 0 not."]
    assert main(["rotate", "land", "--close"]) == 1
    assert main(["rotate", "land", "--close", *who]) == 0
    assert "0 identifiers stay" in capsys.readouterr().out
    assert main(["decisions"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if " rotate " in line]
    assert [line.split("rotate")[1].split() for line in told[-2:]] == [
        ["k_land:", *f"epoch {what} A. Founder: drill".split()]
        for what in ("2 begins beside the one before", "1 is gone, 2 holds")
    ]
    assert main(["erase", "--who", "A", "--reason", "r"]) == 1, "nobody was named"
