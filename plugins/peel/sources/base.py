"""What every source connector is: it finds what is on offer and opens it, and knows no business.

A connector never writes what it fetches to disk: landing reads its streams and replaces direct
identifiers on the way. What it offers is whole: a delivery whose manifest can be read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from peel.contracts import Feed
from peel.errors import PeelError


class SourceUnavailable(PeelError):
    """A source that could not be reached or gave no sound answer; the next look may go well."""


class FileAbsent(Exception):
    """The source holds no plain file of that name (nothing, a folder, a link, a name that leads elsewhere)."""


@dataclass(frozen=True)
class Known:
    """What has been landed from a source so far; all a connector learns of the warehouse.

    Attributes:
        fingerprints: of the offers dealt with, by their name.
        watermark: the last landed delivery's ``watermark_to``, ``None`` before the first.
        dates: business dates with a delivery that was landed and not refused.
        files: sha256 of the last landed delivery's files, by table.
    """

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    watermark: str | None = None
    dates: frozenset[dt.date] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Offer:
    """What a source has for one delivery.

    Attributes:
        name: ``<business_date>/<seq>`` as the source calls it; the ledger remembers it by this name.
        business_date: the date, or ``None`` where the name holds none.
        seq: its number for the date, or ``None`` where the name holds no positive number.
        is_complete: whether the manifest, which comes last, is there.
        fingerprint: changes when what is on offer does, without reading it.
        unchanged: the source was asked and holds what was landed last; there is nothing to fetch.
        handle: the connector's own, such as a path.
    """

    name: str
    business_date: dt.date | None
    seq: int | None
    is_complete: bool
    fingerprint: str
    unchanged: bool = False
    handle: Any = field(default=None, compare=False)


class Source(Protocol):
    """A connector."""

    def offers(self, feed: Feed, known: Known) -> Iterator[Offer]:
        """What is on offer for a feed, oldest business date first.

        Raises:
            SourceUnavailable: the source could not be reached.
        """
        ...

    def open(self, offer: Offer, file: str) -> BinaryIO:
        """Open one file of an offer as a stream of its bytes; the caller closes it.

        Raises:
            FileAbsent: there is no plain file of that name.
            OSError: it is there and cannot be read.
            SourceUnavailable: the source could not be reached.
        """
        ...

    def close(self) -> None:
        """Let go of connections; the connector may be asked again afterwards."""
        ...
