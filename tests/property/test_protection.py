"""For any small system of counts: nothing hidden can be worked out, and the attack is as good as trying everything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peel.releases.attack import Range, attack, narrow
from peel.releases.cells import Cell, Share, Shown, ShownShare, Sum, System, UnsafeError, percent_units
from peel.releases.protect import protect

COUNTS = st.one_of(st.integers(0, 12), st.integers(0, 60))


@st.composite
def systems(draw: st.DrawFn, *, exact: bool = False) -> System:
    """Areas by groups with totals and shares, perhaps with one kind within another, perhaps with unprinted parts."""
    areas = draw(st.integers(1, 3))
    groups = draw(st.integers(2, 3))
    kinds = ("standard", "other") if draw(st.booleans()) else ("all",)
    cells: dict[str, Cell] = {}
    sums: list[Sum] = []
    shares: list[Share] = []
    names = {kind: [f"{kind}/{area}" for area in range(areas)] for kind in kinds}
    for kind in kinds:
        for area in names[kind]:
            for group in range(groups):
                cells[f"{area}/{group}"] = _cell(draw, f"{area}/{group}", draw(COUNTS), shown=kind != "other")
    if len(kinds) == 2:
        names["all"] = [f"all/{area}" for area in range(areas)]
        for area, group in itertools.product(range(areas), range(groups)):
            parts = tuple(f"{kind}/{area}/{group}" for kind in kinds)
            cells[f"all/{area}/{group}"] = _total(draw, f"all/{area}/{group}", parts, cells)
            sums.append(Sum(f"all/{area}/{group}", parts))
    for kind, rows in names.items():
        shown = kind != "other"
        for area in rows:
            parts = tuple(f"{area}/{group}" for group in range(groups))
            cells[f"{area}/t"] = _total(draw, f"{area}/t", parts, cells, shown=shown, exact=exact and shown)
            sums.append(Sum(f"{area}/t", parts))
            if shown and draw(st.booleans()):
                rest = cells[f"{area}/t"].value - cells[f"{area}/0"].value
                cells[f"{area}/rest"] = Cell(f"{area}/rest", rest, shown=False)
                shares.append(Share(f"{area}/share", f"{area}/0", f"{area}/t", f"{area}/rest"))
        for group in (*range(groups), "t"):
            parts = tuple(f"{area}/{group}" for area in rows)
            cells[f"{kind}/T/{group}"] = _total(draw, f"{kind}/T/{group}", parts, cells, shown=shown)
            sums.append(Sum(f"{kind}/T/{group}", parts))
    return System(cells, tuple(sums), tuple(shares))


def _cell(draw: st.DrawFn, key: str, value: int, *, shown: bool = True, exact: bool = False) -> Cell:
    return Cell(key, value, shown, draw(st.sampled_from((1.0, 3.0, 10.0))), exact=exact)


def _total(
    draw: st.DrawFn,
    key: str,
    parts: tuple[str, ...],
    cells: dict[str, Cell],
    *,
    shown: bool = True,
    exact: bool = False,
) -> Cell:
    return _cell(draw, key, sum(cells[part].value for part in parts), shown=shown, exact=exact)


@settings(max_examples=80, deadline=None)
@given(systems())
def test_every_hidden_count_keeps_a_range_of_5_whatever_the_table(system: System) -> None:
    protection = protect(system)
    shown = system.shown(protection.hidden)
    assert not [key for key in shown.values if system.cells[key].sensitive]
    for share in system.shares:
        if system.cells[share.rest].sensitive:
            assert share.numerator not in shown.values
    assert narrow(attack(shown, protection.hidden | system.unprinted())) == []


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(systems())
def test_no_count_is_hidden_besides_that_could_be_shown(system: System) -> None:
    protection = protect(system)
    for key in protection.secondary:
        less = protection.hidden - {key}
        assert narrow(attack(system.shown(less), less | system.unprinted())), key


@settings(max_examples=60, deadline=None)
@given(systems(exact=True))
def test_a_system_is_refused_only_if_hiding_all_that_may_be_hidden_would_not_do(system: System) -> None:
    try:
        protection = protect(system)
    except UnsafeError:
        everything = frozenset(key for key, cell in system.cells.items() if cell.shown and not cell.exact)
        targets = {key for key, cell in system.cells.items() if cell.sensitive} | everything
        assert narrow(attack(system.shown(everything), targets))
    else:
        assert narrow(attack(system.shown(protection.hidden), protection.hidden | system.unprinted())) == []


@settings(max_examples=15, deadline=None)
@given(systems())
def test_the_same_system_is_protected_the_same_way_every_time(system: System) -> None:
    assert protect(system) == protect(system)


@st.composite
def shown_tables(draw: st.DrawFn) -> tuple[Shown, int, int]:
    """A tiny table of which a grand total, and any of the rest, is shown, with shares rounded to some decimals."""
    rows, columns = draw(st.sampled_from(((1, 3), (2, 2), (2, 3), (3, 2))))
    values = {
        f"{row}/{column}": draw(st.integers(0, 3)) for row, column in itertools.product(range(rows), range(columns))
    }
    sums = []
    for row in range(rows):
        parts = tuple(f"{row}/{column}" for column in range(columns))
        values[f"{row}/t"] = sum(values[part] for part in parts)
        sums.append(Sum(f"{row}/t", parts))
    for column in (*range(columns), "t"):
        parts = tuple(f"{row}/{column}" for row in range(rows))
        values[f"T/{column}"] = sum(values[part] for part in parts)
        sums.append(Sum(f"T/{column}", parts))
    seen = {key: value for key, value in values.items() if key == "T/t" or draw(st.booleans())}
    shares = []
    for total in [key for key in values if key.endswith("/t") and values[key] > 0]:
        if draw(st.booleans()):
            numerator, decimals = total.replace("/t", "/0"), draw(st.sampled_from((0, 1)))
            units = percent_units(values[numerator], values[total], decimals)
            shares.append(ShownShare(numerator, total, units, decimals))
    return Shown(tuple(values), seen, tuple(sums), tuple(shares)), rows, columns


def _tables(shown: Shown, rows: int, columns: int) -> Iterator[dict[str, int]]:
    """Every table that agrees with what is shown, found by trying all of them."""
    keys = [f"{row}/{column}" for row, column in itertools.product(range(rows), range(columns))]
    total = shown.values["T/t"]
    for bars in itertools.combinations(range(total + len(keys) - 1), len(keys) - 1):
        edges = (-1, *bars, total + len(keys) - 1)
        values = {key: after - before - 1 for key, before, after in zip(keys, edges, edges[1:], strict=False)}
        for relation in shown.sums:
            values[relation.total] = sum(values[part] for part in relation.parts)
        if all(values[key] == value for key, value in shown.values.items()) and all(
            values[share.denominator] > 0
            and percent_units(values[share.numerator], values[share.denominator], share.decimals) == share.units
            for share in shown.shares
        ):
            yield values


@settings(max_examples=150, deadline=None)
@given(shown_tables())
def test_the_attack_finds_what_trying_every_table_finds(case: tuple[Shown, int, int]) -> None:
    shown, rows, columns = case
    hidden = [key for key in shown.cells if key not in shown.values]
    tables = list(_tables(shown, rows, columns))
    expected = {key: Range(min(t[key] for t in tables), max(t[key] for t in tables)) for key in hidden}
    assert attack(shown, hidden) == expected


def test_trying_every_table_finds_the_golden_interval_of_a_small_one() -> None:
    sums = (Sum("0/t", ("0/0", "0/1")), Sum("T/t", ("0/t",)), Sum("T/0", ("0/0",)), Sum("T/1", ("0/1",)))
    shown = Shown(("0/0", "0/1", "0/t", "T/0", "T/1", "T/t"), {"T/t": 7}, sums)
    found = {table["0/0"] for table in _tables(shown, 1, 2)}
    assert (min(found), max(found)) == (0, 7)
    with pytest.raises(KeyError):
        attack(shown, ["no such count"])
