"""Shapes of direct identifiers, searched for in every field that is not one.

A column shift, a free-text field or a vendor's new habit must not carry a National Insurance
number, an e-mail address, a telephone number or a full postcode into the landing store.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

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

_CLOSED: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile(r"^uuid$"), re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)),
    (re.compile(r"^date$"), re.compile(r"\d{4}-\d{2}-\d{2}")),
    (
        re.compile(r"^timestamp"),
        re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}(:?\d{2})?)?"),
    ),
    (re.compile(r"^(smallint|integer|bigint)$"), re.compile(r"-?(0|[1-9]\d{0,9})")),
    (re.compile(r"^numeric"), re.compile(r"-?(?=(\d\.?){1,10}$)(0|[1-9]\d*)(\.\d+)?")),
)


def closed_form(type_: str, values: tuple[str, ...] | None) -> Callable[[str], object]:
    """The test for a value that cannot hide an identifier: it wholly is a date, number, uuid or listed code.

    Args:
        type_: the column's PostgreSQL type.
        values: its listed codes, or ``None``.
    """
    if values is not None:
        return frozenset(values).__contains__
    for of_type, form in _CLOSED:
        if of_type.match(type_):
            return form.fullmatch
    return lambda _: None


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
