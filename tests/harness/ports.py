"""Ports for programs that must be told one, and for destinations where nobody listens."""

import contextlib
import socket
from secrets import randbelow


def free_port() -> int:
    """Return a port that nobody is given by chance before it is used: below those that the kernel hands out."""
    while True:
        port = 10_000 + randbelow(20_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
