"""Manifests: what a delivery claims about itself, and whether its files bear it out."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peel.contracts import Feed
from peel.errors import DeliveryRefused
from peel.london import parse_business_date

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1_000_000
_FILE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,120}$")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class ManifestFile:
    """One file a manifest names.

    Attributes:
        file: its name, a plain one without any path.
        table: the contract it is delivered under.
        sha256: of the file's bytes, 64 lower-case hex digits.
        rows: data rows, the header left out.
    """

    file: str
    table: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Manifest:
    """What one delivery claims about itself."""

    feed: str
    business_date: dt.date
    seq: int
    mode: str
    schema_version: str
    extract_ts: dt.datetime
    watermark_from: str | None
    watermark_to: str | None
    files: tuple[ManifestFile, ...]


def read_manifest(data: bytes | None, feed: Feed, business_date: dt.date, seq: int) -> Manifest:
    """Read and check a delivery's manifest.

    Args:
        data: its bytes, at most one more than ``MANIFEST_LIMIT``; ``None`` where there is no plain file.
        feed: the feed it was delivered to.
        business_date: the date it was delivered for.
        seq: the number it was delivered under.

    Raises:
        DeliveryRefused: the manifest is unreadable, incomplete, or speaks of another delivery.
    """

    def refuse(rule: str, what: str, file: str = MANIFEST, count: int | None = None) -> DeliveryRefused:
        return DeliveryRefused(
            what,
            feed=feed.name,
            delivery=f"{business_date}/{seq}",
            file=file,
            rule=rule,
            count=count,
            do="Have the source deliver it again.",
        )

    if data is None:
        raise refuse("manifest_present", "it is not a plain file.")
    if len(data) > MANIFEST_LIMIT:
        raise refuse("manifest_readable", "it is larger than a manifest can be.")
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise refuse("manifest_readable", "it is not JSON in UTF-8.") from None
    if not isinstance(document, dict):
        raise refuse("manifest_readable", "it is not a JSON object.")

    def text(key: str) -> str:
        value = document.get(key)
        if not isinstance(value, str) or not value or len(value) > 100:
            raise refuse("manifest_complete", f"{key} is missing or no short text.")
        return value

    try:
        claimed = parse_business_date(text("business_date"))
    except ValueError:
        raise refuse("manifest_business_date", "business_date is no date of the form YYYY-MM-DD.") from None
    claims = {"feed": feed.name, "business_date": business_date, "seq": seq, "mode": feed.mode}
    held = {
        "feed": text("feed"),
        "business_date": claimed,
        "seq": document.get("seq"),
        "mode": text("mode").lower(),
    }
    for key, expected in claims.items():
        if held[key] != expected or isinstance(held[key], bool):
            raise refuse(f"manifest_{key}", f"{key} is not that of the folder and the contract.")
    try:
        extract_ts: dt.datetime | None = dt.datetime.fromisoformat(text("extract_ts"))
    except ValueError:
        extract_ts = None
    if extract_ts is None or extract_ts.tzinfo is None:
        raise refuse("manifest_extract_ts", "extract_ts is no timestamp with an offset.")
    watermarks = _watermarks(document, feed, refuse)
    return Manifest(
        feed=feed.name,
        business_date=claimed,
        seq=seq,
        mode=feed.mode,
        schema_version=text("schema_version"),
        extract_ts=extract_ts,
        watermark_from=watermarks[0],
        watermark_to=watermarks[1],
        files=_files(document, feed, refuse),
    )


def _watermarks(document: dict[str, Any], feed: Feed, refuse: Any) -> tuple[str | None, str | None]:
    start, end = (document.get(key) or None for key in ("watermark_from", "watermark_to"))
    for value in (start, end):
        if value is not None and (not isinstance(value, str) or len(value) > 64):
            raise refuse("manifest_watermark", "a watermark is no short text.")
    if feed.mode == "delta" and end is None:
        raise refuse("manifest_watermark", "a delta delivery must name watermark_to.")
    if start is not None and start == end:
        raise refuse("manifest_watermark", "watermark_from and watermark_to are the same.")
    return start, end


def _files(document: dict[str, Any], feed: Feed, refuse: Any) -> tuple[ManifestFile, ...]:
    entries = document.get("files")
    if not isinstance(entries, list) or not entries:
        raise refuse("manifest_complete", "files is missing or no list.")
    files = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise refuse("manifest_complete", "an entry of files is no object.")
        name, table, digest, rows = (entry.get(key) for key in ("file", "table", "sha256", "rows"))
        if not isinstance(name, str) or not _FILE_NAME.match(name) or ".." in name:
            raise refuse("manifest_file_name", "a file's name is no plain name within the folder.")
        if table not in feed.tables:
            raise refuse("manifest_table", "no contract of this feed covers the file.", file=name)
        if not isinstance(digest, str) or not _SHA256.match(digest):
            raise refuse("manifest_complete", "sha256 is missing or malformed.", file=name)
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
            raise refuse("manifest_complete", "rows is missing or no count.", file=name)
        files.append(ManifestFile(name, table, digest, rows))
    tables = [file.table for file in files]
    if len(set(tables)) != len(tables) or len({file.file for file in files}) != len(files):
        raise refuse("manifest_table", "a table or a file is named twice.")
    missing = [table for table in feed.tables if table not in tables]
    if missing:
        raise refuse("manifest_table", f"no file for {', '.join(missing)}.", count=len(missing))
    return tuple(sorted(files, key=lambda file: file.table))


def source_sha256(files: Mapping[str, str | None]) -> str:
    """The identity of what was delivered: sha256 over the sorted lines ``file sha256``; ``-`` for no plain file."""
    lines = sorted(f"{name} {digest or '-'}\n" for name, digest in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
