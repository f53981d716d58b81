"""What several readers share: options, header cells, and numbers written for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from peel.errors import ConfigurationError
from peel.feeds.readers.table import Options, UnreadableFile

NUMERIC = frozenset({"numericColumns", "thousands", "decimal", "zero", "whole"})
HEADER = frozenset({"headerRows", "tidyHeader", "headerNotes", "numberRepeats"})

_SPACE = re.compile(r"\s+")


def check_options(reader: str, options: Options, known: frozenset[str]) -> None:
    """Refuse options that a reader does not know: a misspelt one would silently do nothing.

    Raises:
        ConfigurationError: naming the options.
    """
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigurationError(f"reader {reader}: readerOptions knows no {', '.join(unknown)}.")


def listed(value: Any) -> list[Any]:
    """An option that is one value or a list of them, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def whole_number(reader: str, options: Options, name: str, default: int, least: int = 0) -> int:
    """An option that is a whole number.

    Raises:
        ConfigurationError: it is none, or below ``least``.
    """
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(f"reader {reader}: {name} must be a whole number of at least {least}.")
    return value


def headings(rows: Sequence[Sequence[str]], options: Options) -> list[str]:
    """Column names from one or several header rows.

    With several, an empty cell takes the text to its left, as a merged heading is delivered, in every
    row but the last; the rows' texts are joined by a space.

    Args:
        rows: the header's rows, all as long as the longest.
        options: ``tidyHeader`` makes one space of every run of white space, line breaks included, and
            trims; ``headerNotes`` is a pattern cut out of every name (a footnote's mark);
            ``numberRepeats`` calls the second column of a name "name (2)" and so on.
    """
    width = max((len(row) for row in rows), default=0)
    parts: list[list[str]] = [[] for _ in range(width)]
    for level, row in enumerate(rows):
        left = ""
        for place in range(width):
            cell = row[place] if place < len(row) else ""
            if cell.strip():
                left = cell
            elif level < len(rows) - 1:
                cell = left
            parts[place].append(cell)
    names = [" ".join(part for part in column if part.strip()) if len(rows) > 1 else column[0] for column in parts]
    if "headerNotes" in options:
        names = [re.sub(options["headerNotes"], "", name) for name in names]
    if options.get("tidyHeader"):
        names = [_SPACE.sub(" ", name).strip() for name in names]
    if options.get("numberRepeats"):
        seen: dict[str, int] = {}
        for place, name in enumerate(names):
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                names[place] = f"{name} ({seen[name]})"
    return names


class Numbers:
    """Numbers written for people, made plain: ``" 87.761 "`` with a dot for thousands is ``"87761"``.

    Only the columns a contract names are touched, and of their values only those that are wholly a
    number in the declared writing; anything else stays as delivered, for the gate to find.

    Args:
        options: ``numericColumns``, ``thousands``, ``decimal``, ``zero`` (texts that mean nought) and
            ``whole`` (``"8584.0"`` is ``"8584"``).
    """

    def __init__(self, options: Options) -> None:
        self.columns: list[str] = listed(options.get("numericColumns"))
        if not self.columns and NUMERIC & set(options):
            raise ConfigurationError("readerOptions says how numbers are written, and names no numericColumns.")
        self._thousands = str(options.get("thousands", ""))
        self._decimal = str(options.get("decimal", "."))
        self._zero = frozenset(str(text).strip() for text in listed(options.get("zero")))
        self._whole = bool(options.get("whole", False))
        grouped = rf"\d{{1,3}}(?:{re.escape(self._thousands)}\d{{3}})+|" if self._thousands else ""
        self._form = re.compile(rf"([+-]?)({grouped}\d+)(?:{re.escape(self._decimal)}(\d+))?", re.ASCII)

    def plain(self, value: str) -> str:
        """The value as digits with a point, or as delivered where it is no number."""
        text = value.strip()
        if text in self._zero:
            return "0"
        found = self._form.fullmatch(text)
        if found is None:
            return value
        sign, digits, fraction = found.groups()
        if self._thousands:
            digits = digits.replace(self._thousands, "")
        if fraction and not (self._whole and not fraction.strip("0")):
            digits = f"{digits}.{fraction}"
        return f"{'-' if sign == '-' else ''}{digits}"

    def places(self, header: Sequence[str]) -> list[int]:
        """Where the numeric columns stand in a header.

        Raises:
            UnreadableFile: one of them is missing; by the contract's name for it.
        """
        missing = [column for column in self.columns if column not in header]
        if missing:
            raise UnreadableFile("header", f"columns are missing: {', '.join(missing)}.", len(missing))
        named = frozenset(self.columns)
        return [place for place, name in enumerate(header) if name in named]

    def apply(self, header: Sequence[str], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, with the numeric columns made plain."""
        places = self.places(header)
        return self._applied(places, batches) if places else batches

    def _applied(self, places: Sequence[int], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for found in batches:
            columns = list(found.columns)
            for place in places:
                values: list[Any] = columns[place].to_pylist()
                columns[place] = pa.array([self.plain(value) for value in values], pa.string())
            yield pa.RecordBatch.from_arrays(columns, names=found.schema.names)


def text_mapping(reader: str, options: Mapping[str, Any], name: str) -> dict[str, str]:
    """An option that maps texts to texts.

    Raises:
        ConfigurationError: it does not; YAML reads a bare ``0`` as a number and ``NO`` as no text.
    """
    found = options.get(name) or {}
    if not isinstance(found, Mapping) or not all(isinstance(part, str) for pair in found.items() for part in pair):
        raise ConfigurationError(f"reader {reader}: {name} must map quoted texts to quoted texts.")
    return dict(found)
