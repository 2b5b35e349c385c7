"""Dialling: the only way by which the proxy opens a connection to a destination.

Owns the order resolve, judge, connect, and the promise that the address judged is the address dialled: sockets are
connected to address literals, and the peer is compared afterwards. With a parent proxy the parent resolves, so that
only address literals are judged here. Never decides about names.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from secrets import token_hex
from weakref import WeakValueDictionary

from outward.config.settings import Limits
from outward.core.addresses import Address
from outward.core.model import Decision, Rule
from outward.core.names import Host
from outward.core.reasons import Reason
from outward.core.rules import Rules
from outward.dns.resolver import ResolveError, Resolver
from outward.ops.metrics import Metrics
from outward.ops.series import Histogram
from outward.proxy.deadlines import Deadlines
from outward.proxy.happy_eyeballs import connect_first, ordered
from outward.proxy.judge import Judge, spelled
from outward.proxy.parent import Parent, ParentError, TunnelRequest, complain
from outward.records.sending.spans import TRACED

HTTP = 80  # the port of `http://` (RFC 9110 4.2.1), to which stock Squid opens no tunnel


class DialError(Exception):
    """No connection was made.

    Attributes:
        reason: why, as it is recorded.
        address: the address that was refused or failed, where there is one.
        rule: the deny rule that names the address, where one does.
    """

    def __init__(
        self, reason: Reason, detail: str = "", address: Address | None = None, rule: Rule | None = None
    ) -> None:
        super().__init__(detail or reason.value)
        self.reason = reason
        self.address = address
        self.rule = rule


class Dialer:
    """Opens judged connections.

    Attributes:
        resolver, parent, direct: may be replaced by a reload; each dial reads them once.
        remembers: what it opens can be told by its source, which transparent listeners need. Set it before they listen.
        pseudonym: by which it knows what it has sent to its parent before (RFC 9110 7.6.3); it tells nobody who it is.
    """

    def __init__(
        self, resolver: Resolver, judge: Judge, limits: Limits, parent_proxy: str | None, no_proxy: Iterable[Rule] = ()
    ) -> None:
        """Build a dialer.

        Args:
            resolver: names to addresses.
            judge: judges every address, and holds the metrics.
            limits: `connect_timeout`, from the first attempt to an established connection, parent included.
            parent_proxy: `http://user:password@host:port`, or None.
            no_proxy: destinations that are dialled without it.

        Raises:
            ValueError: the parent proxy's URL is not understood.
        """
        self.resolver = resolver
        self.parent = Parent.parse(parent_proxy) if parent_proxy else None
        self.direct = Rules(no_proxy)
        self.pseudonym = token_hex(8)
        self._judge = judge
        self._timeout = limits.connect_timeout
        self.remembers = False
        self._waits: Deadlines | None = None
        self._opened: WeakValueDictionary[tuple[str, int], asyncio.Transport] = WeakValueDictionary()

    def parent_of(self, host: Host, port: int) -> Parent | None:
        """Return the parent proxy that a destination is reached through; None where it is dialled itself."""
        return None if self.parent is None or self.direct.hold(host, port) else self.parent

    async def addresses(self, host: Host, port: int, decision: Decision) -> list[Address]:
        """Resolve and judge a destination.

        Args:
            host: the destination.
            port: its TCP port.
            decision: what allowed it.

        Returns:
            The permitted addresses, at least one; of a mixed answer only these.

        Raises:
            DialError: the name does not resolve, one of its addresses is denied by a rule, or none may be dialled.
        """
        found = (host.address,) if host.address is not None else await self._resolve(host)
        return self._permitted(found, port, decision)

    def _permitted(self, found: Iterable[Address], port: int, decision: Decision) -> list[Address]:
        """Judge what a destination was resolved to; see `addresses`."""
        refused: list[tuple[Reason, Address]] = []
        permitted: list[Address] = []
        for address in found:
            reason, denying = self._judge.address(address, port, decision)
            if denying is not None:
                raise DialError(Reason.DENIED_BY_RULE, "the destination lies in a denied network", address, denying)
            if reason is None:
                permitted.append(address)
            else:
                refused.append((reason, address))
        if not permitted:
            reason, address = next((each for each in refused if each[0] is Reason.LOOP), refused[0])
            raise DialError(reason, "no address of the destination may be dialled", address)
        return permitted

    async def connect[P: asyncio.Protocol](
        self, host: Host, port: int, protocol_factory: Callable[[], P], decision: Decision, via: str = ""
    ) -> tuple[asyncio.Transport, P, Address | None]:
        """Connect to a destination.

        Args:
            host: a destination whose name has been allowed.
            port: its TCP port.
            protocol_factory: called once, for the connection that is made.
            decision: what allowed it: its rules may open addresses, and deny networks.
            via: the proxies that the client's request came through, for a parent proxy.

        Returns:
            Transport, protocol and the judged address; no address where a parent proxy resolves.

        Raises:
            DialError: nothing was connected.
        """
        parent = self.parent_of(host, port)
        if parent is not None:
            return await self._through(parent, host, port, protocol_factory, decision=decision, via=via)
        permitted = await self.addresses(host, port, decision)
        with _Dialling(self._judge.metrics), _Limit(self._late()):
            return await self._connect(permitted, port, protocol_factory)

    async def _resolve(self, host: Host) -> tuple[Address, ...]:
        started = time.perf_counter()
        try:
            return self.resolver.known(host.name) or await self.resolver.resolve(host.name)
        except ResolveError as error:
            self._judge.metrics.upstream_failure(error.reason)
            raise DialError(error.reason, str(error)) from error
        finally:
            _timed("resolve", self._judge.metrics.resolve_duration, started)

    async def _connect[P: asyncio.Protocol](
        self, permitted: list[Address], port: int, protocol_factory: Callable[[], P]
    ) -> tuple[asyncio.Transport, P, Address]:
        """Connect to one of several addresses; one alone is dialled without the cost of a race."""
        loop = asyncio.get_running_loop()
        if len(permitted) == 1:
            address = permitted[0]
            transport, protocol = await loop.create_connection(protocol_factory, spelled(address), port)
        else:
            sock, address = await connect_first(ordered(permitted, ipv6_first=self._has_ipv6()), port)
            try:
                transport, protocol = await loop.create_connection(protocol_factory, sock=sock)
            except BaseException:
                sock.close()
                raise
        self._check_peer(transport, address)
        here = transport.get_extra_info("sockname") if self.remembers else None
        if here is not None:
            self._opened[here[:2]] = transport
        return transport, protocol, address

    def opened(self, address: Address, port: int) -> bool:
        """Tell whether a connection that this dialler opened, and that still stands, comes from here."""
        transport = self._opened.get((str(address), port))
        return transport is not None and not transport.is_closing()

    def _late(self) -> Deadlines:
        """Return the deadlines of dials, which need the loop that they run on."""
        if self._waits is None:
            self._waits = Deadlines(self._timeout)
        return self._waits

    def _check_peer(self, transport: asyncio.Transport, address: Address) -> None:
        """Compare what was dialled with what was judged; a peer that is gone already needs no comparison."""
        peer = transport.get_extra_info("peername")
        if peer is not None and peer[0] != spelled(address) and ip_address(peer[0]) != address:
            transport.abort()
            raise DialError(Reason.INTERNAL_ERROR, "the peer is not the address that was judged", address)

    def _has_ipv6(self) -> bool:
        return any(isinstance(each, IPv6Address) and not each.is_link_local for each in self._judge.own.addresses)

    async def _through[P: asyncio.Protocol](
        self, parent: Parent, host: Host, port: int, protocol_factory: Callable[[], P], *, decision: Decision, via: str
    ) -> tuple[asyncio.Transport, P, Address | None]:
        """Ask the parent for a tunnel."""
        found = await self._of_parent(parent, host, port, decision)
        request = parent.request(host, port, self.path(via))
        with _Dialling(self._judge.metrics, parent, usual=port == HTTP), _Limit(self._late()):
            transport, tunnel, _ = await self._connect(found, parent.port, lambda: TunnelRequest(request))
            try:
                rest = await tunnel.opened
            except BaseException:
                transport.abort()
                raise
        return transport, _hand_over(transport, protocol_factory(), rest), host.address

    async def forward[P: asyncio.Protocol](
        self, parent: Parent, host: Host, port: int, protocol_factory: Callable[[], P], decision: Decision
    ) -> tuple[asyncio.Transport, P]:
        """Connect to the parent itself, for requests in absolute form (RFC 9112 3.2.2).

        Raises:
            DialError: nothing was connected.
        """
        found = await self._of_parent(parent, host, port, decision)
        with _Dialling(self._judge.metrics, parent), _Limit(self._late()):
            transport, protocol, _ = await self._connect(found, parent.port, protocol_factory)
        return transport, protocol

    def path(self, via: str) -> str:
        """Return the proxies that a request came through, this one included."""
        return ", ".join(filter(None, (via, f"1.1 {self.pseudonym}")))

    async def _of_parent(self, parent: Parent, host: Host, port: int, decision: Decision) -> list[Address]:
        """Return the parent's addresses. It may be private, as the operator named it; never ourselves."""
        if host.address is not None:
            await self.addresses(host, port, decision)
        try:
            found = (parent.host.address,) if parent.host.address is not None else await self._resolve(parent.host)
        except DialError as error:
            raise _told(parent, Reason.PARENT_FAILED, "its name does not resolve") from error
        own_ports = {listening for _, listening in self._judge.own.listeners}
        if parent.port in own_ports and any(
            self._judge.address(each, parent.port, Decision())[0] is Reason.LOOP for each in found
        ):
            raise DialError(Reason.LOOP, "the parent proxy is this proxy")
        return list(found)


class _Limit:
    """Ends what the running task does at its deadline with a TimeoutError, on the timer that all dials share.

    Attributes:
        touched: never set: a dial has one deadline.
    """

    __slots__ = ("_before", "_late", "_task", "_waits")
    touched = False

    def __init__(self, waits: Deadlines) -> None:
        self._waits, self._late = waits, False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()
        self._waits.start(self)

    def expired(self) -> None:
        """Cancel what is under way."""
        self._late = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        self._waits.stop(self)
        if self._late and self._task is not None:
            others = self._task.uncancel() > self._before
            if kind is asyncio.CancelledError and not others:
                raise TimeoutError from error


def _timed(stage: str, histogram: Histogram, started: float) -> None:
    """Count how long a stage took, and note it in the trace of the request that it was for."""
    seconds = time.perf_counter() - started
    histogram.observe(seconds)
    if (span := TRACED.get()) is not None:
        span.stage(stage, seconds)


class _Dialling:
    """Times a dial, and turns its failure into a counted DialError; a generator for this would cost twice as much.

    Where it is usual that a parent refuses, its refusal is neither counted nor logged.
    """

    __slots__ = ("_metrics", "_parent", "_started", "_usual")

    def __init__(self, metrics: Metrics, parent: Parent | None = None, *, usual: bool = False) -> None:
        self._metrics = metrics
        self._parent = parent
        self._usual = usual
        self._started = time.perf_counter()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        _timed("dial", self._metrics.dial_duration, self._started)
        if isinstance(error, (OSError, ParentError)):  # a TimeoutError is an OSError
            usual = self._usual and isinstance(error, ParentError) and error.reason is Reason.PARENT_REFUSED
            failure = _failure(error) if self._parent is None else _parents(self._parent, error, quiet=usual)
            if not usual:
                self._metrics.upstream_failure(failure.reason)
            raise failure from error


def _failure(error: OSError | ParentError) -> DialError:
    """Return what failed, without the addresses that the system's own words repeat."""
    if isinstance(error, TimeoutError) and not error.errno:
        return DialError(Reason.TIMEOUT, "the destination did not accept in time")
    return DialError(Reason.UPSTREAM_FAILED, f"the destination: {_words(error)}")


def _parents(parent: Parent, error: OSError | ParentError, *, quiet: bool) -> DialError:
    if isinstance(error, ParentError):
        return _told(parent, error.reason, str(error), quiet=quiet)
    silent = isinstance(error, TimeoutError) and not error.errno
    return _told(parent, Reason.PARENT_FAILED, "no answer in time" if silent else _words(error))


def _words(error: OSError | ParentError) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)


def _told(parent: Parent, reason: Reason, what: str, *, quiet: bool = False) -> DialError:
    """Return a parent's failure, and say it in the log: every client behind it meets it."""
    if not quiet:
        complain(parent, what)
    return DialError(reason, f"the parent proxy {parent}: {what}")


def _hand_over[P: asyncio.Protocol](transport: asyncio.Transport, protocol: P, rest: bytes) -> P:
    """Give a transport whose reading is paused to the protocol that will use it, with the bytes already read."""
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if rest:
        protocol.data_received(rest)
    transport.resume_reading()
    return protocol
