"""What is asked for one person, and for everyone's pseudonyms: whom a request is about, change of keys."""

from __future__ import annotations

from collections.abc import Iterable

from peel import contracts
from peel.deliveries.decisions import Signed
from peel.deliveries.tombstones import STRONG
from peel.errors import PeelError
from peel.gates.delivery import gate_feed
from peel.history import rotation
from peel.history.apply import apply_feed
from peel.settings import Settings


def identifiers(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Read identifiers of one person, a kind and a value on each line: ``person_id 4711``.

    Raises:
        PeelError: a line is something else; the line is not shown.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        kind, _, value = line.strip().partition(" ")
        if kind not in STRONG or not value.strip():
            raise PeelError(
                f"line {number} is no kind and identifier.",
                rule="erasure",
                do=f"Write `KIND IDENTIFIER`, one on each line; kinds are {', '.join(STRONG)}.",
            )
        found.append((kind, value.strip()))
    return found


def rotate_warehouse_key(settings: Settings, signed: Signed) -> rotation.Rotation:
    """Change k_wh: every person key is made again."""
    changed = rotation.rotate_warehouse_key(settings, signed)
    settle(settings)
    return changed


def settle(settings: Settings) -> None:
    """Gate and apply again what a request or a change of keys concerns."""
    for feed in contracts.feeds(settings.contracts):
        gate_feed(settings, feed)
        apply_feed(settings, feed)
