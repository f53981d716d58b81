"""Columns of text: days, moments, codes and numbers as the sources write them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peel.simulate.days import DAY_SECONDS, OPEN, date_of, utc_seconds
from peel.simulate.draws import Ints

Column = list[str]
Table = dict[str, Column]
_EARLIEST, _LATEST = -20_000, 50_000
_OPENING, _CLOSING = 8 * 3600, 20 * 3600
"""Rows are typed in from eight in the morning to eight in the evening, London time."""
WORKING_SECONDS = _CLOSING - _OPENING


@cache
def _dates() -> NDArray[Any]:
    return np.array([date_of(day).isoformat() for day in range(_EARLIEST, _LATEST)], dtype=object)


@cache
def _times() -> NDArray[Any]:
    seconds = range(DAY_SECONDS)
    return np.array([f"T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in seconds], dtype=object)


def days(values: NDArray[Any], *, show: NDArray[np.bool_] | None = None) -> Column:
    """ISO dates, empty where not shown; the end of time as 4712-12-31."""
    values = values.astype(np.int64)
    known = values < _LATEST
    text = np.where(known, _dates()[np.where(known, values, 0) - _EARLIEST], date_of(OPEN).isoformat())
    return _shown(text, show)


def moments(values: NDArray[Any], seconds: Ints, *, show: NDArray[np.bool_] | None = None) -> Column:
    """ISO 8601 UTC timestamps of London days, the seconds counted from eight in the morning."""
    values = values.astype(np.int64)
    safe = values if show is None else np.where(show, values, 0)
    utc = utc_seconds(safe, _OPENING + seconds)
    text = _dates()[utc // DAY_SECONDS - _EARLIEST] + _times()[utc % DAY_SECONDS] + "+00:00"
    return _shown(text, show)


def local_moments(values: NDArray[Any], seconds: Ints) -> Column:
    """The same as London's clocks show them, without a zone."""
    text = _dates()[values.astype(np.int64) - _EARLIEST] + _times()[_OPENING + seconds]
    return [str(value) for value in text.tolist()]


def _shown(text: NDArray[Any], show: NDArray[np.bool_] | None) -> Column:
    column = text if show is None else np.where(show, text, "")
    return [str(value) for value in column.tolist()]


def codes(names: Sequence[str], positions: NDArray[Any]) -> Column:
    """The name at each position."""
    return list(np.array(names, dtype=object)[positions].tolist())


def numbers(values: NDArray[Any], *, show: NDArray[np.bool_] | None = None) -> Column:
    """Integers in digits, empty where not shown."""
    text = list(map(str, values.tolist()))
    return text if show is None else [v if s else "" for v, s in zip(text, show.tolist(), strict=True)]


def thousandths(values: NDArray[Any]) -> Column:
    """Thousandths as decimals with three places."""
    known = {int(v): f"{int(v) // 1000}.{int(v) % 1000:03d}" for v in np.unique(values)}
    return [known[v] for v in values.tolist()]


def uuids(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> Column:
    """Version 4 UUIDs of two 64-bit draws each."""
    words = np.empty((len(high), 2), dtype=">u8")
    words[:, 0] = (high & np.uint64(0xFFFFFFFFFFFF0FFF)) | np.uint64(0x4000)
    words[:, 1] = (low & np.uint64(0x3FFFFFFFFFFFFFFF)) | np.uint64(0x8000000000000000)
    text = words.tobytes().hex()
    return [
        f"{text[i : i + 8]}-{text[i + 8 : i + 12]}-{text[i + 12 : i + 16]}"
        f"-{text[i + 16 : i + 20]}-{text[i + 20 : i + 32]}"
        for i in range(0, 32 * len(high), 32)
    ]
