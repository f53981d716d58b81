"""The plain form of each type: what a delivered text must look like to be a value, and its one spelling.

PostgreSQL takes ``today`` for a date and ``0x1F`` for a number, and rounds what does not fit. A delivered
text is a value of its type only in the type's plain form, whatever else the server would take; so what a
delivery means does not depend on the day it is read. The one spelling is what row hashes are made of.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_DIGITS = {"smallint": 4, "integer": 9, "bigint": 18}
_FORMS = {
    **{type_: f"-?[0-9]{{1,{digits}}}" for type_, digits in _DIGITS.items()},
    "uuid": "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "date": _DAY,
    "timestamptz": f"{_DAY}[T ]{_CLOCK}(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)",
    "timestamp": f"{_DAY}[T ]{_CLOCK}",
}


def form(type_: str) -> str | None:
    """The regular expression of a type's plain form, as PostgreSQL and Arrow both read it; ``None`` for any text.

    Args:
        type_: a PostgreSQL type as a contract writes it.
    """
    numeric = _NUMERIC.fullmatch(type_)
    if numeric is None:
        return _FORMS.get(type_)
    whole, fraction = int(numeric[1]) - int(numeric[2]), int(numeric[2])
    digits = f"[0-9]{{1,{whole}}}" if whole else "0"
    return f"-?{digits}" + (rf"(\.[0-9]{{1,{fraction}}})?" if fraction else "")


def spelled(type_: str, values: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray]:
    """The one spelling of each value.

    Returns:
        The spellings, a text that is no value of the type as it stands; and the same with null for such a text.
    """
    pattern = form(type_)
    if pattern is None:
        return values, values
    try:
        made = _spelled(type_, values)
        if _is_plain(type_, values, made) or _all(pc.match_substring_regex(values, f"^({pattern})$")):
            return made, made
    except pa.ArrowInvalid:
        pass
    raw = values.to_pylist()
    fit = [_one(type_, pattern, value) for value in raw]
    anyhow = [old if new is None else new for new, old in zip(fit, raw, strict=True)]
    return pa.array(anyhow, pa.string()), pa.array(fit, pa.string())


def _is_plain(type_: str, values: pa.StringArray, spellings: pa.StringArray) -> bool:
    """Whether every value is its own spelling, and so has the plain form; said more quickly than by the form."""
    if type_ == "uuid":  # any text has a spelling
        return False
    digits = _DIGITS.get(type_)
    if digits is not None and (pc.max(pc.binary_length(values)).as_py() or 0) > digits:
        return False
    return _all(pc.equal(values, spellings))


def _all(values: pa.BooleanArray) -> bool:
    return pc.all(values, min_count=0).as_py() is not False


def _one(type_: str, pattern: str, value: str | None) -> str | None:
    if value is None or not re.fullmatch(pattern, value):
        return None
    try:
        spelling: str = _spelled(type_, pa.array([value], pa.string()))[0].as_py()
    except pa.ArrowInvalid:
        return None
    return spelling


def _spelled(type_: str, values: pa.StringArray) -> pa.StringArray:
    if type_ == "uuid":
        return pc.ascii_lower(values)
    typed = _typed(type_, values)
    if type_ in ("timestamptz", "timestamp"):
        typed = typed.cast(pa.int64())
    return pc.cast(typed, pa.string())


def _typed(type_: str, values: pa.StringArray) -> pa.Array:
    """The values under an Arrow type.

    Raises:
        pa.ArrowInvalid: one of them is no value, such as the 30th of February.
    """
    if type_ in ("smallint", "integer", "bigint"):
        return pc.cast(values, pa.int64())
    if type_ == "date":
        _refuse_year_nought(values)
        return pc.cast(values, pa.date32())
    if type_ in ("timestamptz", "timestamp"):
        _refuse_year_nought(values)
        return pc.cast(values, pa.timestamp("us", "UTC" if type_ == "timestamptz" else None))
    numeric = _NUMERIC.fullmatch(type_)
    if numeric is not None:
        return pc.cast(values, pa.decimal128(int(numeric[1]), int(numeric[2])))
    return values


def _refuse_year_nought(values: pa.StringArray) -> None:
    if pc.any(pc.starts_with(values, "0000"), min_count=0).as_py():
        raise pa.ArrowInvalid("there is no year 0000")
