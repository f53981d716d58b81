"""What becomes of a column on its way into the landing store, a batch of values at a time.

A value that is searched for shapes of identifiers once need not be searched again: closed forms are
tested by regular expressions over whole batches, and only what they leave over is looked at value by
value, each different value once.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from peel.contracts import Column
from peel.deliveries.pseudonyms import Keys, Overlap
from peel.deliveries.shapes import closed_form, identifier_shape

Counts = dict[tuple[str, str], int]
"""How many values a landing rule concerns, by (column, rule)."""

GIVEN = "identifier_given"
"""No rule of its own, but what ``identifier_form`` is a share of: values that ought to have a form."""

Conversion = Callable[[pa.StringArray], pa.StringArray]

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_WORTH_SEARCHING = r"[0-9@]|[^\x00-\x7f]"  # no shape of an identifier without one of these
_SEEN = 50_000  # values remembered per column as already searched


def conversion(column: Column, keys: Keys, counts: Counts, overlap: Overlap) -> Conversion:
    """The conversion of one landed column; what its rules find is added to ``counts``.

    While k_land changes, the token of the epoch before of each new one is added to ``overlap``.
    """
    if column.derived_from is not None:
        return _derived(column.derived_from[1])
    if column.identifier is not None:
        return _tokens(column, keys, counts, overlap)
    if column.postcode_sector:
        return _mapped(column.name, _sectors, counts)
    return _plain(column, counts)


def postcode_sector(postcode: str) -> str:
    """The sector of a full postcode (``E15 4AB`` gives ``E15 4``); empty where it is no postcode."""
    text = "".join(character for character in postcode.upper() if character.isalnum())
    if not 5 <= len(text) <= 7 or not text.isascii():
        return ""
    outward, inward = text[:-3], text[-3:]
    fits = inward[0].isdigit() and inward[1:].isalpha() and outward[0].isalpha() and any(map(str.isdigit, outward))
    return f"{outward} {inward[0]}" if fits else ""


def _add(counts: Counts, column: str, rule: str, count: int) -> None:
    if count:
        counts[column, rule] = counts.get((column, rule), 0) + count


def _tokens(column: Column, keys: Keys, counts: Counts, overlap: Overlap) -> Conversion:
    assert column.identifier is not None
    kind = column.identifier
    tokens = keys.landing_tokens(kind)
    before = keys.before
    if before is None:
        return _mapped(column.name, tokens, counts)
    old_tokens = before.landing_tokens(kind)

    def both(values: pa.StringArray) -> pa.StringArray:
        made = tokens(values)
        pairs = zip(made.to_pylist(), old_tokens(values).to_pylist(), strict=True)
        overlap.update(((kind, new), old) for new, old in pairs if new)
        return made

    return _mapped(column.name, both, counts)


def _sectors(values: pa.StringArray) -> pa.StringArray:
    different = values.dictionary_encode()
    return pa.array(map(postcode_sector, different.dictionary.to_pylist()), pa.string()).take(different.indices)


def _mapped(name: str, function: Conversion, counts: Counts) -> Conversion:
    """Apply a function that gives an empty text for what has not its form; blanks are none at all."""

    def convert(values: pa.StringArray) -> pa.StringArray:
        made = function(values)
        none = pc.equal(made, "")
        given = len(values)
        if pc.any(none, min_count=0).as_py():
            blank = pc.equal(pc.utf8_trim_whitespace(values), "")
            given -= pc.sum(blank).as_py() or 0
            _add(counts, name, "identifier_form", pc.sum(pc.and_not(none, blank)).as_py() or 0)
        _add(counts, name, GIVEN, given)
        return made

    return convert


def _derived(pattern: str) -> Conversion:
    form = re.compile(pattern, re.I)

    def convert(values: pa.StringArray) -> pa.StringArray:
        different = values.dictionary_encode()
        found = ["Y" if form.search(value) else "N" for value in different.dictionary.to_pylist()]
        return pa.array(found, pa.string()).take(different.indices)

    return convert


def _plain(column: Column, counts: Counts) -> Conversion:
    closed = closed_form(column.type, column.values)
    seen: set[str] = set()

    def convert(values: pa.StringArray) -> pa.StringArray:
        if column.open_end is not None:
            values = pc.if_else(pc.equal(values, column.open_end), "", values)
        left = closed(values)
        if not len(left):
            return values
        worth = pc.match_substring_regex(left, f"{_WORTH_SEARCHING}|{_CONTROL}")
        left = left.filter(worth)
        if not len(left):
            return values
        return _searched(values, left)

    def _searched(values: pa.StringArray, left: pa.StringArray) -> pa.StringArray:
        unfit: dict[str, str] = {}
        for value in pc.unique(left).to_pylist():
            if value in seen:
                continue
            rule = _unfit(value)
            if rule is None:
                if len(seen) >= _SEEN:
                    seen.clear()
                seen.add(value)
            else:
                unfit[value] = rule
        if not unfit:
            return values
        bad = pa.array(list(unfit), pa.string())
        for tally in pc.value_counts(values.filter(pc.is_in(values, bad))).to_pylist():
            _add(counts, column.name, unfit[tally["values"]], tally["counts"])
        return pc.if_else(pc.is_in(values, bad), "", values)

    return convert


def _unfit(value: str) -> str | None:
    shape = identifier_shape(value)
    if shape is not None:
        return f"identifier_shape_{shape}"
    return "control_characters" if re.search(_CONTROL, value) else None
