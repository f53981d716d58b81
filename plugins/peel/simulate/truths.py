"""Effects planted in the simulated force: what an analyst should find, and worlds without them.

An effect is a ratio by which something is more or less frequent for some people. The ratios are per
mille, in ``tables/truth_values.csv``; ``tables/truths.csv`` says what each effect is and where it
shows. A world without an effect (its null variant) has the ratio 1 there for everybody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from peel.errors import PeelError
from peel.simulate import tables as t
from peel.simulate.draws import Ints

THOUSAND = 1000
_APPLY, _PASS = "promotion_application_by_group", "promotion_pass_by_group"
_STAGE_TRUTHS = ("stage_pass_by_group", "fitness_pass_by_sex", "sift_pass_by_sex", "small_group_interview")
_LEAVING_TRUTHS = ("resignation_by_group", "dismissal_by_group")


@cache
def names() -> tuple[str, ...]:
    """The names of all planted effects."""
    return tuple(row["name"] for row in t.rows("truths"))


def check(without: Iterable[str]) -> frozenset[str]:
    """Take the names of effects to leave out.

    Raises:
        PeelError: nothing of that name is planted.
    """
    unknown = sorted(set(without) - set(names()))
    if unknown:
        raise PeelError(
            f"no effect is planted under the name {', '.join(unknown)}.",
            do=f"Choose among {', '.join(names())}.",
        )
    return frozenset(without)


@cache
def planted(without: frozenset[str] = frozenset()) -> t.Tables:
    """The parameters of the force with all effects but those named."""
    bare = t.load()
    values = [row for row in t.rows("truth_values") if row["name"] not in without]
    return dataclasses.replace(
        bare,
        stages={process: tuple(_stage(values, process, s) for s in stages) for process, stages in bare.stages.items()},
        effects=_effects(values),
    )


def _ratios(row: dict[str, str]) -> Ints:
    """By sex and five-group, per mille; 1000 for the sex a row is not about."""
    five = np.array([int(row[name.lower()]) for name in t.FIVE], dtype=np.int64)
    even = np.full(len(t.FIVE), THOUSAND, dtype=np.int64)
    return np.array([five if row["sex"] in ("", sex) else even for sex in t.SEXES])


def _stage(values: list[dict[str, str]], process: str, stage: t.Stage) -> t.Stage:
    passes, referred, staying = stage.passes, THOUSAND, THOUSAND
    for row in values:
        here = row["code"] == t.STAGES[stage.code] and (not row["lines"] or process in row["lines"].split())
        if here and row["name"] in _STAGE_TRUTHS:
            passes = passes * _ratios(row) // THOUSAND
        elif here and row["name"] == "referral_pass":
            referred = int(row["white"])
        elif row["name"] == "referral_withdrawal":
            staying = int(row["white"])
    return dataclasses.replace(stage, passes=passes, referred_passes=referred, referred_withdraws=staying)


def _effects(values: list[dict[str, str]]) -> t.Effects:
    found = {row["name"]: row for row in values}
    even = np.full((len(t.SEXES), len(t.FIVE)), THOUSAND, dtype=np.int64)
    leaving: dict[tuple[int, int], list[tuple[tuple[int, int], Ints]]] = {}
    for row in values:
        if row["name"] in _LEAVING_TRUTHS:
            key = (t.GROUPS.index(row["lines"]), t.REASONS.index(row["code"]))
            years = (int(row["years_from"]), int(row["years_to"]))
            leaving.setdefault(key, []).append((years, _ratios(row)[0]))
    programme = even.copy()
    for row in values:
        if row["name"] == "ambassador_programme":
            programme = programme * _ratios(row) // THOUSAND
    return t.Effects(
        leaving=leaving,
        board_applies=_ratios(found[_APPLY])[0] if _APPLY in found else even[0],
        board_passes=_ratios(found[_PASS])[0] if _PASS in found else even[0],
        programme=programme,
        deterred=int(found["residency_rule"]["white"]) if "residency_rule" in found else THOUSAND,
    )


def document(seed: int, scale: float, without: Iterable[str] = ()) -> dict[str, Any]:
    """What is true of a force, for a JSON file beside its deliveries.

    Args:
        seed: which force.
        scale: its size.
        without: names of effects it lacks.

    Raises:
        PeelError: nothing is planted under one of the names.
    """
    left_out = check(without)
    return {
        "seed": seed,
        "scale": scale,
        "without": sorted(left_out),
        "truths": [_described(row, row["name"] not in left_out) for row in t.rows("truths")],
    }


def _described(row: dict[str, str], on: bool) -> dict[str, Any]:
    name = row["name"]
    boroughs = [r["borough_code"] for r in t.rows("programme_boroughs")] if name == "ambassador_programme" else []
    values = [value for value in t.rows("truth_values") if value["name"] == name]
    return {
        "name": name,
        "on": on,
        "kind": row["kind"],
        "unit": row["unit"],
        "from_day": row["from_day"],
        "to_day": row["to_day"] or None,
        "boroughs": boroughs,
        "find": row["find"],
        "values": [cell for value in values for cell in _cells(value, on)],
    }


def _cells(value: dict[str, str], on: bool) -> list[dict[str, Any]]:
    """One true value for each five-group; with the effect off all are 1."""
    return [
        {
            "where": value["lines"].split(),
            "code": value["code"],
            "years_of_service": [int(value["years_from"]), int(value["years_to"])] if value["years_from"] else None,
            "sex": value["sex"] or None,
            "group": five,
            "numerator": int(value[five.lower()]) if on else THOUSAND,
            "denominator": THOUSAND,
        }
        for five in t.FIVE
    ]
