"""Values that are nearly right: each row with one is held, named by its rule, and the rest goes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from peel import contracts
from peel.deliveries.landing import land_feed
from peel.gates.delivery import gate_feed
from peel.history.apply import apply_feed
from peel.settings import Settings
from peel.warehouse import connect
from tests.deliveries import csv_bytes, deliver, landed_text
from tests.toys import contract, row

pytestmark = pytest.mark.slow

MORE = """
      - {name: happened, logicalType: timestamp, physicalType: timestamptz, classification: internal, description: London time., customProperties: [{property: localTime, value: Europe/London}]}
      - {name: recorded, logicalType: timestamp, physicalType: timestamptz, classification: internal, description: A moment.}
      - {name: ended, logicalType: date, physicalType: date, classification: internal, description: Open-ended., customProperties: [{property: openEnd, value: "4712-12-31"}]}
      - {name: number, logicalType: integer, physicalType: integer, classification: internal, description: A whole number.}
      - {name: is_test, logicalType: string, physicalType: text, classification: internal, description: A test record., enum: [{value: Y}, {value: N}], customProperties: [{property: derivedFrom, value: {column: full_name, matches: "zztest|mickey mouse"}}], quality: [{name: no_test_record, type: custom, engine: greatExpectations, severity: error, implementation: {type: expect_column_values_to_be_in_set, kwargs: {value_set: ["N"]}}, customProperties: [{property: onFailure, value: quarantine}]}]}
      - {name: started, logicalType: date, physicalType: date, classification: internal, description: Begun.}
"""  # noqa: E501

NO_OVERLAP = """- {name: no_overlap, type: custom, engine: greatExpectations, severity: error, implementation: {type: expect_column_values_to_be_null, kwargs: {column: _no_overlap}}, customProperties: [{property: onFailure, value: quarantine}, {property: unfitWhen, value: "started <= lag(ended) over (partition by person_id order by started, toy_id)"}]}"""  # noqa: E501

FEED = {"deliveries/toy/toy.odcs.yaml": contract("toy", "toy", "full", extra=MORE, quality=NO_OVERLAP, limit=1.0)}

NO_DATE = ["today", "now", "yesterday", "epoch", "infinity", "-infinity", "2026-02-30", "2026-2-3", "20260203"]
NO_DATE += ["03/02/2026", "2026-02-03 00:00", "0000-01-01", "2026-02-03\n", " 2026-02-03", "J2451187", "２０２６-02-03"]
NO_NUMBER = ["0x1F", "1e2", "NaN", "Infinity", "1,50", "1.505", "12345.00", "+1", ".5", "1.", "1_000", "--1", "1 ", "٣"]
NO_WHOLE = ["1.0", "0b1", "0o7", "1_0", "12345678901", "1e1", " 7"]
NO_MOMENT = ["2026-03-03T10:00:00", "2026-03-03", "now", "2026-03-03T25:00:00Z", "2026-03-03T10:00:00+99:00"]
NO_MOMENT += ["2026-03-03T10:00:60Z", "2026-03-03 10:00:00 Europe/London", "infinity"]

UNFIT = [
    *(("started", value) for value in NO_DATE),
    *(("amount", value) for value in NO_NUMBER),
    *(("number", value) for value in NO_WHOLE),
    *(("recorded", value) for value in NO_MOMENT),
    *(("happened", value) for value in ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00+01:00", "noon")),
    ("happened", "2026-03-29T01:00:00"),  # the clocks go from 01:00 to 02:00: there is no such time
    ("happened", "2026-03-29T01:59:59"),
]

LONDON = {
    "2026-01-15T12:00:00": "2026-01-15 12:00:00+00",
    "2026-07-15 12:00": "2026-07-15 11:00:00+00",
    "2026-03-29T00:59:59": "2026-03-29 00:59:59+00",
    "2026-03-29T02:00:00": "2026-03-29 01:00:00+00",
    "2026-10-25T00:59:59": "2026-10-24 23:59:59+00",
    "2026-10-25T01:00:00": "2026-10-25 01:00:00+00",  # comes twice: taken for its second coming, in winter time
    "2026-10-25T01:59:59.5": "2026-10-25 01:59:59.5+00",
    "2026-10-25T02:00:00": "2026-10-25 02:00:00+00",
    "2026-10-25T23:59:59": "2026-10-25 23:59:59+00",  # the last second of a day of 25 hours
}


def take_in(here: Settings, members: list[dict[str, object]], date: str = "2026-11-01") -> None:
    names = ["toy_id", "full_name", "person_id", "ni_number", "born", "amount", "code", "note", "happened"]
    names += ["recorded", "ended", "number", "started"]
    claims = {"files": _files(members, names, date)}
    deliver(here.sources, "toy", date, {"toy": csv_bytes(members, names)}, claims=claims)
    what = contracts.feed(here.contracts, "toy")
    assert land_feed(here, what).refused == []
    gate_feed(here, what)
    assert apply_feed(here, what).refused == []


def _files(members: list[dict[str, object]], names: list[str], date: str) -> list[dict[str, object]]:
    import hashlib

    data = csv_bytes(members, names)
    name = f"toy_{date.replace('-', '')}_1.csv"
    return [{"file": name, "table": "toy", "sha256": hashlib.sha256(data).hexdigest(), "rows": len(members)}]


def rows(here: Settings, query: str) -> list[tuple[Any, ...]]:
    with connect(here, "owner") as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def here(with_contracts: Callable[[dict[str, str]], Settings]) -> Settings:
    return with_contracts(FEED)


def test_a_text_that_is_no_value_of_its_type_is_held_whatever_the_server_would_take_it_for(here: Settings) -> None:
    members = [row(n, **{column: value}) for n, (column, value) in enumerate(UNFIT)]
    take_in(here, [*members, row(1_000)])
    found = {number - 1: rules for number, rules in rows(here, "select _row, rules from quarantine.toy")}
    for n, (column, value) in enumerate(UNFIT):
        assert found.get(n) == [f"{column}:type"], (column, value)
    assert rows(here, "select toy_id from history.toy") == [(1_000,)]


def test_values_in_their_plain_form_go_in_as_they_are(here: Settings) -> None:
    members = [
        row(1, amount="-9999.99", number="-7", started="2024-02-29", recorded="2026-03-03T10:00Z"),
        row(2, amount="007", number="999999999", started="0001-01-01", recorded="2026-07-03 10:00:00.123456+01:00"),
        row(3, amount="", number="", started="", recorded="", ended="4712-12-31"),
        row(4, ended="2026-01-01"),
    ]
    take_in(here, members)
    assert rows(here, "select rules from quarantine.toy") == []
    query = "select amount::text, number, started::text, recorded::text, ended::text from history.toy order by toy_id"
    with connect(here, "owner") as connection:
        assert connection.execute(query).fetchall() == [
            ("-9999.99", -7, "2024-02-29", "2026-03-03 10:00:00+00", None),
            ("7.00", 999999999, "0001-01-01", "2026-07-03 09:00:00.123456+00", None),
            (None, None, None, None, None),
            ("1.50", None, None, None, "2026-01-01"),
        ]


def test_an_open_end_is_no_date_in_landing_and_none_in_history(here: Settings) -> None:
    take_in(here, [row(1, ended="4712-12-31"), row(2, ended="4712-12-30")])
    assert rows(here, "select ended::text from history.toy order by toy_id") == [(None,), ("4712-12-30",)]
    (landed,) = here.landing.rglob("*.zst")
    assert "4712-12-30" in landed_text(landed)
    assert "4712-12-31" not in landed_text(landed)


def test_local_times_are_londons_and_an_hour_that_comes_twice_is_the_second(here: Settings) -> None:
    take_in(here, [row(n, happened=value) for n, value in enumerate(LONDON)])
    found = [text for (text,) in rows(here, "select happened::text from history.toy order by toy_id")]
    assert dict(zip(LONDON, found, strict=True)) == LONDON
    assert rows(here, "select rules from quarantine.toy") == []


def test_test_records_are_held_by_a_name_that_is_never_landed(here: Settings) -> None:
    take_in(here, [row(1), row(2, full_name="ZZTEST Person"), row(3, full_name="Mickey Mouse")])
    assert rows(here, "select _row, rules from quarantine.toy order by 1") == [
        (2, ["is_test:no_test_record"]),
        (3, ["is_test:no_test_record"]),
    ]
    assert rows(here, "select toy_id, is_test from history.toy") == [(1, "N")]


def test_an_overlapping_range_is_held(here: Settings) -> None:
    spans = [("2020-01-01", "2020-12-31"), ("2020-06-01", "2021-05-31"), ("2021-06-01", "4712-12-31")]
    take_in(here, [row(n, person_id="P1", started=a, ended=b) for n, (a, b) in enumerate(spans)])
    assert rows(here, "select _row, rules from quarantine.toy") == [(2, ["no_overlap"])]


def test_a_value_spelled_otherwise_opens_no_version(here: Settings) -> None:
    take_in(here, [row(1, amount="1.5", recorded="2026-07-03T10:00:00+01:00", number="7")], "2026-11-01")
    take_in(here, [row(1, amount="01.50", recorded="2026-07-03 09:00Z", number="007")], "2026-11-02")
    assert rows(here, "select count(*) from history.toy") == [(1,)]
