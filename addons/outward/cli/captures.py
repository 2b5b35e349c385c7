"""What a jail leads to the proxy although it knows none: the listeners, the names behind addresses, and who dialled."""

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from outward.records.text import clean

_LONGEST = 1024  # bytes of a message
_MOST = 65536  # names, as many as the jail keeps
_SHOWN = 5  # programs and destinations
_KINDS = 1000  # programs and destinations that are counted


class Captures:
    """The proxy's end.

    Attributes:
        listeners: those that nobody accepts on yet.
        adopt: called with each listener that comes later.
        seen: how often which program dialled which address and port.
        refused: those of them that were led nowhere.
    """

    def __init__(self, jail: socket.socket, listeners: Iterable[socket.socket]) -> None:
        self._jail = jail
        self._jail.setblocking(False)
        self._names: dict[str, str] = {}
        self.listeners = list(listeners)
        self.adopt: Callable[[socket.socket], object] = self.listeners.append
        self.seen: Counter[tuple[str, str, int]] = Counter()
        self.refused: Counter[tuple[str, str, int]] = Counter()

    def fileno(self) -> int:
        """Return the descriptor that is ready when the jail has led something here."""
        return self._jail.fileno()

    def name_of(self, address: str) -> str | None:
        """Return the name that an address stands for; what the jail has said of it is read first."""
        self.read()
        return self._names.get(address)

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

    def _take(self, address: str, name: str = "", program: str = "", port: int = 0, *, led: bool = True) -> None:
        if name:
            if len(self._names) >= _MOST:
                del self._names[next(iter(self._names))]
            self._names[address] = name
            return
        counter = self.seen if led else self.refused
        key = (program, self._names.get(address, address), port)
        if key in counter or len(counter) < _KINDS:
            counter[key] += 1

    def told(self, blocked: Collection[tuple[str, int | None]]) -> Iterator[str]:
        """Yield what to say of programs that went round the proxy, as far as it came to nothing.

        Args:
            blocked: host and port of what was blocked, or could not be reached.
        """
        led = Counter({key: count for key, count in self.seen.items() if key[1:] in blocked})
        for some, became in ((led, "led to it"), (self.refused, "refused")):
            if some:
                many = some.total() > 1
                yield f"outward: {some.total()} connection{'s' if many else ''} that did not use the proxy {
                    'were' if many else 'was'
                } {became}: {_listed(some)}"

    def as_json(self) -> list[dict[str, object]]:
        """Return who dialled past the proxy, as plain data."""
        return [
            {"program": program, "host": host, "port": port, "count": count, "led": counter is self.seen}
            for counter in (self.seen, self.refused)
            for (program, host, port), count in counter.most_common()
        ]

    def close(self) -> None:
        """Take no more."""
        for each in (self._jail, *self.listeners):
            each.close()


def _listed(some: Counter[tuple[str, str, int]]) -> str:
    shown = [
        f"`{clean(program or '?', 64)}` to {clean(host, 256)}:{port}{f' ({count}x)' if count > 1 else ''}"
        for (program, host, port), count in some.most_common(_SHOWN)
    ]
    more = f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
    return ", ".join(shown) + more
