"""Invented feeds for the sources' tests, and what every connector's delivery must come to."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import itertools
import json
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from peel import contracts
from peel.contracts import Feed
from peel.feeds.manifest import MANIFEST
from peel.sources.base import Known, Offer, Source

DATE = dt.date(2026, 3, 10)
_numbers = itertools.count(1)


def yesterday() -> dt.date:
    return DATE


def feed(
    folder: Path,
    tables: Mapping[str, Mapping[str, str]],
    *,
    name: str = "hr",
    mode: str = "full",
    never: Sequence[str] = (),
    api: Mapping[str, str] | None = None,
) -> Feed:
    """A feed whose tables have these columns (name: type); a column whose name begins with ``*`` is the key.

    ``landed=source`` gives a column another name at the source.
    """
    folder = folder / f"contracts-{next(_numbers)}"
    for table, columns in tables.items():
        properties = []
        for place, (column, type_) in enumerate(columns.items(), 1):
            landed, _, source = column.lstrip("*").partition("=")
            key = {"primaryKey": True, "primaryKeyPosition": place, "required": True} if column[0] == "*" else {}
            custom = {"customProperties": [{"property": "sourceColumn", "value": source}]} if source else {}
            properties.append(
                {
                    "name": landed,
                    "logicalType": "string",
                    "physicalType": type_,
                    "classification": "internal",
                    "description": "Invented.",
                }
                | key
                | custom
            )
        values = {"mode": mode, "cadence": "nightly", "sourceKind": "simulated", "reader": "csv", "quarantineLimit": 0}
        document: dict[str, Any] = {
            "apiVersion": "v3.2.0",
            "kind": "DataContract",
            "id": table,
            "version": "1.2.0",
            "status": "active",
            "dataProduct": name,
            "schema": [
                {
                    "name": table,
                    "dataGranularityDescription": "one row",
                    "properties": properties,
                    "customProperties": [{"property": "neverLanded", "value": list(never)}],
                }
            ],
            "slaProperties": [{"property": "latency", "value": "03:00"}],
            "customProperties": [{"property": key, "value": value} for key, value in values.items()],
        }
        if api:
            document["servers"] = [{"server": "nomis", "type": "api", "location": api[table]}]
        path = folder / "deliveries" / name / f"{table}.odcs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document))
    return contracts.feed(folder, name)


def only(source: Source, of: Feed, known: Known | None = None) -> Offer:
    (offer,) = source.offers(of, known or Known())
    return offer


def read(source: Source, offer: Offer, file: str) -> bytes:
    with source.open(offer, file) as stream:
        return stream.read()


def whole(source: Source, offer: Offer) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A delivery's manifest and its files by table, each held against the manifest."""
    manifest = json.loads(read(source, offer, MANIFEST))
    tables = {}
    for entry in manifest["files"]:
        data = read(source, offer, entry["file"])
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert len(rows(data)) - 1 == entry["rows"]
        tables[entry["table"]] = data
    return manifest, tables


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


def shown(error: BaseException) -> str:
    """All that a log may come to show of an error."""
    return "".join(traceback.format_exception(error)) + str(error) + repr(error)
