"""Happy Eyeballs (RFC 8305): the first of several addresses that accepts a TCP connection wins.

Owns the order, the stagger and the clean-up of losers. It is given judged addresses and dials exactly those; it never
resolves.
"""

import asyncio
import os
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address
from itertools import chain, zip_longest

from outward.core.addresses import Address

STAGGER = 0.25  # seconds, RFC 8305 5
MAX_ATTEMPTS = 6  # all begun within 1.5 s; RFC 8305 names no bound


def ordered(addresses: Iterable[Address], *, ipv6_first: bool) -> list[Address]:
    """Interleave the families (RFC 8305 4), and keep as many addresses as are tried at most."""
    families: tuple[list[Address], list[Address]] = ([], [])
    for address in addresses:
        families[isinstance(address, IPv6Address) != ipv6_first].append(address)
    mixed = chain.from_iterable(zip_longest(*families))
    return [address for address in mixed if address is not None][:MAX_ATTEMPTS]


async def connect_first(addresses: Sequence[Address], port: int) -> tuple[socket.socket, Address]:
    """Connect to the first address that accepts, starting another attempt whenever one fails or is slow.

    Args:
        addresses: judged addresses in the order of `ordered`, at least one.
        port: TCP port.

    Returns:
        A connected, non-blocking socket, which the caller closes, and the address that it is connected to.

    Raises:
        OSError: every address failed; the error of the first one.
    """
    race = _Race(addresses, port)
    race.start_next()
    try:
        return await race.won
    except asyncio.CancelledError:
        race.drop_winner()
        raise
    finally:
        race.close()


class _Race:
    """Attempts that run side by side, on callbacks: a task for each would double the cost of a dial."""

    def __init__(self, addresses: Sequence[Address], port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting = list(addresses)
        self._port = port
        self._running: dict[socket.socket, Address] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._error: OSError | None = None
        self.won: asyncio.Future[tuple[socket.socket, Address]] = self._loop.create_future()

    def start_next(self) -> None:
        """Start attempts until one is under way; when none is left and none runs, the race is lost."""
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting and not self.won.done():
            if self._start(self._waiting.pop(0)):
                if self._waiting:
                    self._timer = self._loop.call_later(STAGGER, self.start_next)
                return
        if not self._running and not self.won.done():
            self.won.set_exception(self._error or OSError("no address to dial"))

    def close(self) -> None:
        """Drop every attempt that has not won."""
        if self._timer is not None:
            self._timer.cancel()
        for sock in self._running:
            self._loop.remove_writer(sock)
            sock.close()
        self._running.clear()

    def drop_winner(self) -> None:
        """Close the connection of a race that was won too late to be used."""
        if self.won.done() and not self.won.cancelled() and self.won.exception() is None:
            self.won.result()[0].close()

    def _start(self, address: Address) -> bool:
        """Begin one attempt; False where it failed at once."""
        family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._error = self._error or error
            return False
        sock.setblocking(False)
        try:
            sock.connect((str(address), self._port))
        except BlockingIOError:
            pass
        except OSError as error:
            self._error = self._error or error
            sock.close()
            return False
        self._running[sock] = address
        self._loop.add_writer(sock, self._writable, sock)
        return True

    def _writable(self, sock: socket.socket) -> None:
        """Take the outcome of an attempt."""
        self._loop.remove_writer(sock)
        address = self._running.pop(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self.won.done():
            sock.close()
        elif code == 0:
            self.won.set_result((sock, address))
        else:
            sock.close()
            self._error = self._error or OSError(code, os.strerror(code))
            self.start_next()
