"""Moments at which a process may be killed: before and after every rename and every commit.

A commit is a moment wherever it is made: :func:`peel.warehouse.connect` gives connections that name theirs by
role. A change of state is visible to anyone else from the commit that holds it, so there are no others.

Nothing happens at a moment unless ``PEEL_KILL_AT`` names one, as ``before:landing rename:2``: then the
process kills itself there the second time, as the fault tests (``tests/faults``) need it. ``PEEL_MOMENTS``
names a file to which the moments passed are written.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_seen: Counter[str] = Counter()


def before(name: str) -> None:
    """The instant before something becomes so."""
    _pass(f"before:{name}")


def after(name: str) -> None:
    """The instant after it did."""
    _pass(f"after:{name}")


def _pass(moment: str) -> None:
    _seen[moment] += 1
    record = os.environ.get("PEEL_MOMENTS")
    if record:
        with open(record, "a", encoding="ascii") as file:  # noqa: PTH123
            file.write(f"{moment}:{_seen[moment]}\n")
    if os.environ.get("PEEL_KILL_AT") == f"{moment}:{_seen[moment]}":
        os.kill(os.getpid(), signal.SIGKILL)
