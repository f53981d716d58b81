"""Errors a person can act on: where, which rule, how many, what to do next. Never a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class PeelError(Exception):
    """One clear line about what went wrong.

    Args:
        what: the fault, in words, without any value from a file or table.
        feed: the feed concerned, if any.
        delivery: the delivery, as ``<business_date>/<seq>`` or its id.
        file: the file within the delivery.
        column: the column.
        rule: the name of the rule that was broken.
        count: how many rows (or files) broke it.
        do: what a person does next.
    """

    what: str
    feed: str | None = None
    delivery: str | None = None
    file: str | None = None
    column: str | None = None
    rule: str | None = None
    count: int | None = None
    do: str | None = None

    def __str__(self) -> str:
        """The one line, such as ``feed hr, delivery 2026-01-31/1, rule checksum: what. Do this.``."""
        where = [
            f"{name} {value}"
            for name, value in (
                ("feed", self.feed),
                ("delivery", self.delivery),
                ("file", self.file),
                ("column", self.column),
                ("rule", self.rule),
                ("count", self.count),
            )
            if value is not None
        ]
        line = f"{', '.join(where)}: {self.what}" if where else self.what
        return f"{line} {self.do}" if self.do else line


class DeliveryRefused(PeelError):
    """A delivery that must not be used; last night stands."""


class ConfigurationError(PeelError):
    """Something about this installation must be put right before Peel can work."""
