"""Deliveries as folders: ``<sources>/<feed>/<business_date>/<seq>/``, the manifest written last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from peel.contracts import Feed
from peel.feeds.manifest import MANIFEST
from peel.london import parse_business_date
from peel.sources.base import FileAbsent, Known, Offer


@dataclass(frozen=True)
class FolderSource:
    """A local folder that feeds deliver to."""

    root: Path

    def offers(self, feed: Feed, known: Known) -> Iterator[Offer]:
        """Walk the feed's folders; hidden names are work in progress."""
        root = self.root / feed.name
        if not root.is_dir():
            return
        for day in sorted(_folders(root)):
            for number in sorted(_folders(day), key=lambda path: (len(path.name), path.name)):
                entries = sorted(
                    (entry.name, entry.lstat().st_size, entry.lstat().st_mtime_ns) for entry in number.iterdir()
                )
                yield offer(day.name, number.name, (number / MANIFEST).exists(), repr(entries), number)

    def open(self, offer: Offer, file: str) -> BinaryIO:
        """Open a plain file of the folder itself; a link might lead anywhere and is none."""
        path = Path(offer.handle) / file
        if path.name != file or path.is_symlink() or not path.is_file():
            raise FileAbsent(file)
        return path.open("rb", buffering=0)

    def close(self) -> None:
        """Nothing is held open."""


def offer(day: str, number: str, is_complete: bool, state: str, handle: object) -> Offer:
    """An offer in the layout ``<business_date>/<seq>/``; ``state`` is whatever changes when it does."""
    try:
        business_date = parse_business_date(day)
    except ValueError:
        business_date = None
    return Offer(
        name=f"{day}/{number}",
        business_date=business_date,
        seq=int(number) if number.isascii() and number.isdecimal() and 0 < int(number) < 10_000 else None,
        is_complete=is_complete,
        fingerprint=hashlib.sha256(state.encode()).hexdigest(),
        handle=handle,
    )


def _folders(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
