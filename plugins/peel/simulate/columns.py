"""Growing tables of integer columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peel.simulate.draws import Ints


class Columns:
    """A table of equally long integer columns that grows at its end.

    Args:
        columns: name to numpy type, such as ``birth_day="int32"``.
    """

    def __init__(self, **columns: str) -> None:
        self._length = 0
        self._data: dict[str, NDArray[Any]] = {name: np.zeros(1024, dtype=kind) for name, kind in columns.items()}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A view of one column: what is assigned into it stays."""
        return self._data[name][: self._length]

    def all(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every column's name and view."""
        return ((name, self[name]) for name in self._data)

    def replace(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take over whole columns, equally long and of the types declared.

        Raises:
            ValueError: they are not.
        """
        kinds = {name: column.dtype for name, column in self._data.items()}
        if {name: column.dtype for name, column in columns.items()} != kinds or len(
            set(map(len, columns.values()))
        ) > 1:
            raise ValueError("columns differ")
        self._data = dict(columns)
        self._length = len(next(iter(columns.values())))

    def append(self, count: int, **values: int | NDArray[Any]) -> Ints:
        """Add ``count`` rows; every column must be given. Returns the new rows' positions."""
        if values.keys() != self._data.keys():
            raise KeyError(f"columns differ: {sorted(values.keys() ^ self._data.keys())}")
        start, end = self._length, self._length + count
        for name, value in values.items():
            column = self._data[name]
            if end > len(column):
                larger = np.zeros(max(end, 2 * len(column)), dtype=column.dtype)
                larger[:start] = column[:start]
                self._data[name] = column = larger
            column[start:end] = value
        self._length = end
        return np.arange(start, end, dtype=np.int64)
