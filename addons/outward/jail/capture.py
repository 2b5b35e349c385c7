"""Leading connections that know no proxy to the proxy, by their addresses alone.

In the jail every address is the machine's own: the only route leads to the loopback device. So what is dialled reaches
a listener there, which the proxy accepts on, and whose address is the one that was dialled. A few ports below 1024 have
one for all addresses. Of the others each destination gets one when it is first dialled. Whatever has none is refused.
Loopback is the jail's own: see `home`.
"""

import contextlib
import errno
import ipaddress
import json
import os
import socket
import struct
import threading
from collections.abc import Collection, Iterator
from functools import partial

from outward.jail import datagrams, system
from outward.jail.home import FREE, Address, Home
from outward.jail.names import ResolverNames

PORTS = (22, 80, 443)  # below 1024, where no program of the jail may listen
_DNS = 53
_PACKET_INFO = struct.Struct("=I4s4s")  # struct in_pktinfo: interface, address to answer from, address that was asked
_LONGEST = 4096  # bytes of a query
_MOST = 256  # destinations with other ports; further ones are refused
_BACKLOG = 128


def listeners(local: Collection[int]) -> list[socket.socket]:
    """Make every address this namespace's own, and return what listens for them all on ports below 1024.

    Args:
        local: as for `Capture`.

    Raises:
        OSError: the kernel refuses.
    """
    system.route_all_to_loopback()
    low = [port for port in local if port < FREE]
    found = [socket.create_server(("0.0.0.0", port), backlog=_BACKLOG) for port in sorted({*PORTS, *low})]
    for port in low:
        with contextlib.suppress(OSError):  # there is no IPv6
            found.append(socket.create_server(("::1", port), family=socket.AF_INET6, backlog=_BACKLOG))
    return found


def name_server() -> socket.socket:
    """Return a socket that is asked whatever name server a program asks.

    Raises:
        OSError: the kernel refuses.
    """
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IP, socket.IP_PKTINFO, 1)
    server.bind(("0.0.0.0", _DNS))
    return server


class Capture:
    """Tells the proxy what is led to it, one message each: of JSON, with a new listener, or a connection, if any."""

    def __init__(
        self,
        proxy: socket.socket,
        server: socket.socket,
        local: Collection[int] = (),
        witness: socket.socket | None = None,
    ) -> None:
        """Take what was prepared.

        Args:
            proxy: to the proxy; keeps the bounds of messages.
            server: is asked for names.
            local: ports of the machine's own localhost that are led to the proxy too.
            witness: gets the kernel's answers to datagrams that nobody takes.
        """
        self._proxy, self._server = proxy, server
        self._names = ResolverNames()
        self._held: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        self._low = frozenset((*PORTS, *(port for port in local if port < FREE)))
        self._home = Home(local, self._low, self._tell)
        self._datagrams = datagrams.Datagrams(witness, self._tell_of_datagrams) if witness else None

    def start(self) -> None:
        """Begin to answer for names, and to count datagrams; the threads end with the process."""
        threading.Thread(target=self._serve, daemon=True).start()
        if self._datagrams is not None:
            self._datagrams.start()

    def finish(self) -> None:
        """Tell what has not been told yet."""
        if self._datagrams is not None:
            self._datagrams.report()

    @contextlib.contextmanager
    def led(self, thread: int, address: bytes) -> Iterator[None]:
        """Have somebody listen where a process dials while it does, and tell the proxy who that is.

        Args:
            thread: that dials.
            address: as the kernel takes it (`struct sockaddr`).

        Raises:
            OSError: nobody listens there.
        """
        target = _target(address)
        if target is None:
            yield
        elif target[0].is_loopback or target[0].is_unspecified:
            with self._home.dialled(partial(_program, thread), *target):
                yield
        else:
            self._lead(thread, *target)
            yield

    def _lead(self, thread: int, host: Address, port: int) -> None:
        """Have a listener of the proxy's where another address than loopback is dialled."""
        known = host.version == 4 and port in self._low
        with self._lock:
            new = self._listen(str(host), port) if host.version == 4 and not known else []
            led = known or (str(host), port) in self._held
            self._tell(new, program=_program(thread), address=str(host), port=port, led=led)
        for each in new:
            each.close()
        if not led and host.version == 4:  # the kernel knows no way to the other version
            raise OSError(errno.ECONNREFUSED, "nobody listens there")

    def _tell_of_datagrams(self, where: tuple[str, int], count: int) -> None:
        self._tell([], address=where[0], port=where[1], datagrams=count)

    def _listen(self, host: str, port: int) -> list[socket.socket]:
        """Return a new listener where one is needed and can be had; a program of the jail may listen there itself."""
        if (host, port) in self._held or len(self._held) >= _MOST:
            return []
        try:
            listener = socket.create_server((host, port), backlog=_BACKLOG)
        except OSError:
            return []
        self._held.add((host, port))
        return [listener]

    def _tell(self, sockets: list[socket.socket], **message: object) -> None:
        data = json.dumps(message).encode()
        with contextlib.suppress(OSError):  # the proxy has gone, and all ends
            socket.send_fds(self._proxy, [data], [each.fileno() for each in sockets])

    def _serve(self) -> None:
        while True:
            query, facts, _, sender = self._server.recvmsg(_LONGEST, socket.CMSG_SPACE(_PACKET_INFO.size))
            with contextlib.suppress(OSError, ValueError):  # what is odd gets no answer
                self._answer(query, facts, sender)

    def _answer(self, query: bytes, facts: list[tuple[int, int, bytes]], sender: tuple[str, int]) -> None:
        with self._lock:
            found = self._names.answer(query)
            if found is None:
                return
            answer, new = found
            if new is not None:
                self._tell([], name=new, address=socket.inet_ntoa(answer[-4:]))
        asked = next(data for _, kind, data in facts if kind == socket.IP_PKTINFO)
        source = _PACKET_INFO.pack(0, _PACKET_INFO.unpack(asked[: _PACKET_INFO.size])[2], bytes(4))
        self._server.sendmsg([answer], [(socket.IPPROTO_IP, socket.IP_PKTINFO, source)], 0, sender)


def _target(address: bytes) -> tuple[Address, int] | None:
    """Return address and port of a `struct sockaddr`, mapped ones as version 4; None for what is neither version."""
    family, port = int.from_bytes(address[:2], "little"), int.from_bytes(address[2:4])
    if family == socket.AF_INET and len(address) >= 8:
        return ipaddress.IPv4Address(address[4:8]), port
    if family == socket.AF_INET6 and len(address) >= 24:
        host = ipaddress.IPv6Address(address[8:24])
        return host.ipv4_mapped or host, port
    return None


def _program(thread: int) -> str:
    try:
        descriptor = os.open(f"/proc/{thread}/comm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 64).decode("utf-8", "replace").strip()
    finally:
        os.close(descriptor)
