"""A redirected connection: one that a firewall led here on its way to somewhere else, by a client that knows no proxy.

Owns where it was going (SO_ORIGINAL_DST), and reading from its first bytes what a CONNECT or a plain request would have
said. Of the original destination the port counts, and the address only if nothing names a host. A name is resolved and
judged as everywhere, and that answer is dialled. So a forged name leads to its own address.
"""

import asyncio
import socket
from dataclasses import replace
from ipaddress import ip_address

from outward.core.addresses import Address
from outward.core.identity import Identity
from outward.core.model import Decision, Stage
from outward.core.names import Host, MalformedHostError, canonical_host
from outward.core.reasons import Reason
from outward.core.suggest import BARE
from outward.http1.fields import HeadError
from outward.http1.head import Head, parse_head, redirected
from outward.http1.headreader import begins_request
from outward.proxy.answer import denial_of
from outward.proxy.downstream import DownstreamConnection, peer_address
from outward.proxy.judge import judge_hello, refuse
from outward.records.events.values import Event
from outward.tls.alert import alert_of
from outward.tls.client_hello import Hello, HelloError, HelloReader, NotTlsError

_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h
_IN, _IN6 = (socket.IPPROTO_IP, 16, slice(4, 8)), (socket.IPPROTO_IPV6, 28, slice(8, 24))  # sockaddr_in, sockaddr_in6
_HANDSHAKE = 22  # the first byte of TLS (RFC 8446 5.1)


def destination(sock: socket.socket) -> tuple[Address, int] | None:
    """Return where an accepted connection was going before it was redirected; None where the kernel does not know."""
    for level, size, where in (_IN, _IN6):
        try:
            found = sock.getsockopt(level, _ORIGINAL_DST, size)
        except OSError:  # of the other family, or not tracked
            continue
        return peer_address(str(ip_address(found[where]))), int.from_bytes(found[2:4])
    return None


class Redirected(DownstreamConnection):
    """An accepted connection that was redirected, until a lane takes it."""

    __slots__ = ("_hello", "_http", "_tls")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask to be admitted; refuse who was not redirected, and so asks for this very port."""
        self._tls: HelloReader | None = None
        self._hello: Hello | None = None
        self._http = False
        sock = transport.get_extra_info("socket")
        here, port, *_ = sock.getsockname()
        itself = (peer_address(here), port)
        led = self._led(sock, itself)
        self.original = led or itself
        super().connection_made(transport)
        if not self._begun and led is None:
            self._refuse(Reason.LOOP, Stage.CONNECT)

    def _led(self, sock: socket.socket, itself: tuple[Address, int]) -> tuple[Address, int] | None:
        """Return where a connection was going; None where that is this very port."""
        found = destination(sock)
        return None if found == itself else found

    # Reading -------------------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        if not self._begun:
            self._begun = self._gate.loop.time()
            self._http = begins_request(data) is not False
            self._tls = HelloReader() if data[0] == _HANDSHAKE else None
        if self._http:
            super()._take(data)
        elif self._tls is not None:
            self._take_hello(self._tls, data)
        else:
            self._resources.waits.heads.stop(self)
            self._judge(self._asked(None), b"", data)

    def _parse(self, raw: bytes) -> Head:
        return parse_head(raw, self._resources.limits, redirected(self._aim[1]))

    def _take_hello(self, reader: HelloReader, data: bytes) -> None:
        """Read a ClientHello, and ask for what it names."""
        try:
            hello = self._hello = reader.feed(data)
            if hello is not None:
                self._resources.waits.heads.stop(self)
                self._judge(self._asked(hello.sni), b"", bytes(reader.data))
        except NotTlsError:
            self._refuse(Reason.NOT_TLS, Stage.TLS)
        except HelloError as error:
            self._refuse(error.reason, Stage.TLS)
        except MalformedHostError:
            self._refuse(Reason.MALFORMED_HOST, Stage.TLS)

    @property
    def _aim(self) -> tuple[Address, int]:
        if self.original is None:
            raise RuntimeError("the connection has not been made")
        return self.original

    def _asked(self, name: str | None) -> Head:
        """Return the CONNECT that a client which knew of the proxy would have sent.

        Raises:
            MalformedHostError: the name is none.
        """
        address, port = self._aim
        host = Host(str(address), address) if name is None else canonical_host(name)
        return Head("CONNECT", f"{host}:{port}", http_10=False, fields=[], host=host, port=port)

    # Judging -------------------------------------------------------------------------------------------------------

    def _who(self, head: Head | None) -> Identity:
        """Identify by the source alone: no credentials would help, so none are asked for."""
        return replace(super()._who(head), challenge=False)

    def _objects(self, event: Event, head: Head, decision: Decision) -> bool:
        """Refuse the proxy's own connections, and what a tunnel refuses after its dial; here nothing was dialled.

        What is neither TLS nor HTTP is refused here in any case: there is no way to tell it more.
        """
        reason: Reason | None = None
        peername = self.transport.get_extra_info("peername")
        if peername is None or self._resources.dialer.opened(self.peer, peername[1]):
            reason = Reason.LOOP
        elif self._hello is not None:
            event.sni, event.ech = self._hello.sni, self._hello.ech
            if decision.allowed or self._hello.sni is None:
                reason = judge_hello(self._hello, head.host, decision)
        elif head.path is None:
            event.scheme = BARE
            if not decision.allowed:  # as it was decided: no tunnel is opened to tell it in
                return True
            reason = None if decision.plain else Reason.NOT_TLS
        if reason is not None:
            refuse(event, reason, Stage.CONNECT if reason is Reason.LOOP else Stage.TLS)
        return reason is not None

    # Refusing ------------------------------------------------------------------------------------------------------

    def _refuse(self, reason: Reason, stage: Stage) -> None:
        """Refuse what was on its way to the original address, and named nothing that is understood."""
        self._begun = self._begun or self._gate.loop.time()
        self._refuse_head(HeadError(reason, ""), stage)

    def _refuse_head(self, error: HeadError, stage: Stage = Stage.CONNECT) -> None:
        aimed = self._asked(None)
        error.head = error.head or aimed
        if not error.head.host.name:
            error.head.host = aimed.host
        super()._refuse_head(error, stage)

    def _answer(self, event: Event, head: Head | None, *, challenge: bool, again: bool) -> bytes:
        """Tell it in the client's own language: HTTP, a TLS alert, or by closing."""
        if self._http:
            return denial_of(self._resources.judge, event, head, challenge=challenge, again=again)
        event.status = None
        return b"" if self._tls is None else alert_of(event.reason).wire

    def expired(self) -> None:
        """Refuse a client that waits for its server to speak first; the others as everywhere."""
        if self._begun:
            super().expired()
        else:
            self._begun = self._gate.loop.time()
            self._judge(self._asked(None), b"", b"")
