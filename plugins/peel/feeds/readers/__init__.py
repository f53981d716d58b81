"""Readers: from a file of some layout to a header and batches of text columns. A contract names its reader."""

from __future__ import annotations

from peel.feeds.readers.delimited import read_delimited
from peel.feeds.readers.table import Reader, Table, UnreadableFile

READERS: dict[str, Reader] = {"csv": read_delimited}

__all__ = ["READERS", "Reader", "Table", "UnreadableFile"]
