"""A captured connection: one that a jail led here on its way to an address, by a program that knows no proxy.

As a redirected one, but that its own address is the one that was dialled, and that the jail knows which name this
stands for. What is refused in no language that its client would read is reset.
"""

import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from outward.core.addresses import Address
from outward.http1.head import Head
from outward.proxy.transparent import Redirected

if TYPE_CHECKING:
    from outward.proxy.listener import ProxyListener

_RESET = struct.pack("ii", 1, 0)  # struct linger: closing waits for nothing, and says so


class Captured(Redirected):
    """An accepted connection that was captured, until a lane takes it."""

    __slots__ = ("_name_of",)

    def __init__(self, gate: "ProxyListener", names: tuple[str, ...], name_of: Callable[[str], str | None]) -> None:
        """Accept for a gate.

        Args:
            gate: admits it.
            names: what it proves by coming from the jail.
            name_of: returns the name that an address stands for.
        """
        super().__init__(gate, names)
        self._name_of = name_of

    def _led(self, _sock: socket.socket, itself: tuple[Address, int]) -> tuple[Address, int] | None:
        return None if itself[0].is_loopback else itself

    def _asked(self, name: str | None) -> Head:
        return super()._asked(name or self._name_of(str(self._aim[0])))

    def _tell(self, answer: bytes, *, more: bool) -> None:
        if not answer:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            super()._tell(answer, more=more)
