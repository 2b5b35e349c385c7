"""What a jail leads to the proxy although it knows none: the listeners, the names behind addresses, and who dialled."""

import asyncio
import contextlib
import json
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from outward.core.addresses import Address, is_loopback
from outward.records.text import clean

if TYPE_CHECKING:
    from outward.service import Service

_LONGEST = 1024  # bytes of a message
_MOST = 65536  # names, as many as the jail keeps
_SHOWN = 5  # programs and destinations
_KINDS = 1000  # programs and destinations that are counted
_LOCALHOST, _LOCALHOSTS = "localhost", ("127.0.0.1", "::1")


class Captures:
    """The proxy's end.

    Attributes:
        listeners: those that nobody accepts on yet.
        adopt: called with each that comes later, and with connections.
        seen: how often which program dialled which address and port.
        refused: those of them that were led nowhere.
        missed: those that found nobody on the jail's own loopback, and never did.
        datagrams: how many were refused, by address and port.
    """

    def __init__(
        self, jail: socket.socket, listeners: Iterable[socket.socket], localhost: Collection[int] = ()
    ) -> None:
        """Take what the jail has made.

        Args:
            jail: tells what is led here.
            listeners: the first of them.
            localhost: ports of this machine's localhost that are led here too.
        """
        self._jail = jail
        self._jail.setblocking(False)
        self._names: dict[str, str] = {}
        self._localhost = frozenset(localhost)
        self.listeners = list(listeners)
        self.adopt: Callable[[socket.socket], object] = self.listeners.append
        self.seen: Counter[tuple[str, str, int]] = Counter()
        self.refused: Counter[tuple[str, str, int]] = Counter()
        self.missed: Counter[tuple[str, str, int]] = Counter()
        self.datagrams: Counter[tuple[str, int]] = Counter()

    def fileno(self) -> int:
        """Return the descriptor that is ready when the jail has led something here."""
        return self._jail.fileno()

    def name_of(self, address: Address, port: int) -> str | None:
        """Return the name that is meant where an address and a port are dialled; what the jail has said is read first.

        For loopback that is a port of this machine's localhost, if it is led here.
        """
        if is_loopback(address):
            return _LOCALHOST if port in self._localhost else None
        self.read()
        return self._names.get(str(address))

    def read(self) -> None:
        """Read what the jail has said."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                data, received, _, _ = socket.recv_fds(self._jail, _LONGEST, 1)
                for each in received:
                    self.adopt(socket.socket(fileno=each))
                if not data:
                    return
                self._take(**json.loads(data))

    def _take(
        self,
        address: str,
        port: int = 0,
        *,
        name: str = "",
        program: str = "",
        led: bool = False,
        missed: bool = False,
        found: bool = False,
        datagrams: int = 0,
    ) -> None:
        """Take one message: a name, a connection, datagrams, or that somebody listens who did not before."""
        host = self._names.get(address, address)
        if name:
            if len(self._names) >= _MOST:
                del self._names[next(iter(self._names))]
            self._names[address] = name
        elif found:
            self.missed = Counter({key: count for key, count in self.missed.items() if key[2] != port})
        elif datagrams:
            self.datagrams[host, port] = datagrams
        else:
            counter = self.missed if missed else self.seen if led else self.refused
            key = (program, _LOCALHOST if address in _LOCALHOSTS else host, port)
            if key in counter or len(counter) < _KINDS:
                counter[key] += 1

    async def lead(self, service: "Service", names: tuple[str, ...]) -> None:
        """Have a service carry what comes, by the listeners that there are and by what comes later.

        Args:
            service: of the proxy.
            names: what each connection proves by coming from here.
        """
        loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

        def adopt(sock: socket.socket) -> None:
            task = loop.create_task(service.capture(sock, names, self.name_of))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        self.adopt = adopt
        for each in self.listeners:
            await service.capture(each, names, self.name_of)
        self.listeners.clear()
        loop.add_reader(self, self.read)

    def told(self, blocked: Collection[tuple[str, int | None]]) -> Iterator[str]:
        """Yield what to say of programs that went round the proxy, as far as it came to nothing.

        Args:
            blocked: host and port of what was blocked, or could not be reached.
        """
        led = Counter({key: count for key, count in self.seen.items() if key[1:] in blocked})
        for some, became in ((led, "led to it"), (self.refused, "refused")):
            if some:
                were = "was" if some.total() == 1 else "were"
                what = _counted(some.total(), "connection")
                yield f"outward: {what} that did not use the proxy {were} {became}: {_listed(some)}"
        if self.datagrams:
            sent = Counter({("", host, port): count for (host, port), count in self.datagrams.items()})
            yield f"outward: {_counted(sent.total(), 'datagram')} refused, as all but TCP is: {_listed(sent)}"
        if self.missed:
            ports = sorted({port for _, host, port in self.missed if host == _LOCALHOST})[:_SHOWN]
            cure = (
                f". For a service of this machine: {' '.join(f'--localhost {port}' for port in ports)}, or in your own "
                f"configuration `jail: {{localhost: {ports}}}`"
            )
            yield f"outward: nobody in the jail listens there: {_listed(self.missed)}{cure if ports else ''}"

    def as_json(self) -> dict[str, object]:
        """Return who dialled past the proxy, as plain data: what was led here or refused, and what found nobody."""
        past = [
            {"program": program, "host": host, "port": port, "count": count, "led": counter is self.seen}
            for counter in (self.seen, self.refused)
            for (program, host, port), count in counter.most_common()
        ]
        datagrams = [{"host": host, "port": port, "count": count} for (host, port), count in self.datagrams.items()]
        missed = [
            {"program": program, "port": port, "count": count}
            for (program, _, port), count in self.missed.most_common()
        ]
        return {"past_the_proxy": past, "datagrams": datagrams, "nobody_listens": missed}

    def close(self) -> None:
        """Take no more."""
        for each in (self._jail, *self.listeners):
            each.close()


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _listed(some: Counter[tuple[str, str, int]]) -> str:
    shown = [_entry(*key, count) for key, count in some.most_common(_SHOWN)]
    return ", ".join(shown) + (f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else "")


def _entry(program: str, host: str, port: int, count: int) -> str:
    host = f"[{host}]" if ":" in host else clean(host, 256)
    who = f"`{clean(program, 64)}` to " if program else ""
    return f"{who}{host}:{port}{f' ({count}x)' if count > 1 else ''}"
