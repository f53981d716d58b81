"""Invented identifiers and addresses, outside every range in use.

| what | form | why it is nobody's |
|---|---|---|
| NI number | ``QQ123456C`` | the prefix QQ is never issued |
| e-mail | ``...@example.invalid`` | ``.invalid`` is reserved (RFC 2606) |
| telephone | 07700 900000 to 900999, 020 7946 0000 to 0999 | kept free for drama by Ofcom |
| postcode | ``ZX25 4AB`` | there is no area ZX; the district is the borough, 99 outside London |

All follow from the position of a human in the world, so a person who comes back has the same ones;
the postcode of who moved home follows from the move.
"""

from __future__ import annotations

import numpy as np

from peel.simulate import tables as t
from peel.simulate.draws import Bools, Ints, scatter_below
from peel.simulate.world import World

OUTSIDE_DISTRICT = 99
_NI_PRIME = 611_953  # odd and no multiple of 5: a bijection of the six digits
_FIRST_MOVE = 2**40  # beyond every human
_UNIT_LETTERS = "ABDEFGHJLNPQRSTUWXYZ"


def names(world: World, humans: Ints) -> list[tuple[str, str]]:
    """Given and family names."""
    parts = t.load().names
    given, front, back = parts["given"], parts["front"], parts["back"]
    first = scatter_below(world.seed, "given", humans, len(given)).tolist()
    second = scatter_below(world.seed, "front", humans, len(front)).tolist()
    third = scatter_below(world.seed, "back", humans, len(back)).tolist()
    return [(given[i], front[j] + back[k]) for i, j, k in zip(first, second, third, strict=True)]


def full_names(world: World, humans: Ints) -> list[str]:
    """Names as written in the sources: not unique."""
    return [f"{given} {family}" for given, family in names(world, humans)]


def emails(world: World, humans: Ints) -> list[str]:
    """E-mail addresses: unique."""
    return [
        f"{given}.{family}{human}@example.invalid".lower()
        for (given, family), human in zip(names(world, humans), humans.tolist(), strict=True)
    ]


def phones(world: World, humans: Ints) -> list[str]:
    """Telephone numbers: two thousand of them, so many share one."""
    drawn = scatter_below(world.seed, "phone", humans, 2000).tolist()
    return [f"07700 900{n:03d}" if n < 1000 else f"020 7946 0{n - 1000:03d}" for n in drawn]


def national_insurance_numbers(world: World, humans: Ints) -> list[str]:
    """NI numbers: unique for the first four million humans."""
    digits = ((humans * _NI_PRIME + world.seed) % 1_000_000).tolist()
    suffix = (humans // 1_000_000 % 4).tolist()
    return [f"QQ{number:06d}{'ABCD'[letter]}" for number, letter in zip(digits, suffix, strict=True)]


def person_numbers(humans: Ints, persons: Ints, *, again: Bools) -> list[str]:
    """Warrant or pay numbers: a human's first record has the human's own, a later one a new one."""
    numbers = np.where(again, 2_000_000 + persons, 200_000 + humans)
    return [f"P{number}" for number in numbers.tolist()]


def postcodes(world: World, humans: Ints, moves: Ints | None = None) -> list[str]:
    """Home postcodes; the district number is the borough's, 99 outside London.

    Args:
        world: whose humans they are.
        humans: positions of humans.
        moves: the latest move of each, -1 for none: the first home.
    """
    district, keys = world.humans["district"][humans].astype(np.int64), humans
    if moves is not None and len(world.moves):
        district = np.where(moves >= 0, world.moves["district"][moves], district)
        keys = np.where(moves >= 0, _FIRST_MOVE + moves, humans)
    district = np.where(district == 0, OUTSIDE_DISTRICT, district).tolist()
    sector = scatter_below(world.seed, "sector", keys, 10).tolist()
    unit = scatter_below(world.seed, "unit", keys, len(_UNIT_LETTERS) ** 2).tolist()
    letters = [a + b for a in _UNIT_LETTERS for b in _UNIT_LETTERS]
    return [f"ZX{d} {s}{letters[u]}" for d, s, u in zip(district, sector, unit, strict=True)]
