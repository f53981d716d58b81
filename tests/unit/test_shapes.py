"""Shapes of direct identifiers are found wherever they hide; what cannot be one is left in peace."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peel.deliveries.shapes import closed_form, identifier_shape


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("QQ123456C", "ni_number"),
        ("seen: qq 12 34 56 c today", "ni_number"),
        ("ref_QQ123456C_x", "ni_number"),
        ("ＱＱ１２３４５６Ｃ", "ni_number"),
        ("write to robert.peel@example.invalid", "email"),
        ("07700 900123", "phone"),
        ("+44 7700 900123", "phone"),
        ("0044 (0)20 7946 0000", "phone"),
        ("(020) 7946 0000", "phone"),
        ("tel_07700900123", "phone"),
        ("lives at ZX15 4AB", "postcode"),
        ("zx154ab", "postcode"),
    ],
)
def test_an_identifier_is_found(text: str, shape: str) -> None:
    assert identifier_shape(text) == shape


@pytest.mark.parametrize(
    "text",
    ["", "North East Command Unit", "SO15", "PC2020-01", "2026-01-31", "1234567890", "0.625", "VENUE_12", "A1", "16+1"],
)
def test_plain_text_is_left_in_peace(text: str) -> None:
    assert identifier_shape(text) is None


@given(
    prefix=st.sampled_from("ABCEGHJKLMNOPRSTWXYZ"),
    second=st.sampled_from("ABCEGHJKLMNPRSTWXYZ"),
    digits=st.integers(0, 999_999),
    suffix=st.sampled_from("ABCD"),
    around=st.tuples(st.sampled_from(["", " ", "(", "note: ", "x_"]), st.sampled_from(["", " ", ")", ".", "_y"])),
    gaps=st.sampled_from(["", " ", "-"]),
)
def test_any_national_insurance_number_is_found(
    prefix: str, second: str, digits: int, suffix: str, around: tuple[str, str], gaps: str
) -> None:
    number = f"{digits:06d}"
    text = gaps.join([prefix + second, number[:2], number[2:4], number[4:], suffix])
    assert identifier_shape(around[0] + text + around[1]) is not None


@pytest.mark.parametrize(
    ("type_", "values", "value", "is_closed"),
    [
        ("date", None, "1980-01-31", True),
        ("date", None, "31/01/1980", False),
        ("timestamptz", None, "2026-01-31T00:30:00+00:00", True),
        ("uuid", None, "0f8fad5b-d9cb-469f-a165-70867728950e", True),
        ("bigint", None, "1234567890", True),
        ("bigint", None, "01234567890", False),
        ("bigint", None, "12345678901", False),
        ("numeric(6,3)", None, "0.625", True),
        ("numeric(6,3)", None, "07700900123", False),
        ("text", ("ACTIVE",), "ACTIVE", True),
        ("text", ("ACTIVE",), "active", False),
        ("text", None, "anything", False),
    ],
)
def test_a_closed_form_is_one_that_no_identifier_has(
    type_: str, values: tuple[str, ...] | None, value: str, is_closed: bool
) -> None:
    left = closed_form(type_, values)(pa.array([value], pa.string()))
    assert left.to_pylist() == ([] if is_closed else [value])
