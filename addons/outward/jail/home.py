"""The jail's own loopback, and the ports of this machine's localhost that are led to the proxy from it.

A program of the jail that listens goes before: on a port of this machine's nobody else listens but during a dial.
"""

import contextlib
import errno
import ipaddress
import socket
import threading
from collections.abc import Callable, Collection, Iterator

FREE = 1024  # below it no program of the jail may listen
_LOCALHOST = ("127.0.0.1", "::1")
_SOON = 1.0  # seconds, for a connection on loopback that the kernel has begun

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Home:
    """Decides what becomes of each dial of loopback."""

    def __init__(self, local: Collection[int], low: Collection[int], tell: Callable[..., None]) -> None:
        """Take what is led out.

        Args:
            local: ports of this machine's localhost that are led to the proxy.
            low: ports below 1024 on which the proxy listens at all addresses.
            tell: sends the proxy a message, with sockets.
        """
        self._local, self._low, self._tell = frozenset(local), low, tell
        self._missed: set[int] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def dialled(self, program: Callable[[], str], host: Address, port: int) -> Iterator[None]:
        """Leave a dial of loopback to the program of the jail that listens there; else lead it out, or refuse it.

        Args:
            program: names who dials.
            host: of loopback, or unspecified, which is dialled as loopback.
            port: TCP port.

        Raises:
            OSError: nobody listens there.
        """
        name = _LOCALHOST[host.version == 6] if host.is_unspecified else str(host)
        local = port in self._local and name in _LOCALHOST
        if local and port >= FREE:
            with self._lock, _vacant(name, port) as vacant:  # one dial at a time has a listener of its own
                if vacant is not None and _listens(vacant):
                    yield from self._taken(vacant, program=program(), address=name, port=port, led=True)
                    return
        elif not local and self._is_nobodys(name, port):
            self._missed.add(port)
            self._tell([], program=program(), address=name, port=port, missed=True)
            raise OSError(errno.ECONNREFUSED, "nobody listens there")
        if port in self._missed:  # it took its time to begin
            self._missed.discard(port)
            self._tell([], address=name, port=port, found=True)
        yield

    def _is_nobodys(self, name: str, port: int) -> bool:
        """Tell whether no program of the jail listens; below 1024 none may, and the proxy does for other addresses."""
        if port < FREE:
            return port in self._low
        with _vacant(name, port) as vacant:
            return vacant is not None

    def _taken(self, listener: socket.socket, **message: object) -> Iterator[None]:
        """Hand the connection that somebody makes meanwhile to the proxy."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.EINPROGRESS:
                self._pass_on(listener, **message)
            raise
        self._pass_on(listener, **message)

    def _pass_on(self, listener: socket.socket, **message: object) -> None:
        listener.settimeout(_SOON)
        with contextlib.suppress(OSError), listener.accept()[0] as accepted:
            self._tell([accepted], **message)


@contextlib.contextmanager
def _vacant(host: str, port: int) -> Iterator[socket.socket | None]:
    """Give a socket that is bound where nobody listens, and keeps nobody else from it; None if somebody does."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, port))
        except OSError:  # or there is no such address, which the dial tells
            yield None
        else:
            yield found


def _listens(vacant: socket.socket) -> bool:
    """Listen, unless somebody has begun to meanwhile."""
    try:
        vacant.listen(1)
    except OSError:
        return False
    return True
