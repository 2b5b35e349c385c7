"""Happy Eyeballs (RFC 8305): the first of several addresses that accepts a TCP connection wins.

Owns the order, the stagger and the clean-up of losers. It is given judged addresses and dials exactly those; it never
resolves.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address
from itertools import chain, zip_longest

from outward.core.addresses import Address

STAGGER = 0.25  # seconds, RFC 8305 5
MAX_ATTEMPTS = 6


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
    waiting = list(addresses)
    running: dict[asyncio.Task[socket.socket], Address] = {}
    errors: list[OSError] = []
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop(0)
                running[asyncio.create_task(_connect(address, port))] = address
            patience = STAGGER if waiting else None
            done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                address = running.pop(task)
                error = task.exception()
                if error is None:
                    return task.result(), address
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
        raise errors[0]
    finally:
        for task in running:
            task.add_done_callback(_discard)
            task.cancel()


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that lost, should it have connected before it could be cancelled."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock
