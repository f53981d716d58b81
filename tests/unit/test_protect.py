"""What is hidden, what a reader can work out all the same, and that the one stops the other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from peel.errors import PeelError
from peel.releases import attack as attack_module
from peel.releases import protect as protect_module
from peel.releases.attack import CEILING, Range, attack, narrow
from peel.releases.cells import Cell, Share, Shown, ShownShare, Sum, System, UnsafeError, percent_units
from peel.releases.protect import protect


def table(rows: dict[str, dict[str, int]], *, exact_margins: bool = False, cost_is_value: bool = False) -> System:
    """A two-way table with row, column and grand totals."""
    groups = list(next(iter(rows.values())))

    def cell(key: str, value: int, margin: bool) -> Cell:
        return Cell(
            key, value, cost=value or 1.0 if cost_is_value else 10.0 if margin else 1.0, exact=margin and exact_margins
        )

    cells = [cell(f"{row}/{group}", values[group], False) for row, values in rows.items() for group in groups]
    cells += [cell(f"{row}/all", sum(values.values()), True) for row, values in rows.items()]
    cells += [cell(f"all/{group}", sum(values[group] for values in rows.values()), True) for group in groups]
    cells += [cell("all/all", sum(sum(values.values()) for values in rows.values()), True)]
    sums = [Sum(f"{row}/all", tuple(f"{row}/{group}" for group in groups)) for row in (*rows, "all")]
    sums += [Sum(f"all/{group}", tuple(f"{row}/{group}" for row in rows)) for group in (*groups, "all")]
    return System({c.key: c for c in cells}, tuple(sums))


GOLDEN = {
    "AS": {"Asian": 14, "Black": 30, "White": 120},
    "CE": {"Asian": 4, "Black": 25, "White": 90},
    "SW": {"Asian": 20, "Black": 12, "White": 150},
}


def test_the_golden_table_hides_the_cheapest_rectangle_and_leaves_0_to_24():
    system = table(GOLDEN, exact_margins=True, cost_is_value=True)
    protection = protect(system)
    assert protection.primary == {"CE/Asian"}
    assert protection.secondary == {"CE/Black", "SW/Asian", "SW/Black"}
    assert sum(system.cells[key].value for key in protection.secondary) == 57
    ranges = attack(system.shown(protection.hidden), protection.hidden)
    assert ranges["CE/Asian"] == Range(0, 24)
    assert narrow(ranges) == []


def test_hiding_the_small_cell_alone_gives_it_away():
    system = table(GOLDEN, exact_margins=True)
    assert attack(system.shown(frozenset({"CE/Asian"})), ["CE/Asian"]) == {"CE/Asian": Range(4, 4)}


@pytest.mark.parametrize("value", [1, 5, 9])
def test_a_count_from_1_to_9_is_hidden(value: int):
    assert protect(table({"a": {"x": value, "y": 50}, "b": {"x": 60, "y": 70}})).primary == {"a/x"}


def test_a_count_of_10_is_shown():
    assert protect(table({"a": {"x": 10, "y": 50}, "b": {"x": 60, "y": 70}})).hidden == frozenset()


def test_a_zero_in_a_row_with_people_is_hidden_and_a_structural_one_is_shown():
    cells = [Cell("a/x", 0), Cell("a/y", 40), Cell("a", 40), Cell("b/x", 0, structural=True)]
    cells += [Cell("b/y", 0, structural=True), Cell("b", 0, structural=True)]
    system = System({c.key: c for c in cells}, (Sum("a", ("a/x", "a/y")), Sum("b", ("b/x", "b/y"))))
    protection = protect(system)
    assert protection.primary == {"a/x"}
    assert not protection.hidden & {"b/x", "b/y", "b"}


def test_a_census_count_is_never_hidden_however_small():
    cells = [Cell("gypsy", 3, exact=True), Cell("other", 40, exact=True), Cell("all", 43, exact=True)]
    system = System({c.key: c for c in cells}, (Sum("all", ("gypsy", "other")),))
    assert protect(system).hidden == frozenset()


def share_system(numerator: int, denominator: int, *, rest_shown: bool = False) -> System:
    cells = [Cell("n", numerator), Cell("d", denominator), Cell("rest", denominator - numerator, shown=rest_shown)]
    return System({c.key: c for c in cells}, (), (Share("n/share", "n", "d", "rest"),))


def test_98_of_100_hides_the_98_because_the_2_would_follow():
    protection = protect(share_system(98, 100))
    assert "n" in protection.primary
    assert system_shares(share_system(98, 100), protection.hidden) == ()


def system_shares(system: System, hidden: frozenset[str]) -> tuple[ShownShare, ...]:
    return system.shown(hidden).shares


def test_a_share_is_shown_only_with_its_numerator_its_rest_and_30_people_below_it():
    safe = share_system(20, 60, rest_shown=True)
    assert system_shares(safe, frozenset()) == (ShownShare("n", "d", 333),)
    assert system_shares(safe, frozenset({"n"})) == ()
    assert system_shares(safe, frozenset({"rest"})) == ()
    assert system_shares(share_system(15, 29, rest_shown=True), frozenset()) == ()


def test_a_count_that_follows_by_subtraction_is_protected_though_it_is_never_printed():
    # 13 joiners, 10 of them no transfers: the 3 transferees would follow
    cells = [Cell("all", 13), Cell("standard", 10), Cell("transfers", 3, shown=False)]
    system = System({c.key: c for c in cells}, (Sum("all", ("standard", "transfers")),))
    assert system.unprinted() == {"transfers"}
    protection = protect(system)
    assert protection.hidden
    assert narrow(attack(system.shown(protection.hidden), protection.hidden | {"transfers"})) == []


def test_boroughs_commands_and_the_force_are_protected_together():
    cells, sums = [], []
    people = {"EA/x": 4, "EA/y": 40, "EA/z": 30, "NA/x": 25, "NA/y": 31}
    cells += [Cell(key, value) for key, value in people.items()]
    for command in ("EA", "NA"):
        parts = tuple(key for key in people if key.startswith(command))
        cells.append(Cell(command, sum(people[part] for part in parts), cost=5))
        sums.append(Sum(command, parts))
    cells.append(Cell("met", sum(people.values()), cost=50))
    sums.append(Sum("met", ("EA", "NA")))
    system = System({c.key: c for c in cells}, tuple(sums))
    protection = protect(system)
    assert "met" not in protection.hidden
    assert narrow(attack(system.shown(protection.hidden), protection.hidden)) == []


def test_nothing_is_hidden_that_could_be_shown_again():
    system = table({"a": {"x": 3, "y": 4, "z": 90}, "b": {"x": 5, "y": 60, "z": 70}, "c": {"x": 80, "y": 9, "z": 40}})
    protection = protect(system)
    for key in protection.secondary:
        less = protection.hidden - {key}
        assert narrow(attack(system.shown(less), less)), key


def test_what_cannot_be_protected_is_refused():
    cells = [Cell("a", 1), Cell("b", 1), Cell("both", 2, exact=True)]
    system = System({c.key: c for c in cells}, (Sum("both", ("a", "b")),))
    with pytest.raises(UnsafeError, match="cannot be protected") as refusal:
        protect(system)
    assert refusal.value.column in ("a", "b")


def test_figures_that_contradict_each_other_are_refused_without_a_value():
    cells = {c.key: c for c in (Cell("a", 111), Cell("b", 222), Cell("both", 444))}
    with pytest.raises(PeelError, match="do not add up") as refusal:
        System(cells, (Sum("both", ("a", "b")),))
    assert not any(number in str(refusal.value) for number in ("111", "222", "333", "444"))


def test_a_rounded_share_of_a_shown_total_narrows_a_hidden_count():
    shown = Shown(("n", "d"), {"d": 1000}, (), (ShownShare("n", "d", 123),))
    assert attack(shown, ["n"]) == {"n": Range(123, 123)}
    coarse = Shown(("n", "d"), {"d": 10_000}, (), (ShownShare("n", "d", 123),))
    assert attack(coarse, ["n"]) == {"n": Range(1225, 1234)}


def test_a_rounded_share_of_a_shown_numerator_narrows_a_hidden_total():
    shown = Shown(("n", "d"), {"n": 50}, (), (ShownShare("n", "d", 333),))
    ranges = attack(shown, ["d"])
    possible = [d for d in range(1, 1000) if percent_units(50, d) == 333]
    assert ranges["d"] == Range(min(possible), max(possible))


def test_a_count_that_nothing_limits_is_reported_without_a_limit():
    assert attack(Shown(("n",), {}, ()), ["n"]) == {"n": Range(0, CEILING)}


def test_something_shown_that_contradicts_itself_is_noticed():
    with pytest.raises(UnsafeError, match="contradicts itself"):
        attack(Shown(("a", "b"), {"a": 1, "b": 2}, (Sum("a", ("b",)),)), ["a"])
    with pytest.raises(UnsafeError, match="no table agrees"):
        attack(Shown(("a", "b", "c"), {"a": 1, "b": 2}, (Sum("a", ("b", "c")),)), ["c"])


@pytest.mark.parametrize(("numerator", "denominator", "units"), [(1, 2000, 1), (1, 2001, 0), (4068564, 8799736, 462)])
def test_percentages_are_rounded_half_up_from_exact_counts(numerator: int, denominator: int, units: int):
    assert percent_units(numerator, denominator) == units


def test_the_attack_shares_no_code_with_the_protection_but_the_data_model():
    def imported(module: object) -> set[str]:
        tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))  # type: ignore[attr-defined]
        return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module} & {
            f"peel.releases.{name}" for name in ("cells", "protect", "attack", "compose", "figures", "draft")
        }

    assert imported(attack_module) == imported(protect_module) == {"peel.releases.cells"}
