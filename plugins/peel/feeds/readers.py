"""Readers: from a file of some layout to a header and canonical rows of text.

A contract names its reader. A reader knows a layout and nothing else: no table, no rule.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIELD_LIMIT = 65_536


class UnreadableFile(Exception):
    """A file that is not of its reader's layout; ``rule`` and ``what`` say how, ``count`` how often."""

    def __init__(self, rule: str, what: str, count: int | None = None) -> None:
        super().__init__(what)
        self.rule = rule
        self.what = what
        self.count = count


class Rows:
    """A file opened by a reader.

    Attributes:
        header: column names as the source writes them.
        rows: iterator over the data rows, each a list of text, one field for each name in the header.
    """

    def __init__(self, header: list[str], rows: Iterator[list[str]], digest: Callable[[], str]) -> None:
        self.header = header
        self.rows = rows
        self._digest = digest

    def sha256(self) -> str:
        """Hex sha256 of the bytes read; of the whole file once the rows are used up."""
        return self._digest()


class _Hashing(io.RawIOBase):
    """Passes bytes through and hashes them, so that what was read is what is checked."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer) or 0
        self.sha256.update(memoryview(buffer)[:count])
        return count


@contextmanager
def open_csv(path: Path) -> Iterator[Rows]:
    """Read RFC 4180 CSV in UTF-8, with or without a byte order mark.

    Yields:
        The header, and rows with exactly as many fields as the header.

    Raises:
        UnreadableFile: the file is empty, not UTF-8, not CSV, or a row has too few or many fields.
    """
    csv.field_size_limit(FIELD_LIMIT)
    with path.open("rb", buffering=0) as raw:
        hashing = _Hashing(raw)
        text = io.TextIOWrapper(
            io.BufferedReader(hashing, buffer_size=1 << 20), encoding="utf-8-sig", errors="strict", newline=""
        )
        reader = csv.reader(text, strict=True)
        header = _guarded_next(reader)
        if header is None:
            raise UnreadableFile("file_not_empty", "it holds nothing, not even a header.")
        yield Rows(header, _rows(reader, len(header)), lambda: hashing.sha256.hexdigest())


def _rows(reader: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    ragged = 0
    while True:
        row = _guarded_next(reader)
        if row is None:
            break
        if len(row) == width:
            if not ragged:
                yield row
        elif row:  # a blank line is no row; csv gives it as []
            ragged += 1
    if ragged:
        raise UnreadableFile("field_count", f"rows do not have the header's {width} fields.", ragged)


def _guarded_next(reader: Iterator[list[str]]) -> list[str] | None:
    try:
        return next(reader, None)
    except UnicodeDecodeError:
        raise UnreadableFile("encoding", "it is not UTF-8 throughout.") from None
    except csv.Error as error:
        limit = "field larger than field limit" in str(error)
        what = f"a field is longer than {FIELD_LIMIT} characters." if limit else "it is not RFC 4180 CSV."
        raise UnreadableFile("field_size" if limit else "csv_layout", what) from None


READERS = {"csv": open_csv}
