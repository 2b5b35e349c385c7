"""What all inspected exchanges together may hold back in memory, so that many clients cannot do what one may not.

Owns the sums. Bodies that are read as a whole, requests and responses, are charged to their exchange and given back
when it closes.
"""

HELD = 256 << 20  # bytes


class Budget:
    """A number of bytes that is lent out; belongs to the event loop's thread.

    Attributes:
        left: bytes that can still be lent.
    """

    __slots__ = ("left",)

    def __init__(self, limit: int = HELD) -> None:
        self.left = limit

    def take(self, count: int) -> bool:
        """Lend bytes; False, and nothing lent, where there are not enough."""
        if count > self.left:
            return False
        self.left -= count
        return True

    def give(self, count: int) -> None:
        """Take bytes back."""
        self.left += count


class Places:
    """Places that clients share, so that no one takes all of them; belongs to the event loop's thread.

    Attributes:
        taken: how many are.
    """

    __slots__ = ("_by_client", "_most", "_of_one", "taken")

    def __init__(self, most: int, of_one: int) -> None:
        self._most, self._of_one = most, of_one
        self._by_client: dict[str, int] = {}
        self.taken = 0

    def take(self, who: str) -> bool:
        """Give a client a place; False if all are taken, or too many by it."""
        of_one = self._by_client.get(who, 0)
        if of_one >= self._of_one or self.taken >= self._most:
            return False
        self._by_client[who] = of_one + 1
        self.taken += 1
        return True

    def give(self, who: str) -> None:
        """Take a place back."""
        self.taken -= 1
        left = self._by_client.pop(who) - 1
        if left:
            self._by_client[who] = left


def too_long(limit: int) -> str:
    """Return what a body that is read as a whole may have at most, and the key that says so."""
    most = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
    return f"A request to a model vendor is read as a whole, up to {most} (`server.limits.body_inspect_bytes`)."
