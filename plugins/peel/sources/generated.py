"""Manifests of deliveries that are made on the fly, by a connector whose source knows none."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence

from peel.contracts import Feed
from peel.feeds.manifest import ManifestFile

SEQ = 1
"""The number of a generated delivery: such a source brings one for a business date."""


def file_name(table: str, business_date: dt.date) -> str:
    """What a generated file is called, such as ``hr_person_20261120_1.csv``."""
    return f"{table}_{business_date:%Y%m%d}_{SEQ}.csv"


def manifest(
    feed: Feed,
    business_date: dt.date,
    extract_ts: dt.datetime,
    files: Sequence[ManifestFile],
    watermarks: tuple[str | None, str | None] = (None, None),
) -> bytes:
    """The manifest of a generated delivery, as :func:`peel.feeds.manifest.read_manifest` reads it.

    Args:
        feed: the feed.
        business_date: the date it is for.
        extract_ts: when the source was asked, with an offset.
        files: what was found in it.
        watermarks: from and to, for a delta.
    """
    document = {
        "feed": feed.name,
        "business_date": business_date.isoformat(),
        "seq": SEQ,
        "schema_version": feed.contracts[0].version,
        "mode": feed.mode,
        "extract_ts": extract_ts.astimezone(dt.UTC).isoformat(),
        "watermark_from": watermarks[0],
        "watermark_to": watermarks[1],
        "files": [
            {"file": file.file, "table": file.table, "sha256": file.sha256, "rows": file.rows}
            for file in sorted(files, key=lambda file: file.table)
        ],
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def fingerprint(files: Sequence[ManifestFile], watermark_to: str | None = None) -> str:
    """Of what was found, without the hour at which it was: the same rows give the same fingerprint."""
    lines = sorted(f"{file.table} {file.sha256} {file.rows}\n" for file in files)
    return hashlib.sha256("".join([*lines, watermark_to or ""]).encode()).hexdigest()
