"""Readers: from a file of some layout to a header and batches of text columns.

A contract names its reader and, in ``readerOptions``, what the reader must be told of the layout.
"""

from peel.feeds.readers.delimited import read_csv
from peel.feeds.readers.nomis import nomis_api, nomis_wide
from peel.feeds.readers.ods import ods_sheet
from peel.feeds.readers.table import FIELD_LIMIT, Options, Reader, Table, UnreadableFile

READERS: dict[str, Reader] = {
    "csv": read_csv,
    "nomis_wide": nomis_wide,
    "nomis_api": nomis_api,
    "ods_sheet": ods_sheet,
}

__all__ = ["FIELD_LIMIT", "READERS", "Options", "Reader", "Table", "UnreadableFile"]
