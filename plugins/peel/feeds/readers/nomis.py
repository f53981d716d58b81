"""Census tables as Nomis hands them out: wide from the bulk download, long from its API.

Both become canonical long rows: a census year, an area, the categories' codes and labels, a value and its
status. A label is the publisher's word for a category, and the only thing that says what a column holds:
one that the contract does not name, or that has gone, refuses the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from peel.errors import ConfigurationError
from peel.feeds.readers import delimited
from peel.feeds.readers.layout import NUMERIC, Numbers, check_options, listed, text_mapping
from peel.feeds.readers.table import Options, Table, UnreadableFile, from_rows

ANONYMOUS_CAP = 25_000
"""Rows after which Nomis stops without a word for those who have no key."""

_FILE = delimited.OPTIONS - NUMERIC
_COMMON = frozenset({"censusYear", "select", "totals", "mergedAreas"})
WIDE_OPTIONS = (
    _FILE
    | _COMMON
    | (NUMERIC - {"numericColumns"})
    | {"categories", "labelPrefix", "labelSuffix", "areaColumn", "dimensions", "leaveOut", "suppressed"}
)
API_OPTIONS = _FILE | _COMMON | {"dimensions"}


@dataclass(frozen=True)
class _Canonical:
    """What both layouts say about a row besides its categories."""

    year: str | None
    select: tuple[str, ...]
    totals: frozenset[str] | None
    merged: Mapping[str, str] | None

    @classmethod
    def of(cls, reader: str, options: Options) -> _Canonical:
        year = options.get("censusYear")
        if year is not None and not isinstance(year, int):
            raise ConfigurationError(f"reader {reader}: censusYear is a year.")
        return cls(
            year=None if year is None else str(year),
            select=tuple(listed(options.get("select"))),
            totals=frozenset(listed(options["totals"])) if "totals" in options else None,
            merged=text_mapping(reader, options, "mergedAreas") if "mergedAreas" in options else None,
        )

    def header(self, categories: Sequence[str]) -> list[str]:
        return [
            "census_year",
            "area_code",
            *categories,
            *([] if self.totals is None else ["is_total"]),
            *([] if self.merged is None else ["merged_with"]),
            "obs_value",
            "obs_status",
        ]

    def wants(self, area: str) -> bool:
        return not self.select or area.startswith(self.select)

    def extras(self, area: str, codes: Sequence[str]) -> list[str]:
        extras = []
        if self.totals is not None:
            extras.append("Y" if self.totals.intersection(codes) else "N")
        if self.merged is not None:
            extras.append(self.merged.get(area, ""))
        return extras


def _labels(missing: Sequence[str], unknown: int) -> UnreadableFile:
    parts = [f"{unknown} labels are not among the contract's"] if unknown else []
    parts += [f"missing are: {', '.join(missing)}"] if missing else []
    return UnreadableFile("label_set", f"{'; '.join(parts)}.", len(missing) + unknown)


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[list[str]]:
    for found in batches:
        yield from map(list, zip(*(column.to_pylist() for column in found.columns), strict=True))


def _place(header: Sequence[str], column: str) -> int:
    if column not in header:
        raise UnreadableFile("header", f"columns are missing: {column}.", 1)
    return header.index(column)


# Wide


@dataclass(frozen=True)
class _Kept:
    """A column that is a dimension of its own beside the categories, such as sex."""

    place: int
    codes: Mapping[str, str] | None
    recode: Mapping[str, str]


def nomis_wide(stream: BinaryIO, options: Options) -> Table:
    """Read a wide table: a row for each area, a column for each category.

    Gives ``census_year, area_code, [dimensions], category_code, category_label, [is_total],
    [merged_with], obs_value, obs_status``; a suppressed value is empty with status ``Q``, never nought.

    Args:
        stream: the file's bytes.
        options: those of :func:`peel.feeds.readers.delimited.read_csv` and those of ``docs/readers.md``.

    Raises:
        UnreadableFile: as for CSV; or ``label_set``, where the columns' labels are not the contract's.
        ConfigurationError: an option is unknown or makes no sense.
    """
    check_options("nomis_wide", options, WIDE_OPTIONS)
    canonical = _Canonical.of("nomis_wide", options)
    categories = text_mapping("nomis_wide", options, "categories")
    if not categories:
        raise ConfigurationError("reader nomis_wide: categories must map labels to codes.")
    file = delimited.read_csv(stream, {name: value for name, value in options.items() if name in _FILE})
    area = _place(file.header, options.get("areaColumn", "geography code"))
    date = _place(file.header, "date") if canonical.year is None else None
    kept: dict[str, _Kept] = {}
    for entry in listed(options.get("dimensions")):
        codes = text_mapping("nomis_wide", entry, "codes") if "codes" in entry else None
        recode = text_mapping("nomis_wide", entry, "recode")
        kept[entry["name"]] = _Kept(_place(file.header, entry["column"]), codes, recode)
    left_out = frozenset(listed(options.get("leaveOut", ["geography", "date"])))
    other = {area, *(one.place for one in kept.values())} | ({date} if date is not None else set())
    places: dict[str, int] = {}
    unknown = 0
    for place, name in enumerate(file.header):
        if place in other or name in left_out:
            continue
        label = name.removeprefix(options.get("labelPrefix", "")).removesuffix(options.get("labelSuffix", ""))
        if label not in categories or label in places:
            unknown += 1
        places[label] = place
    missing = [label for label in categories if label not in places]
    if unknown or missing:
        raise _labels(missing, unknown)
    written = {name: value for name, value in options.items() if name in NUMERIC}
    numbers = Numbers(written | {"numericColumns": list(categories)}) if written else None
    suppressed = frozenset(["", *listed(options.get("suppressed"))])

    def rows() -> Iterator[list[str]]:
        count = strange = 0
        for row in _rows(file.batches()):
            count += 1
            if not canonical.wants(row[area]):
                continue
            year = row[date] if date is not None else canonical.year or ""
            dimensions = []
            for one in kept.values():
                value = row[one.place]
                if one.codes is not None and value not in one.codes:
                    strange += 1
                dimensions.append((one.codes or one.recode).get(value, value))
            for label, code in categories.items():
                value = row[places[label]]
                if value.strip() in suppressed:
                    value, status = "", "Q"
                else:
                    value, status = numbers.plain(value) if numbers else value, "A"
                extras = canonical.extras(row[area], [*dimensions, code])
                yield [year, row[area], *dimensions, code, label, *extras, value, status]
        if strange:
            raise _labels([], strange)
        table.source_rows = count

    table = from_rows(canonical.header([*kept, "category_code", "category_label"]), rows(), file.notes)
    return table


# Long


@dataclass(frozen=True)
class _Dimension:
    """A dimension of the API's rows: a code column, a label column, and what the contract knows of them."""

    name: str
    column: str
    labels: Mapping[str, str]
    codes: Mapping[str, str]
    left_out: frozenset[str]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _Dimension:
        if not isinstance(entry.get("column"), str) or not isinstance(entry.get("name"), str):
            raise ConfigurationError("reader nomis_api: a dimension has a column and a name.")
        labels = text_mapping("nomis_api", entry, "labels")
        if not labels:
            raise ConfigurationError(f"reader nomis_api: dimension {entry['name']} must map labels to codes.")
        return cls(
            name=entry["name"],
            column=entry["column"].upper(),
            labels=labels,
            codes=text_mapping("nomis_api", entry, "codes"),
            left_out=frozenset(listed(entry.get("leaveOut"))),
        )


def nomis_api(stream: BinaryIO, options: Options) -> Table:
    """Read the API's long CSV: a row for each area and combination of categories.

    Gives ``census_year, area_code, <name>_code, <name>_label …, [is_total], [merged_with], obs_value,
    obs_status``. An observation with status ``Q``, or without a value, is empty with status ``Q``, never
    nought.

    Args:
        stream: the file's bytes.
        options: those of :func:`peel.feeds.readers.delimited.read_csv` and those of ``docs/readers.md``.

    Raises:
        UnreadableFile: as for CSV; ``label_set``; or ``record_count``, where the answer was cut off.
        ConfigurationError: an option is unknown or makes no sense.
    """
    check_options("nomis_api", options, API_OPTIONS)
    canonical = _Canonical.of("nomis_api", options)
    dimensions = [_Dimension.of(entry) for entry in listed(options.get("dimensions"))]
    if not dimensions:
        raise ConfigurationError("reader nomis_api: dimensions must be named.")
    file = delimited.read_csv(stream, {name: value for name, value in options.items() if name in _FILE})
    header = [name.upper() for name in file.header]
    area, value_at = _place(header, "GEOGRAPHY_CODE"), _place(header, "OBS_VALUE")
    status_at = header.index("OBS_STATUS") if "OBS_STATUS" in header else None
    total_at = header.index("RECORD_COUNT") if "RECORD_COUNT" in header else None
    date = _place(header, "DATE") if canonical.year is None else None
    places = [(_place(header, one.column), _place(header, f"{one.column}_NAME")) for one in dimensions]

    def rows() -> Iterator[list[str]]:
        count = unknown = 0
        announced: set[str] = set()
        seen: list[set[str]] = [set() for _ in dimensions]
        for row in _rows(file.batches()):
            count += 1
            if total_at is not None:
                announced.add(row[total_at])
            codes, texts, left_out = [], [], False
            for at, (one, (code_at, name_at)) in enumerate(zip(dimensions, places, strict=True)):
                label = row[name_at]
                if label in one.left_out:
                    left_out = True
                    continue
                code = one.labels.get(label)
                if code is None or (one.codes and one.codes.get(row[code_at]) != code):
                    unknown += 1
                    left_out = True
                    continue
                seen[at].add(label)
                codes.append(code)
                texts += [code, label]
            if left_out or not canonical.wants(row[area]):
                continue
            value, status = row[value_at], row[status_at] if status_at is not None else "A"
            if status == "Q" or not value.strip():
                value, status = "", "Q"
            year = row[date] if date is not None else canonical.year or ""
            yield [year, row[area], *texts, *canonical.extras(row[area], codes), value, status]
        _check_whole(count, announced)
        missing = [label for one, labels in zip(dimensions, seen, strict=True) for label in one.labels.keys() - labels]
        if unknown or missing:
            raise _labels(sorted(missing), unknown)
        table.source_rows = count

    names = [name for one in dimensions for name in (f"{one.name}_code", f"{one.name}_label")]
    table = from_rows(canonical.header(names), rows(), file.notes)
    return table


def _check_whole(count: int, announced: set[str]) -> None:
    if announced and announced != {str(count)}:
        raise UnreadableFile("record_count", f"it has {count} rows, and RECORD_COUNT announces another number.", count)
    if not announced and count == ANONYMOUS_CAP:
        what = (
            f"it has exactly the {ANONYMOUS_CAP} rows after which Nomis stops, and no RECORD_COUNT to say it is whole."
        )
        raise UnreadableFile("record_count", what, count)
