"""History and quarantine are the same whatever the order in which deliveries and decisions come.

Two feeds, ten nights of one in full mode and a chain of deltas of the other, with what goes wrong in them and
what people decide about it. An example is a permutation with repeats of deliveries and decisions, and the places
at which the night's steps run in between. What a gate found is remembered under what it looked at (as the gate
itself does), so that an example costs a second: landing and gating are run once, and an arrival brings their
records back. ``test_..._from_their_folders`` runs the same examples whole, landing and gate included.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from peel import contracts
from peel.contracts import Feed
from peel.deliveries import decisions
from peel.deliveries.decisions import Signed
from peel.deliveries.landing import land_feed
from peel.gates.delivery import gate_feed
from peel.history import apply, erasure
from peel.history.apply import apply_feed
from peel.settings import Settings
from peel.warehouse import connect
from tests.conftest import dump
from tests.deliveries import deliver
from tests.toys import DELTA, FULL
from tests.toys import row as toy_row

pytestmark = pytest.mark.slow

SIGNED = Signed("R. Peel", "a test")
Name = tuple[str, int]
"""A delivery by business date and number."""


def row(toy_id: object, **values: object) -> dict[str, object]:
    """A row of somebody with a National Insurance number of their own."""
    number = toy_id if isinstance(toy_id, int) else 99
    return toy_row(toy_id, ni_number=f"QQ{number:06d}C", **values)


GONE = 3
"""Who asks to be erased: counted, changed, mapped, held and gone again. Nobody decides about a row of theirs alone:
a row that is gone cannot be decided about, whatever came first."""


@dataclass(frozen=True)
class Decision:
    """What a person decides once a delivery has been gated."""

    kind: str
    on: Name
    row: int = 0
    codes: tuple[str, str] = ("", "")
    also: Name | None = None  # another delivery that must be there

    def is_ripe(self, arrived: set[Name]) -> bool:
        """Whether there is something to decide about."""
        return self.on in arrived and (self.also is None or self.also in arrived)

    def take(self, connection: psycopg.Connection, feed: Feed, delivery_id: str) -> None:
        (contract,) = feed.contracts
        if self.kind in ("readmit", "discard"):
            decisions.on_row(connection, contract, self.kind, delivery_id, self.row, SIGNED)
        elif self.kind == "accept":
            decisions.accept(connection, delivery_id, SIGNED)
        elif self.kind == "bridge":
            decisions.bridge(connection, feed, *self.codes, SIGNED)
        elif self.kind == "map":
            decisions.map_code(connection, contract, "code", *self.codes, SIGNED)


@dataclass(frozen=True)
class Story:
    """A feed's deliveries and the decisions about them."""

    feed: str
    contract: dict[str, str]
    deliveries: dict[Name, tuple[Sequence[dict[str, object]], tuple[str | None, str | None]]]
    decisions: tuple[Decision, ...]

    def drop(self, sources: Path) -> None:
        for (date, seq), (members, marks) in self.deliveries.items():
            data = members or ",".join(row(0)).encode() + b"\n"
            mode = "delta" if marks[1] else "full"
            deliver(sources, self.feed, date, {self.feed: data}, seq=seq, mode=mode, watermarks=marks)


NONE = (None, None)
SIX = [row(n) for n in range(6)]

FULL_STORY = Story(
    "toy",
    FULL,
    {
        ("2026-01-01", 1): (SIX, NONE),
        ("2026-01-02", 1): (SIX, NONE),
        ("2026-01-02", 2): ([row(n, amount="2.00") for n in range(5)], NONE),  # two for one date
        ("2026-01-03", 1): ([row(0), row(1, code="X"), *[row(n) for n in range(2, 7)]], NONE),  # readmitted later
        ("2026-01-04", 1): ([row(n, code="Z") for n in range(6)], NONE),  # refused
        ("2026-01-04", 2): ([row(n, amount="4.00") for n in range(7)], NONE),  # and delivered again
        ("2026-01-05", 1): ([row(0), row("x"), row(3), row(4)], NONE),  # a key that cannot be read, discarded later
        ("2026-01-06", 1): ([row(0), row(3, code="Q"), row(4, code="Q"), row(8), row(7)], NONE),  # a code mapped later
        ("2026-01-07", 1): ([row(0), row(3, born="never"), row(4, code="B")], NONE),  # deletions, one held
        ("2026-01-08", 1): ([row(9), *[row(n, code="Z") for n in (0, 3, 4, 5)]], NONE),  # accepted anyway
        ("2026-01-09", 1): ([row(0), row(4), row(4, amount="9.00"), row(9, code="Q")], NONE),  # one of two readmitted
        ("2026-01-09", 2): ([row(0), row(4), row(4, amount="9.00"), row(10)], NONE),  # replaces it
        ("2026-01-10", 1): ([row(0), row(9, note="mended")], NONE),
    },
    (
        Decision("readmit", ("2026-01-03", 1), row=2),
        Decision("discard", ("2026-01-05", 1), row=2),
        Decision("map", ("2026-01-06", 1), codes=("Q", "B")),
        Decision("accept", ("2026-01-08", 1)),
        Decision("readmit", ("2026-01-09", 1), row=3),
        Decision("discard", ("2026-01-09", 2), row=3),
        Decision("erase", ("2026-01-01", 1)),
    ),
)

DELTA_STORY = Story(
    "drip",
    DELTA,
    {
        ("2026-01-01", 1): ([row(n) for n in range(5)], (None, "a")),
        ("2026-01-02", 1): ([row(1, amount="2.00"), row(2, born="never"), row(3, code="Q")], ("a", "b")),
        ("2026-01-02", 2): ([row(1, amount="3.00"), row(5)], ("b", "c")),
        ("2026-01-03", 1): ([row(2, amount="4.00")], ("c", "d")),
        ("2026-01-03", 2): ([row(2, amount="5.00"), row(4, code="X"), row(6)], ("c", "d")),
        ("2026-01-04", 1): ([], ("d", "e")),
        # e to f was lost, and a person goes on without it
        ("2026-01-06", 1): ([row(5, code="B"), row(1), row(6, code="Q"), row(7)], ("f", "g")),
        ("2026-01-07", 1): ([row(n, code="Z") for n in range(4)], ("g", "h")),  # refused
        ("2026-01-07", 2): ([row(n, amount="7.00") for n in range(2)], ("g", "h")),
        ("2026-01-08", 1): ([row(7, note="later"), row(2, code="X")], ("h", "i")),
    },
    (
        Decision("map", ("2026-01-02", 1), codes=("Q", "A")),
        Decision("readmit", ("2026-01-03", 2), row=2),
        Decision("bridge", ("2026-01-06", 1), codes=("e", "f"), also=("2026-01-04", 1)),
        Decision("discard", ("2026-01-08", 1), row=2),
        Decision("erase", ("2026-01-01", 1)),
    ),
)

STORIES = {"full": FULL_STORY, "delta": DELTA_STORY}
EXAMPLE = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # an example takes a second: making a failing one smaller, minutes
)
EXAMPLES = {"full": 130, "delta": 100}

OF_ERASURE = ("audit.redaction", "audit.tombstone", "audit.erasure")
REMEMBERED = ("audit.delivery", "audit.delivery_table", "audit.gate_result")


@dataclass
class World:
    """An installation in which a story is told again and again."""

    here: Settings
    feed: Feed
    story: Story
    ids: dict[Name, str] = field(default_factory=dict)
    expected: dict[str, list[str]] = field(default_factory=dict)
    read_as: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, story: Story, with_contracts: Callable[[dict[str, str]], Settings]) -> World:
        here = with_contracts(story.contract)
        world = cls(here, contracts.feed(here.contracts, story.feed), story)
        story.drop(here.sources)
        assert land_feed(here, world.feed).refused == []
        gate_feed(here, world.feed)
        with connect(here, "owner") as connection:
            for date, seq, delivery_id in connection.execute(
                "select business_date::text, seq, delivery_id from audit.delivery"
            ):
                world.ids[date, seq] = delivery_id
        # In order and undisturbed, with real gates: what every other order must come to.
        apply_feed(here, world.feed)
        shutil.copytree(here.landing, here.var / "landing whole")
        for decision in story.decisions:
            with connect(here, "owner") as connection:
                decision.take(connection, world.feed, world.ids[decision.on])
            if decision.kind == "erase":
                erase(here)
            gate_feed(here, world.feed)
            apply_feed(here, world.feed)
        world.expected = dump(here, "history", "quarantine")
        assert all(world.expected.values())
        return world

    @property
    def quarantine(self) -> str:
        return self.feed.contracts[0].relation("quarantine")

    def remember(self) -> None:
        """Keep what landing and gate recorded, without any mapping of codes and with all."""
        self.forget()
        self.land_again()
        with connect(self.here, "owner") as connection:
            connection.execute("create schema kept")
        for variant in ("whole plain", "whole mapped", "erased mapped", "erased plain"):
            if variant == "erased mapped":
                erase(self.here)
                shutil.copytree(self.here.landing, self.here.var / "landing erased")
            with connect(self.here, "owner") as connection:
                connection.execute("update audit.delivery set state = 'landed', reason = null")
                connection.execute("delete from audit.decision")
                for decision in self.story.decisions:
                    if decision.kind == "map" and "mapped" in variant:
                        decision.take(connection, self.feed, self.ids[decision.on])
            gate_feed(self.here, self.feed)
            with connect(self.here, "owner") as connection:
                for relation in (*REMEMBERED, self.quarantine):
                    name = relation.split(".")[1].strip('"')
                    connection.execute(f'create table kept."{variant} {name}" as table {relation}'.encode())
        self.forget()

    def land_again(self) -> None:
        """As landing left it: an erasure has changed what it holds."""
        shutil.rmtree(self.here.landing)
        shutil.copytree(self.here.var / "landing whole", self.here.landing)
        with connect(self.here, "owner") as connection:
            connection.execute("update audit.delivery set state = 'refused'")
            connection.execute("delete from audit.source_folder")
            for relation in (self.quarantine, *reversed(REMEMBERED)):
                connection.execute(f"delete from {relation}".encode())
        land_feed(self.here, self.feed)

    def forget(self) -> None:
        """As before the first night, but for what was landed and gated."""
        history = self.feed.contracts[0].relation("history")
        with connect(self.here, "owner") as connection:
            for relation in (history, "audit.applied", "audit.decision", *OF_ERASURE):
                connection.execute(f"delete from {relation}".encode())
            connection.execute(
                f"update {self.quarantine} set applied_on = null, resolved_on = null, resolution = null,"
                f" is_readmitted = false, is_discarded = false".encode()
            )

    def nothing_has_come(self) -> None:
        self.forget()
        with connect(self.here, "owner") as connection:
            for relation in (self.quarantine, *reversed(REMEMBERED)):
                connection.execute(f"delete from {relation}".encode())

    def arrive(self, connection: psycopg.Connection, delivery_id: str) -> None:
        """Landed and gated under the decisions that stand, as it was before."""
        known = connection.execute(
            "select state <> 'landed' from audit.delivery where delivery_id = %s", (delivery_id,)
        ).fetchone()
        if known == (True,):
            return  # here already: the same folder costs nothing
        stands = "select exists (select from audit.decision where kind = 'map'), exists (select from audit.erasure)"
        mapped, erased = connection.execute(stands).fetchone() or (False, False)
        variant = f"{'erased' if erased else 'whole'} {'mapped' if mapped else 'plain'}"
        self.land(delivery_id, "erased" if erased else "whole")
        relations = (*REMEMBERED, self.quarantine)
        for relation in reversed(relations) if known else ():
            if relation != "audit.delivery":
                connection.execute(f"delete from {relation} where delivery_id = %s".encode(), (delivery_id,))
        for relation in relations:
            name = relation.split(".")[1].strip('"')
            if known and relation == "audit.delivery":
                connection.execute("update audit.delivery set state = 'gated' where delivery_id = %s", (delivery_id,))
                continue
            connection.execute(
                f'insert into {relation} select * from kept."{variant} {name}" where delivery_id = %s'.encode(),
                (delivery_id,),
            )
        # Delivery tables are left standing between examples, but not where codes are now to be read otherwise.
        mappings = [one.codes[0] for one in self.story.decisions if one.kind == "map"]
        members, _ = self.story.deliveries[next(name for name, one in self.ids.items() if one == delivery_id)]
        if self.read_as.get(delivery_id) != variant and any(
            member["code"] in mappings or member["toy_id"] == GONE for member in members
        ):
            for contract in self.feed.contracts:
                relation = contract.relation("delivery", delivery_id)
                connection.execute(f"drop table if exists {relation} cascade".encode())
            self.read_as[delivery_id] = variant

    def land(self, delivery_id: str, variant: str) -> None:
        """The landed objects of a delivery, as they are without or with the erasure."""
        name = next(name for name, one in self.ids.items() if one == delivery_id)
        place = Path(self.feed.name, name[0], str(name[1]), delivery_id)
        shutil.rmtree(self.here.landing / place, ignore_errors=True)
        shutil.copytree(self.here.var / f"landing {variant}" / place, self.here.landing / place)

    def tell(self, events: Sequence[Name | Decision], apply_after: set[int]) -> dict[str, list[str]]:
        """Deliveries and decisions in an order, the night's last step run where it is said and at the end."""
        self.nothing_has_come()
        arrived: set[Name] = set()
        put_off: list[Decision] = []
        taken: set[Decision] = set()
        with connect(self.here, "owner") as connection:
            for place, event in enumerate(events):
                if isinstance(event, Decision):
                    put_off.append(event)
                else:
                    arrived.add(event)
                    self.arrive(connection, self.ids[event])
                self.decide_all(connection, put_off, arrived, taken)
                connection.commit()
                if place in apply_after:
                    apply_feed(self.here, self.feed)
            self.decide_all(connection, put_off, arrived, taken)
            assert not put_off
        apply_feed(self.here, self.feed)
        return dump(self.here, "history", "quarantine")

    def is_refused(self, name: Name) -> bool:
        with connect(self.here, "owner") as connection:
            row = connection.execute("select state from audit.delivery where delivery_id = %s", (self.ids[name],))
            return row.fetchone() == ("refused",)

    def decide_all(
        self, connection: psycopg.Connection, put_off: list[Decision], arrived: set[Name], taken: set[Decision]
    ) -> None:
        for decision in [one for one in put_off if one.is_ripe(arrived)]:
            # a person decides once
            if decision in taken or self.decide(connection, decision):
                taken.add(decision)
                put_off.remove(decision)

    def decide(self, connection: psycopg.Connection, decision: Decision) -> bool:
        """Take a decision; false where there is nothing to decide yet."""
        if decision.kind == "accept":
            connection.commit()
            apply_feed(self.here, self.feed)
            # What is to be accepted must have been refused: rows that a delivery before it brought too do not
            # count against it, so that may take another delivery.
            if not self.is_refused(decision.on):
                return False
        decision.take(connection, self.feed, self.ids[decision.on])
        if decision.kind == "erase":
            connection.commit()
            erase(self.here)
            self.read_as.clear()
        again = connection.execute("select delivery_id from audit.delivery where state = 'landed'").fetchall()
        for (delivery_id,) in again:
            self.arrive(connection, delivery_id)
        return True


def erase(here: Settings) -> None:
    erasure.erase(here, [("person_id", f"90{GONE}")], SIGNED)


def orders(story: Story) -> st.SearchStrategy[tuple[list[Any], set[int]]]:
    """Every delivery and decision once, some of them again, and where the steps run in between."""
    events: list[Name | Decision] = [*story.deliveries, *story.decisions]
    repeats = st.lists(st.sampled_from(events), max_size=4)
    order = repeats.flatmap(lambda more: st.permutations([*events, *more]))
    return st.tuples(order, st.sets(st.integers(0, len(events) + 3), max_size=5))


@pytest.mark.parametrize("mode", STORIES)
def test_deliveries_and_decisions_in_any_order_give_the_same_history_and_quarantine(
    with_contracts: Callable[[dict[str, str]], Settings], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    story = STORIES[mode]
    world = World.of(story, with_contracts)
    world.remember()
    monkeypatch.setattr(apply, "ensure_tables", lambda *_: None)  # they stand
    monkeypatch.setattr(apply, "drop_delivery_tables", lambda *_: None)  # the next example needs them again

    @settings(EXAMPLE, max_examples=EXAMPLES[mode])
    @given(orders(story))
    def holds(example: tuple[list[Name | Decision], set[int]]) -> None:
        assert world.tell(*example) == world.expected

    assert world.tell([*story.deliveries, *story.decisions], set()) == world.expected
    holds()


@pytest.mark.parametrize("mode", STORIES)
def test_deliveries_in_any_order_from_their_folders(
    with_contracts: Callable[[dict[str, str]], Settings], tmp_path: Path, mode: str
) -> None:
    """Landing and gate included: the folders appear at the source in any order."""
    story = STORIES[mode]
    world = World.of(story, with_contracts)
    here = world.here
    shutil.move(here.sources, tmp_path / "all")

    @settings(EXAMPLE, max_examples=3)
    @given(orders(story))
    def holds(example: tuple[list[Name | Decision], set[int]]) -> None:
        world.nothing_has_come()
        shutil.rmtree(here.sources, ignore_errors=True)
        shutil.rmtree(here.landing)
        with connect(here, "owner") as connection:
            connection.execute("truncate audit.source_folder")

        def night() -> None:
            land_feed(here, world.feed)
            gate_feed(here, world.feed)
            apply_feed(here, world.feed)

        events, apply_after = example
        put_off: list[Decision] = []
        arrived: set[Name] = set()
        for place, event in enumerate(dict.fromkeys(events)):
            if isinstance(event, Decision):
                put_off.append(event)
            else:
                date, seq = event
                shutil.copytree(
                    tmp_path / "all" / story.feed / date / str(seq), here.sources / story.feed / date / str(seq)
                )
                arrived.add(event)
            ready = [one for one in put_off if one.is_ripe(arrived)]
            if ready or place in apply_after:
                night()
            for decision in ready:
                if decision.kind == "accept" and not world.is_refused(decision.on):
                    continue
                put_off.remove(decision)
                with connect(here, "owner") as connection:
                    decision.take(connection, world.feed, world.ids[decision.on])
                if decision.kind == "erase":
                    erase(here)
        night()
        for decision in put_off:
            with connect(here, "owner") as connection:
                decision.take(connection, world.feed, world.ids[decision.on])
            night()
        assert dump(here, "history", "quarantine") == world.expected

    holds()
