"""The fail-closed guard: how the engine's layers ask the hooks.

A hook that raises, hangs or is cancelled never lets anything through: the layer is told that it failed, and refuses.
The engine's own dispatch would log the exception and go on.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mitmproxy.connection import Connection
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.layer import CommandGenerator

from outward.config.settings import Limits
from outward.proxy.inspection.contexts import Contexts
from outward.proxy.inspection.exchange import Exchange
from outward.proxy.inspection.hooks import Hooks
from outward.proxy.judge import Judge
from outward.proxy.parent import Parent

_log = logging.getLogger(__name__)


class Line(Protocol):
    """What the layers know of the connection that they serve.

    Attributes:
        exchange: the one under way, or the last one.
        draining: no further request is taken.
    """

    judge: Judge
    hooks: Hooks
    limits: Limits
    contexts: Contexts
    exchange: Exchange | None

    @property
    def draining(self) -> bool:
        """Whether the proxy is about to stop."""

    def hold(self, why: str) -> None:
        """Stop reading the client until `release`, for each reason by itself."""

    def release(self, why: str) -> None:
        """Go on reading the client."""

    def parent_of(self, connection: Connection) -> Parent | None:
        """Return the parent proxy that takes requests in absolute form on a connection, or None."""

    def parent_fields(self, parent: Parent | None) -> list[bytes] | None:
        """Return the field lines that a request to a parent has beside the client's own; None without a parent."""

    def reaches(self) -> bool:
        """Tell whether the request under way may use the address that the last one was sent to."""

    def head_begun(self) -> None:
        """Start the deadline of a request head."""

    def head_done(self) -> None:
        """Stop it."""

    def shaken(self) -> None:
        """Stop the deadline of the client's handshake."""

    def greeting(self, connection: Connection) -> None:
        """Start the deadline of a destination's handshake."""

    def greeted(self, connection: Connection) -> None:
        """Stop it."""


@dataclass
class Wait(StartHook):  # type: ignore[no-untyped-call] # mitmproxy registers subclasses in untyped code
    """Waits for an answer that is not there at once; the reply is `(answer,)`, or None where it failed.

    Meanwhile the connection that the answer is about is not read: the client's, if none is named.
    """

    where: str
    answer: Awaitable[Any]
    about: Connection | None = None


def guarded[**P, T](
    line: Line, function: Callable[P, T | Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> CommandGenerator[T | None]:
    """Ask a hook; None where it failed, which has been counted."""
    where = f"hook_{function.__name__}"
    try:
        answer = function(*args, **kwargs)
    except Exception:  # noqa: BLE001 - fail closed: the caller refuses
        line.judge.metrics.internal_error(where)
        _log.exception("%s failed: the request is refused", where)
        return None
    if not inspect.isawaitable(answer):
        return answer
    waited = yield Wait(where, answer)
    return waited[0] if waited else None
