"""Forcing what was written to disk, so that a rename is the instant at which it exists."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Force a folder, or a file, to disk.

    Raises:
        OSError: it cannot be opened, or the disk refused.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
