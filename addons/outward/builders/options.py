"""How one service differs from another with the same configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from outward.config.loaded import Loaded
from outward.core.policy import Policy
from outward.proxy.challenges import PATIENCE
from outward.proxy.listener import Vouch
from outward.records.events.recorder import STORE_LINGER
from outward.records.events.values import Event, Record


@dataclass(frozen=True, slots=True)
class Options:
    """How a service differs from another with the same configuration.

    Attributes:
        transform: makes the policy in force from the loaded one, at every load.
        observe: sees every event that is recorded.
        load: loads the configuration anew, off the loop, given the one in force and the names of confined files that
            stay as they were; None if there is nothing to reload.
        ops: whether the ops port is opened.
        stdout: descriptor that a line is written to for each event; None for none.
        as_line: makes it; of JSON if it is None.
        lull: seconds before the engine is imported, unless it is needed sooner.
        linger: seconds that the first event of a batch waits for others; 0 writes at once.
        vouch: names that a connection without credentials proves by itself.
        receipt: sees the receipt of every request that searched the web.
        patience: seconds that a client has to answer a 407 before that is recorded.
        carried: where somebody else's listeners carry the connections and ask this service: returns the addresses and
            ports that they listen on. None opens our own.
    """

    transform: Callable[[Policy], Policy] = field(default=lambda policy: policy)
    observe: Callable[[Event], None] | None = None
    load: Callable[[Loaded, frozenset[str]], Loaded] | None = None
    ops: bool = True
    stdout: int | None = None
    as_line: Callable[[Record], bytes] | None = None
    lull: float = 0.0
    linger: float = STORE_LINGER
    vouch: Vouch | None = None
    receipt: Callable[[Mapping[str, Any]], None] | None = None
    patience: float = PATIENCE
    carried: Callable[[], list[tuple[str, int]]] | None = None
