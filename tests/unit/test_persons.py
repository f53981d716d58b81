"""Identifiers of a person come line by line, and no line is ever shown."""

from __future__ import annotations

import pytest

from peel.desk.persons import identifiers
from peel.errors import PeelError


def test_a_kind_and_an_identifier_on_each_line() -> None:
    assert identifiers(["person_id 4711\n", "\n", "ni_number QQ 12 34 56 C\n"]) == [
        ("person_id", "4711"),
        ("ni_number", "QQ 12 34 56 C"),
    ]


@pytest.mark.parametrize("line", ["4711", "person_id  ", "email someone@example.invalid", "NI QQ123456C"])
def test_a_line_of_another_form_is_named_by_its_number(line: str) -> None:
    with pytest.raises(PeelError) as error:
        identifiers(["person_id 1", line])
    assert "line 2" in str(error.value)
    assert line not in str(error.value)
