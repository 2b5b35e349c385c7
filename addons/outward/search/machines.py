"""Machines at vendors that groups made through the proxy, and the network that each was given. Bounded."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from outward.search.evidence import SearchEvidence

MOST = 10_000
LONGEST = 255  # characters of an id


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's name: no other group, and no other host, knows it by that."""

    group: str
    host: str
    ident: str


class Machines:
    """The machines that this process knows; the oldest is forgotten where there are too many."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[Machine, tuple[str, ...]] = OrderedDict()

    def network(self, machine: Machine) -> tuple[str, ...] | None:
        """Return what a machine may reach; None for one that is not known."""
        return self._known.get(machine)

    def add(self, machine: Machine, network: Iterable[str]) -> bool:
        """Remember a machine; False if it was known with this network."""
        names = tuple(network)
        if self._known.get(machine) == names or len(machine.ident) > LONGEST:
            return False
        self._known[machine] = names
        self._known.move_to_end(machine)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return True


class MachineObserver:
    """Reads the answer to the making of a machine.

    Args:
        seen: where its id goes.
        key: under which it stands, at the top.
    """

    complete = True

    def __init__(self, seen: SearchEvidence, key: str) -> None:
        self._seen, self._key = seen, key

    def value(self, value: Any) -> None:
        """Read the answer."""
        if isinstance(value, dict):
            self._seen.machine(value.get(self._key))


def machine_of(item: dict[str, Any]) -> Any:
    """Return the id of the machine that an output item says it ran on; None if there is none."""
    match item.get("type"):
        case "code_interpreter_call":
            return item.get("container_id")
        case "shell_call" | "function_shell_call":
            environment = item.get("environment")
            return environment.get("container_id") if isinstance(environment, dict) else None
    return None
