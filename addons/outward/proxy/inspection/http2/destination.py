"""The way of one client's HTTP/2 connection to its destination: one connection, which its requests share.

Owns that a request goes over a connection of its own client's, under the trust in force, at an address that the policy
still allows; another one is opened where that no longer holds, and the old one ends with its requests.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from outward.core.model import Stage
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.proxy.inspection.destinations import Destinations
from outward.proxy.inspection.exchange import UNREACHED, Exchange
from outward.proxy.inspection.http2.upstream import UNSPOKEN, ClientStream, Http2Upstream
from outward.proxy.inspection.opening import Key, OpenedConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from outward.proxy.inspection.connection import InspectedConnection
    from outward.proxy.inspection.http2.downstream import Http2Downstream
    from outward.proxy.inspection.http2.server_stream import ServerStream

_SHARED = UNREACHED | {Reason.TIMEOUT}
"""What a dial fails with whoever asks for it."""
_ADVICE = (
    "The destination does not speak HTTP/2, and this client offers nothing else: let the client offer HTTP/1.1 as well."
)


@dataclass(slots=True)
class _Waiting:
    """A request that waits for a stream.

    Attributes:
        carrier: whose it is.
        policy, secrets: by which it was judged, and which were set on it.
        then: goes on with its stream, or with None if it was refused.
    """

    carrier: "ServerStream"
    exchange: Exchange
    then: "Callable[[ClientStream | None], None]"
    policy: Policy
    secrets: Mapping[str, str]


class SharedDestination(Destinations):
    """Finds streams for the requests of one client's connection."""

    def __init__(self, session: "InspectedConnection", via: str) -> None:
        super().__init__(session, via)
        self.downstream: Http2Downstream
        self._all: set[Http2Upstream] = set()
        self._open_one: Http2Upstream | None = None
        self._waiting: deque[_Waiting] = deque()
        self._dialling = self._stopped = False

    def stop(self) -> None:
        """Find nothing any more: the client has left."""
        self._stopped = True
        self._waiting.clear()

    def make(self, key: Key) -> Http2Upstream:
        """Return a connection that is to be opened."""
        upstream = Http2Upstream(self._session, key)
        self._all.add(upstream)
        return upstream

    def reach(self, carrier: "ServerStream", exchange: Exchange, then: "Callable[[ClientStream | None], None]") -> None:
        """Find a stream for a request, and go on with it; with None if there is none, and the request is refused."""
        judge = self._session.judge
        self._waiting.append(_Waiting(carrier, exchange, then, judge.policy, judge.secrets.values))
        self.freed()

    def freed(self) -> None:
        """Go on with who waits: there may be room."""
        while self._waiting and not (self._dialling or self._stopped):
            first = self._waiting[0]
            exchange = first.exchange
            if exchange.closed:
                self._waiting.popleft()
                continue
            self._renew(first)
            if exchange.refused:
                self._waiting.popleft()
                first.then(None)
                continue
            upstream = self._usable(exchange)
            if upstream is None:
                self._dialling = True
                self._session.spawn(self._open(exchange, self._key(exchange), partial(self._opened, exchange)))
                return
            if not upstream.room:
                return
            self._waiting.popleft()
            first.then(ClientStream(upstream, first.carrier, exchange))

    def _renew(self, waiting: _Waiting) -> None:
        """Have a request judged once more if it was judged by another policy, or carries other secrets.

        What is refused stays so, whatever is in force by now.
        """
        exchange, judge = waiting.exchange, self._session.judge
        policy, secrets = judge.policy, judge.secrets.values
        if exchange.refused or (policy is waiting.policy and secrets is waiting.secrets):
            return
        waiting.policy, waiting.secrets = policy, secrets
        self._session.ask("hook_request", None, partial(_unless_failed, exchange), self._session.hooks.renew, exchange)

    def _usable(self, exchange: Exchange) -> Http2Upstream | None:
        upstream = self._open_one
        if upstream is None:
            return None
        if (
            upstream.retired
            or upstream.gone
            or upstream.key != self._key(exchange)
            or not self._holds(exchange, upstream)
        ):
            self._open_one = None
            upstream.retire()
            return None
        return upstream

    def _placed(self, exchange: Exchange) -> None:
        """Say that secrets part no connections: a stream is a request, and nobody logs in on an HTTP/2 connection."""

    def _secure(
        self, upstream: OpenedConnection, exchange: Exchange, then: "Callable[[Any], None]", why: str | None
    ) -> None:
        if why == UNSPOKEN and not exchange.closed:
            exchange.event.advice = _ADVICE
        super()._secure(upstream, exchange, then, why)

    def _opened(self, lead: Exchange, upstream: object) -> None:
        """Go on: a connection stands, or does not."""
        self._dialling = False
        if isinstance(upstream, Http2Upstream):
            self._open_one = upstream
        elif not lead.closed or lead.refused:
            self._failed(lead)
        self.freed()

    def _failed(self, lead: Exchange) -> None:
        """Refuse who waits for the same; if it was the policy that refused, the others dial by what allows them."""
        alone = lead.refused and lead.event.reason not in _SHARED
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            if alone and each.exchange is not lead:
                self._waiting.append(each)
            else:
                _share(lead, each.exchange)
                each.then(None)

    # As the client's connection asks of it --------------------------------------------------------------------------

    def hold(self) -> None:
        """Send the client no bodies for now: each stream's destination is held as they gather."""
        self.downstream.hold()

    def release(self) -> None:
        """Go on."""
        self.downstream.release()

    def pump(self) -> None:
        """Send what destinations' windows let through."""
        for upstream in list(self._all):
            upstream.pump()

    def flush(self) -> None:
        """Send what has gathered for destinations."""
        for upstream in list(self._all):
            if upstream.secure:
                upstream.write()
            upstream.peer.flush()

    def abort(self) -> None:
        """Cut all that there is."""
        self._calm()
        for upstream in list(self._all):
            upstream.abort()

    def parted(self, upstream: object) -> None:
        """Forget a connection that is closed."""
        if isinstance(upstream, Http2Upstream):
            self._all.discard(upstream)
            if self._open_one is upstream:
                self._open_one = None
            self._session.soon(self.freed)  # who waits for room on it needs another one


def _unless_failed(exchange: Exchange, judged: object) -> None:
    """Refuse what could not be judged."""
    if judged is None:
        exchange.refuse(Reason.INTERNAL_ERROR, Stage.REQUEST)


def _share(lead: Exchange, other: Exchange) -> None:
    """Have a request fail as the one whose dial it waited for."""
    if lead.refused and other is not lead and not other.closed:
        event = lead.event
        other.event.detail, other.event.address, other.event.advice = event.detail, event.address, event.advice
        other.refuse(event.reason, event.stage, rule=event.rule)
