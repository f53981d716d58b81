"""Acceptance is a pure function: neither order of arrival nor repeats can change it."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peel.deliveries.acceptance import Bridge, Delivery, Table, resolve

START = dt.date(2026, 1, 1)


def delivery(
    name: str,
    day: int,
    *,
    seq: int = 1,
    rows: int = 100,
    mode: str = "full",
    marks: tuple[str | None, str | None] = (None, None),
    refused: tuple[str, ...] = (),
    band: float | None = None,
) -> Delivery:
    date = START + dt.timedelta(days=day)
    at = dt.datetime.combine(date, dt.time(23), dt.UTC)
    table = Table("toy", rows, refused, volume_band=band)
    return Delivery(name, date, seq, at, f"sha-{name}", mode, (table,), marks[0], marks[1])


def states(deliveries: list[Delivery], **decisions: object) -> dict[str, str]:
    found = resolve(deliveries, ["toy"], **decisions)  # type: ignore[arg-type]
    return {name: verdict.state for name, verdict in found.verdicts.items()}


def test_in_full_mode_the_last_delivery_of_a_date_holds() -> None:
    assert states([delivery("a", 0), delivery("b", 0, seq=2), delivery("c", 1)]) == {
        "a": "replaced",
        "b": "applied",
        "c": "applied",
    }


def test_a_refused_redelivery_does_not_replace_a_fit_one() -> None:
    assert states([delivery("a", 0), delivery("b", 0, seq=2, refused=("x",))]) == {"a": "applied", "b": "refused"}


def test_volume_reads_not_evaluated_until_three_comparable_dates_exist() -> None:
    nights = [delivery(str(day), day, rows=100, band=0.03) for day in range(3)]
    found = resolve([*nights, delivery("off", 3, rows=104, band=0.03)], ["toy"])
    assert [found.verdicts[str(day)].volumes[0].outcome for day in range(3)] == ["not evaluated"] * 3
    assert found.verdicts["off"].state == "refused"
    assert "volume" in (found.verdicts["off"].reason or "")


def test_volume_looks_at_earlier_business_dates_only() -> None:
    nights = [delivery(str(day), day, rows=100, band=0.03) for day in range(3)]
    later = [delivery(f"later{day}", 10 + day, rows=500, band=None) for day in range(7)]
    assert states([*later, *nights, delivery("x", 3, rows=102, band=0.03)])["x"] == "applied"


def test_the_initial_load_of_a_delta_is_not_comparable() -> None:
    chain = [delivery("0", 0, rows=100_000, mode="delta", marks=(None, "0"), band=0.4)]
    chain += [
        delivery(str(day), day, rows=1000, mode="delta", marks=(str(day - 1), str(day)), band=0.4)
        for day in range(1, 5)
    ]
    assert set(states(chain).values()) == {"applied"}


def test_a_delta_is_held_against_the_same_day_of_earlier_weeks() -> None:
    rows = {0: 800, 5: 70, 6: 65}  # after a weekend much is caught up with; at weekends little is done
    chain = [delivery("start", -1, rows=100_000, mode="delta", marks=(None, "-1"), band=0.4)]
    chain += [
        delivery(
            str(day),
            day,
            rows=rows.get((START + dt.timedelta(days=day)).weekday(), 280) + day,
            mode="delta",
            marks=(str(day - 1), str(day)),
            band=0.4,
        )
        for day in range(28)
    ]
    found = resolve(chain, ["toy"]).verdicts
    assert {verdict.state for verdict in found.values()} == {"applied"}
    outcomes = [found[str(day)].volumes[0].outcome for day in range(28)]
    assert outcomes == ["not evaluated"] * 21 + ["passed"] * 7
    saturday = next(day for day in range(21, 28) if (START + dt.timedelta(days=day)).weekday() == 5)
    chain[1 + saturday] = delivery(
        str(saturday), saturday, rows=300, mode="delta", marks=(str(saturday - 1), str(saturday)), band=0.4
    )
    assert resolve(chain, ["toy"]).verdicts[str(saturday)].state == "refused"


def test_a_delta_is_replaced_only_by_one_from_the_same_watermark() -> None:
    chain = [
        delivery("start", 0, mode="delta", marks=(None, "1")),
        delivery("first", 1, mode="delta", marks=("1", "2")),
        delivery("again", 1, seq=2, mode="delta", marks=("1", "2")),
        delivery("other", 1, seq=3, mode="delta", marks=("2", "3")),
    ]
    found = resolve(chain, ["toy"])
    assert states(chain) == {"start": "applied", "first": "replaced", "again": "applied", "other": "applied"}
    assert [name for _, name in found.folds["toy"]] == ["start", "again", "other"]


def test_a_chain_without_its_start_waits_for_it() -> None:
    found = resolve([delivery("b", 1, mode="delta", marks=("1", "2"))], ["toy"])
    assert found.verdicts["b"].state == "waiting"
    assert found.missing_link == "the chain's start (an empty watermark_from)"


def test_a_circle_of_watermarks_ends() -> None:
    chain = [
        delivery("a", 0, mode="delta", marks=(None, "1")),
        delivery("b", 1, mode="delta", marks=("1", "2")),
        delivery("c", 2, mode="delta", marks=("2", "1")),
    ]
    assert [name for _, name in resolve(chain, ["toy"]).folds["toy"]] == ["a", "b", "c"]


def test_a_bridge_crosses_a_gap() -> None:
    chain = [delivery("a", 0, mode="delta", marks=(None, "1")), delivery("c", 2, mode="delta", marks=("2", "3"))]
    assert states(chain, bridges=[Bridge("1", "2")]) == {"a": "applied", "c": "applied"}


def test_a_link_that_comes_late_is_applied_no_earlier_than_its_predecessor() -> None:
    chain = [
        delivery("a", 5, mode="delta", marks=(None, "1")),
        delivery("b", 2, mode="delta", marks=("1", "2")),
    ]
    dates = [date for date, _ in resolve(chain, ["toy"]).folds["toy"]]
    assert dates == sorted(dates)


def test_an_independent_table_is_refused_alone() -> None:
    both = (Table("good", 5), Table("bad", 5, ("rule",), independent=True))
    one = Delivery("a", START, 1, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "sha", "full", both)
    found = resolve([one], ["good", "bad"])
    assert found.verdicts["a"].state == "applied"
    assert found.folds == {"good": ((START, "a"),), "bad": ()}


def test_a_person_may_accept_what_the_gate_refused() -> None:
    refused = delivery("a", 0, refused=("limit",))
    assert states([refused]) == {"a": "refused"}
    assert states([refused], accepted_anyway=frozenset({"sha-a"})) == {"a": "applied"}


@st.composite
def full_nights(draw: st.DrawFn) -> list[Delivery]:
    days = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=1, max_size=14, unique=True))
    return [
        delivery(
            f"{day}/{seq}",
            day,
            seq=seq,
            rows=draw(st.integers(50, 150)),
            band=0.2,
            refused=draw(st.sampled_from([(), (), (), ("rule",)])),
        )
        for day, seq in days
    ]


@st.composite
def delta_nights(draw: st.DrawFn) -> list[Delivery]:
    marks = [None, *"abcdef"]
    count = draw(st.integers(1, 10))
    return [
        delivery(
            str(number),
            draw(st.integers(0, 6)),
            seq=number + 1,
            mode="delta",
            marks=(draw(st.sampled_from(marks)), draw(st.sampled_from("abcdef"))),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("nights", [full_nights(), delta_nights()], ids=["full", "delta"])
def test_any_order_and_any_number_of_repeats_resolve_alike(nights: st.SearchStrategy[list[Delivery]]) -> None:
    @given(nights, st.data())
    def holds(deliveries: list[Delivery], data: st.DataObject) -> None:
        shuffled = data.draw(st.permutations(deliveries))
        repeats = data.draw(st.lists(st.sampled_from(deliveries), max_size=5))
        assert resolve([*shuffled, *repeats], ["toy"]) == resolve(deliveries, ["toy"])
        fold = resolve(deliveries, ["toy"]).folds["toy"]
        assert [date for date, _ in fold] == sorted(date for date, _ in fold)

    holds()
