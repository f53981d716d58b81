"""One spelling of each value, and hashes of rows made of them, held against plain Python value by value."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peel import contracts
from peel.deliveries.forms import form, spelled
from peel.deliveries.loading import row_key_and_hash
from tests.toys import contract

TYPES = ("smallint", "integer", "bigint", "numeric(6,3)", "numeric(3,3)", "date", "timestamptz", "timestamp", "uuid")
ODD = ["", " ", "-", "+5", "0x1F", "1e3", "007", "-0", "1.", ".5", "1.0000", "32768", "9" * 19, "2026-02-30", "today"]
ODD += ["0000-01-01", "2026-1-5", "2026-03-29T01:30:00", "2026-03-29 01:30", "2026-03-29T01:30:00+14:59", "infinity"]
ODD += ["2026-03-29T24:00:00Z", "A1B2", "\u0661\u0662", "1\n", "01:30", "NaN", "-1.5", "0.5", "12345.678"]


def fit(type_: str, value: str | None) -> str | None:
    """The spelling of a value in the plain form of its type."""
    if value is None or not re.fullmatch(form(type_) or ".*", value, re.ASCII):
        return None
    try:
        if type_ in ("smallint", "integer", "bigint"):
            return str(int(value))
        if type_ == "date":
            return dt.date.fromisoformat(value).isoformat()
        if type_.startswith("numeric"):
            number = Decimal(value)
            return f"{number if number else abs(number):.{type_[-2]}f}"
        if type_ == "uuid":
            return value.lower()
        text = re.sub(r"(\.\d+)", lambda part: f"{part[1]:0<7}", value)
        text = re.sub(r"([+-]\d\d)$", r"\1:00", text) if type_ == "timestamptz" else text
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    zone = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return str((zone - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1))


@pytest.mark.parametrize("type_", TYPES)
def test_a_value_has_one_spelling_whatever_stands_beside_it(type_: str) -> None:
    plain = st.from_regex(f"^({form(type_)})$".replace("$", r"\Z"), alphabet=st.characters(max_codepoint=127))
    texts = st.one_of(plain, plain, plain, st.none(), st.sampled_from(ODD))

    @settings(deadline=None)
    @given(st.one_of(st.lists(plain, max_size=6), st.lists(texts, max_size=6)))
    @example([None])
    @example(ODD)
    def holds(values: list[str | None]) -> None:
        anyhow, found = (array.to_pylist() for array in spelled(type_, pa.array(values, pa.string())))
        wanted = [fit(type_, value) for value in values]
        assert found == wanted
        assert anyhow == [
            value if spelling is None else spelling for value, spelling in zip(values, wanted, strict=True)
        ]

    holds()


NEW = "- {name: added, logicalType: string, physicalType: text, classification: internal, description: New.}"
NAMES = ("toy_id", "person_id", "ni_hash", "born", "amount", "code", "note")


def toy(folder: Path, extra: str) -> contracts.Contract:
    path = folder / "deliveries" / "toy" / "toy.odcs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(contract("toy", "toy", "full", extra=extra))
    return contracts.feed(folder, "toy").contracts[0]


def hashed(**parts: str | None) -> str:
    text = "".join(f"\x1f{name}={parts[name]}" for name in sorted(parts) if parts[name] is not None)
    return "\\x" + hashlib.sha256(text.encode()).digest()[:16].hex()


def test_rows_are_hashed_by_name_and_value_and_an_empty_new_column_changes_nothing(tmp_path: Path) -> None:
    narrow, wide = toy(tmp_path / "narrow", ""), toy(tmp_path / "wide", NEW)
    text = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.just('"\n,'))
    number = st.one_of(st.none(), st.sampled_from(["7", "-3", "007", "x"]))
    row = st.tuples(number, text, text, st.none(), st.one_of(st.none(), st.just("1.5")), text, text)

    @settings(deadline=None)
    @given(st.lists(row, min_size=1, max_size=5))
    @example([(None,) * 7, ("1", *(None,) * 6)])
    def holds(rows: list[tuple[str | None, ...]]) -> None:
        columns = {
            name: pa.array(column, pa.string()) for name, column in zip(NAMES, zip(*rows, strict=True), strict=True)
        }
        key, digest = row_key_and_hash(narrow, columns)
        ids = [fit("bigint", values[0]) for values in rows]
        amounts = [fit("numeric(6,2)", values[4]) for values in rows]
        assert key.to_pylist() == [None if toy_id is None else hashed(toy_id=toy_id) for toy_id in ids]
        assert digest.to_pylist() == [
            hashed(**dict(zip(NAMES, values, strict=True)) | {"toy_id": toy_id or values[0], "amount": amount})
            for values, toy_id, amount in zip(rows, ids, amounts, strict=True)
        ]
        again = row_key_and_hash(wide, columns | {"added": pa.nulls(len(rows), pa.string())})
        assert again[0].equals(key)
        assert again[1].equals(digest)

    holds()
