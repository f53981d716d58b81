"""Shapes of direct identifiers, searched for in every field that is not one.

A column shift, a free-text field or a vendor's new habit must not carry a National Insurance
number, an e-mail address, a telephone number or a full postcode into the landing store.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

_EDGE, _END = r"(?<![^\W_])", r"(?![^\W_])"  # word boundaries that count "_" as a boundary

SHAPES: dict[str, re.Pattern[str]] = {
    "ni_number": re.compile(rf"{_EDGE}[a-z]{{2}}[ .-]?(?:\d{{2}}[ .-]?){{3}}[a-d]{_END}", re.I),
    "email": re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+\.[^\W\d_]{2,}"),
    "phone": re.compile(
        rf"{_EDGE}(?:(?:\+|00) ?44[ ().-]{{0,3}}(?:\(?0\)?)?|\(?0)[ ().-]{{0,2}}[1-9](?:[ ().-]{{0,2}}\d){{8,9}}(?!\d)"
    ),
    "postcode": re.compile(rf"{_EDGE}[a-z]{{1,2}}\d[a-z\d]?[ ]{{0,2}}\d[a-z]{{2}}{_END}", re.I),
}

_ANY = re.compile(r"\d|@")  # no shape without one of these: the quick way out

_CLOSED: tuple[tuple[str, str], ...] = (
    (r"^uuid$", r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    (r"^date$", r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    (
        r"^timestamp",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?",
    ),
    (r"^(smallint|integer|bigint)$", r"-?(0|[1-9][0-9]{0,9})"),
    # at most ten digits, point or no point
    (
        r"^numeric",
        "-?(" + "|".join(rf"(0|[1-9][0-9]{{0,{9 - d}}})\.[0-9]{{{d}}}" for d in range(1, 10)) + "|(0|[1-9][0-9]{0,9}))",
    ),
)


def closed_form(type_: str, values: tuple[str, ...] | None) -> Callable[[pa.StringArray], pa.StringArray]:
    """What is left of a column without the values that cannot hide an identifier.

    Such a value is empty, or wholly a date, number, uuid or listed code.

    Args:
        type_: the column's PostgreSQL type.
        values: its listed codes, or ``None``.
    """
    if values is not None:
        listed = pa.array(["", *values], pa.string())
        return lambda column: column.filter(pc.invert(pc.is_in(column, listed)))
    for of_type, form in _CLOSED:
        if re.match(of_type, type_):
            whole = f"^({form})?$"
            return lambda column: column.filter(pc.invert(pc.match_substring_regex(column, whole)))
    return lambda column: column.filter(pc.not_equal(column, ""))


def identifier_shape(value: str) -> str | None:
    """The name of the first identifier shape found in a value, or ``None``."""
    if not value.isascii():
        value = unicodedata.normalize("NFKC", value)
    if not _ANY.search(value):
        return None
    for name, shape in SHAPES.items():
        if shape.search(value):
            return name
    return None
