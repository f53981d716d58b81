"""Ports of the local services: on this machine only, chosen once and remembered.

A port comes from below the range that Linux uses for outgoing connections, so that none of those can take it
while a service is down, and is derived from the installation's folder: two installations on one machine do
not meet, and one that was made afresh is found at its old address.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator

from peel.errors import ConfigurationError
from peel.settings import Settings

HOST = "127.0.0.1"
_FIRST, _COUNT = 20000, 10000
_TRIES = 5


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers themselves do
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def candidates(
    settings: Settings,
    service: str,
    *,
    asked: int | None,
    variable: str,
    last: int | None,
    say: Callable[[str], None],
) -> Iterator[int]:
    """Yield free ports to try: only the one asked for if there is one, else the last one, else others.

    Args:
        settings: the installation.
        service: its name, as a person reads it.
        asked: the port that the environment asks for.
        variable: the variable that asks for it.
        last: the port used last time.
        say: takes one line if the last port cannot be had again.

    Raises:
        ConfigurationError: the port asked for is taken.
    """
    if asked is not None:
        if not is_free(asked):
            raise ConfigurationError(
                f"Port {asked} ({variable}) is taken by another program.",
                do="End that program, or give another port, or none.",
            )
        yield asked
        return
    if last is not None and is_free(last):
        yield last
    first = int(hashlib.sha256(f"{service} {settings.var}".encode()).hexdigest(), 16)
    free = (port for step in range(_COUNT) if (port := _FIRST + (first + 7 * step) % _COUNT) != last and is_free(port))
    for tried, port in zip(range(_TRIES), free, strict=False):
        if tried == 0 and last is not None:
            say(f"Port {last} is taken by another program: {service} goes to {port}")
        yield port
