"""What a person sees, decides and has done again; each decision from one delivery to the history it makes."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from peel import contracts
from peel.deliveries.decisions import Signed
from peel.deliveries.landing import land_feed
from peel.desk import again, decide, ledger, quarantine, retention
from peel.errors import PeelError
from peel.gates.delivery import gate_feed
from peel.history.apply import ApplyReport, apply_feed
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import digest, dump
from tests.deliveries import deliver
from tests.toys import DELTA, FULL, SENSITIVE, contract, row

WithContracts = Callable[[dict[str, str]], Settings]
SIGNED = Signed("R. Peel", "seen with the source")


def take_in(settings: Settings, feed: str = "toy") -> ApplyReport:
    what = contracts.feed(settings.contracts, feed)
    report = land_feed(settings, what)
    gate_feed(settings, what)
    applied = apply_feed(settings, what)
    applied.refused += report.refused
    return applied


def rows(settings: Settings, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connect(settings, "owner") as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def versions(settings: Settings, table: str = "toy") -> list[tuple[Any, ...]]:
    return rows(
        settings,
        f"select toy_id, amount::text, known_from::text, known_to::text from history.{table}"
        " order by toy_id, known_from",
    )


def drop(here: Settings, day: int, *members: dict[str, object], seq: int = 1) -> str:
    """Deliver to the toy feed on a day of January; the delivery's folder as its landing knows it."""
    deliver(here.sources, "toy", f"2026-01-{day:02d}", {"toy": list(members)}, seq=seq)
    return f"2026-01-{day:02d}"


def delivery_of(here: Settings, day: int, seq: int = 1) -> str:
    return rows(
        here, "select delivery_id from audit.delivery where business_date = %s and seq = %s", dt.date(2026, 1, day), seq
    )[0][0]


def states(here: Settings) -> list[str]:
    return [row[0] for row in rows(here, "select state from audit.delivery order by business_date, seq")]


LIMIT = {"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", limit=0.3)}
LOOSE = {"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", limit=1.0)}


# What came


def test_deliveries_are_listed_by_feed_state_and_date(with_contracts: WithContracts) -> None:
    here = with_contracts(LIMIT | DELTA)
    drop(here, 1, row(1), row(2))
    drop(here, 2, row(1, code="X"), row(2))
    take_in(here)
    deliver(here.sources, "drip", "2026-01-01", {"drip": [row(1)]}, mode="delta", watermarks=(None, "w1"))
    take_in(here, "drip")
    listed = ledger.deliveries(here)
    assert [(each["feed"], each["state"], each["quarantined"]) for each in listed] == [
        ("drip", "applied", 0),
        ("toy", "applied", 0),
        ("toy", "refused", 1),
    ]
    assert listed[0]["watermark_to"] == "w1"
    assert "quarantine_limit" in listed[2]["reason"]
    assert len(ledger.deliveries(here, "toy")) == 2
    assert len(ledger.deliveries(here, state="refused")) == 1
    assert len(ledger.deliveries(here, since=dt.date(2026, 1, 2))) == 1
    with pytest.raises(PeelError, match=r"no such feed\. Feeds are drip, toy"):
        ledger.deliveries(here, "nothing")
    with pytest.raises(PeelError, match="States are landed"):
        ledger.deliveries(here, state="lost")


# Again


def test_a_delivery_gated_again_tells_what_each_rule_found_before_and_now(with_contracts: WithContracts) -> None:
    here = with_contracts(LIMIT)
    drop(here, 1, row(1), row(2), row(3), row(4, code="X"))
    drop(here, 2, row(1), row(2, born="never"), row(3, born="never"), row(4, code="X"))
    drop(here, 3, row(1), row(2), row(3), row(4, amount="4.00"))
    take_in(here)
    assert states(here) == ["applied", "refused", "applied"]
    before = dump(here, "history", "quarantine")
    done, rules = again.gate(here, delivery_of(here, 1)[:6])
    assert done.flips == []
    assert {rule.before == rule.after for rule in rules} == {True}
    (code,) = [rule for rule in rules if rule.rule == "code:listed_code"]
    assert code.after == ("failed", 4, 1)
    assert dump(here, "history", "quarantine") == before  # held and settled rows are as they were

    here = with_contracts(LOOSE)
    done, rules = again.gate(here, delivery_of(here, 2))
    assert [(flip.before, flip.after, flip.rules) for flip in done.flips] == [
        ("refused", "applied", ["toy:quarantine_limit"])
    ]
    (limit,) = [rule for rule in rules if rule.rule == "quarantine_limit"]
    assert (limit.before, limit.after) == (("failed", 4, 2), ("passed", 4, 2))
    assert states(here) == ["applied"] * 3


def test_what_was_never_landed_cannot_be_gated(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1, note="QQ123456C"))
    take_in(here)
    with pytest.raises(PeelError, match="refused while landing: there is nothing to gate"):
        again.gate(here, delivery_of(here, 1))
    with pytest.raises(PeelError, match="no delivery has that id"):
        again.gate(here, "ffffffffffff")


def test_a_replay_under_a_mended_contract_flips_what_it_should_and_says_so(with_contracts: WithContracts) -> None:
    here = with_contracts(LIMIT)
    drop(here, 1, row(1), row(2))
    drop(here, 2, row(1, code="C"), row(2, code="C"))
    drop(here, 3, row(1, code="C"), row(2, code="C"), row(3))
    take_in(here)
    assert states(here) == ["applied", "refused", "refused"]
    wider = LIMIT["deliveries/toy/toy.odcs.yaml"].replace("{value: B}]", "{value: B}, {value: C}]")
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": wider})
    done = again.replay(here, "toy", dt.date(2026, 1, 3))
    assert [(flip.delivery, flip.before, flip.after) for flip in done.flips] == [("2026-01-03/1", "refused", "applied")]
    assert done.flips[0].rules == ["toy:quarantine_limit"]
    assert done.quarantined == {"2026-01-03/1": (2, 0)}
    done = again.replay(here, "toy", dt.date(2026, 1, 1))
    assert [flip.delivery for flip in done.flips] == ["2026-01-02/1"]
    assert done.gated == 3
    assert sum(done.opened.values()) == 2 + 2 + 1
    whole = dump(here, "history", "quarantine")
    assert again.replay(here, "toy", dt.date(2026, 1, 1)).flips == []
    assert dump(here, "history", "quarantine") == whole


@pytest.mark.slow
def test_a_replay_killed_anywhere_is_gone_on_with_and_tells_what_it_would_have(
    with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = with_contracts(LIMIT)
    for day in (1, 2, 3):
        drop(here, day, row(1, amount=f"{day}.00"), row(2, code="C" if day > 1 else "A"), row(3, born="never"))
    take_in(here)
    wider = LIMIT["deliveries/toy/toy.odcs.yaml"].replace("{value: B}]", "{value: B}, {value: C}]")
    wider = wider.replace("quarantineLimit, value: 0.3", "quarantineLimit, value: 0.4")
    was = states(here)
    assert was == ["refused"] * 3

    from peel import moments

    class Killed(BaseException):
        pass

    seen: list[str] = []
    monkeypatch.setattr(moments, "_pass", seen.append)
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": wider})
    again.replay(here, "toy", dt.date(2026, 1, 1))
    flow = list(seen)
    whole = dump(here, "history", "quarantine")
    assert states(here) == ["applied"] * 3

    for stop in [place for place, moment in enumerate(flow) if moment.startswith("after")]:
        here = with_contracts(LIMIT)
        monkeypatch.setattr(moments, "_pass", lambda _: None)
        again.replay(here, "toy", dt.date(2026, 1, 1))
        assert states(here) == was
        here = with_contracts({"deliveries/toy/toy.odcs.yaml": wider})
        left = iter(range(stop))

        def stopping(_: str, left: Any = left) -> None:
            if next(left, None) is None:
                raise Killed

        monkeypatch.setattr(moments, "_pass", stopping)
        with pytest.raises(Killed):
            again.replay(here, "toy", dt.date(2026, 1, 1))
        monkeypatch.setattr(moments, "_pass", lambda _: None)
        was_over = states(here) == ["applied"] * 3 and not rows(
            here, "select from audit.replay where finished_at is null"
        )
        done = again.replay(here, "toy", dt.date(2026, 1, 1))
        assert dump(here, "history", "quarantine") == whole, (stop, flow[stop])
        told = [(flip.before, flip.after) for flip in done.flips]
        assert told == ([] if was_over else [("refused", "applied")] * 3), (stop, flow[stop])


def test_what_was_refused_while_landing_is_landed_again_by_a_replay(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1))
    folder = here.sources / "toy" / "2026-01-02" / "1"
    deliver(here.sources, "toy", "2026-01-02", {"toy": csv(row(1, note="caf\xe9")).encode("cp1252")})
    drop(here, 3, row(1, note="QQ123456C"))
    take_in(here)
    assert states(here) == ["applied", "refused", "refused"]
    refused = delivery_of(here, 2), delivery_of(here, 3)
    told = FULL["deliveries/toy/toy.odcs.yaml"].replace(
        "reader, value: csv}", "reader, value: csv}, {property: readerOptions, value: {encoding: cp1252}}"
    )
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": told})
    assert take_in(here).applied == 0  # a night alone leaves it
    done = again.replay(here, "toy", dt.date(2026, 1, 2))
    assert done.landed == [refused[0]]
    assert [(flip.delivery, flip.before, flip.after) for flip in done.flips] == [("2026-01-02/1", "refused", "applied")]
    assert states(here) == ["applied", "applied", "refused"]
    assert (delivery_of(here, 2), delivery_of(here, 3)) == refused
    assert rows(here, "select note from history.toy order by known_from") == [("plain",), ("caf\xe9",)]

    here = with_contracts(FULL)
    shutil.rmtree(here.sources / "toy" / "2026-01-03")
    again.replay(here, "toy", dt.date(2026, 1, 1))
    assert states(here) == ["applied", "applied", "refused"]  # landed once, and what is gone is not forgotten
    assert folder.is_dir()


def csv(*members: dict[str, object]) -> str:
    lines = [",".join(members[0]), *(",".join(str(value) for value in member.values()) for member in members)]
    return "\n".join(lines) + "\n"


def test_a_damaged_landing_folder_that_was_removed_is_landed_again_by_a_replay(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1), row(2, born="never"))
    drop(here, 2, row(1, amount="2.00"))
    take_in(here)
    whole = dump(here, "history", "quarantine")
    landed = rows(here, "select landed_sha256 from audit.delivery order by 1")
    (path,) = (here.landing / "toy" / "2026-01-01" / "1").glob("*/toy.csv.zst")
    path.write_bytes(b"damaged")
    with pytest.raises(PeelError, match=r"landed file is damaged.*peel replay"):
        again.replay(here, "toy", dt.date(2026, 1, 1))
    shutil.rmtree(path.parent)
    done = again.replay(here, "toy", dt.date(2026, 1, 1))
    assert len(done.landed) == 1
    assert dump(here, "history", "quarantine") == whole
    assert rows(here, "select landed_sha256 from audit.delivery order by 1") == landed
    assert states(here) == ["applied", "applied"]


def test_a_replay_of_nothing_says_so(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1))
    take_in(here)
    with pytest.raises(PeelError, match="nothing was delivered for 2026-01-02 or later"):
        again.replay(here, "toy", dt.date(2026, 1, 2))


# Decisions


def test_a_refused_delivery_that_is_true_is_accepted_and_others_are_weighed_anew(
    with_contracts: WithContracts,
) -> None:
    text = contract("toy", "toy", "full").replace(
        "reader, value: csv}", "reader, value: csv}, {property: volumeBand, value: 0.1}"
    )
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": text})
    for day in (1, 2, 3):
        drop(here, day, *[row(n) for n in range(20)])
    drop(here, 4, *[row(n) for n in range(10)])
    take_in(here)
    assert states(here) == ["applied"] * 3 + ["refused"]
    decided = decide.accept(here, delivery_of(here, 4), SIGNED)
    assert [(flip.delivery, flip.before, flip.after) for flip in decided.again.flips] == [
        ("2026-01-04/1", "refused", "applied")
    ]
    assert sum(decided.again.closed.values()) == 10
    with pytest.raises(PeelError, match="it is applied, not refused"):
        decide.accept(here, delivery_of(here, 4), SIGNED)
    (listed,) = ledger.decisions(here, "toy")
    assert (listed["kind"], listed["who"], listed["reason"]) == ("accept", "R. Peel", "seen with the source")
    assert listed["delivery_id"] == delivery_of(here, 4)
    again.replay(here, "toy", dt.date(2026, 1, 1))
    assert states(here) == ["applied"] * 4  # decisions are an input of every replay


def test_what_was_refused_while_landing_cannot_be_accepted(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1, note="QQ123456C"))
    take_in(here)
    with pytest.raises(PeelError, match="nothing of it is there to accept"):
        decide.accept(here, delivery_of(here, 1), SIGNED)
    assert ledger.decisions(here) == []


def test_a_decision_that_history_cannot_take_is_not_made(with_contracts: WithContracts) -> None:
    refusing = contract("toy", "toy", "full").replace("onFailure, value: quarantine", "onFailure, value: refuse")
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": refusing})
    drop(here, 1, row(1), row(1, amount="2.00"))
    take_in(here)
    with pytest.raises(PeelError, match="SQLSTATE 23505"):
        decide.accept(here, delivery_of(here, 1), SIGNED)
    assert ledger.decisions(here) == []
    assert states(here) == ["refused"]
    drop(here, 2, row(1))
    assert take_in(here).states == {"applied": 1, "refused": 1}


def test_a_lost_link_is_bridged_and_the_bridge_gives_way_when_it_turns_up(with_contracts: WithContracts) -> None:
    here = with_contracts(DELTA)

    def link(day: int, start: str | None, end: str, *members: dict[str, object]) -> None:
        date = f"2026-01-{day:02d}"
        deliver(here.sources, "drip", date, {"drip": list(members)}, mode="delta", watermarks=(start, end))

    link(1, None, "w1", row(1))
    link(3, "w2", "w3", row(1, amount="3.00"))
    assert take_in(here, "drip").waiting == 1
    for start, end, what in (
        (None, "w1", "a delivery begins at the watermark the bridge starts from"),
        ("w7", "w2", "no delivery ends at the watermark"),
        ("w1", "w9", "no delivery begins at the watermark the bridge leads to"),
    ):
        with pytest.raises(PeelError, match=what):
            decide.bridge(here, "drip", start, end, SIGNED)
    decided = decide.bridge(here, "drip", "w1", "w2", SIGNED)
    assert decided.waiting == 0
    assert [(flip.before, flip.after) for flip in decided.again.flips] == [("waiting", "applied")]
    link(2, "w1", "w2", row(1, amount="2.00"))
    take_in(here, "drip")
    assert [version[1:] for version in versions(here, "drip")] == [
        ("1.50", "2026-01-01", "2026-01-02"),
        ("2.00", "2026-01-02", "2026-01-03"),
        ("3.00", "2026-01-03", None),
    ]
    here = with_contracts(FULL | DELTA)
    with pytest.raises(PeelError, match="only a delta feed has a chain"):
        decide.bridge(here, "toy", "w1", "w2", SIGNED)


def test_a_readmitted_row_enters_history_as_of_its_own_date(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1), row(2))
    drop(here, 2, row(1), row(2, amount="2.00", code="C"))
    drop(here, 3, row(1), row(2, amount="3.00", code="C"))
    take_in(here)
    assert [version[:3] for version in versions(here)] == [(1, "1.50", "2026-01-01"), (2, "1.50", "2026-01-01")]
    decided = decide.on_row(here, "readmit", delivery_of(here, 2), "toy", 2, SIGNED)
    assert sum(decided.again.opened.values()) == 1
    assert versions(here)[1:] == [(2, "1.50", "2026-01-01", "2026-01-02"), (2, "2.00", "2026-01-02", None)]
    assert rows(here, "select resolution, resolved_on::text from quarantine.toy order by business_date") == [
        ("readmitted", "2026-01-02"),
        (None, None),  # the next night's row is a row of its own
    ]
    whole = dump(here, "history", "quarantine")
    again.replay(here, "toy", dt.date(2026, 1, 1))
    assert dump(here, "history", "quarantine") == whole
    decide.on_row(here, "discard", delivery_of(here, 2), "toy", 2, SIGNED)  # a later decision holds
    assert versions(here)[1:] == [(2, "1.50", "2026-01-01", "2026-01-02")]


def test_a_discarded_row_frees_its_key(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1), row(2), row(3))
    drop(here, 2, row(1), row(2, born="never"))
    take_in(here)
    assert versions(here)[1][3] is None
    decide.on_row(here, "discard", delivery_of(here, 2), "toy", 2, SIGNED)
    assert [version[3] for version in versions(here)] == [None, "2026-01-02", "2026-01-02"]
    assert rows(here, "select count(*) from history.toy_held") == [(0,)]


def test_a_discarded_row_without_a_key_lets_the_vanished_go(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1), row(2))
    drop(here, 2, row(1), row("two"))
    take_in(here)
    assert [version[3] for version in versions(here)] == [None, None]
    decide.on_row(here, "discard", delivery_of(here, 2), "toy", 2, SIGNED)
    assert [version[3] for version in versions(here)] == [None, "2026-01-02"]


def test_what_has_no_value_cannot_be_readmitted(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1), row(2, born="never"), row("x"), row(3))
    take_in(here)
    for number, what in ((2, "row 2 breaks born:type"), (3, "row 3 breaks toy_id:type"), (4, "row 4 is not in")):
        with pytest.raises(PeelError, match=what):
            decide.on_row(here, "readmit", delivery_of(here, 1), "toy", number, SIGNED)
    assert ledger.decisions(here) == []


def test_of_rows_with_one_key_one_is_readmitted(with_contracts: WithContracts) -> None:
    here = with_contracts(LIMIT)
    drop(here, 1, row(1), row(2), row(3), row(4), row(5), row(6))
    drop(here, 2, row(1, amount="1.00"), row(1, amount="2.00"), row(2), row(3), row(4), row(5), row(6))
    drop(here, 3, row(1, amount="1.00"), row(1, amount="2.00"), row(2), row(3, code="X"), row(4, code="X"))
    take_in(here)
    assert states(here) == ["applied", "applied", "refused"]
    for day, amount in ((2, "2.00"), (3, "1.50")):  # of a refused delivery too: it could be accepted later
        decide.on_row(here, "readmit", delivery_of(here, day), "toy", 2, SIGNED)
        with pytest.raises(PeelError, match="has the key of row 2, which is readmitted already"):
            decide.on_row(here, "readmit", delivery_of(here, day), "toy", 1, SIGNED)
        assert ("2.00" in [version[1] for version in versions(here)]) or amount == "1.50"
    decide.on_row(here, "discard", delivery_of(here, 2), "toy", 2, SIGNED)
    decide.on_row(here, "readmit", delivery_of(here, 2), "toy", 1, SIGNED)
    assert [version[1] for version in versions(here) if version[0] == 1] == ["1.50", "1.00"]


def test_a_code_is_mapped_and_mapped_anew_in_every_delivery_that_has_it(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    drop(here, 1, row(1), row(2, code="Bee"), row(3))
    drop(here, 2, row(1), row(2, code="Bee", amount="2.00"), row(3))
    take_in(here)
    assert len(versions(here)) == 2
    decided = decide.map_code(here, "toy", "code", "Bee", "B", SIGNED)
    assert (decided.again.gated, decided.again.flips) == (2, [])
    assert decided.again.quarantined == {"2026-01-01/1": (1, 0), "2026-01-02/1": (1, 0)}
    held = "select toy_id, code, known_from::text from history.toy where toy_id = 2 order by known_from"
    assert rows(here, held) == [(2, "B", "2026-01-01"), (2, "B", "2026-01-02")]
    assert rows(here, "select distinct failed from audit.gate_result where rule = 'mapped_code'") == [(1,)]
    drop(here, 3, row(1), row(2, code="Bee", amount="2.00"), row(3))  # and in what comes later
    take_in(here)
    assert rows(here, held) == [(2, "B", "2026-01-01"), (2, "B", "2026-01-02")]
    decided = decide.map_code(here, "toy", "code", "Bee", "A", SIGNED)
    assert decided.again.gated == 3
    assert rows(here, held) == [(2, "A", "2026-01-01"), (2, "A", "2026-01-02")]


def test_only_a_code_can_be_mapped_and_only_to_one_that_is_listed(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    for column, old, new, what in (
        ("code", "C", "D", "to one it lists"),
        ("code", "A", "B", "to one it lists"),
        ("note", "C", "A", "only a column with listed codes"),
        ("code", "a whole sentence, and more", "A", "does not look like a code"),
    ):
        with pytest.raises(PeelError, match=what):
            decide.map_code(here, "toy", column, old, new, SIGNED)
    with pytest.raises(PeelError, match=r"no feed brings such a table\. Tables are toy"):
        decide.map_code(here, "nothing", "code", "C", "A", SIGNED)


@pytest.mark.parametrize(
    ("who", "reason"), [("", "why"), ("me", " "), ("me", "of QQ123456C"), ("a@b.example", "why"), ("me", "x" * 501)]
)
def test_a_decision_has_a_name_and_a_reason_and_no_identifier_in_them(who: str, reason: str) -> None:
    with pytest.raises(PeelError) as caught:
        Signed(who, reason)
    assert "QQ123456C" not in str(caught.value)


# Quarantine


def test_the_worklist_tells_what_is_held_since_when_and_what_was_settled(with_contracts: WithContracts) -> None:
    here = with_contracts(LIMIT | SENSITIVE)
    members = [row(n) for n in range(1, 8)]
    drop(here, 1, *members, row(8, born="never"), row(9, code="X"))
    drop(here, 2, *members, row(8, born="never"), row(9))
    drop(here, 3, *members[:2], row(8, born="never"), row(10, born="never"), row(11, born="never"))
    take_in(here)
    deliver(here.sources, "secretive", "2026-01-01", {"secretive": [row(1), row(2), row(3, code="C")]})
    take_in(here, "secretive")
    listed = quarantine.held(here)
    day = dt.date(2026, 1, 1)
    shown = [
        (each["table"], each["business_date"].day, each["rule"], each["standing"], each["rows"], each["first_seen"])
        for each in listed
    ]
    assert shown == [
        ("secretive", 1, "code:listed_code", "held", 1, day),
        ("toy", 2, "born:type", "held", 1, day),
        ("toy", 3, "born:type", "refused", 3, day),
    ]
    assert [each["held_since"] for each in listed] == [day, dt.date(2026, 1, 2), None]
    assert quarantine.held(here, "toy", "listed_code") == []
    everything = quarantine.held(here, "toy", everything=True)
    assert [(each["rule"], each["standing"]) for each in everything] == [
        ("born:type", "repeated"),
        ("code:listed_code", "superseded"),
        ("born:type", "held"),
        ("born:type", "refused"),
    ]
    with pytest.raises(PeelError, match="no feed brings such a table"):
        quarantine.held(here, "nothing")


def test_a_row_is_shown_without_values_unless_a_named_person_asks_on_record(with_contracts: WithContracts) -> None:
    here = with_contracts(SENSITIVE)
    canary = "Canary words"
    deliver(
        here.sources,
        "secretive",
        "2026-01-01",
        {"secretive": [row(1), row(2), row(3, code="C", note=canary), row(4, born="never", note=canary)]},
    )
    take_in(here, "secretive")
    name = delivery_of(here, 1)
    plain = quarantine.show(here, name, "secretive")
    assert [(each["row"], each["rules"], each["standing"]) for each in plain] == [
        (3, ["code:listed_code"], "held"),
        (4, ["born:type"], "held"),
    ]
    assert canary not in str(plain)
    for who in (None, " "):
        with pytest.raises(PeelError, match="to a named person only"):
            quarantine.show(here, name, "secretive", values=True, who=who)
    assert rows(here, "select count(*) from audit.look") == [(0,)]
    (seen,) = quarantine.show(here, name, "secretive", 4, values=True, who="R. Peel")
    assert (seen["values"]["note"], seen["values"]["born"]) == (canary, "never")
    assert rows(here, "select who, table_name, delivery_id, rows from audit.look") == [
        ("R. Peel", "secretive", name, 1)
    ]
    with pytest.raises(PeelError, match="row 1 is not in quarantine"):
        quarantine.show(here, name, "secretive", 1)


def test_the_worklist_of_codes_shows_frequent_codes_and_nothing_else(with_contracts: WithContracts) -> None:
    here = with_contracts(LOOSE)
    members = [row(n, code="Bee") for n in range(1, 7)] + [row(n, code="Sea") for n in range(7, 12)]
    members += [row(n, code="Rare") for n in range(12, 16)]
    members += [row(n, code="A sentence; that is no code") for n in range(16, 26)]
    drop(here, 1, *members, row(26))
    drop(here, 2, *members, row(26))
    take_in(here)
    found, hidden = quarantine.codes(here)
    assert [(each["code"], each["rows"], each["deliveries"]) for each in found] == [("Bee", 6, 2), ("Sea", 5, 2)]
    assert [(each["first"].day, each["last"].day) for each in found] == [(1, 2)] * 2
    assert hidden == 2
    decide.map_code(here, "toy", "code", "Bee", "B", SIGNED)
    assert [each["code"] for each in quarantine.codes(here, "toy")[0]] == ["Sea"]
    drop(here, 3, *[row(n) for n in range(1, 27)])
    take_in(here)
    assert quarantine.codes(here) == ([], 0)  # settled: the source has mended them


# Retention


RETAINED = {
    "deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full").replace(
        "slaProperties: [", "slaProperties: [{property: retention, value: 3, unit: d}, "
    )
}


def landed(here: Settings) -> list[str]:
    return sorted(path.parent.parent.name for path in (here.landing / "toy").glob("*/*/*"))


def test_landed_files_past_their_retention_go_and_history_stays(with_contracts: WithContracts) -> None:
    here = with_contracts(RETAINED)
    for day in range(1, 7):
        drop(here, day, row(1, amount=f"{day}.00"), row(2, code="X" if day == 2 else "A"))
    take_in(here)
    before = dump(here, "history", "quarantine")
    done = retention.retention(here)
    assert done.baselines == {"toy": dt.date(2026, 1, 3)}
    assert done.removed == 3
    assert landed(here) == ["2026-01-04", "2026-01-05", "2026-01-06"]
    assert dump(here, "history", "quarantine") == before
    assert retention.retention(here) == retention.Retained()
    drop(here, 3, row(1), seq=2)
    (line,) = take_in(here).refused
    assert "rule baseline" in line
    drop(here, 5, row(1, amount="9.00"), seq=2)  # after the baseline all is as ever
    take_in(here)
    assert [version[1] for version in versions(here) if version[0] == 1][-2:] == ["9.00", "6.00"]
    for refused in (
        lambda: again.replay(here, "toy", dt.date(2026, 1, 3)),
        lambda: again.gate(here, delivery_of(here, 3)),
        lambda: decide.on_row(here, "discard", delivery_of(here, 2), "toy", 2, SIGNED),
    ):
        with pytest.raises(PeelError, match="history to 2026-01-03 is the baseline"):
            refused()
    again.replay(here, "toy", dt.date(2026, 1, 4))
    assert [version[1] for version in versions(here) if version[0] == 1][:4] == ["1.00", "2.00", "3.00", "4.00"]


def test_what_became_of_old_deliveries_is_settled_whatever_contracts_say_later(with_contracts: WithContracts) -> None:
    tight = RETAINED["deliveries/toy/toy.odcs.yaml"].replace("Limit, value: 0.5", "Limit, value: 0.3")
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": tight})
    drop(here, 1, row(1), row(2))
    drop(here, 2, row(1, amount="2.00"), row(2, code="X"))
    for day in range(3, 7):
        drop(here, day, row(1, amount=f"{day}.00"), row(2))
    take_in(here)
    was = states(here)
    assert was[1] == "refused"
    retention.retention(here)
    before = dump(here, "history")
    here = with_contracts(RETAINED)  # would be fit under this one
    take_in(here)
    assert (states(here), dump(here, "history")) == (was, before)
    strict = RETAINED["deliveries/toy/toy.odcs.yaml"].replace("Limit, value: 0.5", "Limit, value: 0.0")
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": strict})
    take_in(here)
    assert (states(here), dump(here, "history")) == (was, before)


def test_a_killed_retention_has_committed_the_baseline_before_anything_goes(
    with_contracts: WithContracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peel import moments

    here = with_contracts(RETAINED)
    for day in range(1, 7):
        drop(here, day, row(1, amount=f"{day}.00"))
    take_in(here)

    class Killed(BaseException):
        pass

    def kill_at(stop: int) -> bool:
        left = iter(range(stop))

        def stopping(_: str) -> None:
            if next(left, None) is None:
                raise Killed

        monkeypatch.setattr(moments, "_pass", stopping)
        try:
            retention.retention(here)
        except Killed:
            return True
        finally:
            monkeypatch.setattr(moments, "_pass", lambda _: None)
        return False

    found = set()
    stop = 0
    while kill_at(stop):
        baseline = rows(here, "select business_date::text from audit.baseline")
        found.add((len(baseline), len(landed(here))))
        assert baseline or len(landed(here)) == 6
        stop += 1
    assert landed(here) == ["2026-01-04", "2026-01-05", "2026-01-06"]
    assert found >= {(0, 6), (1, 6), (1, 5)}


def test_a_chain_is_never_bridged_into_the_baseline(with_contracts: WithContracts) -> None:
    text = DELTA["deliveries/drip/drip.odcs.yaml"].replace(
        "slaProperties: [", "slaProperties: [{property: retention, value: 3, unit: d}, "
    )
    here = with_contracts({"deliveries/drip/drip.odcs.yaml": text})

    def link(day: int, start: str | None, end: str, *, seq: int = 1) -> None:
        date, member = f"2026-01-{day:02d}", row(day, amount=f"{day}.00")
        deliver(here.sources, "drip", date, {"drip": [member]}, seq=seq, mode="delta", watermarks=(start, end))

    link(1, None, "w1")
    link(3, "w2", "w3")
    link(9, "w1", "w1a")
    take_in(here, "drip")
    done = retention.retention(here)
    assert done.baselines == {"drip": dt.date(2026, 1, 6)}
    assert [path.name for path in sorted((here.landing / "drip").iterdir())] == ["2026-01-03", "2026-01-09"]
    link(10, "w1a", "w2")  # what was missing comes after all, under a later date
    take_in(here, "drip")
    assert [version[0::2] for version in versions(here, "drip")] == [
        (1, "2026-01-01"),
        (3, "2026-01-10"),
        (9, "2026-01-09"),
        (10, "2026-01-10"),
    ]


def test_delivery_tables_of_refused_deliveries_are_kept_some_days(with_contracts: WithContracts) -> None:
    import dataclasses

    here = with_contracts(LIMIT)
    drop(here, 1, row(1), row(2, code="X"))
    take_in(here)
    tables = "select count(*) from pg_class where relnamespace = 'delivery'::regnamespace and relkind = 'r'"
    assert rows(here, tables) == [(1,)]
    assert retention.retention(here).dropped == 0
    assert retention.retention(dataclasses.replace(here, keep_refused_days=0)).dropped == 1
    assert rows(here, tables) == [(0,)]
    decide.accept(here, delivery_of(here, 1), SIGNED)  # the landing store has them
    assert [version[0] for version in versions(here)] == [1]


def test_vacuum_reaches_history_quarantine_and_the_star(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL | SENSITIVE)
    drop(here, 1, row(1))
    take_in(here)
    with connect(here, "transform") as connection:
        connection.execute("create table core.fct_toy (x int)")
        connection.execute("create table undo.fct_toy (x int)")
    assert retention.vacuum(here) == 3
    seen = "select schemaname from pg_stat_user_tables where last_vacuum is not null and relname ~ 'toy' order by 1"
    assert rows(here, seen) == [("core",), ("history",), ("quarantine",)]


LOOKING_BACK = (
    "- {name: amounts_hold, type: sql, query: 'select 100.0 * count(*) filter (where t.typed_amount is distinct from"
    " p.typed_amount) / count(*) from ${table} t join ${previous} p using (row_key)', mustBeLessOrEqualTo: 50,"
    " customProperties: [{property: onFailure, value: refuse}]}"
)


def test_the_newest_tables_that_the_next_night_is_compared_with_are_kept(with_contracts: WithContracts) -> None:
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", quality=LOOKING_BACK)})
    drop(here, 1, row(1), row(2))
    drop(here, 2, row(1), row(2, amount="2.00"))
    take_in(here)
    tables = "select relname from pg_class where relnamespace = 'delivery'::regnamespace and relkind = 'r'"
    assert rows(here, tables) == [(f"toy__{delivery_of(here, 2)}",)]
    drop(here, 3, row(1, amount="9.00"), row(2, amount="9.00"))
    (line,) = take_in(here).refused
    assert "rule amounts_hold" in line
    drop(here, 4, row(1), row(2, amount="4.00"))
    with connect(here, "owner") as connection:  # as a crash leaves a table without a write-ahead log
        connection.execute(f"truncate delivery.toy__{delivery_of(here, 2)}")
    assert take_in(here).states == {"applied": 3, "refused": 1}
    names = {name for (name,) in rows(here, tables)}
    assert names == {f"toy__{delivery_of(here, day)}" for day in (3, 4)}  # the refused one is kept to be looked at

    wider = "- {name: rank, logicalType: string, physicalType: text, classification: internal, description: New.}"
    asked = LOOKING_BACK.replace("t.typed_amount is distinct", "t.rank is null and t.typed_amount is distinct")
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", quality=asked, extra=wider)})
    drop(here, 5, row(1, rank="A"), row(2, rank="B"))
    assert take_in(here).states == {"applied": 4, "refused": 1}  # a table kept from an older contract is made anew


def test_rules_that_look_back_stop_at_the_baseline(with_contracts: WithContracts) -> None:
    retained = contract("toy", "toy", "full", quality=LOOKING_BACK).replace(
        "slaProperties: [", "slaProperties: [{property: retention, value: 1, unit: d}, "
    )
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": retained})
    for day in (1, 2, 3):
        drop(here, day, row(1, amount=f"{day}.00"), row(2), row(3))
    take_in(here)
    assert retention.retention(here).baselines == {"toy": dt.date(2026, 1, 2)}
    stricter = retained.replace("version: 1.0.0", "version: 1.1.0").replace("OrEqualTo: 50", "OrEqualTo: 10")
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": stricter})
    again.replay(here, "toy", dt.date(2026, 1, 3))
    outcome = "select outcome from audit.gate_result join audit.delivery using (delivery_id)"
    outcome += " where rule = 'amounts_hold' and business_date = '2026-01-03'"
    assert rows(here, outcome) == [("not evaluated",)]
    assert states(here) == ["applied"] * 3


@pytest.mark.slow
def test_a_replay_of_a_whole_night_changes_nothing(night_copy: Settings) -> None:
    before = digest(night_copy, "history", "sensitive", "quarantine")
    for feed in ("hr", "recruitment", "census", "postcode"):
        (first,) = rows(night_copy, f"select min(business_date) from audit.delivery where feed = '{feed}'")[0]
        done = again.replay(night_copy, feed, first)
        assert (done.flips, done.quarantined, done.refused) == ([], {}, [])
        assert done.opened == done.taken_back
    assert digest(night_copy, "history", "sensitive", "quarantine") == before
