"""Writing a delivery: CSV files and their manifest, whole or not at all."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from peel.simulate.text import Column, Table

SEQUENCE = 1
SCHEMA_VERSION = "1.0.0"
MANIFEST = "manifest.json"
_FREE_TEXT = ("full_name", "org_name", "title", "name")


def csv_bytes(table: Table) -> bytes:
    """A table as RFC 4180 CSV with a header, LF and UTF-8."""
    columns = [_quoted(column) if name in _FREE_TEXT else column for name, column in table.items()]
    lines = [",".join(table), *map(",".join, zip(*columns, strict=True)), ""]
    return "\n".join(lines).encode()


def _quoted(column: Column) -> Column:
    """The values, those that need it in quotes."""
    return [f'"{value.replace(chr(34), chr(34) * 2)}"' if set(value) & set(',"\n\r') else value for value in column]


def delivered(folder: Path) -> bool:
    """Whether a folder holds a delivery."""
    return (folder / MANIFEST).is_file()


def write_delivery(
    folder: Path,
    feed: str,
    business_date: dt.date,
    tables: Iterable[tuple[str, Table]],
    about: dict[str, Any],
) -> Path:
    """Write a delivery's files into its folder, in one move.

    Args:
        folder: ``<target>/<feed>/<business_date>/<seq>``; must not exist yet.
        feed: the feed's name.
        business_date: the night.
        tables: names and tables, each a dict of equally long columns of text.
        about: what else the manifest says: mode, extract_ts, watermarks.

    Returns:
        The folder.
    """
    partial = folder.parent / f".{folder.name}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    files = [_write_table(partial, business_date, name, table) for name, table in tables]
    manifest = {
        "feed": feed,
        "business_date": business_date.isoformat(),
        "seq": SEQUENCE,
        "schema_version": SCHEMA_VERSION,
        **about,
        "files": files,
    }
    _write(partial / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    _sync(partial)
    partial.rename(folder)
    _sync(folder.parent)
    return folder


def _write_table(folder: Path, business_date: dt.date, name: str, table: Table) -> dict[str, str | int]:
    file = f"{name}_{business_date:%Y%m%d}_{SEQUENCE}.csv"
    content = csv_bytes(table)
    _write(folder / file, content)
    rows = len(next(iter(table.values())))
    return {"file": file, "table": name, "sha256": hashlib.sha256(content).hexdigest(), "rows": rows}


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a folder's entries durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
