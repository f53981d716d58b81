"""The folder source: deliveries under ``<sources>/<feed>/<business_date>/<seq>/``."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peel.feeds.manifest import MANIFEST
from peel.london import parse_business_date


@dataclass(frozen=True)
class Found:
    """A folder that may hold a delivery.

    Attributes:
        path: the folder.
        name: ``<business_date>/<seq>`` as the folders are called.
        business_date: the date, or ``None`` where the folder's name is no date.
        seq: the number, or ``None`` where the folder's name is no positive number.
        has_manifest: whether the manifest, which comes last, is there.
        fingerprint: changes when a name, size or modification time in the folder does.
    """

    path: Path
    name: str
    business_date: dt.date | None
    seq: int | None
    has_manifest: bool
    fingerprint: str


def find(sources: Path, feed: str) -> Iterator[Found]:
    """Walk a feed's folders, oldest business date first; hidden names are work in progress."""
    root = sources / feed
    if not root.is_dir():
        return
    for day in sorted(_folders(root)):
        for number in sorted(_folders(day), key=lambda path: (len(path.name), path.name)):
            entries = sorted(
                (entry.name, entry.lstat().st_size, entry.lstat().st_mtime_ns) for entry in number.iterdir()
            )
            yield Found(
                path=number,
                name=f"{day.name}/{number.name}",
                business_date=_date(day.name),
                seq=int(number.name) if number.name.isdecimal() and 0 < int(number.name) < 10_000 else None,
                has_manifest=(number / MANIFEST).exists(),
                fingerprint=hashlib.sha256(repr(entries).encode()).hexdigest(),
            )


def _folders(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _date(name: str) -> dt.date | None:
    try:
        return parse_business_date(name)
    except ValueError:
        return None
