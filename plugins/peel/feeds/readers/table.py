"""What a reader gives: a header, and batches of text columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

FIELD_LIMIT = 65_536  # characters of one field
BATCH_ROWS = 20_000

Options = Mapping[str, Any]
"""A contract's ``readerOptions``: what its reader must be told of the layout."""


class UnreadableFile(Exception):
    """A file that is not of its reader's layout; ``rule`` and ``what`` say how, ``count`` how often."""

    def __init__(self, rule: str, what: str, count: int | None = None) -> None:
        super().__init__(what)
        self.rule = rule
        self.what = what
        self.count = count


class Table:
    """A file opened by a reader.

    Attributes:
        header: column names as the source writes them, repeats included.
        notes: what the reader found worth telling and not worth refusing, such as
            ``{"encoding_cp1252": 1}``: rule and count.
        source_rows: the file's own data rows, once the batches are used up, where a reader gives more
            or fewer than it read; ``None`` where each row is one of the file's.
    """

    def __init__(self, header: Sequence[str], batches: Iterator[pa.RecordBatch], notes: dict[str, int]) -> None:
        self.header = list(header)
        self.notes = notes
        self.source_rows: int | None = None
        self._batches = batches

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The data rows: batches of text columns without nulls, in the header's order.

        Raises:
            UnreadableFile: the file is found unfit on the way.
        """
        return self._batches


class Reader(Protocol):
    """A reader knows a layout and nothing else: no table, no rule."""

    def __call__(self, stream: BinaryIO, options: Options) -> Table:
        """Open a stream of bytes; :class:`UnreadableFile` where it is not of the layout."""
        ...


def from_rows(header: Sequence[str], rows: Iterable[Sequence[str]], notes: dict[str, int] | None = None) -> Table:
    """A table from rows of text, each with one field for each name in the header."""
    return Table(header, _batches(len(header), rows), {} if notes is None else notes)


def batch(columns: Sequence[Sequence[str]]) -> pa.RecordBatch:
    """One batch from columns of text; columns are known by place, so repeated names do no harm."""
    return pa.RecordBatch.from_arrays(
        [pa.array(column, pa.string()) for column in columns], names=[str(place) for place in range(len(columns))]
    )


def _batches(width: int, rows: Iterable[Sequence[str]]) -> Iterator[pa.RecordBatch]:
    held: list[Sequence[str]] = []
    for row in rows:
        held.append(row)
        if len(held) == BATCH_ROWS:
            yield batch(list(zip(*held, strict=True)))
            held = []
    if held:
        yield batch(list(zip(*held, strict=True)))
    elif width == 0:
        raise UnreadableFile("file_not_empty", "it has no columns.")
