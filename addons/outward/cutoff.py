"""One limit of time for a whole exchange with a server: a socket's own begins anew with each byte of a slow drip.

Holds a socket of its own for the connection: `http.client` lets go of its one as soon as it has read the head of an
answer that ends with the connection.
"""

import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPSConnection
from typing import Self


class Cutoff:
    """Ends an exchange when its time is over, or when any thread says so; a context manager around the exchange.

    Raises:
        TimeoutError: at the end of the context, whatever came of the exchange: it was cut.
    """

    def __init__(self, seconds: float) -> None:
        """Let the time run from now on; `seconds` for all, names and handshakes included."""
        self._seconds, self._until = seconds, time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False
        self._timer = threading.Timer(seconds, self.end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _at: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
        if error is None or isinstance(error, Exception):
            self._check(error)

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: none are.
        """
        self._check()
        return max(0.001, self._until - time.monotonic())

    def hold(self, connected: socket.socket) -> None:
        """Keep what has just been connected, in place of what was kept before.

        Raises:
            TimeoutError: the time is over.
        """
        with self._lock:
            self._check()
            if self._socket is not None:
                self._socket.close()
            self._socket = connected.dup()

    def end(self) -> None:
        """End the exchange: what waits for its connection is woken. For any thread."""
        with self._lock:
            self._over = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _check(self, cause: BaseException | None = None) -> None:
        if self._over:
            raise TimeoutError(f"not ended within {self._seconds:.0f} seconds") from cause


class CutHttp(HTTPConnection):
    """A connection that a cutoff ends; `cutoff` is set before it is used."""

    cutoff: Cutoff

    def connect(self) -> None:
        """Connect, below TLS if there is any."""
        super().connect()
        self.cutoff.hold(self.sock)


class CutHttps(HTTPSConnection, CutHttp):
    """The same over TLS: `HTTPSConnection.connect` calls the one above, and shakes hands then."""
