"""Hand-made deliveries for tests: a folder of CSV files with a manifest that is true unless told otherwise."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

Row = Mapping[str, object]


def csv_bytes(rows: Sequence[Row], header: Sequence[str] | None = None) -> bytes:
    """Rows as CSV with a header and LF line ends."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(header or rows[0]), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def deliver(
    sources: Path,
    feed: str,
    date: str,
    tables: Mapping[str, bytes | Sequence[Row]],
    *,
    seq: int = 1,
    mode: str = "full",
    claims: Mapping[str, Any] | None = None,
    watermarks: tuple[str | None, str | None] = (None, None),
) -> Path:
    """Drop one delivery.

    Args:
        sources: the source drop.
        feed: its feed.
        date: its business date.
        tables: rows, or a file's bytes, by table.
        seq: its number for the date.
        mode: full or delta.
        claims: what the manifest says otherwise than it is.
        watermarks: from and to.
    """
    folder = sources / feed / date / str(seq)
    folder.mkdir(parents=True)
    files = []
    for table, content in tables.items():
        data = content if isinstance(content, bytes) else csv_bytes(content)
        name = f"{table}_{date.replace('-', '')}_{seq}.csv"
        (folder / name).write_bytes(data)
        rows = max(0, data.decode("utf-8", "replace").count("\n") - 1)
        files.append({"file": name, "table": table, "sha256": hashlib.sha256(data).hexdigest(), "rows": rows})
    next_day = dt.date.fromisoformat(date) + dt.timedelta(days=1)
    manifest = {
        "feed": feed,
        "business_date": date,
        "seq": seq,
        "schema_version": "1.0.0",
        "mode": mode,
        "extract_ts": f"{next_day}T00:30:00+00:00",
        "watermark_from": watermarks[0],
        "watermark_to": watermarks[1],
        "files": files,
    }
    manifest |= dict(claims or {})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def landed_text(path: Path) -> str:
    """What a landed table holds."""
    with path.open("rb") as file, pa.CompressedInputStream(file, "zstd") as packed:
        return packed.read().decode()
