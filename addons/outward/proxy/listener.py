"""The listener: who may connect, how many, and the orderly end.

Owns the listening socket, the caps and the drain. What a connection asks is the client's and the lanes' matter.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, islice

from outward.config.settings import Limits
from outward.proxy.captured import Captured, NameOf
from outward.proxy.context import InspectLane
from outward.proxy.deadlines import Waits
from outward.proxy.dial import Dialer
from outward.proxy.downstream import DownstreamConnection, peer_address
from outward.proxy.judge import Judge
from outward.proxy.listener_tls import certificate_names
from outward.proxy.resources import Resources
from outward.proxy.transparent import Redirected

_log = logging.getLogger(__name__)

type Vouch = Callable[[asyncio.Transport], tuple[str, ...]]

_BACKLOG = 4096  # Linux's net.core.somaxconn
_RETRY = 0.2  # seconds after a failed accept: descriptors are out, and some close meanwhile; asyncio waits 1
_SPARE = 512  # connections beyond a cap that get an answer; further ones are cut
_SEARCHED = 1000  # connections that are looked at for one of a crowded source's own


class ProxyListener:
    """Accepts connections and gives each to a `Client`.

    Attributes:
        loop: the event loop.
        resources: what all connections share.
        stopping: draining has begun.
        tls: what clients must speak TLS by; None for plain HTTP. Set it before `start`.
        bound: called when a listener has its address, before anybody is served there. Set it before `start`.
        vouch: names that a connection without credentials proves, as by a certificate. Set it before `start`.
    """

    def __init__(self, judge: Judge, dialer: Dialer, engine: InspectLane, limits: Limits) -> None:
        """Build a gate; needs a running loop."""
        self.loop = asyncio.get_running_loop()
        self.resources = Resources(judge, dialer, engine, limits, Waits(limits))
        self.stopping = False
        self.tls: ssl.SSLContext | None = None
        self.bound: Callable[[], None] = lambda: None
        self.vouch: Vouch = lambda _transport: ()
        self._limits = limits
        self._clients: dict[DownstreamConnection, str] = {}
        self._by_source: dict[str, int] = {}
        self._empty = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._receivers: list[asyncio.Task[None]] = []
        self._shaking: dict[tuple[str, int], tuple[asyncio.Task[None], socket.socket]] = {}
        self._addresses: list[tuple[str, int]] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses and ports that are listened on, or were until the end began, the proxy's own first."""
        return list(self._addresses)

    @property
    def address(self) -> tuple[str, int]:
        """The address and port of the proxy.

        Raises:
            RuntimeError: before `start`.
        """
        if not self._addresses:
            raise RuntimeError("the gate is not open")
        return self._addresses[0]

    @property
    def connections(self) -> int:
        """Open client connections."""
        return len(self._clients)

    def flooded(self, client: DownstreamConnection) -> bool:
        """Tell whether even refusing politely takes more connections than are spared for it, of a source or all."""
        of_source = self._by_source.get(self._clients.get(client, ""), 0)
        most = self._limits.connections_per_client
        return len(self._clients) > self._limits.connections + _SPARE or of_source > most + _SPARE

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address is not ours or in use.
        """
        await self.adopt(self._listen(host, port))

    async def start_transparent(self, host: str, port: int) -> None:
        """Listen for redirected connections too, after `start`. Their TLS is with their destinations, never with us.

        Raises:
            OSError: the address is not ours or in use.
        """
        self.resources.dialer.remembers = True  # or its own dials, led back here, would go round for ever
        await self._serve(self._listen(host, port), lambda: Redirected(self))

    def _listen(self, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        dual = family is socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
        self._addresses.append(listener.getsockname()[:2])
        self.bound()
        return listener

    async def capture(self, sock: socket.socket, names: tuple[str, ...], name_of: NameOf) -> None:
        """Accept on a listener of a jail's what knows no proxy, or take such a connection; see `Captured`."""
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            await self._serve(sock, lambda: Captured(self, names, name_of))
        else:
            await self.loop.connect_accepted_socket(lambda: Captured(self, names, name_of), sock)

    async def adopt(self, listener: socket.socket, names: tuple[str, ...] = ()) -> None:
        """Accept on a listener that exists already: in another network namespace, for one.

        Args:
            listener: it listens, or can.
            names: what each of its connections proves by coming from there.
        """
        if listener.family in (
            socket.AF_INET,
            socket.AF_INET6,
        ):  # taken over by its connections
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            listener.setblocking(False)
            self._receivers.append(self.loop.create_task(self._receive(listener)))
            return
        await self._serve(listener, lambda: DownstreamConnection(self, names))

    async def _serve(self, listener: socket.socket, client: Callable[[], DownstreamConnection]) -> None:
        self._servers.append(await self.loop.create_server(client, sock=listener, backlog=_BACKLOG))

    async def _receive(self, listener: socket.socket) -> None:
        """Accept for TLS: by hand, because a server counts no connection before its handshake is done."""
        with listener:
            while True:
                try:
                    sock, peer = await self.loop.sock_accept(listener)
                except OSError as error:  # no descriptors are left, for one
                    _log.warning("a connection could not be accepted: %s", error.strerror)
                    await asyncio.sleep(_RETRY)
                    continue
                if self._enter(peer[0], len(self._clients) + len(self._shaking) + 1):
                    self._shaking[peer] = (self.loop.create_task(self._shake(sock, peer)), sock)
                else:  # without TLS there is no way to tell it
                    self._leave(peer[0])
                    sock.close()

    async def _shake(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Do a handshake; the client that comes of it is counted in this connection's place."""
        try:
            await self.loop.connect_accepted_socket(
                lambda: DownstreamConnection(self),
                sock,
                ssl=self.tls,
                ssl_handshake_timeout=self._limits.handshake_timeout,
            )
        except OSError:  # `ssl.SSLError`, a timeout and a lost connection are
            sock.close()
        finally:
            self._settle(peer)

    def _settle(self, peer: tuple[str, int]) -> None:
        if self._shaking.pop(peer, None) is not None:
            self._leave(peer[0])

    def _enter(self, source: str, total: int) -> bool:
        """Count a connection; True where there is room for it, or some could be made."""
        count = self._by_source[source] = self._by_source.get(source, 0) + 1
        if self.stopping:
            return False
        if count > self._limits.connections_per_client:
            return self._make_room(source)
        return total <= self._limits.connections or self._make_room(None)

    def _make_room(self, source: str | None) -> bool:
        """Cut the oldest connection that has asked wrongly, or nothing yet: who guesses or is silent locks nobody out.

        Args:
            source: whose connection it is to be; None for anybody's.
        """
        for peer, (task, sock) in islice(self._shaking.items(), _SEARCHED):
            if source in (None, peer[0]):
                task.cancel()
                with suppress(OSError):  # at once: a transport that has not begun its handshake ignores its end
                    sock.shutdown(socket.SHUT_RDWR)
                self._settle(peer)
                return True
        waits = self.resources.waits
        for client in islice(chain(waits.slowed, waits.heads), _SEARCHED):
            if isinstance(client, DownstreamConnection) and source in (None, self._clients.get(client)):
                client.displaced()
                return True
        return False

    def _leave(self, source: str) -> None:
        left = self._by_source[source] - 1
        if left:
            self._by_source[source] = left
        else:
            del self._by_source[source]

    def admit(self, client: DownstreamConnection) -> bool:
        """Count a connection in; False where it is one too many, and is to be refused."""
        peername = client.transport.get_extra_info("peername")
        source = peername[0] if peername else ""
        if peername:
            self._settle(peername)
        client.peer = peer_address(source)
        if self.tls is not None:
            client.names = certificate_names(client.transport.get_extra_info("peercert"))
        self._clients[client] = source
        return self._enter(source, len(self._clients) + len(self._shaking))

    def recognise(self, client: DownstreamConnection, credential: str) -> bool:
        """Count a connection by who it is from now on, not by where it comes from; False where it is one too many.

        So a crowd behind one address is no client, and one client of it takes nobody else's connections.
        """
        source = self._clients.get(client)
        if source is None or source == credential:
            return True
        self._leave(source)
        self._clients[client] = credential
        count = self._by_source[credential] = self._by_source.get(credential, 0) + 1
        return count <= self._limits.connections_per_client

    def release(self, client: DownstreamConnection) -> None:
        """Count a connection out; twice is no error."""
        source = self._clients.pop(client, None)
        if source is None:
            return
        self._leave(source)
        if self.stopping and not self._clients:
            self._empty.set()

    async def drain(self, deadline: float) -> None:
        """Stop accepting, let open connections finish, and cut what is left.

        Args:
            deadline: seconds from now.
        """
        self._close_doors()
        for client in [each for each in self._clients if each.idle]:
            client.transport.abort()
        if self._clients:
            try:
                async with asyncio.timeout(deadline):
                    await self._empty.wait()
            except TimeoutError:
                pass
        self.close()

    def _close_doors(self) -> None:
        self.stopping = True
        for server in self._servers:
            server.close()
        for task in (*self._receivers, *(task for task, _ in self._shaking.values())):
            task.cancel()

    def close(self) -> None:
        """Stop at once."""
        self._close_doors()
        for client in list(self._clients):
            client.transport.abort()
        self.resources.waits.close()
