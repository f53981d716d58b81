"""The generic spine on toy feeds: contract to text table to gate to quarantine to history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from peel import contracts
from peel.deliveries.landing import land_feed
from peel.gates.delivery import gate_feed
from peel.history.apply import ApplyReport, apply_feed
from peel.settings import Settings
from peel.warehouse import connect
from tests.deliveries import deliver
from tests.toys import DELTA, FULL, SENSITIVE, contract, row

WithContracts = Callable[[dict[str, str]], Settings]


def take_in(settings: Settings, feed: str) -> ApplyReport:
    what = contracts.feed(settings.contracts, feed)
    report = land_feed(settings, what)
    gate_feed(settings, what)
    applied = apply_feed(settings, what)
    applied.refused += report.refused
    return applied


def rows(settings: Settings, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connect(settings, "owner") as connection:
        return connection.execute(query, parameters).fetchall()


def versions(settings: Settings, table: str = "toy") -> list[tuple[Any, ...]]:
    return rows(
        settings,
        f"select toy_id, amount::text, known_from::text, known_to::text from history.{table}"
        " order by toy_id, known_from",
    )


def test_each_changed_row_opens_a_version_and_each_vanished_row_closes_one(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1), row(2), row(3)]})
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1), row(2, amount="9.00")]})
    assert take_in(here, "toy").states == {"applied": 2}
    assert versions(here) == [
        (1, "1.50", "2026-01-01", None),
        (2, "1.50", "2026-01-01", "2026-01-02"),
        (2, "9.00", "2026-01-02", None),
        (3, "1.50", "2026-01-01", "2026-01-02"),
    ]


def test_a_key_that_is_quarantined_has_not_vanished_and_is_held(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1), row(2)]})
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1), row(2, born="31/01/1980")]})
    take_in(here, "toy")
    assert versions(here) == [(1, "1.50", "2026-01-01", None), (2, "1.50", "2026-01-01", None)]
    held = (
        "select h.toy_id, k.held_from::text, k.held_to::text from history.toy_held k join history.toy h using (row_key)"
    )
    assert rows(here, held) == [(2, "2026-01-02", None)]
    assert rows(here, "select rules, _row from quarantine.toy") == [(["born:type"], 2)]

    deliver(here.sources, "toy", "2026-01-03", {"toy": [row(1), row(2, amount="3.00")]})
    take_in(here, "toy")
    assert rows(here, held) == [(2, "2026-01-02", "2026-01-03")] * 2  # two versions of key 2, neither held now
    assert rows(here, "select resolution from quarantine.toy") == [("superseded",)]


def test_rows_whose_key_cannot_be_read_stop_all_closings(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1), row(2), row(3)]})
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1), row("three")]})
    take_in(here, "toy")
    assert [version[3] for version in versions(here)] == [None, None, None]


def test_every_row_of_a_duplicated_key_is_held_back(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1), row(2), row(2, amount="2.00"), row(3)]})
    take_in(here, "toy")
    assert [version[0] for version in versions(here)] == [1, 3]
    assert rows(here, "select _row, rules from quarantine.toy order by 1") == [
        (2, ["toy_id:key_is_unique"]),
        (3, ["toy_id:key_is_unique"]),
    ]


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ({"born": "2026-02-30"}, "born:type"),
        ({"amount": "much"}, "amount:type"),
        ({"amount": "12345.00"}, "amount:type"),
        ({"code": "C"}, "code:listed_code"),
        ({"toy_id": ""}, "toy_id:required"),
    ],
)
def test_an_unfit_value_is_a_row_rule(with_contracts: WithContracts, fault: dict[str, str], rule: str) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1), row(2), row(3) | fault]})
    take_in(here, "toy")
    assert rows(here, "select rules from quarantine.toy") == [([rule],)]
    assert [version[0] for version in versions(here)] == [1, 2]


def test_too_many_unfit_rows_refuse_the_delivery_and_last_night_stands(with_contracts: WithContracts) -> None:
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", limit=0.3)})
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1), row(2)]})
    take_in(here, "toy")
    before = versions(here)
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1, code="X"), row(2)]})
    refused = take_in(here, "toy").refused
    assert versions(here) == before
    (line,) = refused
    assert "feed toy, delivery 2026-01-02/1, file toy_20260102_1.csv, rule quarantine_limit, count 1" in line


def test_the_last_delivery_of_a_date_holds_whichever_came_first(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1, amount="2.00")]}, seq=2)
    take_in(here, "toy")
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1, amount="1.00"), row(2)]}, seq=1)
    assert take_in(here, "toy").states == {"applied": 1, "replaced": 1}
    assert versions(here) == [(1, "2.00", "2026-01-01", None)]


def test_an_older_date_that_comes_late_is_put_in_its_place(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1)]})
    deliver(here.sources, "toy", "2026-01-03", {"toy": [row(1, amount="3.00")]})
    take_in(here, "toy")
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1, amount="2.00"), row(2)]})
    take_in(here, "toy")
    assert versions(here) == [
        (1, "1.50", "2026-01-01", "2026-01-02"),
        (1, "2.00", "2026-01-02", "2026-01-03"),
        (1, "3.00", "2026-01-03", None),
        (2, "1.50", "2026-01-02", "2026-01-03"),
    ]


def test_a_lost_delta_makes_the_chain_wait_and_names_the_missing_link(with_contracts: WithContracts) -> None:
    here = with_contracts(DELTA)

    def drop(date: str, start: str | None, end: str, *members: dict[str, object]) -> None:
        deliver(here.sources, "drip", date, {"drip": list(members)}, mode="delta", watermarks=(start, end))

    drop("2026-01-01", None, "w1", row(1), row(2))
    drop("2026-01-03", "w2", "w3", row(1, amount="3.00"))
    report = take_in(here, "drip")
    assert (report.waiting, report.missing_link) == (1, "watermark_from w1")
    assert rows(here, "select reason from audit.delivery where state = 'waiting'") == [
        ("waits for the delivery with watermark_from w1",)
    ]
    assert versions(here, "drip") == [(1, "1.50", "2026-01-01", None), (2, "1.50", "2026-01-01", None)]

    drop("2026-01-02", "w1", "w2", row(2, amount="2.00"))
    assert take_in(here, "drip").waiting == 0
    assert versions(here, "drip") == [
        (1, "1.50", "2026-01-01", "2026-01-03"),
        (1, "3.00", "2026-01-03", None),
        (2, "1.50", "2026-01-01", "2026-01-02"),
        (2, "2.00", "2026-01-02", None),
    ]


def test_a_person_may_bridge_a_gap_with_a_reason(with_contracts: WithContracts) -> None:
    here = with_contracts(DELTA)
    deliver(here.sources, "drip", "2026-01-01", {"drip": [row(1)]}, mode="delta", watermarks=(None, "w1"))
    deliver(here.sources, "drip", "2026-01-03", {"drip": [row(2)]}, mode="delta", watermarks=("w2", "w3"))
    assert take_in(here, "drip").waiting == 1
    with connect(here, "owner") as connection:
        connection.execute(
            "insert into audit.decision (kind, feed, watermark_from, watermark_to, who, reason)"
            " values ('bridge', 'drip', 'w1', 'w2', 'R. Peel', 'the source lost the night')"
        )
    assert take_in(here, "drip").waiting == 0
    assert [version[0] for version in versions(here, "drip")] == [1, 2]


def test_an_empty_new_column_opens_no_version(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1), row(2)]})
    take_in(here, "toy")
    wider = "- {name: rank, logicalType: string, physicalType: text, classification: internal, description: New.}"
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", extra=wider)})
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1, rank=""), row(2, rank="CON")]})
    take_in(here, "toy")
    assert [(v[0], v[2], v[3]) for v in versions(here)] == [
        (1, "2026-01-01", None),
        (2, "2026-01-01", "2026-01-02"),
        (2, "2026-01-02", None),
    ]


def test_special_category_tables_live_in_schema_sensitive_at_every_step(with_contracts: WithContracts) -> None:
    here = with_contracts(SENSITIVE)
    deliver(here.sources, "secretive", "2026-01-01", {"secretive": [row(1), row(2), row(3, code="C")]})
    what = contracts.feed(here.contracts, "secretive")
    land_feed(here, what)
    gate_feed(here, what)
    where = (
        "select distinct relnamespace::regnamespace::text from pg_class"
        " where relname like '%%secretive%%' and relkind in ('r', 'v')"
    )
    assert rows(here, where) == [("sensitive",)]
    apply_feed(here, what)
    assert rows(here, "select count(*) from sensitive.history_secretive") == [(2,)]
    assert rows(here, "select count(*) from sensitive.quarantine_secretive") == [(1,)]
    assert rows(here, where) == [("sensitive",)]


def test_a_volume_out_of_its_band_is_refused_once_three_dates_are_there(with_contracts: WithContracts) -> None:
    text = contract("toy", "toy", "full").replace(
        "reader, value: csv}", "reader, value: csv}, {property: volumeBand, value: 0.1}"
    )
    here = with_contracts({"deliveries/toy/toy.odcs.yaml": text})
    for day in (1, 2, 3):
        deliver(here.sources, "toy", f"2026-01-0{day}", {"toy": [row(n) for n in range(20)]})
    deliver(here.sources, "toy", "2026-01-04", {"toy": [row(n) for n in range(10)]})
    report = take_in(here, "toy")
    assert report.states == {"applied": 3, "refused": 1}
    outcomes = rows(
        here,
        "select outcome from audit.gate_result join audit.delivery using (delivery_id)"
        " where rule = 'volume' order by business_date",
    )
    assert outcomes == [("not evaluated",)] * 3 + [("failed",)]
    assert "rule volume" in report.refused[0]
    assert "rows are outside 18 to 22" in report.refused[0]

    with connect(here, "owner") as connection:
        connection.execute(
            "insert into audit.decision (kind, feed, source_sha256, who, reason) select 'accept', feed, source_sha256,"
            " 'R. Peel', 'a true change' from audit.delivery where state = 'refused'"
        )
    assert take_in(here, "toy").states == {"applied": 4}


def test_the_same_deliveries_again_change_nothing(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    for day in (1, 2, 3):
        deliver(here.sources, "toy", f"2026-01-0{day}", {"toy": [row(1), row(2, amount=f"{day}.00")]})
        take_in(here, "toy")
    before = versions(here), rows(here, "select * from quarantine.toy")
    report = take_in(here, "toy")
    assert report.applied == 0
    assert (versions(here), rows(here, "select * from quarantine.toy")) == before


def test_delivery_tables_go_once_applied(with_contracts: WithContracts) -> None:
    here = with_contracts(FULL)
    deliver(here.sources, "toy", "2026-01-01", {"toy": [row(1)]})
    take_in(here, "toy")
    assert rows(here, "select count(*) from pg_class where relnamespace = 'delivery'::regnamespace") == [(0,)]


def test_a_rule_that_looks_at_another_table_holds_its_rows_also_in_a_replay(with_contracts: WithContracts) -> None:
    known = (
        "- {name: known_to_top, type: custom, engine: greatExpectations, implementation:"
        " {type: expect_column_values_to_be_null, kwargs: {column: _known_to_top}}, customProperties:"
        " [{property: onFailure, value: quarantine}, {property: unfitWhen,"
        ' value: "toy_id in (select toy_id from ${toy} except select toy_id from ${top})"}]}'
    )
    here = with_contracts(
        {
            "deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", quality=known),
            "deliveries/toy/top.odcs.yaml": contract("top", "toy", "full", special=True),
        }
    )
    deliver(here.sources, "toy", "2026-01-03", {"toy": [row(1), row(2)], "top": [row(1)]})
    take_in(here, "toy")
    assert rows(here, "select _row, rules from quarantine.toy") == [(2, ["known_to_top"])]
    # An older date comes late: both dates are applied again, from delivery tables that were dropped.
    deliver(here.sources, "toy", "2026-01-02", {"toy": [row(1, amount="2.00"), row(2)], "top": [row(1), row(2)]})
    take_in(here, "toy")
    assert versions(here) == [
        (1, "2.00", "2026-01-02", "2026-01-03"),
        (1, "1.50", "2026-01-03", None),
        (2, "1.50", "2026-01-02", None),
    ]
    assert rows(
        here, "select toy_id, held_from::text, held_to from history.toy_held join history.toy using (row_key)"
    ) == [(2, "2026-01-03", None)]
