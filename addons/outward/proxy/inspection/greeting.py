"""The beginning of a tunnel that is looked into: plain HTTP, or a ClientHello that is judged before it is answered.

Owns the refusals of a client that could not read an HTTP answer, or only in the clear.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from threading import Event
from typing import TYPE_CHECKING

from outward.core.model import Stage
from outward.core.names import Host
from outward.core.reasons import Reason
from outward.http1.headreader import begins_request
from outward.proxy.context import ConnectionContext
from outward.proxy.inspection.tls import only_http2
from outward.proxy.tunnel import ESTABLISHED
from outward.tls.alert import Alert
from outward.tls.client_hello import Hello, HelloError, HelloReader, NotTlsError

if TYPE_CHECKING:
    from outward.proxy.inspection.connection import InspectedConnection

_HTTP2 = "outward.proxy.inspection.http2.downstream"
_loaded = Event()


def load_http2() -> Awaitable[bool] | bool:
    """Read what speaks HTTP/2 into memory, once; whoever comes meanwhile waits, and the loop does not."""
    return _loaded.is_set() or asyncio.get_running_loop().run_in_executor(None, _load)


def _load() -> bool:
    import_module(_HTTP2)  # `sys.modules` has it before all of it is there
    _loaded.set()
    return True


class Greeting:
    """What a client says before its first request."""

    touched = False

    def __init__(self, session: "InspectedConnection", context: ConnectionContext) -> None:
        self._session = session
        self._established = context.original is None and not context.clear
        self._first: bytearray | None = bytearray()
        self._reader = HelloReader()
        self._paused = self._refused = self._http2 = False
        self._late = b""
        self._shaking = 0.0  # since when, in loop time

    def shaken(self) -> None:
        """Count how long the handshake took."""
        session = self._session
        session.judge.metrics.tls_duration.labels("client").observe(asyncio.get_running_loop().time() - self._shaking)

    def start(self) -> None:
        """Tell the client that its tunnel stands, if it has asked for one, and wait for what it says."""
        if self._established:
            self._session.client.write(ESTABLISHED)
        self._session.engine.waits.handshakes.start(self)

    def stop(self) -> None:
        """Wait no more."""
        self._session.engine.waits.handshakes.stop(self)

    def expired(self) -> None:
        """Give up a client that does not finish its handshake."""
        self._session.hooks.broken(Reason.TIMEOUT, Stage.TLS).close()
        self._session.abort()

    def received(self, data: bytes) -> None:
        """Find out from what the client says first whether TLS or plain HTTP comes."""
        if self._refused:
            return
        if self._paused:
            self._late += data
        elif self._first is None:
            self._read(data)
        else:
            self._first += data
            clear = begins_request(self._first)
            if clear is None:
                return
            data, self._first = bytes(self._first), None
            if clear:
                self._session.hooks.unseal()
                self._session.greeted()
                self._session.received(data)
            else:
                self._read(data)

    def ended(self) -> None:
        """Close: nobody can be answered."""
        self._session.client.close()

    def failed(self) -> None:
        """Close: the handshake has failed, and the alert was sent."""
        self._over()

    def pause(self) -> None:
        """Leave what comes until `resume`: the hello is being judged."""
        self._paused = True
        self._session.client.hold("answer")

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._session.client.release("answer")
        late, self._late = self._late, b""
        if late:
            self._session.client.data_received(late)

    def _read(self, data: bytes) -> None:
        """Read and judge the ClientHello."""
        try:
            hello = self._reader.feed(data)
        except NotTlsError:
            self._not_tls()
        except HelloError as error:
            self._alert(error.reason, Alert.DECODE_ERROR)
        else:
            if hello is not None:
                self._ask(hello)

    def _ask(self, hello: Hello) -> None:
        self._http2 = only_http2(hello.alpn)
        judge: Callable[[Hello], object] = self._session.hooks.hello
        self._session.ask("hook_hello", self, self._welcome, judge, hello)

    def _welcome(self, welcome: object) -> None:
        """Show a leaf and shake hands, or refuse."""
        if isinstance(welcome, Host):
            if self._http2:  # which is read into memory when somebody needs it, in a thread
                self._session.ask("http2", self, partial(self._shake, welcome), load_http2)
            else:
                self._shake(welcome, loaded=True)
        elif isinstance(welcome, Alert):
            self._alert(None, welcome)
        else:  # the hook failed
            self._alert(Reason.INTERNAL_ERROR, Alert.INTERNAL_ERROR)

    def _shake(self, host: Host, loaded: object) -> None:
        """Shake hands with a client that was told to go on."""
        if loaded is None:
            self._alert(Reason.INTERNAL_ERROR, Alert.INTERNAL_ERROR)
            return
        session = self._session
        self._shaking = asyncio.get_running_loop().time()
        session.client.shake(session.contexts.accept(host, http2=self._http2), bytes(self._reader.data))

    def _alert(self, reason: Reason | None, alert: Alert) -> None:
        """Refuse in the clear, with an alert: the client could read nothing else."""
        if reason is not None:
            self._session.hooks.broken(reason, Stage.TLS).close()
        self._session.client.write(alert.wire)
        self._over()

    def _not_tls(self) -> None:
        """Refuse what is not TLS in the language that it may be."""
        exchange = self._session.hooks.broken(Reason.NOT_TLS, Stage.TLS)
        self._session.client.write(exchange.answer())
        exchange.close()
        self._over()

    def _over(self) -> None:
        self._refused = True
        self.stop()
        self._session.linger()
