"""History and quarantine are the same whatever the order of arrival, with the real SQL on a real database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peel import contracts
from peel.deliveries.landing import land_feed
from peel.gates.delivery import gate_feed
from peel.history.apply import apply_feed
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import dump
from tests.deliveries import deliver
from tests.toys import DELTA, FULL, row

pytestmark = pytest.mark.slow


def _drop_full(here: Settings) -> None:
    """Ten deliveries: two for one date, a quarantined key that mends, an unreadable key, deletions, a refusal."""
    nights = [
        ("2026-01-01", 1, [row(n) for n in range(6)]),
        ("2026-01-02", 1, [row(n) for n in range(6)]),
        ("2026-01-02", 2, [row(n, amount="2.00") for n in range(5)]),
        ("2026-01-03", 1, [row(0), row(1, born="never"), *[row(n) for n in range(2, 7)]]),
        ("2026-01-04", 1, [row(0), row(1, amount="4.00"), *[row(n) for n in range(2, 7)]]),
        ("2026-01-05", 1, [row(0), row("x"), row(3), row(4)]),
        ("2026-01-06", 1, [row(0, code="Z"), row(1, code="Z"), row(2, code="Z"), row(3)]),
        ("2026-01-07", 1, [row(0), row(3, born="never"), row(4, code="B")]),
        ("2026-01-08", 1, [row(0), row(3, born="never"), row(4, code="B"), row(9)]),
        ("2026-01-09", 1, [row(0), row(9, note="mended")]),
    ]
    for date, seq, members in nights:
        deliver(here.sources, "toy", date, {"toy": members}, seq=seq)


def _drop_delta(here: Settings) -> None:
    """A chain with a link delivered twice, two links on one date, an empty link and a quarantined key that mends."""
    links = [
        ("2026-01-01", 1, None, "a", [row(n) for n in range(4)]),
        ("2026-01-02", 1, "a", "b", [row(1, amount="2.00"), row(2, born="never")]),
        ("2026-01-02", 2, "b", "c", [row(1, amount="3.00"), row(5)]),
        ("2026-01-03", 1, "c", "d", [row(2, amount="4.00")]),
        ("2026-01-03", 2, "c", "d", [row(2, amount="5.00")]),
        ("2026-01-04", 1, "d", "e", []),
        ("2026-01-05", 1, "e", "f", [row(5, code="B"), row(1)]),
    ]
    for date, seq, start, end, members in links:
        data = members or ",".join(row(0)).encode() + b"\n"
        deliver(here.sources, "drip", date, {"drip": data}, seq=seq, mode="delta", watermarks=(start, end))


def _holds_in_any_order(here: Settings, name: str) -> None:
    feed = contracts.feed(here.contracts, name)
    land_feed(here, feed)
    gate_feed(here, feed)
    apply_feed(here, feed)
    whole = dump(here, "history", "quarantine")
    assert all(whole.values())
    with connect(here, "owner") as connection:
        ids = [row[0] for row in connection.execute("select delivery_id from audit.delivery")]

    def forget() -> None:
        with connect(here, "owner") as connection:
            connection.execute(f"truncate history.{name}, audit.applied")
            connection.execute(f"update quarantine.{name} set applied_on = null, resolved_on = null, resolution = null")
            connection.execute("update audit.delivery set state = 'landed'")

    def arrive(delivery_id: str) -> None:
        with connect(here, "owner") as connection:
            connection.execute(
                "update audit.delivery set state = 'gated' where delivery_id = %s and state = 'landed'", (delivery_id,)
            )
        apply_feed(here, feed)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.permutations(ids), st.lists(st.sampled_from(ids), max_size=3))
    def holds(order: list[str], repeats: list[str]) -> None:
        forget()
        for delivery_id in [*order, *repeats]:
            arrive(delivery_id)
        assert dump(here, "history", "quarantine") == whole

    holds()


def test_a_full_feed_gives_the_same_history_in_any_order(
    with_contracts: Callable[[dict[str, str]], Settings],
) -> None:
    here = with_contracts(FULL)
    _drop_full(here)
    _holds_in_any_order(here, "toy")


def test_a_delta_feed_gives_the_same_history_in_any_order(
    with_contracts: Callable[[dict[str, str]], Settings],
) -> None:
    here = with_contracts(DELTA)
    _drop_delta(here)
    _holds_in_any_order(here, "drip")
