"""Taps on answers of vendors: pieces in, pieces out, while an observation reads them. Each says once that it ended."""

from collections.abc import Callable

from outward.core.model import Stage
from outward.core.reasons import Reason
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.governor import CutError, Tap, Whole
from outward.search.observation import MAX_WHOLE, Observation


def streaming(exchange: Exchange, observation: Observation, ended: Callable[[], None], cut: Callable[[], None]) -> Tap:
    """Return a tap that passes on what it reads, and pays for the most that it has held.

    Args:
        exchange: pays.
        observation: reads.
        ended: is called when all of it was read.
        cut: is called when the rest is withheld because it could not be read.
    """
    paid = 0

    def tap(data: bytes) -> bytes:
        nonlocal paid
        if not data:
            rest = observation.finish()
            ended()
            return rest
        passed = observation.feed(data)
        if observation.held > paid:
            if exchange.hold(observation.held - paid):
                paid = observation.held
            else:
                passed += observation.give_up()
        if observation.was_cut:
            if not observation.seen.violated:
                cut()
            raise CutError(passed)
        return passed

    return tap


def whole(exchange: Exchange, observation: Observation, ended: Callable[[], None]) -> Tap:
    """Return a tap that holds the response until it is filtered, or judged as a whole."""
    held = bytearray()

    def tap(data: bytes) -> bytes:
        if data:
            held.extend(data)
            if len(held) > MAX_WHOLE:
                raise _withheld(exchange, Reason.TOO_LARGE)
            if not exchange.hold(len(data)):
                raise _withheld(exchange, Reason.OVERLOADED)
            return b""
        body = observation.replace(bytes(held))
        if body is None:
            cut = Reason.SOURCE_OUTSIDE_ALLOWLIST if observation.was_cut else Reason.WEB_SEARCH_UNINSPECTABLE
            exchange.refuse(cut, Stage.RESPONSE)
        ended()
        if body is None:
            raise CutError
        return body

    return Whole(tap)


def _withheld(exchange: Exchange, reason: Reason) -> CutError:
    """Refuse an exchange of whose response the client has seen nothing, and return what ends it."""
    exchange.refuse(reason, Stage.RESPONSE, 502 if reason is Reason.TOO_LARGE else None)  # the answer, not the request
    return CutError()
