"""A captured connection: one that a jail led here on its way to an address, by a program that knows no proxy.

As a redirected one, but that its own address is the one that was dialled, and that the jail knows which name this
stands for. What is refused in no language that its client would read is reset.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from outward.core.addresses import Address
from outward.core.names import MalformedHostError
from outward.http1.head import Head
from outward.proxy.transparent import Redirected

if TYPE_CHECKING:
    from outward.proxy.listener import ProxyListener

type NameOf = Callable[[Address, int], str | None]

_RESET = struct.pack("ii", 1, 0)  # struct linger: closing waits for nothing, and says so


class Captured(Redirected):
    """An accepted connection that was captured, until a lane takes it."""

    __slots__ = ("_name_of",)

    def __init__(self, gate: "ProxyListener", names: tuple[str, ...], name_of: NameOf) -> None:
        """Accept for a gate.

        Args:
            gate: admits it.
            names: what it proves by coming from the jail.
            name_of: returns the name that is meant where an address and a port are dialled.
        """
        super().__init__(gate, names)
        self._name_of = name_of

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask to be admitted; wait for no word where any is allowed: the server may speak first."""
        super().connection_made(transport)
        if self._begun:
            return
        with contextlib.suppress(MalformedHostError):  # then what it says names a host, or nothing does
            asked = self._asked(None)
            decision = self._resources.judge.decide_connect(self._who(asked).group, asked.host, asked.port)
            if decision.allowed and decision.plain:
                self._resources.waits.heads.stop(self)
                self.expired()

    def _led(self, _sock: socket.socket, itself: tuple[Address, int]) -> tuple[Address, int] | None:
        own = itself[0].is_loopback and self._name_of(*itself) is None
        return None if own else itself

    def _asked(self, name: str | None) -> Head:
        return super()._asked(name or self._name_of(*self._aim))

    def _tell(self, answer: bytes, *, more: bool) -> None:
        if not answer:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            super()._tell(answer, more=more)
