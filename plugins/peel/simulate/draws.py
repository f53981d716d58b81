"""Integer draws: the only source of chance, the same on every machine.

Every purpose in every month has a stream of its own, so a new kind of decision moves no other.
Only the raw 64-bit output of PCG64 is used, and only integer arithmetic after it.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MILLION = 1_000_000


class Draws:
    """The draws for one purpose in one month of one world.

    Args:
        seed: the world's seed.
        month: the month, as ``year * 12 + month - 1``.
        purpose: what is decided; names a stream.
    """

    def __init__(self, seed: int, month: int, purpose: str) -> None:
        sequence = np.random.SeedSequence([seed, month, zlib.crc32(purpose.encode())])
        self._bits = np.random.PCG64(sequence)

    def raw(self, count: int) -> NDArray[np.uint64]:
        """Draw ``count`` integers of 64 random bits."""
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)

    def below(self, count: int, limit: int | NDArray[Any]) -> Ints:
        """Draw ``count`` integers from 0 to ``limit - 1``; a limit per draw is allowed, below 2**31."""
        high = self.raw(count) >> np.uint64(32)
        return ((high * np.asarray(limit, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)

    def chance(self, count: int, per_million: int | NDArray[Any]) -> Bools:
        """Decide ``count`` times, each with a chance given per million."""
        return np.asarray(self.below(count, MILLION) < per_million)

    def choose(self, count: int, weights: NDArray[Any]) -> Ints:
        """Choose ``count`` positions of ``weights`` with chances in proportion to them."""
        upper = np.cumsum(weights.astype(np.int64))
        return np.searchsorted(upper, self.below(count, int(upper[-1])), side="right").astype(np.int64)

    def spread(self, count: int, weights: NDArray[Any]) -> Ints:
        """Choose as `choose` does, but evenly: no position comes up a whole time more or less than due.

        One point is drawn in each of ``count`` equal parts of the weights, so that a small force has
        the same make-up as a large one.
        """
        upper = np.cumsum(weights.astype(np.int64))
        return np.searchsorted(upper, self.evenly(count, int(upper[-1])), side="right").astype(np.int64)

    def evenly(self, count: int, limit: int) -> Ints:
        """Draw as `below` does, one number in each of ``count`` equal parts of the range, in a random order."""
        points = (np.arange(count, dtype=np.int64) * limit + self.below(count, limit)) // max(count, 1)
        return self.shuffled(points)

    def choose_by_row(self, weights: NDArray[Any], rows: Ints) -> Ints:
        """Choose a column of the weight table (rows x columns) for each given row of it, whose sum is below 2**31."""
        upper = np.cumsum(weights.astype(np.int64), axis=1)
        if int(upper.max()) >= 2**31:
            raise ValueError("weights of a row sum to 2**31 or more")
        drawn = self.below(len(rows), upper[rows, -1])
        return np.asarray((upper[rows] <= drawn[:, None]).sum(axis=1), dtype=np.int64)

    def portion(self, count: int, per_mille: int) -> int:
        """Take a share of a count, rounded up as often as makes the shares right on average."""
        return (max(count, 0) * per_mille + int(self.below(1, 1000)[0])) // 1000

    def shuffled(self, items: Ints) -> Ints:
        """Return the items in a random order."""
        return items[np.argsort(self.raw(len(items)), kind="stable")]

    def sample(self, items: Ints, count: int) -> Ints:
        """Take ``count`` of the items (all, if there are fewer), each as likely as any other."""
        lots, wanted = self.raw(len(items)), max(count, 0)
        if wanted < len(items):
            chosen = np.argpartition(lots, wanted)[:wanted]
            lots, items = lots[chosen], items[chosen]
        return np.asarray(items[np.argsort(lots, kind="stable")])


def scatter(seed: int, salt: str, keys: NDArray[Any]) -> NDArray[np.uint64]:
    """Give each key 64 well-mixed bits that depend on seed, salt and key only.

    For details that follow from who someone is (a name, the second of the day a row was typed in)
    and must not depend on when they are asked for. The mixing is that of SplitMix64.
    """
    start = np.uint64((seed * 0x9E3779B97F4A7C15 + zlib.crc32(salt.encode()) * 0xD1B54A32D192ED03) % 2**64)
    with np.errstate(over="ignore"):
        mixed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)


def scatter_below(seed: int, salt: str, keys: NDArray[Any], limit: int) -> Ints:
    """Give each key an integer from 0 to ``limit - 1`` by `scatter`; the limit is below 2**31."""
    high = scatter(seed, salt, keys) >> np.uint64(32)
    return ((high * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)
