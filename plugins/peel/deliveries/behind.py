"""One step behind: while a batch is written, the next one is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_behind(write: Callable[[Any], None]) -> Iterator[Callable[[Any], None]]:
    """A function that has ``write`` called in another thread, in order, at most one call ahead of its own.

    What ``write`` raises is raised by the next call, or at the end.
    """
    last: list[Future[None]] = []

    def put(data: Any) -> None:
        if last:
            last.pop().result()
        last.append(pool.submit(write, data))

    with ThreadPoolExecutor(1, "peel-write") as pool:
        yield put
        if last:
            last.pop().result()
