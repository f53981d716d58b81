"""Streams of bytes that connectors give to landing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

BUFFER = 1 << 18


class Blocks(io.RawIOBase):
    """A stream over blocks of bytes as they come; ``release`` is called once, at the end or on closing."""

    def __init__(self, blocks: Iterator[bytes], release: Callable[[], None] = lambda: None) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")
        self._release: Callable[[], None] | None = release

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as the block at hand goes; 0 at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                self._finish()
                return 0
            self._rest = memoryview(block)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        """Release what the blocks come from."""
        if not self.closed:
            try:
                self._finish()
            finally:
                super().close()

    def _finish(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            close = getattr(self._blocks, "close", None)
            try:
                if close is not None:
                    close()
            finally:
                release()
