"""The resolver: names to addresses, for every dial of both lanes.

Owns the cache, retries over the listed servers, and the rule that one name is asked once at a time. Names are
absolute; there is no search list, and no server is ever asked that the operator or this machine did not name. It
never judges an address: that happens on every dial, cached or not.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from outward.core.addresses import Address
from outward.core.names import is_loopback_name
from outward.core.reasons import Reason
from outward.dns.message import DnsAnswer, MessageError, Rcode, RecordType
from outward.dns.nameservers import HOSTS, RESOLV_CONF, Nameservers, Watched, parse_hosts, parse_resolv_conf
from outward.dns.query import Server, ask

CACHE_NAMES = 4096  # as systemd-resolved keeps (CACHE_MAX)
IN_FLIGHT = 4096  # queries at a time; each takes a port, and Linux gives out 28,232 (ip_local_port_range)
KEEP_PER_FAMILY = 8  # addresses: two more than are ever tried (`happy_eyeballs`)
MIN_TTL = 5.0  # seconds: a name is asked for at most so often; an answer with TTL 0 is not kept at all
MAX_TTL = 3600.0  # seconds: a move is noticed within an hour; systemd-resolved keeps for two, Unbound for a day
ABSENT = "the name does not exist"
ABSENT_TTL = 5.0  # seconds for a name that does not exist; RFC 2308 5 allows hours, but people mend and try again
FAILURE_TTL = 1.0  # seconds, where servers fail: RFC 9520 3.2 asks for at least this

_LOOPBACK: tuple[Address, ...] = (ip_address("127.0.0.1"), ip_address("::1"))


class ResolveError(Exception):
    """A name has no addresses, or nobody said so in time.

    Attributes:
        reason: `resolve_failed` or `timeout`, or `overloaded` when too many names are being asked for.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Addresses, or why there are none.

    Attributes:
        ttl: seconds for which this may be believed.
        firm: whether asking another server could not change it.
    """

    addresses: tuple[Address, ...] = ()
    reason: Reason = Reason.RESOLVE_FAILED
    detail: str = ""
    ttl: float = 0.0
    firm: bool = True

    def unwrap(self) -> tuple[Address, ...]:
        if not self.addresses:
            raise ResolveError(self.reason, self.detail)
        return self.addresses


class Resolver:
    """Resolves canonical names on the running loop.

    Args:
        servers: name servers as address text and port; empty means this machine's own, with its hosts file.
        hosts: names that are answered without a query; this wins over everything else.
        timeout: seconds for one name, all tries together.
        clock: monotonic seconds, by which answers age.

    Raises:
        ValueError: a server is not given by its address.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        hosts: Mapping[str, Iterable[Address]],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for address, _ in servers:
            ip_address(address)
        self._hosts = {name: tuple(addresses) for name, addresses in hosts.items()}
        self._timeout = timeout
        self._clock = clock
        self._own_hosts = None if servers else Watched(HOSTS, parse_hosts)
        self._own_servers = None if servers else Watched(RESOLV_CONF, parse_resolv_conf)
        self._nameservers = Nameservers(tuple(servers))
        self._cache: dict[str, tuple[float, _Outcome]] = {}
        self._in_flight: dict[str, asyncio.Task[_Outcome]] = {}

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """Return the addresses of a canonical name, at least one.

        Raises:
            ResolveError: no address is known, or none in time.
        """
        known = self._known(name)
        if known is None:
            known = await asyncio.shield(self._asking(name))
        return known.unwrap()

    def known(self, name: str) -> tuple[Address, ...] | None:
        """Return the addresses of a canonical name that can be told at once, or None if a query is needed.

        Raises:
            ResolveError: it is known that there are none.
        """
        known = self._known(name)
        return None if known is None else known.unwrap()

    def _known(self, name: str) -> _Outcome | None:
        """Return what can be said without a query."""
        if name in self._hosts:
            return _Outcome(self._hosts[name], detail="the configuration lists no address")
        cached = self._cache.get(name)
        if cached is not None:
            if self._clock() < cached[0]:
                return cached[1]
            del self._cache[name]
        if self._own_hosts is not None and (listed := self._own_hosts.get().get(name)):
            return _Outcome(listed)
        if is_loopback_name(name):
            return _Outcome(_LOOPBACK)
        return None

    def _asking(self, name: str) -> asyncio.Task[_Outcome]:
        """Return the one task that asks for a name. It outlives a waiter that is cancelled, never its deadline."""
        task = self._in_flight.get(name)
        if task is None:
            if len(self._in_flight) >= IN_FLIGHT:
                raise ResolveError(Reason.OVERLOADED, "too many names are being asked for")
            task = asyncio.get_running_loop().create_task(self._ask_and_keep(name))
            self._in_flight[name] = task
            task.add_done_callback(lambda _: self._in_flight.pop(name, None))
        return task

    async def _ask_and_keep(self, name: str) -> _Outcome:
        outcome = await self._ask(name)
        if outcome.ttl > 0:
            while len(self._cache) >= CACHE_NAMES:
                del self._cache[next(iter(self._cache))]
            self._cache[name] = (self._clock() + outcome.ttl, outcome)
        return outcome

    async def _ask(self, name: str) -> _Outcome:
        """Ask server after server until one knows, for as long as the name's deadline allows."""
        deadline = time.monotonic() + self._timeout
        failure = _Outcome(reason=Reason.TIMEOUT, detail="no name server answered in time", ttl=FAILURE_TTL, firm=False)
        for server, patience in self._tries():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            try:
                outcome = _outcome(await ask(server, name, min(patience, remaining)))
            except TimeoutError:
                continue
            except (OSError, MessageError) as error:
                outcome = _Outcome(detail=f"a name server failed: {error}", ttl=FAILURE_TTL, firm=False)
            if outcome.firm:
                return outcome
            failure = outcome
        return failure

    def _tries(self) -> Iterator[tuple[Server, float]]:
        nameservers = self._own_servers.get() if self._own_servers is not None else self._nameservers
        for _ in range(nameservers.attempts):
            for server in nameservers.servers:
                yield server, nameservers.timeout


def _outcome(answers: Mapping[RecordType, DnsAnswer]) -> _Outcome:
    """Turn the answers of one server into addresses, a firm no, or a failure that the next server may mend."""
    found = [answer for answer in answers.values() if answer.addresses]
    if found:
        ttl = min(answer.ttl for answer in found)
        kept = [address for answer in found for address in answer.addresses[:KEEP_PER_FAMILY]]
        return _Outcome(tuple(kept), ttl=min(max(ttl, MIN_TTL), MAX_TTL) if ttl else 0.0)
    codes = {answer.rcode for answer in answers.values()}
    if Rcode.NXDOMAIN in codes:
        return _Outcome(detail=ABSENT, ttl=ABSENT_TTL)
    if codes == {Rcode.NOERROR}:
        return _Outcome(detail="the name has no addresses", ttl=ABSENT_TTL)
    return _Outcome(detail=f"a name server failed with code {max(codes)}", ttl=FAILURE_TTL, firm=False)
