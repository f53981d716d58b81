"""The state of the simulated force, and its march from month to month.

Everything that happens is appended to logs with the day it happened. The world knows each month
whole; what was recorded by a given day is for `extract` to show.
"""

from __future__ import annotations

import numpy as np

from peel.simulate import tables as t
from peel.simulate import truths
from peel.simulate import units as places
from peel.simulate.columns import Columns
from peel.simulate.days import OPEN, days_in, first_day
from peel.simulate.draws import MILLION, Draws, Ints


class World:
    """A force of one seed and scale, without some of the planted effects, simulated up to some month.

    Attributes:
        without: names of planted effects it lacks.
        humans: every human being: serving, served or applying.
        persons: HR records of humans; a rejoiner gets a new one.
        spells: one person's time in one workforce group, with its present state.
        versions: every state a spell has had, by its first day.
        events: joining, leaving and rising in rank.
        declarations: declared ethnicity.
        moves: homes that persons moved to.
        seconds: second paid assignments beside a spell, the day they end being the first without them.
        boards: who stood before a promotion board, or could have.
        ambassadors: those of the Community Ambassador Programme.
        candidates, applications, outcomes: the applicant tracking system.
        leavers: leavers of recent months by group, for planning recruitment.
    """

    def __init__(self, seed: int, scale: float, without: frozenset[str] = frozenset()) -> None:
        self.without = truths.check(without)
        self.seed = seed
        self.asked_scale = scale
        self.scale = round(scale * MILLION)
        self.tables = truths.planted(self.without)
        self.units = places.load()
        self.month = t.FIRST_MONTH
        self.leavers: dict[int, list[int]] = {group: [] for group in range(len(t.GROUPS))}
        self.humans = Columns(
            birth="int32",
            sex="int8",
            leaf="int8",
            district="int8",
            declares="int8",
            candidate="int32",
            person="int32",
        )
        self.persons = Columns(human="int32", hired="int32", earlier_service="int32", open_spells="int8")
        self.spells = Columns(
            person="int32",
            human="int32",
            group="int8",
            join="int32",
            leave="int32",
            service="int32",
            rank="int8",
            held_rank="int8",
            basis="int8",
            band="int8",
            place="int16",
            status="int8",
            fte="int16",
            rank_since="int32",
            changed="int32",
            absent_until="int32",
            temporary_until="int32",
            post_in="int32",
            bound="int8",
            reason="int8",
        )
        self.versions = Columns(
            spell="int32",
            day="int32",
            action="int8",
            status="int8",
            rank="int8",
            held_rank="int8",
            basis="int8",
            band="int8",
            unit="int16",
            fte="int16",
        )
        self.events = Columns(
            person="int32",
            kind="int8",
            group="int8",
            day="int32",
            joiner="int8",
            route="int8",
            reason="int8",
        )
        self.declarations = Columns(
            person="int32", leaf="int8", migrated="int8", from_ats="int8", day="int32", recorded="int32"
        )
        self.boards = Columns(
            person="int32",
            rank="int8",
            month="int32",
            temporary="int8",
            applied="int8",
            exam="int8",
            outcome="int8",
            promoted="int32",
        )
        self.moves = Columns(person="int32", day="int32", district="int8")
        self.seconds = Columns(spell="int32", day="int32", until="int32", unit="int16", band="int8", fte="int16")
        self.ambassadors = Columns(district="int8", trained="int32", until="int32")
        self.candidates = Columns(human="int32", line="int8", closed="int32", hired="int8", anonymised="int32")
        self.applications = Columns(
            candidate="int32",
            line="int8",
            route="int8",
            month="int32",
            day="int32",
            registered="int32",
            basis="int8",
            passes="int8",
            source="int8",
            referral="int32",
            ambassador="int32",
            reason="int8",
            offer="int32",
            waiting="int8",
            spell="int32",
            person="int32",
            start="int32",
            id_high="uint64",
            id_low="uint64",
        )
        self.outcomes = Columns(
            application="int32",
            stage="int8",
            outcome="int8",
            day="int32",
            attempt="int8",
            again="int8",
            score="int32",
            panel="int16",
            id_high="uint64",
            id_low="uint64",
        )

    def draws(self, purpose: str) -> Draws:
        """The stream of draws for a purpose in the present month."""
        return Draws(self.seed, self.month, purpose)

    @property
    def first_day(self) -> int:
        """The first day of the present month."""
        return first_day(self.month)

    @property
    def last_day(self) -> int:
        """The last day of the present month."""
        return first_day(self.month) + days_in(self.month) - 1

    def random_days(self, draws: Draws, count: int) -> Ints:
        """Days of the present month, each as likely as any other."""
        return self.first_day + draws.below(count, days_in(self.month))

    def scaled(self, thousandths: int) -> int:
        """A strength at full size, in thousandths, at this world's scale."""
        return thousandths * self.scale // MILLION

    def target(self, group: int, month: int) -> int:
        """What a group's strength shall be at a month's end, in thousandths of FTE or heads."""
        series = self.tables.groups[group].series
        full = t.strength_at(self.tables, series, month)
        if group == t.STAFF:
            designated = self.tables.groups[t.DESIG]
            heads = t.strength_at(self.tables, designated.series, month)
            full -= heads * designated.fte_per_head // 1000
        return self.scaled(full)

    def strength(self, group: int) -> int:
        """What a group's strength is by the latest decisions, in thousandths of FTE or heads."""
        serving = self.open_spells(group)
        if self.tables.groups[group].in_fte:
            return int(self.spells["fte"][serving].astype(np.int64).sum())
        return 1000 * len(serving)

    def open_spells(self, group: int) -> Ints:
        """The spells of a group that no decision has ended."""
        spells = self.spells
        return np.flatnonzero((spells["group"] == group) & (spells["leave"] == OPEN))

    def expected_leavers(self, group: int) -> int:
        """Leavers a month to reckon with: the mean of the last six months, in thousandths."""
        recent = self.leavers[group][-6:]
        return 1000 * sum(recent) // len(recent) if recent else 0
